// What a training step takes: bytes and operations counted as in utils/training/costs.py, for GPT-2's block.

const LOSS_CHUNK = 512;
const SHARDINGS = { nothing: "nothing", optimizer: "optimizer states", gradients: "+ gradients", parameters: "+ weights (FSDP)" };
const PARTS = [["parameters", "weights"], ["gradients", "gradients"], ["optimizer", "Adam's moments"], ["activations", "activations"]];
const COLORS = { parameters: "#2587c6", gradients: "#009e73", optimizer: "#b8860b", activations: "#d55e00" };

/** Parameters of a GPT with biases, layer norms, learned positions and tied embeddings. */
function countParameters(m) {
  const [D, F] = [m.d_model, m.d_ff];
  const block = 4 * D * D + 4 * D + 2 * D * F + F + D + 4 * D;
  return m.n_layers * block + 2 * D + (m.vocab_size + m.context_length) * D;
}

/** Bytes that one block keeps for its backward pass, copies of its weights not counted. */
function blockBytes(m, rows, length, precision) {
  const [N, D] = [rows * length, m.d_model];
  const statistics = 4 * N * (m.n_heads + 4);
  if (precision === "bf16") return 8 * N * D + 2 * (8 * N * D + 2 * N * m.d_ff) + statistics;
  return 4 * (8 * N * D + 2 * N * m.d_ff) + statistics;
}

/** Bytes kept from forward to backward; with recomputation also the block that is being recomputed. */
function activationBytes(m, { rows, length, precision, recompute }) {
  const [N, D, V] = [rows * length, m.d_model, m.vocab_size];
  const narrow = precision === "bf16" ? 2 : 4;
  const inside = recompute ? 4 * N * D : blockBytes(m, rows, length, precision);
  const copies = recompute ? 0 : m.n_layers * (4 * D * D + 2 * D * m.d_ff);
  const weights = precision === "bf16" ? 2 * (copies + D * V) : 0;
  const end = N * D * (4 + narrow) + 8 * N + 4 * N * V + 4 * Math.ceil(N / LOSS_CHUNK) + 16 * N;
  return m.n_layers * inside + weights + end + (recompute ? blockBytes(m, rows, length, precision) : 0);
}

/** Bytes on one device, by what they hold. */
function memoryOf(m, options) {
  const stage = Object.keys(SHARDINGS).indexOf(options.sharding);
  const P = countParameters(m);
  const share = (cut) => (stage >= cut ? Math.ceil(P / options.devices) : P);
  return { parameters: 4 * share(3), gradients: 4 * share(2), optimizer: 8 * share(1), activations: activationBytes(m, options) };
}

