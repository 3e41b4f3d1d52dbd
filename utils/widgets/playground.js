// A network on points of the plane, trained here by full-batch gradient descent: forward, backward, step, picture.

const GELU_SLOPE = Math.sqrt(2 / Math.PI);

/** Each activation, and its derivative at z. GELU in the form with tanh, as in GPT-2. */
const ACTIVATIONS = {
  tanh: { value: Math.tanh, slope: (z) => 1 - Math.tanh(z) ** 2 },
  sigmoid: { value: sigmoid, slope: (z) => sigmoid(z) * (1 - sigmoid(z)) },
  ReLU: { value: (z) => Math.max(z, 0), slope: (z) => (z > 0 ? 1 : 0) },
  GELU: {
    value: (z) => 0.5 * z * (1 + Math.tanh(GELU_SLOPE * (z + 0.044715 * z ** 3))),
    slope: (z) => {
      const t = Math.tanh(GELU_SLOPE * (z + 0.044715 * z ** 3));
      return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * GELU_SLOPE * (1 + 3 * 0.044715 * z * z);
    },
  },
  none: { value: (z) => z, slope: () => 1 },
};

function sigmoid(z) {
  const power = Math.exp(-Math.abs(z));
  return (z >= 0 ? 1 : power) / (1 + power);
}

/** Layers for widths such as [2, 4, 1]: weights (out, in) of deviation scale / sqrt(in), in row order; biases 0. */
function initial(widths, scale, seed) {
  const normal = normals(seed);
  return widths.slice(1).map((to, l) => {
    const from = widths[l];
    return { from, to, W: Float64Array.from({ length: to * from }, () => (scale * normal()) / Math.sqrt(from)), b: new Float64Array(to) };
  });
}

/** For n rows of inputs: what each layer took in and its z; the last layer's z are the logits. */
function forward(layers, { value }, x) {
  const kept = [];
  let a = x;
  for (const [l, { from, to, W, b }] of layers.entries()) {
    const n = a.length / from;
    const z = new Float64Array(n * to);
    for (let row = 0; row < n; row += 1) {
      for (let i = 0; i < to; i += 1) {
        let sum = b[i];
        for (let j = 0; j < from; j += 1) sum += W[i * from + j] * a[row * from + j];
        z[row * to + i] = sum;
      }
    }
    kept.push({ a, z });
    a = l < layers.length - 1 ? z.map((one) => value(one)) : z;
  }
  return { kept, logits: a };
}

/** Mean binary cross-entropy in nats, from logits. */
function lossOf(logits, y) {
  let sum = 0;
  for (let row = 0; row < y.length; row += 1) {
    const z = logits[row];
    sum += Math.max(z, 0) - z * y[row] + Math.log1p(Math.exp(-Math.abs(z)));
  }
  return sum / y.length;
}

/** The loss, and its gradient by each layer's weights and biases, from the last layer to the first. */
function backward(layers, activation, x, y) {
  const { kept, logits } = forward(layers, activation, x);
  const n = y.length;
  let delta = logits.map((z, row) => (sigmoid(z) - y[row]) / n);
  const gradients = [];
  for (let l = layers.length - 1; l >= 0; l -= 1) {
    const { from, to, W } = layers[l];
    const { a } = kept[l];
    const [dW, db, da] = [new Float64Array(W.length), new Float64Array(to), new Float64Array(n * from)];
    for (let row = 0; row < n; row += 1) {
      for (let i = 0; i < to; i += 1) {
        const d = delta[row * to + i];
        db[i] += d;
        for (let j = 0; j < from; j += 1) {
          dW[i * from + j] += d * a[row * from + j];
          da[row * from + j] += d * W[i * from + j];
        }
      }
    }
    gradients[l] = { W: dW, b: db };
    if (l > 0) delta = da.map((one, k) => one * activation.slope(kept[l - 1].z[k]));
  }
  return { loss: lossOf(logits, y), gradients };
}

