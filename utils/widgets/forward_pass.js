// From text to next token: every tensor of a forward pass as a picture, for the chosen token, layer and head.

// An image cannot be styled by CSS: --blue and --orange once more.
const COLORS = { up: [37, 135, 198], down: [213, 94, 0] };
const BEST = 12;
const BY_HEAD = ["query", "key", "value", "mixed"];
const BY_LAYER = ["norm_1", ...BY_HEAD, "attention", "middle", "norm_2", "hidden", "feed_forward"];

/** The 16-bit floats in a bytes trait as a Float32Array. */
function halves(view) {
  if (!view || !view.byteLength) return new Float32Array(0);
  const bits = new Uint16Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  return Float32Array.from(bits, half);
}

function half(bits) {
  const [sign, power, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 0x1f, bits & 0x3ff];
  if (power === 0) return sign * fraction * 2 ** -24;
  if (power === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (power - 15);
}

/** A tensor out of `values` by its place [start, ...shape]; `index` chooses along the first axes. */
function part(values, [start, ...shape], ...index) {
  let [from, size] = [start, shape.reduce((a, b) => a * b, 1)];
  index.forEach((i, axis) => { size /= shape[axis]; from += i * size; });
  const left = shape.slice(index.length);
  return { data: values.subarray(from, from + size), rows: left[0], columns: size / left[0] };
}

/** Some columns of a table. */
function columnsOf({ data, rows, columns }, from, count) {
  const out = new Float32Array(rows * count);
  for (let row = 0; row < rows; row += 1) out.set(data.subarray(row * columns + from, row * columns + from + count), row * count);
  return { data: out, rows, columns: count };
}

/** The mean of several tables of one shape. */
function meanOf(tables) {
  const data = new Float32Array(tables[0].data.length);
  for (const table of tables) table.data.forEach((value, i) => { data[i] += value / tables.length; });
  return { ...tables[0], data };
}

/** Shares of a softmax, and the places of the largest, in falling order. */
function softmaxBest(logits, count) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const shares = Float64Array.from(logits, (logit) => Math.exp(logit - top));
  const total = shares.reduce((a, b) => a + b, 0);
  const best = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b).slice(0, count);
  return { shares: shares.map((share) => share / total), best };
}

function meanSize(data) {
  let sum = 0;
  for (const value of data) sum += Math.abs(value);
  return sum / Math.max(1, data.length);
}

/**
 * One picture of a table: a row a token. Strong is large: three times the mean size or more is full colour. Of `shares`,
 * which go from 0 to 1, the colour is the square root.
 */
function panel(name, note, choose, spell, { square = false, shares = false } = {}) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const frame = make("div", { class: "chosen" });
  const facts = make("span");
  const heat = make("div", { class: square ? "heat square" : "heat" }, canvas, frame);
  const box = make("figure", { class: "panel" }, make("figcaption", {}, make("span", {}, make("b", { text: name }), ` ${note}`), facts), heat);
  let table = { data: new Float32Array(0), rows: 1, columns: 1 };
  const place = (event) => {
    const bounds = heat.getBoundingClientRect();
    return [Math.floor(((event.clientY - bounds.top) / bounds.height) * table.rows), Math.floor(((event.clientX - bounds.left) / bounds.width) * table.columns)]
      .map((at, axis) => Math.max(0, Math.min(at, (axis ? table.columns : table.rows) - 1)));
  };
  heat.addEventListener("click", (event) => choose(...place(event)));
  heat.addEventListener("pointermove", (event) => {
    const [row, column] = place(event);
    heat.title = spell(row, column, table.data[row * table.columns + column]);
  });
  return {
    box,
    show(next, words, chosen, rowHeight = 8) {
      table = next;
      facts.textContent = words;
      const { data, rows, columns } = table;
      if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
      canvas.style.setProperty("--height", `${rowHeight * rows}px`);
      const full = shares ? 1 : 3 * meanSize(data) || 1;
      const image = new ImageData(columns, rows);
      data.forEach((value, i) => {
        const strength = Math.min(1, Math.abs(value) / full);
        image.data.set(value < 0 ? COLORS.down : COLORS.up, 4 * i);
        image.data[4 * i + 3] = 255 * (shares ? Math.sqrt(strength) : strength);
      });
      canvas.getContext("2d").putImageData(image, 0, 0);
      frame.hidden = chosen == null;
      if (chosen != null) Object.assign(frame.style, { top: `calc(${(100 * chosen) / rows}% - 1px)`, height: `calc(${100 / rows}% + 2px)` });
    },
  };
}

