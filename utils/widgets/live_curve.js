// A loss curve that is redrawn, a few times a second, as Python sends the run so far.

/** Round numbers that divide [low, high] into about `count` parts. */
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => power * factor >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(10)));
}

/** The mean of each value and of those before it, over a twentieth of the run. */
function smooth(values) {
  const window = Math.max(1, Math.round(values.length / 20));
  let [sum, count] = [0, 0];
  return values.map((value, i) => {
    if (Number.isFinite(value)) { sum += value; count += 1; }
    const gone = values[i - window];
    if (i >= window && Number.isFinite(gone)) { sum -= gone; count -= 1; }
    return count ? sum / count : NaN;
  });
}

function short(number) {
  const size = Math.abs(number);
  if (size >= 10000) return `${Number((number / 1000).toPrecision(3))}k`;
  return size && size < 0.001 ? number.toExponential(1) : String(Number(number.toPrecision(4)));
}

function render({ model, el }) {
  const root = stage("live_curve");
  const told = teller();
  const state = { smoothed: true, log: false };
  const [width, height, left, right, top, bottom] = [760, 320, 54, 14, 12, 44];
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", style: "width: 100%; height: auto" });
  const keys = make("div", { class: "keys" });
  const facts = make("p", { class: "facts" });

  const box = (label, name) => make("label", { class: "field" },
    make("input", { type: "checkbox", checked: state[name], onchange: (event) => { state[name] = event.target.checked; paint(); } }), make("span", { text: label }));

  function run(view) {
    const all = floats(view);
    const half = all.length / 2;
    return { x: [...all.subarray(0, half)], y: [...all.subarray(half)] };
  }

  function cut({ name, x, y }, end) {
    const kept = x.filter((step) => step <= end).length;
    return { name, x: x.slice(0, kept), y: y.slice(0, kept) };
  }

  function paint() {
    const own = run(model.get("points"));
    const references = Object.entries(model.get("references"));
    const marks = grouped(model.get("marks"));
    // A background run may be far longer than this one: steps to scale show this run, a log scale shows all.
    const planned = Math.max(model.get("total_steps"), ...own.x, 0);
    const whole = state.log || !planned;
    const background = Object.entries(model.get("background")).map(([name, view]) => cut({ name, ...run(view) }, whole ? Infinity : planned));
    const allX = [own.x, ...background.map(({ x }) => x), model.get("marks").map(([x]) => x)].flat();
    const allY = [own.y, ...background.map(({ y }) => y), references.map(([, y]) => y), model.get("marks").map(([, y]) => y)].flat().filter(Number.isFinite);
    const start = state.log ? 1 : 0;
    const across = (x) => (state.log ? Math.log10(Math.max(x, 1)) : x);
    const endX = across(Math.max(model.get("total_steps"), ...allX, start + 1));
    let [lowY, highY] = allY.length ? [Math.min(...allY), Math.max(...allY)] : [0, 1];
    const pad = (highY - lowY) * 0.06 || 0.5;
    [lowY, highY] = [lowY - pad, highY + pad];
    const px = (x) => left + ((across(x) - across(start)) / (endX - across(start))) * (width - left - right);
    const py = (y) => height - bottom - ((y - lowY) / (highY - lowY)) * (height - top - bottom);
    const parts = [];

    for (const y of ticks(lowY, highY, 5)) {
      parts.push(draw("line", { class: "gridline", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
        draw("text", { x: left - 8, y: py(y), dy: "0.35em", "text-anchor": "end", text: short(y) }));
    }
    const stops = state.log ? Array.from({ length: Math.floor(endX) + 1 }, (_, i) => 10 ** i) : ticks(0, endX, 6);
    for (const x of stops) parts.push(draw("text", { x: px(x), y: height - bottom + 17, "text-anchor": "middle", text: short(x) }));
    parts.push(draw("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }),
      draw("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle", text: "step" }),
      draw("text", { transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle", text: model.get("y_title") }));

    for (const [label, y] of references) {
      parts.push(draw("line", { class: "reference", x1: left, x2: width - right, y1: py(y), y2: py(y) }),
        draw("text", { x: width - right, y: py(y) - 5, "text-anchor": "end", text: `${label} ${short(y)}` }));
    }
    const path = ({ x, y }) => x.map((each, i) => (Number.isFinite(y[i]) ? `${i && Number.isFinite(y[i - 1]) ? "L" : "M"}${px(each).toFixed(1)} ${py(y[i]).toFixed(1)}` : "")).join("");
    for (const each of background) parts.push(draw("path", { class: "curve background", d: path(each) }));
    if (own.x.length) {
      if (state.smoothed) parts.push(draw("path", { class: "curve raw", d: path(own) }));
      parts.push(draw("path", { class: state.smoothed ? "curve own" : "curve own thin", d: path(state.smoothed ? { x: own.x, y: smooth(own.y) } : own) }),
        draw("circle", { class: "tip", cx: px(own.x.at(-1)), cy: py(Number.isFinite(own.y.at(-1)) ? (state.smoothed ? smooth(own.y) : own.y).at(-1) : lowY), r: 4 }));
    }
    for (const [, points] of marks) {
      parts.push(draw("path", { class: "curve marks", d: path({ x: points.map(([x]) => x), y: points.map(([, y]) => y) }) }),
        ...points.map(([x, y]) => draw("path", { class: "mark", transform: `translate(${px(x)} ${py(y)})`, d: "M0-5L5 0L0 5L-5 0Z" })));
    }
    picture.replaceChildren(...parts);
    keys.replaceChildren(key("own", state.smoothed ? "training (bold: running mean)" : "training"),
      ...[...marks.keys()].map((label) => key("marks", label)), ...background.map(({ name }) => key("background", name)));
    tell(own, marks);
  }

  function grouped(marks) {
    const groups = new Map();
    for (const mark of marks) groups.set(mark[2], [...(groups.get(mark[2]) ?? []), mark]);
    return groups;
  }

  const key = (name, text) => make("span", { class: `key ${name}`, text });

  function tell(own, marks) {
    const now = model.get("facts");
    const list = [];
    if (own.x.length) list.push(`step ${short(own.x.at(-1))}${model.get("total_steps") ? ` of ${short(model.get("total_steps"))}` : ""}`, `loss ${own.y.at(-1).toFixed(3)}`);
    for (const [label, points] of marks) list.push(`${label} ${points.at(-1)[1].toFixed(3)}`);
    if (now.learning_rate !== undefined) list.push(`learning rate ${now.learning_rate.toExponential(1)}`);
    if (now.grad_norm !== undefined) list.push(`gradient norm ${now.grad_norm.toFixed(2)}`);
    if (now.tokens_per_second !== undefined) list.push(`${Math.round(now.tokens_per_second).toLocaleString("en-US")} tokens/s`);
    if (now.skipped) list.push(`${now.skipped} skipped`);
    facts.textContent = list.join(" · ") || "waiting for the first step …";
    const words = `${model.get("title")}${model.get("done") ? ", done" : ""}: ${facts.textContent}`;
    picture.setAttribute("aria-label", words);
    // While it runs, a reader is not interrupted five times a second.
    if (model.get("done") || !own.x.length) told.say(words);
  }

  const answered = onAnswer(model, root, framed(paint));
  root.append(make("div", { class: "row" }, make("b", { text: model.get("title") }), box("smooth", "smoothed"), box("steps on a log scale", "log")),
    answered.problem, picture, keys, facts, told.parts[1]);
  el.append(root);
  paint();
  return answered.stop;
}

export default { render };