/** The layers after one step of gradient descent, and the loss before it. */
function step(layers, activation, x, y, rate) {
  const { loss, gradients } = backward(layers, activation, x, y);
  const moved = layers.map((layer, l) => ({
    ...layer,
    W: layer.W.map((w, k) => w - rate * gradients[l].W[k]),
    b: layer.b.map((b, k) => b - rate * gradients[l].b[k]),
  }));
  return { loss, layers: moved };
}

/** The line where a grid of values (size x size, rows from the top) changes its sign, as an SVG path in grid units. */
function zeroLine(values, size) {
  const parts = [];
  for (let row = 0; row + 1 < size; row += 1) {
    for (let column = 0; column + 1 < size; column += 1) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const at = corners.map(([c, r]) => values[r * size + c]);
      const crossings = [];
      for (let k = 0; k < 4; k += 1) {
        const [u, v] = [at[k], at[(k + 1) % 4]];
        if (u > 0 === v > 0) continue;
        const share = u / (u - v);
        crossings.push(corners[k].map((from, axis) => (from + share * (corners[(k + 1) % 4][axis] - from) + 0.5).toFixed(2)));
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) parts.push(`M${crossings[k].join(" ")}L${crossings[k + 1].join(" ")}`);
    }
  }
  return parts.join("");
}

const [VIEW, GRID, NET_WIDTH, NET_HEIGHT, UNIT] = [2.6, 40, 420, 300, 30];
const [BLUE, ORANGE] = [[37, 135, 198], [213, 94, 0]];
const LARGEST_BURST = 40; // steps between two pictures

/** The middle of each of the picture's squares, x1 to the right and x2 up. */
const GRID_POINTS = Float64Array.from({ length: 2 * GRID * GRID }, (_, k) => {
  const [column, row] = [(k >> 1) % GRID, Math.floor((k >> 1) / GRID)];
  return VIEW * (k % 2 ? 1 - (2 * row + 1) / GRID : (2 * column + 1) / GRID - 1);
});

/** Values from -1 to 1 as blue above 0 and orange below, over a canvas of the grid's size. */
function tint(canvas, values, offset, stride) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(GRID, GRID);
  for (let k = 0; k < GRID * GRID; k += 1) {
    const value = values[k * stride + offset];
    image.data.set([...(value > 0 ? BLUE : ORANGE), 150 * Math.min(1, Math.abs(value))], 4 * k);
  }
  context.putImageData(image, 0, 0);
}

const gridCanvas = () => make("canvas", { width: GRID, height: GRID, "aria-hidden": "true" });

