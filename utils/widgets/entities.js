// Names in a text: each character tinted by how sure the model is, and the label probabilities of the chosen one.

/** Probability of each label at one character, in the order of the labels. */
function rowOf(probs, width, index) {
  return Array.from(probs.slice(index * width, (index + 1) * width));
}

/** How sure the model is that the character has the part that is marked: of a name's character, B and I of its kind. */
function confidence(row, labels, kind) {
  return row.reduce((sum, share, i) => sum + ((kind === null ? labels[i] === "O" : labels[i].slice(2) === kind) ? share : 0), 0);
}

function render({ model, el }) {
  const root = stage("entities");
  const told = teller();
  const labels = model.get("labels");
  const kinds = model.get("kinds");
  const order = Object.keys(kinds);
  let chosen = 0;

  const text = make("input", { type: "text", spellcheck: "false", lang: "zh", "aria-label": "Text" });
  const sentence = make("div", { class: "characters", lang: "zh", role: "listbox", tabindex: 0, "aria-label": "Characters: arrow keys choose one", onkeydown: move });
  const bars = make("div", { class: "bars" });
  const legend = make("p", { class: "hint legend" }, ...order.map((kind, i) => make("span", { class: `swatch k${i % 4}`, text: `${kind} ${kinds[kind]}` })));
  const answered = onAnswer(model, root, rebuild);
  const send = () => { if (text.value !== model.get("text")) ask(model, root, { text: text.value }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  function move(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(Math.min(Math.max(chosen + step, 0), model.get("characters").length - 1));
  }

  function kindAt(index) {
    return model.get("spans").find(([from, to]) => from <= index && index < to)?.[2] ?? null;
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("text");
    const characters = model.get("characters");
    const probs = floats(model.get("probs"));
    const cells = characters.map((character, index) => {
      const kind = kindAt(index);
      const sure = confidence(rowOf(probs, labels.length, index), labels, kind);
      const cell = make("span", { class: "character", role: "option", text: character, onclick: () => choose(index), title: `${kind ? kinds[kind] : "no name"}, ${percent(sure)}` });
      cell.style.setProperty("--sure", `${Math.round(kind ? 10 + 60 * sure : 45 * (1 - sure))}%`);
      return cell;
    });
    const parts = [];
    let at = 0;
    for (const [from, to, kind] of model.get("spans")) {
      parts.push(...cells.slice(at, from), make("span", { class: `name k${order.indexOf(kind) % 4}` }, ...cells.slice(from, to), make("small", { text: kind, "aria-hidden": "true" })));
      at = to;
    }
    sentence.replaceChildren(...parts, ...cells.slice(at));
    const first = model.get("spans")[0];
    choose(Math.min(first ? first[0] : 0, characters.length - 1));
  }

  function choose(index) {
    chosen = index;
    const row = rowOf(floats(model.get("probs")), labels.length, index);
    [...sentence.querySelectorAll(".character")].forEach((cell, i) => cell.setAttribute("aria-selected", i === index));
    bars.replaceChildren(...labels.map((label, i) => make("div", { class: "line" },
      make("span", { class: "label", text: label }), make("span", { class: "track" }, make("span", { class: "bar", style: `width: ${100 * row[i]}%` })),
      make("span", { class: "number", text: percent(row[i]) }))));
    const best = row.indexOf(Math.max(...row));
    const names = model.get("spans").map(([from, to, kind]) => `${model.get("characters").slice(from, to).join("")} (${kinds[kind]})`);
    told.say(`Names: ${names.join(", ") || "none"}. Character ${index + 1}, “${model.get("characters")[index]}”: ${labels[best]} ${percent(row[best])}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Text" }), text)),
    answered.problem, legend, sentence, ...told.parts, bars,
    make("p", { class: "hint", text: "The stronger a name's color, the surer the model. A gray tint outside of names: it was not sure that there is none. Press a character, or use the arrow keys." }),
  );
  el.append(root);
  if (model.get("characters").length) rebuild();
  else text.value = model.get("text");
  return answered.stop;
}

export default { render };
