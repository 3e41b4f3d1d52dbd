// Extractive question answering: the learner's passage, token by token, with how likely the answer starts and ends there.

const tall = 22; // pixels of a bar of probability 1

function render({ model, el }) {
  const root = stage("answers");
  const told = teller();
  const question = make("input", { type: "text", spellcheck: "false", "aria-label": "Question" });
  const passage = make("textarea", { rows: "4", spellcheck: "false", "aria-label": "Passage" });
  const tokens = make("div", { class: "passage" });
  const list = make("div", {});
  const margin = slider("Answer only if ahead of “no answer” by", {
    min: -15, max: 15, step: 0.5, value: 0, shown: (value) => `${value} nats`, onmove: decide,
  });
  const answered = onAnswer(model, root, rebuild);

  const send = () => {
    const now = model.get("query");
    if (question.value === now.question && passage.value === now.passage) return;
    ask(model, root, { query: { question: question.value, passage: passage.value } });
  };
  for (const box of [question, passage]) {
    box.addEventListener("input", settled(send, 300));
    box.addEventListener("change", send);
  }

  function rebuild() {
    const { question: asked, passage: given } = model.get("query");
    if (document.activeElement !== question) question.value = asked;
    if (document.activeElement !== passage) passage.value = given;
    tokens.replaceChildren(...model.get("tokens").map(([text, spaced, start, end]) =>
      make("span", { class: spaced ? "piece spaced" : "piece", title: `starts here: ${percent(start)}; ends here: ${percent(end)}` },
        make("span", { class: "end-bar start" }, make("span", { style: `height: ${tall * start}px` })),
        make("span", { class: "text", text }),
        make("span", { class: "end-bar stop" }, make("span", { style: `height: ${tall * end}px` })))));
    const rows = [["(no answer)", model.get("none")], ...model.get("candidates").map(([text, , , share]) => [text, share])];
    const widest = Math.max(...rows.map(([, share]) => share), 1e-9);
    list.replaceChildren(...rows.map(([text, share]) => make("div", { class: "line" }, make("span", { class: "label", text, title: text }),
      make("span", { class: "track" }, make("span", { class: "bar", style: `width: ${(100 * share) / widest}%` })),
      make("span", { class: "number", text: percent(share) }))));
    decide();
  }

  /** Mark the answer, if the best span is far enough ahead. */
  function decide() {
    const best = model.get("candidates")[0];
    if (!best) return;
    const [text, first, last] = best;
    const lead = model.get("lead");
    const answers = lead > margin.value;
    [...tokens.children].forEach((piece, i) => {
      piece.classList.toggle("chosen", i >= first && i <= last);
      piece.classList.toggle("refused", !answers && i >= first && i <= last);
    });
    const ahead = `“${text}” scores ${lead.toFixed(1)} nats ${lead < 0 ? "(behind)" : "more than"} “no answer”; asked for: more than ${margin.value}.`;
    told.say(answers ? `Answer: ${text}. ${ahead}` : `No answer in this passage. ${ahead.replace(" (behind)", " against")}`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Passage" }), passage)),
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Question" }), question)),
    answered.problem, ...told.parts, tokens,
    make("p", { class: "hint", text: "Above each piece: how likely the answer starts there. Below: how likely it ends there." }),
    list,
    make("div", { class: "row" }, margin.box),
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
