// Attention weights: a heatmap for the chosen layer and head, and one query's weights as a tint of the sentence.

// A canvas cannot be styled by CSS, and at first it stands in no page to read the style of: --blue once more.
const BLUE = "#2587c6";

function render({ model, el }) {
  const root = stage("attention");
  const state = { layer: 0, head: -1, query: Infinity, tokens: [], weights: new Float32Array(0), rows: [], canvas: null, cell: 0 };
  const told = teller();

  const text = make("input", { type: "text", value: model.get("text"), spellcheck: "false", "aria-label": "Sentence" });
  const send = () => { if (text.value !== model.get("text")) ask(model, root, { text: text.value }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const repaint = framed(paint);
  const layer = slider("Layer", { min: 1, max: 1, value: 1, onmove: (value) => { state.layer = value - 1; repaint(); } });
  const head = slider("Head", {
    min: 0, max: 1, value: 0, shown: (value) => (value ? String(value) : "mean of all"),
    onmove: (value) => { state.head = value - 1; repaint(); },
  });

  const sentence = make("div", { class: "sentence", role: "listbox", "aria-orientation": "horizontal", "aria-label": "Query token" });
  const map = make("div", { class: "map" });
  const answered = onAnswer(model, root, rebuild);

  /** weights[t][s] of the chosen layer, for the chosen head or the mean of all. */
  function weight(t, s) {
    const [heads, count] = [model.get("n_heads"), state.tokens.length];
    const at = (h) => state.weights[((state.layer * heads + h) * count + t) * count + s];
    if (state.head >= 0) return at(state.head);
    let sum = 0;
    for (let h = 0; h < heads; h += 1) sum += at(h);
    return sum / heads;
  }

  /** New tokens: make their options and the heatmap's cells anew. */
  function rebuild() {
    state.tokens = model.get("tokens");
    state.weights = floats(model.get("weights"));
    state.query = Math.min(state.query, Math.max(0, state.tokens.length - 1));
    layer.limit(model.get("n_layers"));
    head.limit(model.get("n_heads"));
    state.layer = Math.min(state.layer, model.get("n_layers") - 1);
    state.head = Math.min(state.head, model.get("n_heads") - 1);
    if (document.activeElement !== text) text.value = model.get("text");
    sentence.replaceChildren(...state.tokens.map(tokenOption));
    map.replaceChildren(heatmap());
    paint();
  }

  function tokenOption(token, index) {
    return make("span", { class: "token", role: "option", onclick: () => choose(index), onkeydown: (event) => step(event, index) },
      make("span", { text: word(token) }), make("small"));
  }

  function choose(index) {
    state.query = index;
    paint();
  }

  function step(event, index) {
    const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const last = state.tokens.length - 1;
    let next = index + (moves[event.key] ?? 0);
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = last;
    if (next === index || next < 0 || next > last) return;
    event.preventDefault();
    choose(next);
    sentence.children[next].focus();
  }

  /** Labels, rows and the chosen row's frame are SVG; the squares, up to 2,304 of them, are one canvas above it. */
  function heatmap() {
    const count = state.tokens.length;
    const cell = Math.max(12, Math.min(22, Math.floor(560 / count)));
    const size = cell * count;
    const [left, top] = [88, 66];
    const [width, height] = [left + size + 40, top + size + 4];
    const style = `font-size:${Math.min(12, cell - 2)}px`;
    const picture = draw("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": "Heatmap of the attention weights: a row is a query token, a column a key token.",
    });
    state.rows = state.tokens.map((_, t) => {
      const y = top + cell * t;
      const label = draw("text", { x: left - 6, y: y + cell * 0.5, dy: "0.35em", "text-anchor": "end", style, text: short(t) });
      picture.append(draw("text", { transform: `translate(${left + cell * (t + 0.65)} ${top - 5}) rotate(-60)`, style, text: short(t) }));
      return draw("g", { onpointerenter: () => choose(t), onclick: () => choose(t) }, label,
        draw("rect", { class: "back", x: left, y, width: size, height: cell - 1 }));
    });
    picture.append(...state.rows);
    state.cell = cell;
    state.canvas = make("canvas", { width: 2 * size, height: 2 * size, "aria-hidden": "true",
      style: `left:${100 * left / width}%;top:${100 * top / height}%;width:${100 * size / width}%` });
    const plot = make("div", { class: "plot", style: `width:${width}px`, onpointermove: (event) => point(event, plot) }, picture, state.canvas);
    return plot;
  }

  /** Name the square under the pointer in the tooltip. */
  function point(event, plot) {
    const box = state.canvas.getBoundingClientRect();
    const count = state.tokens.length;
    const [s, t] = [event.clientX - box.left, event.clientY - box.top].map((offset) => Math.floor((offset / box.width) * count));
    const inside = s >= 0 && t >= 0 && s < count && t < count;
    plot.title = inside ? `${word(state.tokens[t])} → ${word(state.tokens[s])}: ${weight(t, s).toFixed(3)}` : "";
  }

  function short(index) {
    const shown = word(state.tokens[index]);
    return shown.length > 10 ? `${shown.slice(0, 9)}…` : shown;
  }

  /** Same tokens, another layer, head or query: change colours and numbers only. */
  function paint() {
    const count = state.tokens.length;
    if (!count) return;
    const values = new Float32Array(count * count);
    let peak = 1e-9;
    for (let t = 0; t < count; t += 1) for (let s = 0; s < count; s += 1) {
      const value = weight(t, s);
      values[t * count + s] = value;
      if (value > peak) peak = value;
    }
    shade(values, peak);
    state.rows.forEach((row, t) => row.classList.toggle("chosen", t === state.query));
    const own = values.subarray(state.query * count, (state.query + 1) * count);
    [...sentence.children].forEach((option, s) => {
      option.style.setProperty("--share", `${100 * tint(own[s])}%`);
      option.setAttribute("aria-selected", String(s === state.query));
      option.tabIndex = s === state.query ? 0 : -1;
      option.lastChild.textContent = own[s] >= 0.005 ? own[s].toFixed(2) : "·";
    });
    tell(own, peak);
  }

  function shade(values, peak) {
    const [count, step] = [state.tokens.length, 2 * state.cell];
    const pen = state.canvas.getContext("2d");
    pen.clearRect(0, 0, state.canvas.width, state.canvas.height);
    pen.fillStyle = BLUE;
    for (let place = 0; place < values.length; place += 1) {
      pen.globalAlpha = tint(values[place] / peak);
      if (pen.globalAlpha) pen.fillRect((place % count) * step, Math.floor(place / count) * step, step - 2, step - 2);
    }
  }

  /** How strong a colour: the square root, so that small weights are seen at all. */
  function tint(share) {
    return Number(Math.sqrt(Math.min(1, Math.max(0, share))).toFixed(3));
  }

  function tell(own, peak) {
    const best = [...own.keys()].sort((a, b) => own[b] - own[a]).slice(0, 3).filter((s) => own[s] > 0);
    const entropy = own.reduce((sum, w) => (w > 0 ? sum - w * Math.log(w) : sum), 0);
    const where = `Layer ${state.layer + 1}, ${state.head < 0 ? `mean of ${model.get("n_heads")} heads` : `head ${state.head + 1}`}`;
    const list = best.map((s) => `“${word(state.tokens[s])}” ${own[s].toFixed(2)}`).join(", ");
    told.say(`${where}: the query “${word(state.tokens[state.query])}” attends most to ${list}. `
      + `Entropy ${entropy.toFixed(2)} nats, as if spread evenly over ${Math.exp(entropy).toFixed(1)} tokens. Strongest square: ${peak.toFixed(2)}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Sentence" }), text)),
    make("div", { class: "row" }, layer.box, head.box),
    answered.problem,
    make("p", { class: "hint", text: "Choose a query: a token here, or a row below. The number is the weight it gives to each token; the tint grows with its square root." }),
    sentence, ...told.parts, map,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
