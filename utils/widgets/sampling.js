// The next token's distribution under a repetition penalty, temperature, top-k, top-p and min-p: computed here, over the
// whole vocabulary.

const SHOWN = 40;

/**
 * From logits in falling order: each token's share at this temperature (`tempered`), how many stay (`kept`), and the
 * factor that makes the kept shares sum to one.
 */
function truncated(sorted, temperature, topK, topP, minP = 0) {
  const tempered = new Float64Array(sorted.length);
  let total = 0;
  for (let i = 0; i < sorted.length; i += 1) {
    tempered[i] = Math.exp((sorted[i] - sorted[0]) / temperature);
    total += tempered[i];
  }
  const limit = topK ? Math.min(topK, sorted.length) : sorted.length;
  let within = 0;
  for (let i = 0; i < sorted.length; i += 1) {
    tempered[i] /= total;
    if (i < limit) within += tempered[i];
  }
  let [kept, sum] = [limit, within];
  if (topP < 1) {
    kept = 0;
    sum = 0;
    while (kept < limit && (kept === 0 || sum < topP * within)) { sum += tempered[kept]; kept += 1; }
  }
  while (kept > 1 && tempered[kept - 1] < minP * tempered[0]) { kept -= 1; sum -= tempered[kept]; }
  let entropy = 0;
  for (let i = 0; i < kept; i += 1) {
    const share = tempered[i] / sum;
    if (share > 0) entropy -= share * Math.log(share);
  }
  return { tempered, kept, sum, factor: 1 / sum, entropy };
}

/** Logits with those of the seen tokens made smaller: positive ones divided by the penalty, negative ones multiplied. */
function penalized(logits, seen, penalty) {
  const changed = Float32Array.from(logits);
  for (const token of new Set(seen)) changed[token] *= logits[token] < 0 ? penalty : 1 / penalty;
  return changed;
}

/** The place of the token drawn by a uniform number in [0, 1). */
function pick({ tempered, kept, sum }, uniform) {
  let left = uniform * sum;
  for (let i = 0; i < kept; i += 1) {
    left -= tempered[i];
    if (left < 0) return i;
  }
  return kept - 1;
}

function render({ model, el }) {
  const root = stage("sampling");
  const told = teller();
  const state = { order: [], sorted: new Float32Array(0), now: null };
  const first = model.get("text");

  const text = make("textarea", { rows: 2, spellcheck: "false", "aria-label": "Text so far" });
  text.value = first;
  const send = () => { if (text.value !== model.get("text")) ask(model, root, { text: text.value }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const move = framed(paint);
  const temperature = slider("Temperature", { min: 0.1, max: 2, step: 0.05, value: 1, shown: (t) => t.toFixed(2), onmove: move });
  // The last stop of top-k means no limit.
  const topK = slider("Top-k", { min: 1, max: SHOWN + 1, value: SHOWN + 1, shown: (k) => (k > SHOWN ? "off" : String(k)), onmove: move });
  const topP = slider("Top-p", { min: 0.05, max: 1, step: 0.01, value: 1, shown: (p) => (p >= 1 ? "off" : p.toFixed(2)), onmove: move });
  const minP = slider("Min-p", { min: 0, max: 0.9, step: 0.01, value: 0, shown: (p) => (p ? p.toFixed(2) : "off"), onmove: move });
  const penalty = slider("Repetition penalty", { min: 1, max: 3, step: 0.05, value: 1, shown: (p) => (p > 1 ? p.toFixed(2) : "off"), onmove: framed(rank) });

  const bars = make("div", { class: "bars" });
  const rows = Array.from({ length: SHOWN }, () => {
    const [label, bar, number] = [make("span", { class: "label" }), make("span", { class: "bar" }), make("span", { class: "number" })];
    bars.append(make("div", { class: "line" }, label, make("span", { class: "track" }, bar), number));
    return { line: bars.lastChild, label, bar, number };
  });

  const drawn = make("button", { type: "button", text: "Draw the next token", onclick: draws });
  const again = make("button", { type: "button", text: "Back to the first text", onclick: () => { text.value = first; send(); } });
  const answered = onAnswer(model, root, rebuild);

  function draws() {
    if (!state.now) return;
    const token = state.order[pick(state.now, Math.random())];
    const [, count = 0] = model.get("drawn");
    ask(model, root, { drawn: [token, count + 1] });
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("text");
    again.disabled = model.get("text") === first;
    rank();
  }

  /** Put the tokens in falling order; a penalty can change it. */
  function rank() {
    const seen = model.get("seen");
    penalty.box.hidden = !seen;
    const logits = penalized(floats(model.get("logits")), seen ?? [], penalty.value);
    state.order = Uint32Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
    state.sorted = Float32Array.from(state.order, (token) => logits[token]);
    const tokens = model.get("tokens");
    rows.forEach((row, i) => {
      row.line.hidden = i >= state.order.length;
      if (!row.line.hidden) row.label.textContent = word(tokens[state.order[i]]);
    });
    paint();
  }

  function paint() {
    if (!state.sorted.length) return;
    const k = topK.value > SHOWN ? 0 : topK.value;
    const now = truncated(state.sorted, temperature.value, k, topP.value, minP.value);
    state.now = now;
    rows.forEach((row, i) => {
      if (row.line.hidden) return;
      const stays = i < now.kept;
      row.line.classList.toggle("removed", !stays);
      row.bar.style.width = `${(100 * now.tempered[i]) / now.tempered[0]}%`;
      row.number.textContent = stays ? percent(now.tempered[i] * now.factor) : "removed";
    });
    const tokens = model.get("tokens");
    told.say(`${now.kept.toLocaleString("en-US")} of ${state.sorted.length.toLocaleString("en-US")} tokens kept, which held ${percent(now.sum)} `
      + `of the probability at temperature ${temperature.value.toFixed(2)}${penalty.value > 1 ? `, penalty ${penalty.value.toFixed(2)} on ${new Set(model.get("seen")).size} tokens seen` : ""}; entropy ${now.entropy.toFixed(2)} nats. `
      + `Likeliest: “${word(tokens[state.order[0]])}”, ${percent(now.tempered[0] * now.factor)}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Text so far" }), text)),
    make("div", { class: "row" }, temperature.box, topK.box, topP.box, minP.box, penalty.box),
    make("div", { class: "row" }, drawn, again),
    answered.problem, ...told.parts,
    make("p", { class: "hint", text: `The ${SHOWN} likeliest tokens. A bar is the share at this temperature, hollow where top-k, top-p or min-p removes the token; the number is the chance to be drawn.` }),
    bars,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
