// An LSTM's gates and cell over a sentence: all units of one part as a map, one unit as lines and as its equation.

const PARTS = ["input", "forget", "candidate", "output", "cell", "hidden"];
const GATES = new Set(["input", "forget", "output"]);
const LINES = { cell: "#2587c6", forget: "#009e73", input: "#d55e00", output: "#c06a98" };
const STEP = 900;

/** One unit's numbers by part, a list over the words each, from the array (parts, T, D). */
function unitOf(values, count, width, unit) {
  return Object.fromEntries(PARTS.map((part, p) => [part, Array.from({ length: count }, (_, t) => values[(p * count + t) * width + unit])]));
}

/** What each word up to `now` still contributes to the cell there: written, times all forget gates since. They sum to the cell. */
function contributions({ input, candidate, forget }, now) {
  const found = [];
  let kept = 1;
  for (let t = now; t >= 0; t -= 1) {
    found[t] = kept * input[t] * candidate[t];
    kept *= forget[t];
  }
  return found;
}

/** The unit's step at word `now`: what is kept, what is written, what they make, and what is shown. */
function stepOf(unit, now) {
  const before = now ? unit.cell[now - 1] : 0;
  const [kept, written] = [unit.forget[now] * before, unit.input[now] * unit.candidate[now]];
  return { before, kept, written, cell: kept + written, hidden: unit.output[now] * Math.tanh(kept + written) };
}

/** A signed number of a fixed width; what rounds to zero has no sign. */
function number(x, digits = 3) {
  const shown = Math.abs(x).toFixed(digits);
  return `${x < 0 && Number(shown) ? "−" : " "}${shown}`;
}

