// A model under two sliders: curves measured before, the live point, one matrix's weights on their grid, one answer.

const WIDTHS = [32, 8, 7, 6, 5, 4, 3, 2];
const [W, H, LEFT, BOTTOM] = [400, 220, 38, 30];
const COLORS = { 32: "#7f7f7f", 8: "#2587c6", 5: "#009e73", 4: "#b8860b", 3: "#d55e00", 2: "#c06a98" };

/** The codes of absmax rounding to so many bits, as shares of the largest: symmetric about 0, which is one of them. */
function levels(bits) {
  if (bits >= 32) return [];
  const most = 2 ** (bits - 1) - 1;
  return Array.from({ length: 2 * most + 1 }, (_, i) => (i - most) / most);
}

/** Where an accuracy and a sparsity lie in the picture; accuracies below 0.4 stay on its floor. */
function placed(sparsity, accuracy) {
  return [LEFT + (W - LEFT - 10) * sparsity, 8 + (H - 8 - BOTTOM) * (0.9 - Math.max(accuracy, 0.4)) / 0.5];
}

/** Heights of stacked bars, as shares of the tallest. */
function stacked(kept, pruned) {
  const top = Math.max(1, ...kept.map((count, i) => count + pruned[i]));
  return kept.map((count, i) => [count / top, pruned[i] / top]);
}

function named(bits) {
  return bits === 32 ? "32 (no rounding)" : String(bits);
}

