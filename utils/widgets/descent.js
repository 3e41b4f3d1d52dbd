// Paths of optimizers over surfaces of two variables: all computed here, with the formulas of torch.optim.

const SURFACES = {
  ravine: {
    value: (x, y) => 0.5 * (x * x + 25 * y * y),
    gradient: (x, y) => [x, 25 * y],
    view: [-5, 5, -2.5, 2.5], start: [-4.2, 1.6], minima: [[0, 0]],
  },
  banana: { // Rosenbrock 1960
    value: (x, y) => (1 - x) ** 2 + 10 * (y - x * x) ** 2,
    gradient: (x, y) => [-2 * (1 - x) - 40 * x * (y - x * x), 20 * (y - x * x)],
    view: [-2.2, 2.2, -0.8, 2.6], start: [-1.6, 2.1], minima: [[1, 1]],
  },
  saddle: {
    value: (x, y) => 0.5 * x * x - 0.5 * y * y + 0.125 * y ** 4,
    gradient: (x, y) => [x, -y + 0.5 * y ** 3],
    view: [-3.2, 3.2, -2.2, 2.2], start: [-2.8, 0.02], minima: [[0, Math.SQRT2], [0, -Math.SQRT2]],
  },
  "four valleys": { // Himmelblau 1972
    value: (x, y) => (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
    gradient: (x, y) => [4 * x * (x * x + y - 11) + 2 * (x + y * y - 7), 2 * (x * x + y - 11) + 4 * y * (x + y * y - 7)],
    view: [-5.2, 5.2, -4.6, 4.6], start: [-0.4, -0.6],
    minima: [[3, 2], [-2.805118, 3.131312], [-3.77931, -3.283186], [3.584428, -1.848126]],
  },
  plateau: { // flat far out: the gradient all but vanishes
    value: (x, y) => 1 - Math.exp(-0.5 * (x * x + y * y)),
    gradient: (x, y) => [x * Math.exp(-0.5 * (x * x + y * y)), y * Math.exp(-0.5 * (x * x + y * y))],
    view: [-4.6, 4.6, -2.8, 2.8], start: [-3.4, 1.2], minima: [[0, 0]],
  },
};

const EPSILON = 1e-8;

/** One update each: from the point, the gradient there, and the state so far, the change of one coordinate. */
const OPTIMIZERS = {
  "gradient descent": (w, g, s, { rate }) => w - rate * g,
  momentum: (w, g, s, { rate, beta1 }) => {
    s.m = beta1 * (s.m ?? 0) + g;
    return w - rate * s.m;
  },
  Nesterov: (w, g, s, { rate, beta1 }) => {
    s.m = beta1 * (s.m ?? 0) + g;
    return w - rate * (g + beta1 * s.m);
  },
  AdaGrad: (w, g, s, { rate }) => {
    s.v = (s.v ?? 0) + g * g;
    return w - (rate * g) / (Math.sqrt(s.v) + 1e-10);
  },
  RMSProp: (w, g, s, { rate, beta2 }) => {
    s.v = beta2 * (s.v ?? 0) + (1 - beta2) * g * g;
    return w - (rate * g) / (Math.sqrt(s.v) + EPSILON);
  },
  Adam: adam,
  AdamW: (w, g, s, options) => adam(w * (1 - options.rate * options.decay), g, s, options),
};

function adam(w, g, s, { rate, beta1, beta2 }) {
  s.t = (s.t ?? 0) + 1;
  s.m = beta1 * (s.m ?? 0) + (1 - beta1) * g;
  s.v = beta2 * (s.v ?? 0) + (1 - beta2) * g * g;
  const [m, v] = [s.m / (1 - beta1 ** s.t), s.v / (1 - beta2 ** s.t)];
  return w - (rate * m) / (Math.sqrt(v) + EPSILON);
}

/** The points of a path, the start first; noise of a given deviation is added to each gradient, the same for all. */
function path(optimizer, surface, start, steps, options) {
  const update = OPTIMIZERS[optimizer];
  const { gradient } = SURFACES[surface];
  const normal = normals(7);
  const states = [{}, {}];
  const points = [start];
  let point = start;
  for (let step = 0; step < steps; step += 1) {
    const g = gradient(...point).map((part) => part + (options.noise ? options.noise * normal() : 0));
    point = point.map((w, i) => update(w, g[i], states[i], options));
    points.push(point);
    if (!point.every((w) => Math.abs(w) < 1e6)) break;
  }
  return points;
}

const RATES = { "gradient descent": 0.03, momentum: 0.01, Nesterov: 0.01, AdaGrad: 0.5, RMSProp: 0.05, Adam: 0.1, AdamW: 0.1 };
const COLORS = ["#2587c6", "#d55e00", "#009e73", "#c06a98", "#b8860b", "#7b68c8", "#7f7f7f"];
const [WIDTH, HEIGHT, GRID] = [640, 360, 4];

function render({ model, el }) {
  const root = stage("descent");
  const told = teller();
  const names = Object.keys(OPTIMIZERS);
  const state = { surface: model.get("surface"), start: null };

  const canvas = make("canvas", { width: WIDTH / GRID, height: HEIGHT / GRID, "aria-hidden": "true" });
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Paths over the surface, seen from above" });
  const plot = make("div", { class: "picture" }, canvas, svg);

  const chooser = make("select", { "aria-label": "Surface", onchange: () => choose(chooser.value) }, ...Object.keys(SURFACES).map((name) => make("option", { value: name, text: name })));
  chooser.value = state.surface;
  const move = framed(paint);
  const steps = slider("Steps", { min: 1, max: 400, value: 80, onmove: move });
  const beta1 = slider("β₁ (momentum)", { min: 0, max: 0.99, step: 0.01, value: 0.9, shown: (b) => b.toFixed(2), onmove: move });
  const beta2 = slider("β₂ (squares)", { min: 0.5, max: 0.999, step: 0.001, value: 0.99, shown: (b) => b.toFixed(3), onmove: move });
  const decay = slider("AdamW's decay", { min: 0, max: 1, step: 0.01, value: 0.1, shown: (d) => d.toFixed(2), onmove: move });
  const noise = slider("Gradient noise", { min: 0, max: 3, step: 0.1, value: 0, shown: (n) => n.toFixed(1), onmove: move });
  const [fromX, fromY] = ["x", "y"].map((axis, i) => slider(`Start ${axis}`, {
    min: 0, max: 100, step: 1, value: 50, shown: () => (state.start ? state.start[i].toFixed(2) : ""),
    onmove: (share) => {
      const [low, high] = SURFACES[state.surface].view.slice(2 * i, 2 * i + 2);
      state.start = state.start.map((w, j) => (i === j ? low + ((high - low) * share) / 100 : w));
      place();
      move();
    },
  }));

  const rows = names.map((name, i) => {
    const box = make("input", { type: "checkbox", "aria-label": `Show ${name}`, onchange: move });
    box.checked = model.get("shown").includes(name);
    const rate = slider(`Learning rate of ${name}`, { min: -4, max: 1, step: 0.05, value: Math.log10(RATES[name]), shown: (power) => `α ${Number((10 ** power).toPrecision(2))}`,
      // Who tunes an optimizer wants to see it.
      onmove: () => { box.checked = true; move(); } });
    rate.box.firstChild.remove();
    const end = make("span", { class: "end" });
    return { name, box, rate, end, color: COLORS[i],
      line: make("div", { class: "optimizer" }, make("label", { class: "field" }, box, make("span", { class: "swatch", style: `background: ${COLORS[i]}` }), make("span", { text: name })), rate.box, end) };
  });

  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const [x0, x1, y0, y1] = SURFACES[state.surface].view;
    state.start = [x0 + ((x1 - x0) * (event.clientX - box.left)) / box.width, y1 - ((y1 - y0) * (event.clientY - box.top)) / box.height];
    place();
    move();
  });

  /** Put the start's sliders where the start is. */
  function place() {
    [fromX, fromY].forEach((one, i) => {
      const [low, high] = SURFACES[state.surface].view.slice(2 * i, 2 * i + 2);
      one.value = (100 * (state.start[i] - low)) / (high - low);
    });
  }

  function choose(name) {
    state.surface = name;
    state.start = [...SURFACES[name].start];
    place();
    paintSurface();
    paint();
  }

  /** Bands of equal height on a logarithmic scale, so that the floor of a valley shows as well as its walls. */
  function paintSurface() {
    const { value, view: [x0, x1, y0, y1], minima } = SURFACES[state.surface];
    const floor = Math.min(...minima.map((point) => value(...point)));
    const [w, h] = [canvas.width, canvas.height];
    const heights = Float64Array.from({ length: w * h }, (_, i) => {
      const [column, row] = [i % w, Math.floor(i / w)];
      return Math.log(0.01 + value(x0 + ((x1 - x0) * (column + 0.5)) / w, y1 - ((y1 - y0) * (row + 0.5)) / h) - floor);
    });
    const [low, high] = [heights.reduce((a, b) => Math.min(a, b)), heights.reduce((a, b) => Math.max(a, b))];
    const context = canvas.getContext("2d");
    const image = context.createImageData(w, h);
    heights.forEach((height, i) => {
      const band = Math.floor((14 * (height - low)) / (high - low)) / 14;
      image.data.set([127, 127, 127, 20 + 130 * band], 4 * i);
    });
    context.putImageData(image, 0, 0);
  }

  function paint() {
    const { value, view: [x0, x1, y0, y1], minima } = SURFACES[state.surface];
    const place = ([x, y]) => [(WIDTH * (x - x0)) / (x1 - x0), (HEIGHT * (y1 - y)) / (y1 - y0)];
    const parts = minima.map((point) => {
      const [x, y] = place(point);
      return draw("path", { class: "minimum", d: `M${x - 6} ${y}h12M${x} ${y - 6}v12` });
    });
    const ends = [];
    for (const { name, box, rate, end, color, line } of rows) {
      line.classList.toggle("off", !box.checked);
      const options = { rate: 10 ** rate.value, beta1: beta1.value, beta2: beta2.value, decay: decay.value, noise: noise.value };
      const points = path(name, state.surface, state.start, steps.value, options);
      const last = value(...points.at(-1));
      end.textContent = box.checked ? (Number.isFinite(last) && last < 1e6 ? `ends at ${Math.abs(last) < 1e-4 && last ? last.toExponential(1) : last.toFixed(4)}` : "diverges") : "";
      if (!box.checked) continue;
      ends.push(`${name} ${end.textContent}`);
      const drawn = points.map(place).filter(([x, y]) => Math.abs(x) < 5000 && Math.abs(y) < 5000);
      parts.push(draw("polyline", { class: "path", points: drawn.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "), stroke: color }));
      parts.push(...drawn.slice(1).map(([x, y]) => draw("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 1.8, fill: color })));
      const [x, y] = drawn.at(-1);
      parts.push(draw("circle", { cx: x, cy: y, r: 5, fill: color }));
    }
    const [x, y] = place(state.start);
    parts.push(draw("circle", { class: "start", cx: x, cy: y, r: 6 }));
    svg.replaceChildren(...parts);
    told.say(ends.length ? `After ${steps.value} steps: ${ends.join("; ")}.` : "Tick an optimizer to see its path.");
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Surface" }), chooser), steps.box, noise.box),
    plot,
    make("p", { class: "hint", text: "Darker is higher; crosses are minima, the ring is the start. Click into the picture to move the start." }),
    ...rows.map(({ line }) => line),
    make("div", { class: "row" }, beta1.box, beta2.box, decay.box),
    make("div", { class: "row" }, fromX.box, fromY.box),
    ...told.parts,
  );
  el.append(root);
  choose(state.surface);
}

export default { render };
