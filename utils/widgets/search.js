// A search in texts: what was found, the best sentence of each, and the words that it shares with the question.

function render({ model, el }) {
  const root = stage("search");
  const told = teller();
  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Question" });
  const method = make("select", { "aria-label": "Search by", onchange: () => ask(model, root, { query: { text: text.value, method: method.value } }) },
    ...model.get("methods").map((name) => make("option", { text: name, value: name })));
  const list = make("div", {});
  const answered = onAnswer(model, root, rebuild);
  const opened = new Set([0]);

  const send = () => {
    if (text.value === model.get("query").text) return;
    ask(model, root, { query: { text: text.value, method: method.value } });
  };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  /** A sentence with its shared words marked. */
  function marked(sentence, shared, best) {
    const pieces = sentence.split(/([\p{L}\p{N}]+)/u);
    return make("span", { class: best ? "found best" : "found" },
      ...pieces.map((piece, i) => (i % 2 && shared.has(piece.toLowerCase()) ? make("mark", { text: piece }) : piece)), " ");
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("query").text;
    method.value = model.get("query").method;
    const found = model.get("found");
    list.replaceChildren(...found.map(({ where, score, sentences, best, words }, i) => {
      const shared = new Set(words);
      const body = make("p", {});
      const fill = () => {
        const open = opened.has(i);
        const some = open ? sentences.map((_, j) => j) : [best];
        body.replaceChildren(...some.map((j) => marked(sentences[j], shared, j === best)));
        button.setAttribute("aria-expanded", open);
        button.textContent = open ? "Best sentence only" : "Whole passage";
        button.setAttribute("aria-label", `${button.textContent} of result ${i + 1}`);
      };
      const button = make("button", { type: "button", onclick: () => {
        if (!opened.delete(i)) opened.add(i);
        fill();
      } });
      fill();
      return make("div", { class: "result" },
        make("div", { class: "head" }, make("b", { text: where }), make("span", { class: "score", text: score.toFixed(3) }), button), body);
    }));
    told.say(found.length ? `Found first: ${found[0].where}.` : "No passage shares a word with the question.");
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Question" }), text)),
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Search by" }), method)),
    answered.problem, ...told.parts, list,
    make("p", { class: "hint", text: "Shaded: the sentence nearest in meaning to the question. Underlined: words that both share." }),
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