/** Operations of one device's forward and backward pass. */
function stepFlops(m, { rows, length, recompute }) {
  const [D, F] = [m.d_model, m.d_ff];
  const block = length * (8 * D * D + 4 * length * D + 4 * D * F);
  const again = recompute ? m.n_layers * (block - 2 * length * D * F) : 0;
  return rows * (3 * (m.n_layers * block + 2 * length * D * m.vocab_size) + again);
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(count, 1)) / 3));
  return `${Number((count / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

function duration(seconds) {
  const units = [["years", 365.25 * 86400], ["days", 86400], ["hours", 3600], ["minutes", 60], ["seconds", 1], ["milliseconds", 1e-3], ["microseconds", 1e-6]];
  const [name, size] = units.find(([, one]) => seconds >= 1.5 * one) ?? units.at(-1);
  const count = seconds / size;
  return `${count >= 100 ? Math.round(count).toLocaleString("en-US") : Number(count.toPrecision(3))} ${name}`;
}

function tokensInWords(count) {
  const [name, size] = [["trillion", 1e12], ["billion", 1e9], ["million", 1e6]].find(([, one]) => count >= one);
  return `${Number((count / size).toPrecision(3))} ${name} tokens`;
}

const [WIDTH, HEIGHT, LEFT, TOP] = [640, 96, 6, 24];

function render({ model, el }) {
  const root = stage("calculator");
  const told = teller();
  const [models, devices] = [model.get("models"), model.get("devices")];
  const move = framed(paint);
  const choose = (label, names, onchange) => {
    const input = make("select", { "aria-label": label, onchange }, ...names.map(([value, text]) => make("option", { value, text })));
    return { input, box: make("label", { class: "field" }, make("span", { text: label }), input) };
  };
  const power = (base) => (exponent) => (base ** exponent).toLocaleString("en-US");

  const which = choose("Model", models.map(({ name }, i) => [i, name]), () => { length.limit(Math.log2(chosen().context_length)); move(); });
  const chosen = () => models[Number(which.input.value)];
  const rows = slider("Rows a device", { min: 0, max: 8, value: 3, shown: power(2), onmove: move });
  const length = slider("Tokens a row", { min: 3, max: Math.log2(models[0].context_length), value: Math.log2(models[0].context_length), shown: power(2), onmove: move });
  const precision = choose("Precision", [["fp32", "fp32"], ["bf16", "bf16 (autocast)"]], move);
  const recomputing = make("input", { type: "checkbox", "aria-label": "Recompute activations", onchange: move });
  const sharding = choose("Sharded", Object.entries(SHARDINGS), move);
  const count = slider("Devices", { min: 0, max: 13, value: 0, shown: power(2), onmove: move });
  const device = choose("Device", devices.map(({ name }, i) => [i, name]), move);
  const share = slider("Reached of its peak", { min: 5, max: 80, step: 1, value: 40, shown: (s) => `${s} %`, onmove: move });
  const total = slider("Train on", { min: 6, max: 13, step: 0.25, value: 9, shown: (t) => tokensInWords(10 ** t), onmove: move });

  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Memory of one device, by what it holds" });
  const legend = make("div", { class: "legend" });

  function paint() {
    const one = devices[Number(device.input.value)];
    const options = { rows: 2 ** rows.value, length: 2 ** length.value, precision: precision.input.value, recompute: recomputing.checked, sharding: sharding.input.value, devices: 2 ** count.value };
    const held = memoryOf(chosen(), options);
    const sum = PARTS.reduce((all, [key]) => all + held[key], 0);
    const capacity = one.memory * 1e9;
    const scale = (WIDTH - 2 * LEFT) / (1.04 * Math.max(sum, capacity));
    const parts = [];
    let x = LEFT;
    for (const [key] of PARTS) {
      parts.push(draw("rect", { x, y: TOP, width: Math.max(held[key] * scale, 0.5), height: 34, fill: COLORS[key] }));
      x += held[key] * scale;
    }
    const edge = LEFT + capacity * scale;
    parts.push(draw("line", { class: "capacity", x1: edge, x2: edge, y1: TOP - 8, y2: TOP + 42 }));
    parts.push(draw("text", { x: edge, y: TOP - 12, "text-anchor": edge > WIDTH / 2 ? "end" : "start" }, `memory of one device: ${bytes(capacity)}`));
    parts.push(draw("text", { x: LEFT, y: TOP + 56 }, `needed: ${bytes(sum)}`));
    svg.replaceChildren(...parts);
    legend.replaceChildren(...PARTS.map(([key, name]) => make("span", { class: "part" }, make("span", { class: "swatch", style: `background: ${COLORS[key]}` }), `${name} ${bytes(held[key])}`)));

    const seconds = stepFlops(chosen(), options) / (one[options.precision] * 1e12 * (share.value / 100));
    const tokens = options.rows * options.length * options.devices;
    const all = (10 ** total.value / tokens) * seconds;
    const fits = sum <= capacity ? "It fits." : "It does not fit.";
    const cut = options.sharding === "nothing" ? "nothing sharded" : `sharded: ${sharding.input.selectedOptions[0].textContent}`;
    told.say(`${chosen().name}, ${options.rows} × ${options.length} tokens on each of ${options.devices} × ${one.name} at ${share.value} % of its ${options.precision} peak, ${cut}${options.recompute ? ", activations recomputed" : ""}: `
      + `${bytes(sum)} a device. ${fits} A step of ${tokens.toLocaleString("en-US")} tokens takes ${duration(seconds)}; ${tokensInWords(10 ** total.value)} take ${duration(all)}.`);
  }

  root.append(
    make("div", { class: "row" }, which.box, precision.box, make("label", { class: "field" }, recomputing, make("span", { text: "Recompute activations" }))),
    make("div", { class: "row" }, rows.box, length.box),
    make("div", { class: "row" }, device.box, count.box, sharding.box),
    make("div", { class: "row" }, share.box, total.box),
    svg, legend,
    ...told.parts,
    make("p", { class: "hint", text: "Weights, gradients and Adam's moments in fp32. Time: products alone, devices that never wait for each other." }),
  );
  el.append(root);
  paint();
}

export default { render };
