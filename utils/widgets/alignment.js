// Alignment: a translation, and the cross-attention between its tokens and those of the source.

/** The weights of one head, or the mean of all (head -1), as an array of rows, one a target token. */
function rowsOf(weights, heads, targets, sources, head) {
  return Array.from({ length: targets }, (_, t) => Array.from({ length: sources }, (_, s) => {
    const at = (h) => weights[(h * targets + t) * sources + s];
    if (head >= 0) return at(head);
    let sum = 0;
    for (let h = 0; h < heads; h += 1) sum += at(h);
    return sum / heads;
  }));
}

/** What to tint for the chosen token: a target's weights over the source, or how much each target looks at a source. */
function tints(rows, side, index) {
  return side === "target" ? rows[index] : rows.map((row) => row[index]);
}

function render({ model, el }) {
  const root = stage("alignment");
  const told = teller();
  const state = { head: -1, side: "target", index: 0, rows: [] };

  const text = make("input", { type: "text", value: model.get("text"), spellcheck: "false", "aria-label": "English text" });
  const send = () => { if (text.value !== model.get("text")) ask(model, root, { text: text.value }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const head = slider("Head", {
    min: 0, max: 1, value: 0, shown: (value) => (value ? String(value) : "mean of all"),
    onmove: (value) => { state.head = value - 1; weigh(); paint(); },
  });
  const translation = make("p", { class: "translation", lang: "zh" });
  const lines = make("div", { class: "lines" });
  const options = { target: [], source: [] };
  const answered = onAnswer(model, root, rebuild);

  function weigh() {
    state.rows = rowsOf(floats(model.get("weights")), model.get("n_heads"), model.get("target_tokens").length,
      model.get("source_tokens").length, state.head);
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("text");
    head.limit(model.get("n_heads"));
    state.head = Math.min(state.head, model.get("n_heads") - 1);
    Object.assign(state, { side: "target", index: 0 });
    translation.textContent = model.get("translation");
    options.target = model.get("target_tokens").map((token, i) => option("target", token, i));
    options.source = model.get("source_tokens").map((token, i) => option("source", token, i));
    const parts = model.get("parts");
    const names = model.get("part_names");
    lines.replaceChildren(
      make("span", { class: "name", text: "written" }),
      list("Token that was written", options.target, "target"),
      ...names.flatMap((name, part) => {
        const own = options.source.filter((_, i) => parts[i] === part);
        return own.length ? [make("span", { class: "name", text: name }), list(`Token of the source: ${name}`, own, "")] : [];
      }),
    );
    weigh();
    paint();
  }

  function list(label, children, kind) {
    return make("div", { class: `sentence ${kind}`, role: "listbox", "aria-orientation": "horizontal", "aria-label": label }, ...children);
  }

  function option(side, token, index) {
    return make("span", {
      class: "token", role: "option", onclick: () => choose(side, index), onpointerenter: () => choose(side, index),
      onkeydown: (event) => step(event, side, index),
    }, make("span", { text: word(token) }), make("small"));
  }

  function choose(side, index) {
    Object.assign(state, { side, index });
    paint();
  }

  function step(event, side, index) {
    const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const last = options[side].length - 1;
    let next = index + (moves[event.key] ?? 0);
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = last;
    if (next === index || next < 0 || next > last) return;
    event.preventDefault();
    choose(side, next);
    options[side][next].focus();
  }

  function paint() {
    if (!state.rows.length) return;
    const other = state.side === "target" ? "source" : "target";
    const shares = tints(state.rows, state.side, state.index);
    options[other].forEach((each, i) => {
      each.style.setProperty("--share", `${100 * Math.sqrt(Math.min(1, shares[i])).toFixed(3)}%`);
      each.lastChild.textContent = shares[i] >= 0.005 ? shares[i].toFixed(2) : "·";
      each.setAttribute("aria-selected", "false");
    });
    options[state.side].forEach((each, i) => {
      each.style.setProperty("--share", "0%");
      each.lastChild.textContent = "";
      each.setAttribute("aria-selected", String(i === state.index));
    });
    // One token of each line can be reached by the Tab key.
    for (const line of lines.querySelectorAll(".sentence")) {
      const own = [...line.children];
      const chosen = own.find((each) => each.getAttribute("aria-selected") === "true") ?? own[0];
      own.forEach((each) => { each.tabIndex = each === chosen ? 0 : -1; });
    }
    tell(shares, other);
  }

  function tell(shares, other) {
    const tokens = { target: model.get("target_tokens"), source: model.get("source_tokens") };
    const best = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, 3);
    const found = best.map((i) => `“${word(tokens[other][i])}” ${shares[i].toFixed(2)}`).join(", ");
    const own = `“${word(tokens[state.side][state.index])}”`;
    const who = state.head < 0 ? `mean of ${model.get("n_heads")} heads` : `head ${state.head + 1}`;
    told.say(state.side === "target"
      ? `${who}: when ${own} was chosen, the decoder looked most at ${found}.`
      : `${who}: ${own} was looked at most when these were chosen: ${found}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "English" }), text)),
    make("div", { class: "row" }, head.box),
    answered.problem, translation, ...told.parts,
    make("p", { class: "hint", text: "Choose a token of any line: the number is the weight between it and each token of the other side." }),
    lines,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
