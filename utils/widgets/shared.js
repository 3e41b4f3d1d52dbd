// Helpers for every explorer; its own file follows in the same module, so none of these names reaches the page.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes; `on...` are listeners, `text` its text. */
function make(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

/** The same for a part of an SVG picture. */
function draw(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG, tag), attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** A slider with its label and a readout; `shown` turns the value into words. */
function slider(label, { min, max, step = 1, value, shown = String, onmove }) {
  const readout = make("output", { text: shown(value) });
  const input = make("input", { type: "range", min, max, step, value, "aria-label": label });
  const show = () => {
    readout.textContent = shown(Number(input.value));
    input.setAttribute("aria-valuetext", readout.textContent);
  };
  input.addEventListener("input", () => { show(); onmove(Number(input.value)); });
  const box = make("label", { class: "field" }, make("span", { text: label }), input, readout);
  return {
    box, input,
    get value() { return Number(input.value); },
    set value(next) { input.value = next; show(); },
    limit(max) { input.max = max; input.disabled = max <= Number(input.min); show(); },
  };
}

/** A line that says what is seen, and reads it to a screen reader once moves have paused. */
function teller() {
  const visible = make("p", { class: "says", "aria-hidden": "true" });
  const spoken = make("p", { class: "hidden", role: "status", "aria-live": "polite" });
  let timer;
  return {
    parts: [visible, spoken],
    say(words) {
      visible.textContent = words;
      clearTimeout(timer);
      timer = setTimeout(() => { spoken.textContent = words; }, 400);
    },
  };
}

/** The float32 array in a bytes trait; copied, since its offset need not be a multiple of four. */
function floats(view) {
  if (!view || !view.byteLength) return new Float32Array(0);
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** Call `act` once its callers have been quiet for `wait` milliseconds. */
function settled(act, wait) {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => act(...given), wait); };
}

/** Call `act` at most once a frame. */
function framed(act) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; act(); });
  };
}

/** Spaces and line ends in a token made visible. */
function word(token) {
  return token.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
}

function percent(share) {
  if (share === 0) return "0 %";
  if (share < 0.001) return "<0.1 %";
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** Standard normal numbers, the same for the same seed (mulberry32, then Box and Muller). */
function normals(seed) {
  let a = seed;
  const uniform = () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Send changes to Python and mark `root` as waiting until it answers. */
function ask(model, root, changes) {
  root.classList.add("busy");
  for (const [name, value] of Object.entries(changes)) model.set(name, value);
  model.save_changes();
}

/** On each answer: the error line, then `redraw`. Returns the error line and what ends the listening. */
function onAnswer(model, root, redraw) {
  const problem = make("p", { class: "problem", role: "alert" });
  const answered = () => {
    root.classList.remove("busy");
    problem.textContent = model.get("error");
    if (!model.get("error")) redraw();
  };
  model.on("change:answers", answered);
  problem.textContent = model.get("error");
  return { problem, stop: () => model.off("change:answers", answered) };
}

/**
 * The widget's own box. JupyterLab takes arrow keys for moves between cells unless the focused element bears this mark;
 * a mark on what surrounds it does not count.
 */
function stage(name) {
  const mark = (event) => { event.target.dataset.lmSuppressShortcuts = "true"; };
  return make("div", { class: `explorer ${name}`, onfocusin: mark });
}
