// Memory of the key-value cache against the length of the context: all computed here.

const HEADS = [1, 2, 4, 8, 12, 16, 32, 64, 96];
const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [720, 310, 78, 26, 150, 42];

/** A key and a value vector for each layer, key-value head, token and row. */
function cacheBytes({ layers, kvHeads, headDim, tokens, batch, bytes }) {
  return 2 * layers * kvHeads * headDim * tokens * batch * bytes;
}

/** The numbers from 1 that divide `heads`. */
function divisors(heads) {
  return Array.from({ length: heads }, (_, i) => i + 1).filter((d) => heads % d === 0);
}

/** Bytes in words, in powers of 1024. */
function sized(bytes) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)));
  const value = bytes / 1024 ** power;
  return `${value.toFixed(value < 10 && power ? 2 : value < 100 && power ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** The model whose layers, heads, key-value heads and head width these are; empty if it is none of them. */
function nameOf(models, sizes) {
  return Object.keys(models).find((name) => sizes.every((size, i) => models[name][i] === size)) ?? "";
}

function render({ model, el }) {
  const root = stage("cache_memory");
  const told = teller();
  const [models, precisions] = [model.get("models"), model.get("precisions")];
  const move = framed(paint);

  const preset = make("select", { "aria-label": "Model", onchange: () => take(preset.value) },
    ...Object.keys(models).map((name) => make("option", { value: name, text: name })),
    make("option", { value: "", text: "your own choice", disabled: true }));
  const precision = make("select", { "aria-label": "Precision", onchange: move },
    ...Object.keys(precisions).map((name) => make("option", { value: name, text: name })));
  precision.value = "bf16";
  const layers = slider("Layers", { min: 1, max: 128, value: 6, onmove: move });
  const heads = slider("Query heads", { min: 0, max: HEADS.length - 1, value: 2, shown: (i) => String(HEADS[i]), onmove: () => { fit(); move(); } });
  const kvHeads = slider("Key-value heads", { min: 0, max: 2, value: 2, shown: (i) => String(divisors(HEADS[heads.value])[i] ?? 1), onmove: move });
  const headDim = slider("Head width", { min: 16, max: 256, step: 16, value: 64, onmove: move });
  const context = slider("Context", { min: 7, max: 17, value: 9, shown: (power) => `${(2 ** power).toLocaleString("en-US")} tokens`, onmove: move });
  const batch = slider("Texts at once", { min: 0, max: 10, value: 0, shown: (power) => String(2 ** power), onmove: move });
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Memory of the cache by context length" });

  /** Let the key-value heads be a divisor of the heads, as many as before if that is one. */
  function fit(wanted = null) {
    const known = divisors(HEADS[heads.value]);
    const before = wanted ?? Number(kvHeads.box.lastChild.textContent);
    kvHeads.limit(known.length - 1);
    const place = known.findLastIndex((d) => d <= before);
    kvHeads.value = place;
  }

  function take(name) {
    const [L, H, G, D, tokens] = models[name];
    layers.value = L;
    heads.value = HEADS.indexOf(H);
    fit(G);
    headDim.value = D;
    context.value = Math.log2(tokens);
    move();
  }

  function paint() {
    const H = HEADS[heads.value];
    const G = divisors(H)[kvHeads.value];
    const sizes = { layers: layers.value, headDim: headDim.value, tokens: 2 ** context.value, batch: 2 ** batch.value, bytes: precisions[precision.value] };
    preset.value = nameOf(models, [sizes.layers, H, G, sizes.headDim]);
    const curves = [{ name: `one for each head (${H})`, kind: "many", kvHeads: H }, { name: "one for all (1)", kind: "one", kvHeads: 1 }, { name: `as set (${G})`, kind: "own", kvHeads: G }];
    for (const curve of curves) curve.size = cacheBytes({ ...sizes, kvHeads: curve.kvHeads });
    const peak = curves[0].size;
    const x = (share) => LEFT + share * (WIDTH - LEFT - RIGHT);
    const y = (size) => HEIGHT - BOTTOM - (size / peak) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(draw("line", { class: "gridline", x1: x(0), x2: x(1), y1: y(share * peak), y2: y(share * peak) }));
      parts.push(draw("text", { x: LEFT - 8, y: y(share * peak) + 4, "text-anchor": "end" }, sized(share * peak)));
      parts.push(draw("text", { x: x(share), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, Math.round(share * sizes.tokens).toLocaleString("en-US")));
    }
    parts.push(draw("text", { x: x(0.5), y: HEIGHT - 6, "text-anchor": "middle" }, "tokens of context"));
    // Labels stand at the ends of their lines, at least 15 apart.
    let last = HEIGHT;
    for (const curve of [...curves].sort((a, b) => a.size - b.size)) {
      parts.push(draw("line", { class: `curve ${curve.kind}`, x1: x(0), y1: y(0), x2: x(1), y2: y(curve.size) }));
      last = Math.min(y(curve.size) + 4, last - 15);
      parts.push(draw("text", { class: curve.kind, x: x(1) + 8, y: last }, curve.name));
    }
    svg.replaceChildren(...parts);
    const own = cacheBytes({ ...sizes, kvHeads: G });
    const each = cacheBytes({ ...sizes, kvHeads: G, tokens: 1, batch: 1 });
    told.say(`2 × ${sizes.layers} layers × ${G} key-value heads × ${sizes.headDim} numbers × ${sizes.bytes} bytes = ${sized(each)} a token; `
      + `× ${sizes.tokens.toLocaleString("en-US")} tokens × ${sizes.batch} ${sizes.batch === 1 ? "text" : "texts"} = ${sized(own)} `
      + `(${own.toLocaleString("en-US")} bytes). With one key-value head for each of the ${H} query heads it would be ${sized(peak)}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Sizes of" }), preset), make("label", { class: "field" }, make("span", { text: "Precision" }), precision)),
    make("div", { class: "row" }, layers.box, heads.box, kvHeads.box, headDim.box, context.box, batch.box),
    svg, ...told.parts,
  );
  el.append(root);
  preset.value = model.get("start");
  take(preset.value);
  paint();
}

export default { render };