function render({ model, el }) {
  const root = stage("playground");
  const told = teller();
  const sets = model.get("sets");
  const state = { seed: 1, run: null, frame: 0 };

  const options = (names) => names.map((name) => make("option", { value: name, text: name }));
  const points = make("select", { "aria-label": "Points", onchange: restart }, ...options(Object.keys(sets)));
  points.value = model.get("shown");
  const activation = make("select", { "aria-label": "Activation", onchange: restart }, ...options(Object.keys(ACTIVATIONS)));
  const depth = slider("Hidden layers", { min: 1, max: 5, value: 1, onmove: restart });
  const width = slider("Neurons a layer", { min: 1, max: 8, value: 4, onmove: restart });
  const rate = slider("Learning rate", { min: -2, max: 1, step: 0.05, value: -0.3, shown: (power) => String(Number((10 ** power).toPrecision(2))), onmove: restart });
  const scale = slider("Size of the first weights", { min: 0, max: 5, step: 0.1, value: 1, shown: (s) => `${s.toFixed(1)} × 1/√n`, onmove: restart });
  const noise = slider("Noise", { min: 0, max: 1, step: 0.05, value: 0.2, shown: (s) => s.toFixed(2), onmove: restart });
  const steps = slider("Steps", { min: 0, max: 2000, step: 10, value: 600, onmove: () => (state.run.at > steps.value ? restart() : go()) });
  const again = make("button", { type: "button", text: "Other first weights", onclick: () => { state.seed += 1; restart(); } });

  const canvas = gridCanvas();
  const line = draw("path", { class: "boundary" });
  const dots = draw("g");
  const view = draw("svg", { viewBox: `0 0 ${GRID} ${GRID}`, role: "img", "aria-label": "Points of two classes and the decision boundary" }, dots, line);
  const edges = draw("svg", { viewBox: `0 0 ${NET_WIDTH} ${NET_HEIGHT}`, "aria-hidden": "true" });
  const net = make("div", { class: "net", role: "img", "aria-label": "The network: a picture of the plane for each neuron" }, edges);
  const curve = draw("svg", { class: "losses", viewBox: "0 0 420 92", "aria-hidden": "true" });

  /** The points with noise; every second one is held out. */
  function prepare() {
    const { x, noise: off, y } = sets[points.value];
    const moved = x.map((point, row) => point.map((at, axis) => at + noise.value * off[row][axis]));
    const half = (rest) => {
      const rows = moved.map((_, row) => row).filter((row) => row % 2 === rest);
      return { x: Float64Array.from(rows.flatMap((row) => moved[row])), y: rows.map((row) => y[row]) };
    };
    return { learn: half(0), test: half(1) };
  }

  function restart() {
    const widths = [2, ...Array(depth.value).fill(width.value), 1];
    const layers = initial(widths, scale.value, state.seed);
    state.run = { layers, good: layers, at: 0, burst: 0, losses: [], bound: Infinity, ...prepare() };
    state.run.activation = ACTIVATIONS[activation.value];
    note(state.run);
    build();
    go();
  }

  /** Write both losses down; a network whose numbers have left all bounds goes back to its last good weights. */
  function note(run) {
    const [learn, test] = [run.learn, run.test].map(({ x, y }) => lossOf(forward(run.layers, run.activation, x).logits, y));
    if (Number.isFinite(learn + test)) run.losses.push({ at: run.at, learn, test });
    else stop(run);
  }

  function stop(run) {
    run.layers = run.good;
    run.bound = run.at;
  }

  function go() {
    cancelAnimationFrame(state.frame);
    state.run.burst = 0;
    state.frame = requestAnimationFrame(advance);
  }

  /** A few steps, then a picture, until all are taken: one step at first, so that the beginning can be watched. */
  function advance() {
    const { run } = state;
    run.burst = Math.min(run.burst + 1, LARGEST_BURST);
    const before = run.at;
    for (let k = 0; k < run.burst && run.at < steps.value && run.at < run.bound; k += 1) {
      const next = step(run.layers, run.activation, run.learn.x, run.learn.y, 10 ** rate.value);
      if (!Number.isFinite(next.loss)) stop(run);
      else {
        run.good = run.layers;
        run.layers = next.layers;
        run.at += 1;
      }
    }
    if (run.at > before) note(run);
    paint();
    if (run.at < Math.min(steps.value, run.bound)) state.frame = requestAnimationFrame(advance);
  }

  /** The points, and a canvas for each neuron; they stay while the network learns. */
  function build() {
    const { learn, test, layers } = state.run;
    const place = (at, axis) => (GRID * (1 + (axis ? -at : at) / VIEW)) / 2;
    dots.replaceChildren(...[[learn, "learn"], [test, "test"]].flatMap(([{ x, y }, kind]) => y.map((label, row) =>
      draw("circle", { class: `${kind} ${label ? "one" : "zero"}`, cx: place(x[2 * row], 0).toFixed(2), cy: place(x[2 * row + 1], 1).toFixed(2), r: 0.5 }))));
    const columns = [2, ...layers.map(({ to }) => to)];
    state.columns = columns.map((count, column) => Array.from({ length: count }, (_, i) => {
      const [x, y] = [24 + (column * (NET_WIDTH - 48)) / (columns.length - 1), (NET_HEIGHT * (i + 0.5)) / count];
      const picture = gridCanvas();
      picture.style.left = `${(100 * (x - UNIT / 2)) / NET_WIDTH}%`;
      picture.style.top = `${(100 * (y - UNIT / 2)) / NET_HEIGHT}%`;
      return { x, y, picture };
    }));
    net.replaceChildren(edges, ...state.columns.flat().map(({ picture }) => picture));
  }

  function paint() {
    const { run } = state;
    const { kept, logits } = forward(run.layers, run.activation, GRID_POINTS);
    const certain = logits.map((z) => 2 * sigmoid(z) - 1);
    tint(canvas, certain, 0, 1);
    line.setAttribute("d", zeroLine(logits, GRID));
    state.columns.forEach((column, l) => {
      const values = l === state.columns.length - 1 ? certain : kept[l].a;
      column.forEach(({ picture }, i) => {
        let peak = 1e-12;
        for (let k = i; k < values.length; k += column.length) peak = Math.max(peak, Math.abs(values[k]));
        tint(picture, l === state.columns.length - 1 ? values : values.map((one) => one / peak), i, column.length);
      });
    });
    paintEdges();
    paintLosses();
    tell();
  }

  function paintEdges() {
    const parts = state.run.layers.flatMap(({ from, to, W }, l) => Array.from({ length: to * from }, (_, k) => {
      const [a, b] = [state.columns[l][k % from], state.columns[l + 1][Math.floor(k / from)]];
      const width = Math.min(6, 1.6 * Math.abs(W[k])).toFixed(2);
      return draw("line", { class: W[k] > 0 ? "up" : "down", x1: a.x, y1: a.y, x2: b.x, y2: b.y, "stroke-width": width });
    }));
    edges.replaceChildren(...parts);
  }

  function paintLosses() {
    const { losses } = state.run;
    const top = Math.min(3, Math.max(0.8, ...losses.map(({ learn }) => learn)));
    const place = (at, loss) => `${(40 + (370 * at) / Math.max(10, steps.value)).toFixed(1)},${(78 - (70 * Math.min(loss, top)) / top).toFixed(1)}`;
    const path = (name) => draw("polyline", { class: `curve ${name}`, points: losses.map((one) => place(one.at, one[name])).join(" ") });
    curve.replaceChildren(
      draw("path", { class: "frame", d: "M40 8V78H412" }),
      draw("text", { x: 34, y: 16, "text-anchor": "end" }, top.toFixed(1)), draw("text", { x: 34, y: 80, "text-anchor": "end" }, "0"),
      draw("text", { x: 410, y: 91, "text-anchor": "end" }, `${steps.value} steps`), draw("text", { x: 40, y: 91 }, "loss"),
      path("test"), path("learn"),
    );
  }

  function tell() {
    const { run } = state;
    const last = run.losses.at(-1);
    const { logits } = forward(run.layers, run.activation, run.test.x);
    const right = run.test.y.filter((label, row) => (logits[row] > 0) === (label === 1)).length;
    const count = run.layers.reduce((sum, { W, b }) => sum + W.length + b.length, 0);
    const much = (loss) => (loss < 1e4 ? loss.toFixed(4) : loss.toExponential(1));
    const [rateShown, scaleShown] = [rate, scale].map(({ box }) => box.querySelector("output").textContent);
    told.say(`${run.bound < Infinity ? "The weights grow beyond all bounds" : `${run.at} steps`} at learning rate ${rateShown}, first weights ${scaleShown}: `
      + `loss ${much(last.learn)} on the ${run.learn.y.length} points it learns from, ${much(last.test)} on ${run.test.y.length} held-out ones, of which ${percent(right / run.test.y.length)} are right. `
      + `${count} weights and biases.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Points" }), points), noise.box,
      make("label", { class: "field" }, make("span", { text: "Activation" }), activation)),
    make("div", { class: "row" }, depth.box, width.box, rate.box),
    make("div", { class: "row" }, scale.box, steps.box, again),
    make("div", { class: "sides" }, make("div", { class: "picture" }, canvas, view), make("div", { class: "inside" }, net, curve)),
    make("div", { class: "keys" }, make("span", { class: "key learn", text: "learns from (filled points)" }), make("span", { class: "key test", text: "held out (rings)" })),
    make("p", { class: "hint", text: "Each small picture is one neuron: where in the plane its output is above 0 (blue) or below (orange). Lines are weights: thick is large, orange negative. Every move trains anew." }),
    ...told.parts,
  );
  el.append(root);
  restart();
  return () => cancelAnimationFrame(state.frame);
}

export default { render };