function render({ model, el }) {
  const root = stage("compression");
  const told = teller();
  const answered = onAnswer(model, root, rebuild);
  const first = model.get("query");
  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Review" });
  text.value = first.text;
  const matrix = make("select", { "aria-label": "Matrix", onchange: () => query() }, ...model.get("matrices").map((name) => make("option", { value: name, text: name.replace("transformer.", "").replace(".weight", "") })));
  matrix.value = first.matrix;
  const chart = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Accuracy against sparsity" });
  const histogram = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Histogram of the matrix's weights with the levels they are rounded to" });
  const bars = make("div", {});

  const move = framed(() => { paintChart(); paintHistogram(); });
  const later = settled(() => query(), 250);
  const sparsity = slider("Sparsity", { min: 0, max: 95, step: 5, value: Math.round(100 * first.sparsity), shown: (share) => `${share} %`, onmove: () => { move(); later(); } });
  const bits = slider("Bits", { min: 0, max: WIDTHS.length - 1, value: WIDTHS.indexOf(first.bits), shown: (i) => named(WIDTHS[i]), onmove: () => { move(); later(); } });
  const send = () => { if (text.value !== model.get("query").text) query(); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  function query() {
    ask(model, root, { query: { text: text.value, sparsity: sparsity.value / 100, bits: WIDTHS[bits.value], matrix: matrix.value } });
  }

  function paintChart() {
    const parts = [];
    for (const accuracy of [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) {
      const [, y] = placed(0, accuracy);
      parts.push(draw("line", { class: "gridline", x1: LEFT, x2: W - 10, y1: y, y2: y }), draw("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end", text: accuracy.toFixed(1) }));
    }
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(draw("text", { x: placed(share, 0.4)[0], y: H - BOTTOM + 18, "text-anchor": "middle", text: `${100 * share} %` }));
    }
    const now = WIDTHS[bits.value];
    for (const { bits: width, points } of model.get("curves")) {
      parts.push(draw("polyline", { class: `measured${width === now ? " near" : ""}`, stroke: COLORS[width] ?? "#7f7f7f", points: points.map((point) => placed(...point).map((x) => x.toFixed(1)).join(",")).join(" ") }));
    }
    const [x] = placed(sparsity.value / 100, 0.4);
    parts.push(draw("line", { class: "wanted", x1: x, x2: x, y1: 8, y2: H - BOTTOM }));
    const found = model.get("found");
    if (found.accuracy) {
      const [estimate, low, high] = found.accuracy.map((accuracy) => placed(found.sparsity, accuracy));
      parts.push(draw("line", { class: "here", x1: low[0], x2: low[0], y1: low[1], y2: Math.max(8, high[1]) }), draw("circle", { class: "here", cx: estimate[0], cy: estimate[1], r: 5 }));
    }
    chart.replaceChildren(...parts);
  }

  function paintHistogram() {
    const { kept, pruned } = model.get("found");
    if (!kept) return;
    const [floor, width] = [H - BOTTOM, (W - 20) / kept.length];
    const parts = [];
    // The square root lets the thin tails show.
    stacked(kept, pruned).forEach(([stay, drop], i) => {
      const [whole, low] = [Math.sqrt(stay + drop) * (floor - 8), Math.sqrt(drop) * (floor - 8)];
      parts.push(draw("rect", { class: "stay", x: 10 + i * width, width: width - 1, y: floor - whole, height: whole - low }));
      parts.push(draw("rect", { class: "drop", x: 10 + i * width, width: width - 1, y: floor - low, height: low }));
    });
    for (const level of levels(WIDTHS[bits.value])) {
      const x = 10 + ((W - 20) * (level + 1)) / 2;
      parts.push(draw("line", { class: "level", x1: x, x2: x, y1: floor, y2: floor + 8 }));
    }
    for (const [share, words] of [[0, "−max"], [0.5, "0"], [1, "+max"]]) {
      parts.push(draw("text", { x: 10 + (W - 20) * share, y: H - 6, "text-anchor": ["start", "middle", "end"][2 * share], text: words }));
    }
    histogram.replaceChildren(...parts);
  }

  function rebuild() {
    const found = model.get("found");
    if (!found.accuracy) return;
    bars.replaceChildren(...[["before", found.before], ["after", found.after]].map(([name, prob]) => {
      const side = prob < 0.5 ? "low" : "high";
      const bar = make("span", { class: `bar ${side}`, style: `left: ${100 * Math.min(prob, 0.5)}%; width: ${100 * Math.abs(prob - 0.5)}%` });
      return make("div", { class: "line" }, make("span", { class: "label", text: name }), make("span", { class: "track" }, bar), make("span", { class: "number", text: `${percent(side === "low" ? 1 - prob : prob)} ${side === "low" ? "negative" : "positive"}` }));
    }));
    paintChart();
    paintHistogram();
    const [estimate, low, high] = found.accuracy;
    const flipped = found.before < 0.5 !== found.after < 0.5 ? " Its answer to your review has flipped." : "";
    told.say(`${Math.round(100 * found.sparsity)} % pruned, ${named(found.bits)} bits: ${found.n_correct} of ${found.n} reviews right now (${estimate.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]), ${found.megabytes.toFixed(1)} MB if stored so.${flipped}`);
  }

  const key = model.get("curves").flatMap(({ bits: width }) => [make("span", { class: "swatch", style: `background: ${COLORS[width] ?? "#7f7f7f"}` }), `${width} bits`]);
  root.append(
    make("div", { class: "row" }, sparsity.box, bits.box, make("label", { class: "field" }, make("span", { text: "Matrix" }), matrix)),
    make("div", { class: "pictures" },
      make("figure", {}, make("figcaption", { text: "Accuracy against sparsity: lines from 1,000 reviews, the orange point live with its 95 % interval" }), chart, make("p", { class: "hint" }, ...key)),
      make("figure", {}, make("figcaption", { text: "Weights of the matrix, each divided by the largest of its group; ticks: the levels they are rounded to" }), histogram,
        make("p", { class: "hint" }, make("span", { class: "swatch", style: "background: var(--blue)" }), "stay", make("span", { class: "swatch", style: "background: var(--orange)" }), "pruned (heights: square root of the count)"))),
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Review" }), text)),
    answered.problem, bars,
    ...told.parts,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