function render({ model, el }) {
  const root = stage("forward_pass");
  const told = teller();
  const state = { token: Infinity, layer: 0, head: -1, tokens: [], values: new Float32Array(0), logits: new Float32Array(0) };

  const text = make("input", { type: "text", value: model.get("text"), spellcheck: "false", "aria-label": "Text" });
  const send = () => { if (text.value !== model.get("text")) ask(model, root, { text: text.value }); };
  text.addEventListener("input", settled(send, 120));
  text.addEventListener("change", send);
  const repaint = framed(paint);
  const layer = slider("Layer", { min: 1, max: 2, value: 1, onmove: (value) => { state.layer = value - 1; repaint(); } });
  const head = slider("Head", {
    min: 0, max: 1, value: 0, shown: (value) => (value ? String(value) : "all"),
    onmove: (value) => { state.head = value - 1; repaint(); },
  });
  const sentence = make("div", { class: "sentence", role: "listbox", "aria-orientation": "horizontal", "aria-label": "Token" });
  const guesses = make("table", { "aria-label": "Guesses of the chosen token by depth" });
  const bars = make("div", { class: "bars" });

  const name = (t) => word(state.tokens[t]);
  const choose = (t) => { state.token = t; paint(); };
  const feature = (t, i, value) => `${name(t)}, feature ${i + 1}: ${value.toPrecision(3)}`;
  const panels = Object.fromEntries([
    ["token", "token vector", "a row of the embedding table"], ["position", "position vector", "the same for every text"],
    ["before", "stream before the layer", "the sum of all so far"],
    ["norm_1", "normed", "what attention reads"], ["query", "query", "what a token looks for"], ["key", "key", "what it is found by"],
    ["value", "value", "what it hands over"], ["mixed", "gathered", "weights times values"],
    ["attention", "attention's output", "is added"], ["middle", "stream between", "before + attention"],
    ["norm_2", "normed", "what the feed-forward layer reads"], ["hidden", "hidden", "after the activation"],
    ["feed_forward", "feed-forward output", "is added"], ["after", "stream after the layer", "between + feed-forward"],
    ["last_norm", "last stream, normed", "what the output matrix reads"],
  ].map(([key, title, note]) => [key, panel(title, note, choose, feature)]));
  const pair = (t, s, value) => `${name(t)} → ${name(s)}: ${value.toFixed(3)}`;
  const scores = panel("scores", "before mask and softmax", choose, pair, { square: true });
  const weights = panel("weights", "row: query, column: key", choose, pair, { square: true, shares: true });
  const logits = panel("logits", "of the chosen token, less their mean: all of the vocabulary, row by row", () => {}, (row, column, value) => {
    const i = row * logitColumns() + column;
    return i < model.get("vocabulary").length ? `${word(model.get("vocabulary")[i])}: ${value.toFixed(2)}` : "";
  });
  const logitColumns = () => Math.min(512, model.get("vocabulary").length);
  const answered = onAnswer(model, root, rebuild);

  function rebuild() {
    const places = model.get("places");
    if (!places.stream) return;
    // Who chose the last token watches the end of the text while it grows.
    const atEnd = state.token >= state.tokens.length - 1;
    Object.assign(state, { tokens: model.get("tokens"), values: halves(model.get("values")), logits: floats(model.get("logits")) });
    state.token = atEnd ? state.tokens.length - 1 : Math.min(state.token, state.tokens.length - 1);
    const [layers, heads] = places.weights.slice(1);
    layer.limit(layers);
    head.limit(heads);
    state.layer = Math.min(state.layer, layers - 1);
    state.head = Math.min(state.head, heads - 1);
    if (document.activeElement !== text) text.value = model.get("text");
    sentence.replaceChildren(...state.tokens.map((token, t) => make("span", {
      class: "token", role: "option", onclick: () => choose(t), onkeydown: (event) => step(event, t),
    }, make("span", { text: word(token) }), make("small", { text: String(t) }))));
    paint();
  }

  function step(event, t) {
    const last = state.tokens.length - 1;
    const next = { ArrowLeft: t - 1, ArrowUp: t - 1, ArrowRight: t + 1, ArrowDown: t + 1, Home: 0, End: last }[event.key] ?? t;
    if (next === t || next < 0 || next > last) return;
    event.preventDefault();
    choose(next);
    sentence.children[next].focus();
  }

  /** The tables of the chosen layer and head. */
  function tables() {
    const places = model.get("places");
    const of = (key, ...index) => part(state.values, places[key], ...index);
    const [, , heads] = places.weights;
    const shown = { token: of("token"), position: of("position"), before: of("stream", state.layer), after: of("stream", state.layer + 1) };
    for (const key of BY_LAYER) shown[key] = of(key, state.layer);
    shown.last_norm = of("last_norm");
    if (state.head >= 0) {
      const width = shown.query.columns / heads;
      for (const key of BY_HEAD) shown[key] = columnsOf(shown[key], state.head * width, width);
    }
    const square = (key) => (state.head >= 0 ? of(key, state.layer, state.head)
      : meanOf(Array.from({ length: heads }, (_, h) => of(key, state.layer, h))));
    return { shown, raw: square("scores"), attention: square("weights") };
  }

  function paint() {
    if (!state.tokens.length) return;
    const { shown, raw, attention } = tables();
    for (const [key, table] of Object.entries(shown)) {
      panels[key].show(table, `(${table.rows}, ${table.columns}), mean size ${meanSize(table.data).toPrecision(2)}`, state.token);
    }
    const which = state.head < 0 ? "mean of the heads" : `head ${state.head + 1}`;
    scores.show(raw, which, state.token);
    weights.show(attention, which, state.token);
    const own = attention.data.subarray(state.token * attention.columns, (state.token + 1) * attention.columns);
    [...sentence.children].forEach((option, t) => {
      option.style.setProperty("--share", `${100 * Math.sqrt(own[t])}%`);
      option.setAttribute("aria-selected", String(t === state.token));
      option.tabIndex = t === state.token ? 0 : -1;
      option.lastChild.textContent = own[t] >= 0.005 ? own[t].toFixed(2) : "·";
    });
    paintOutput();
  }

  function paintOutput() {
    const vocabulary = model.get("vocabulary");
    const own = state.logits.subarray(state.token * vocabulary.length, (state.token + 1) * vocabulary.length);
    const [columns, mean] = [logitColumns(), own.reduce((a, b) => a + b, 0) / own.length];
    const data = new Float32Array(Math.ceil(own.length / columns) * columns);
    own.forEach((logit, i) => { data[i] = logit - mean; });
    logits.show({ data, rows: data.length / columns, columns }, `(${own.length.toLocaleString("en-US")},)`, null, 5);
    const { shares, best } = softmaxBest(own, BEST);
    bars.replaceChildren(...best.map((i) => make("div", { class: "line" },
      make("span", { class: "label", text: word(vocabulary[i]) }),
      make("span", { class: "track" }, make("span", { class: "bar", style: `width: ${(100 * shares[i]) / shares[best[0]]}%` })),
      make("span", { class: "number", text: `${own[i].toFixed(1)} → ${percent(shares[i])}` }))));
    const depths = model.get("guesses");
    guesses.replaceChildren(...depths.map((guess, depth) => make("tr", { class: depth === state.layer + 1 ? "current" : "" },
      make("th", { scope: "row", text: depth ? `after layer ${depth}` : "before layer 1" }),
      ...guess[state.token].map(([i, share]) => make("td", { style: `--share: ${70 * share}%`, title: percent(share), text: `${word(vocabulary[i])} ${percent(share)}` })))));
    const final = depths.at(-1)[state.token][0][0];
    const since = depths.length - [...depths].reverse().findIndex((guess) => guess[state.token][0][0] !== final) - 1;
    const from = depths.every((guess) => guess[state.token][0][0] === final) ? 0 : since + 1;
    told.say(`Token ${state.token} of ${state.tokens.length - 1}, “${name(state.token)}”: the model expects “${word(vocabulary[final])}” next, with ${percent(shares[final])}. `
      + `That guess leads ${from === 0 ? "from the start" : `from layer ${from} on`}.`);
  }

  const group = (...keys) => make("div", {}, ...keys.map((key) => panels[key].box));
  const left = group("before", "norm_1", "query", "key", "value");
  left.append(make("div", { class: "squares" }, scores.box, weights.box));
  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Text" }), text)),
    answered.problem,
    make("p", { class: "hint", text: "Choose a token here or in any picture. A row is a token; blue is positive, orange negative, strong is large. Numbers under the tokens: the attention of the chosen one." }),
    sentence, ...told.parts,
    make("h4", { text: "In: tokens and positions become vectors" }),
    make("div", { class: "columns" }, group("token"), group("position")),
    make("h4", { text: "Through a layer" }),
    make("div", { class: "row" }, layer.box, head.box),
    make("div", { class: "columns" }, left, group("mixed", "attention", "middle", "norm_2", "hidden", "feed_forward", "after")),
    make("h4", { text: "Out: from the last stream to the next token" }),
    make("p", { class: "hint", text: "What each depth would guess after the chosen token, read by the last norm and the output matrix (logit lens):" }),
    guesses, panels.last_norm.box, logits.box,
    make("p", { class: "hint", text: "Logit and probability of the likeliest tokens:" }),
    bars,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
