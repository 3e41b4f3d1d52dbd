// A conversation: one message of the learner's, several answers side by side.

function render({ model, el }) {
  const root = stage("chat");
  const told = teller();
  const text = make("input", { type: "text", "aria-label": "Your message", placeholder: "Type a message" });
  const count = make("output", { text: "" });
  const send = make("button", { type: "button", text: "Send", onclick: () => say(text.value) });
  const over = make("button", { type: "button", text: "Start over", onclick: () => query(null) });
  const log = make("div", { class: "log", role: "log", "aria-label": "Conversation" });
  const answered = onAnswer(model, root, rebuild);

  function query(message) {
    ask(model, root, { query: { message, number: model.get("query").number + 1 } });
  }
  function say(message) {
    query(message);
    text.select();
  }
  function measure() {
    const limit = model.get("limit");
    count.textContent = `${[...text.value].length} of ${limit} characters`;
    count.classList.toggle("over", [...text.value].length > limit);
  }
  text.addEventListener("input", measure);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); say(text.value); }
  });

  function rebuild() {
    const exchanges = model.get("exchanges");
    over.disabled = !exchanges.length;
    log.replaceChildren(...exchanges.map(({ message, answers }) => make("div", { class: "exchange" },
      make("p", { class: "yours", text: message }),
      make("div", { class: "answers" }, ...answers.map(([name, answer, note]) => make("div", { class: "answer" },
        make("span", { class: "who", text: name }),
        make("p", { class: answer ? "said" : "said none", text: answer || "(it ends without a word)" }),
        make("span", { class: "note", text: note })))))));
    log.scrollTop = log.scrollHeight;
    const last = exchanges.at(-1);
    told.say(last ? `${last.answers.map(([name, answer]) => `${name}: ${answer || "no word"}`).join(". ")}`
      : "Nothing was said yet. Type a message.");
  }

  const tries = model.get("examples").map((example) => make("button", {
    type: "button", class: "example", text: example, onclick: () => { text.value = example; measure(); say(example); },
  }));
  text.value = model.get("query").message ?? "";
  root.append(
    log, answered.problem,
    make("div", { class: "row" }, text, send, over), make("p", { class: "hint" }, count),
    ...(tries.length ? [make("div", { class: "row examples" }, make("span", { class: "hint", text: "Try:" }), ...tries)] : []),
    ...told.parts,
  );
  told.parts[0].classList.add("hidden"); // the conversation itself is what is seen
  el.append(root);
  measure();
  rebuild();
  return answered.stop;
}

export default { render };