function render({ model, el }) {
  const root = stage("gates");
  const told = teller();
  const state = { values: new Float32Array(0), words: [], width: 0, squares: [] };
  let timer = null;

  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Sentence" });
  const send = () => { if (text.value !== model.get("text")) { stop(); ask(model, root, { text: text.value }); } };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const move = framed(paint);
  const place = slider("Word", { min: 1, max: 2, value: 1, shown: (t) => `${t} “${state.words[t - 1] ?? ""}”`, onmove: () => { stop(); move(); } });
  const back = make("button", { type: "button", text: "Back", onclick: () => { stop(); go(place.value - 1); } });
  const next = make("button", { type: "button", text: "Next word", onclick: () => { stop(); go(place.value + 1); } });
  const play = make("button", { type: "button", text: "Read", onclick: () => (timer ? stop() : start()) });
  const unit = slider("Unit", { min: 1, max: 2, value: 1, onmove: move });
  const part = make("select", { "aria-label": "Part of the LSTM in the map", onchange: () => { shade(); paint(); } },
    ...PARTS.map((name) => make("option", { value: name, text: GATES.has(name) ? `${name} gate` : name })));
  part.value = "cell";
  const pieces = make("div", { class: "pieces", role: "group", "aria-label": "Words: press one to stop there" });
  const equation = make("p", { class: "equation" });
  const map = make("div", { class: "map" });
  const chart = make("div", { class: "chart" });
  const answered = onAnswer(model, root, rebuild);

  const now = () => place.value - 1;
  const chosen = () => unitOf(state.values, state.words.length, state.width, unit.value - 1);

  function go(word) {
    place.value = Math.max(1, Math.min(state.words.length, word));
    paint();
  }

  function start() {
    go(place.value >= state.words.length ? 1 : place.value + 1);
    play.textContent = "Stop";
    timer = setInterval(() => {
      go(place.value + 1);
      if (place.value >= state.words.length) stop();
    }, STEP);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Read";
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("text");
    const same = state.words.length === model.get("words").length;
    state.words = model.get("words");
    state.values = floats(model.get("values"));
    state.width = model.get("d_hidden");
    place.limit(state.words.length);
    unit.limit(state.width);
    if (!same) place.value = state.words.length;
    const known = model.get("known");
    pieces.replaceChildren(...state.words.map((piece, t) => make("button", {
      type: "button", class: `piece${known[t] ? "" : " unknown"}`, title: known[t] ? "" : "not in the vocabulary", onclick: () => { stop(); go(t + 1); },
    }, make("span", { text: piece }), make("small"))));
    map.replaceChildren(mapOf());
    shade();
    paint();
  }

  /** Squares of all units (rows) and words (columns); their colors change, they stay. */
  function mapOf() {
    const [count, width] = [state.words.length, state.width];
    const [left, top, cell, row] = [64, 64, Math.max(14, Math.min(34, 760 / count)), 13];
    state.squares = [];
    const picture = draw("svg", { viewBox: `0 0 ${left + cell * count + 50} ${top + row * width + 4}`, style: `max-width:${left + cell * count + 50}px`,
      role: "img", "aria-label": "Map of one part of the LSTM: a row is a unit, a column a word." });
    state.words.forEach((piece, t) => picture.append(draw("text", { transform: `translate(${left + cell * (t + 0.6)} ${top - 6}) rotate(-55)`, text: piece.length > 10 ? `${piece.slice(0, 9)}…` : piece })));
    const cells = draw("g", { class: "cells", onclick: (event) => { const at = event.target.dataset; if (at.word) { stop(); unit.value = Number(at.unit) + 1; go(Number(at.word) + 1); } } });
    for (let u = 0; u < width; u += 1) {
      picture.append(draw("text", { x: left - 6, y: top + row * (u + 0.8), "text-anchor": "end", style: "font-size:10px", text: `unit ${u + 1}` }));
      for (let t = 0; t < count; t += 1) {
        const square = draw("rect", { x: left + cell * t, y: top + row * u, width: cell - 1, height: row - 1, "data-word": t, "data-unit": u });
        state.squares.push(square);
        cells.append(square);
      }
    }
    state.frames = [
      draw("rect", { class: "frame", x: left - 1, width: cell * count + 1, height: row }),
      draw("rect", { class: "frame", y: top - 1, width: cell, height: row * width + 1 }),
    ];
    state.size = { left, top, cell, row };
    picture.append(cells, ...state.frames);
    return picture;
  }

  /** Gates: the darker, the more open. The others: blue above zero, orange below, full color at 1 or the largest. */
  function shade() {
    const [count, width, p] = [state.words.length, state.width, PARTS.indexOf(part.value)];
    const at = (u, t) => state.values[(p * count + t) * width + u];
    let peak = 1;
    for (let u = 0; u < width; u += 1) for (let t = 0; t < count; t += 1) peak = Math.max(peak, Math.abs(at(u, t)));
    state.squares.forEach((square, i) => {
      const value = at(Math.floor(i / count), i % count);
      square.setAttribute("fill", GATES.has(part.value) ? LINES[part.value] : value < 0 ? "#d55e00" : "#2587c6");
      square.setAttribute("fill-opacity", Math.max(0.04, Math.abs(value) / peak).toFixed(3));
    });
  }

  function paint() {
    if (!state.words.length) return;
    const [t, one] = [now(), chosen()];
    const { left, top, cell, row } = state.size;
    state.frames[0].setAttribute("y", top + row * (unit.value - 1) - 1);
    state.frames[1].setAttribute("x", left + cell * t - 1);
    const adds = contributions(one, t);
    const most = Math.max(1e-6, ...adds.map(Math.abs));
    [...pieces.children].forEach((piece, k) => {
      piece.classList.toggle("now", k === t);
      piece.classList.toggle("later", k > t);
      piece.style.setProperty("--share", k > t ? "0%" : `${Math.round((70 * Math.abs(adds[k])) / most)}%`);
      piece.style.setProperty("--tone", adds[k] < 0 ? "var(--orange)" : "var(--blue)");
      piece.lastChild.textContent = k > t ? "·" : number(adds[k], 2).trim();
    });
    back.disabled = t === 0;
    next.disabled = t >= state.words.length - 1;
    const { before, kept, written, cell: sum, hidden } = stepOf(one, t);
    equation.textContent = [
      `kept    ${number(kept)} = forget gate ${one.forget[t].toFixed(3)} × cell before ${number(before)}`,
      `written ${number(written)} = input gate  ${one.input[t].toFixed(3)} × candidate   ${number(one.candidate[t])}`,
      `cell    ${number(sum)} = kept + written`,
      `hidden  ${number(hidden)} = output gate ${one.output[t].toFixed(3)} × tanh(cell)`,
    ].join("\n");
    chart.replaceChildren(chartOf(one, t));
    const strongest = adds.reduce((best, add, k) => (Math.abs(add) > Math.abs(adds[best]) ? k : best), 0);
    told.say(`After “${state.words[t]}” (word ${t + 1} of ${state.words.length}) the model says ${percent(model.get("says_so_far")[t])} ${model.get("outcome")}. `
      + `Unit ${unit.value} holds ${number(sum).trim()}; the largest piece, ${number(adds[strongest]).trim()}, was written at “${state.words[strongest]}”.`);
  }

  /** The chosen unit over time, its cell and its three gates, and what the whole model says so far. */
  function chartOf(one, t) {
    const count = state.words.length;
    const [left, width, height] = [64, 700, 150];
    const bound = Math.max(1, ...one.cell.map(Math.abs));
    const x = (k) => left + (count > 1 ? (width * k) / (count - 1) : 0);
    const y = (value) => 8 + (height - 16) * (0.5 - value / (2 * bound));
    const points = (values) => values.map((value, k) => `${x(k).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const picture = draw("svg", { viewBox: `0 0 ${left + width + 96} ${height + 4}`, role: "img", "aria-label": `Unit ${unit.value} over the words: its cell and its gates.` },
      draw("line", { class: "zero", x1: left, x2: left + width, y1: y(0), y2: y(0) }),
      draw("line", { class: "now-line", x1: x(t), x2: x(t), y1: 0, y2: height }),
      ...[bound, 0, -bound].map((value) => draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end", text: value.toFixed(1) })));
    const said = model.get("outcome");
    const lines = { ...one, [said]: model.get("says_so_far") };
    const ends = [...Object.keys(LINES), said].map((name) => [name, y(lines[name].at(-1))]).sort((a, b) => a[1] - b[1]);
    ends.forEach((end, k) => { if (k) end[1] = Math.max(end[1], ends[k - 1][1] + 14); });
    for (const [name, at] of ends) {
      const style = name === said ? "" : `stroke:${LINES[name]}`;
      picture.append(draw("polyline", { class: `trace${name === "cell" ? " thick" : name === said ? " said" : ""}`, points: points(lines[name]), style }),
        draw("text", { x: left + width + 6, y: at + 4, style: name === said ? "" : `fill:${LINES[name]}`, text: name === said ? `says “${said}”` : name === "cell" ? "cell" : `${name} gate` }));
      if (count === 1) picture.append(draw("circle", { cx: x(0), cy: y(lines[name][0]), r: 4, fill: LINES[name] ?? "currentColor" }));
    }
    return picture;
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Sentence" }), text)),
    answered.problem,
    make("div", { class: "row" }, place.box, back, next, play),
    make("div", { class: "row" }, unit.box, make("label", { class: "field" }, make("span", { text: "Map shows" }), part)),
    pieces,
    make("p", { class: "hint", text: "Under each word: what it still contributes to the chosen unit's cell at the framed word (blue above zero, orange below). The numbers sum to the cell." }),
    equation, ...told.parts, chart, map,
  );
  el.append(root);
  rebuild();
  return () => { stop(); answered.stop(); };
}

export default { render };
