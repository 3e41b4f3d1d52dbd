// Quick questions: choosing an option shows at once whether it is right, and why.

let groups = 0;

function render({ model, el }) {
  const root = stage("quiz");
  let right = new Set();
  const score = make("p", { class: "hint", role: "status" });
  const list = model.get("questions").map((question, number) => asked(question, number));

  function asked(question, number) {
    const name = `quiz-${groups += 1}`;
    const remark = make("p", { class: "remark", role: "status", "aria-live": "polite" });
    const options = question.options.map((option) => {
      const input = make("input", { type: "radio", name, "aria-label": option.text });
      input.addEventListener("change", () => {
        remark.textContent = `${option.right ? "✓" : "✗"} ${option.remark}`;
        remark.classList.toggle("right", option.right);
        if (option.right) right.add(number); else right.delete(number);
        tell();
      });
      return make("label", { class: "option" }, input, make("span", { text: option.text }));
    });
    return make("fieldset", {}, make("legend", { text: `${number + 1}. ${question.text}` }), ...options, remark);
  }

  function tell() {
    score.textContent = `${right.size} of ${list.length} right`;
  }

  tell();
  root.append(...list, score);
  el.append(root);
}

export default { render };
