// A decision between two classes, by several models, and what each word adds to one model's probability.

/** How strongly a word is colored, in percent: full color is the strongest word's, or ten points if all are weaker. */
function strength(added, all) {
  return Math.round((75 * Math.abs(added)) / Math.max(0.1, ...all.map(Math.abs)));
}

/** A change of a probability in percentage points, with its sign. */
function points(added) {
  return `${added < 0 ? "−" : "+"}${Math.abs(100 * added).toFixed(1)} points`;
}

function render({ model, el }) {
  const root = stage("sentiment");
  const told = teller();
  const [low, high] = model.get("classes");
  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Review" });
  const chooser = make("select", { "aria-label": "Model that colors the words", onchange: color });
  const words = make("div", { class: "sentence words", role: "group", "aria-label": "Words: press one to leave it out" });
  const bars = make("div", {});
  const answered = onAnswer(model, root, rebuild);

  function query(changes) {
    ask(model, root, { query: { ...model.get("query"), ...changes } });
  }
  const send = () => { if (text.value !== model.get("query").text) query({ text: text.value, dropped: [] }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  function toggle(index) {
    const dropped = model.get("query").dropped;
    query({ dropped: dropped.includes(index) ? dropped.filter((other) => other !== index) : [...dropped, index] });
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("query").text;
    const models = model.get("models");
    if (chooser.options.length !== models.length) {
      chooser.replaceChildren(...models.map(({ name }) => make("option", { text: name, value: name })));
      chooser.value = models.at(-1)?.name ?? "";
    }
    bars.replaceChildren(...models.map(({ name, prob }) => {
      const side = prob < 0.5 ? "low" : "high";
      const bar = make("span", { class: `bar ${side}`, style: `left: ${100 * Math.min(prob, 0.5)}%; width: ${100 * Math.abs(prob - 0.5)}%` });
      return make("div", { class: "line" }, make("span", { class: "label", text: name }), make("span", { class: "track" }, bar),
        make("span", { class: "number", text: `${percent(side === "low" ? 1 - prob : prob)} ${side === "low" ? low : high}` }));
    }), make("div", { class: "ends" }, make("span", {}), make("span", {}, make("span", { text: `← ${low}` }), make("span", { text: `${high} →` })), make("span", {})));
    const pieces = model.get("words");
    // The same words keep their buttons, and with them the focus.
    const same = words.children.length === pieces.length && pieces.every((piece, index) => words.children[index].textContent === piece);
    if (!same) {
      words.replaceChildren(...pieces.map((piece, index) => make("button", {
        type: "button", class: "word", text: piece, onclick: () => toggle(index),
      })));
    }
    color();
  }

  function color() {
    const chosen = model.get("models").find(({ name }) => name === chooser.value);
    if (!chosen) return;
    const dropped = model.get("query").dropped;
    [...words.children].forEach((button, index) => {
      const added = chosen.adds[index];
      const out = dropped.includes(index);
      button.setAttribute("aria-pressed", out);
      button.classList.toggle("against", added < 0);
      button.style.setProperty("--share", `${out ? 0 : strength(added, chosen.adds)}%`);
      button.title = out ? "Put it back" : `${points(added)} toward ${high}; press to leave it out`;
      button.setAttribute("aria-label", `${button.textContent}: ${button.title}`);
    });
    const top = chosen.adds.reduce((best, added, index) => (Math.abs(added) > Math.abs(chosen.adds[best]) ? index : best), 0);
    told.say(`${chosen.name}: ${percent(chosen.prob)} ${high}. The word that counts most: “${model.get("words")[top]}”, ${points(chosen.adds[top])} toward ${high}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Review" }), text)),
    answered.problem, bars,
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Words colored by" }), chooser)),
    words,
    make("p", { class: "hint", text: `Blue words push toward ${high}, orange ones toward ${low}. Press a word to leave it out, or press it again to put it back.` }),
    ...told.parts,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
