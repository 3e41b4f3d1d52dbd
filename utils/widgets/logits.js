// Logits of a few classes, their probabilities, a loss and its gradient: all computed here.

const STEP_SIZE = 2;

/** The correct class's share and those of the others, smoothed: 1 - e + e / K, and e / K. */
function targets(count, correct, smoothing) {
  return Array.from({ length: count }, (_, i) => (i === correct ? 1 - smoothing : 0) + smoothing / count);
}

/** Logarithms of the softmax; the largest logit is taken off first, so that nothing overflows. */
function logSoftmax(logits) {
  const top = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
  return logits.map((logit) => logit - top - total);
}

const LOSSES = {
  /** - sum y ln p, in nats; its gradient by the logits is p - y. */
  "cross-entropy": (logits, target) => {
    const logProbs = logSoftmax(logits);
    return {
      loss: -logProbs.reduce((sum, log, i) => sum + (target[i] ? target[i] * log : 0), 0),
      gradient: logProbs.map((log, i) => Math.exp(log) - target[i]),
    };
  },
  /** sum (p - y)^2; its gradient passes through the softmax: 2 p_i (d_i - sum p_j d_j) with d = p - y. */
  "squared error": (logits, target) => {
    const probs = logSoftmax(logits).map(Math.exp);
    const off = probs.map((prob, i) => prob - target[i]);
    const mean = probs.reduce((sum, prob, i) => sum + prob * off[i], 0);
    return {
      loss: off.reduce((sum, difference) => sum + difference ** 2, 0),
      gradient: probs.map((prob, i) => 2 * prob * (off[i] - mean)),
    };
  },
};

/** A number with its sign, of the same width for all. */
function signed(number) {
  const size = Math.abs(number);
  const digits = size > 0 && size < 0.0005 ? number.toExponential(0) : number.toFixed(3);
  return `${number < 0 ? "" : "+"}${digits}`.replace("-", "−").replace("e-", "e−");
}

function render({ model, el }) {
  const root = stage("logits");
  const told = teller();
  const [classes, limit] = [model.get("classes"), model.get("limit")];
  const first = { logits: model.get("logits"), correct: model.get("target") };
  const state = { logits: [...first.logits], correct: first.correct, steps: 0 };

  const loss = make("select", { "aria-label": "Loss", onchange: paint }, ...Object.keys(LOSSES).map((name) => make("option", { value: name, text: name })));
  const correct = make("select", { "aria-label": "Correct class", onchange: () => { state.correct = Number(correct.value); paint(); } },
    ...classes.map((name, i) => make("option", { value: i, text: name })));
  correct.value = state.correct;
  const smoothing = slider("Label smoothing", { min: 0, max: 0.5, step: 0.01, value: 0, shown: (e) => e.toFixed(2), onmove: paint });

  const rows = classes.map((name, i) => {
    const input = make("input", { type: "range", min: -limit, max: limit, step: 0.1, value: state.logits[i], "aria-label": `Logit of ${name}` });
    input.addEventListener("input", () => { state.logits[i] = Number(input.value); state.steps = 0; paint(); });
    const parts = Object.fromEntries(["logit", "bar", "tick", "prob", "pull", "gradient"].map((part) => [part, make("span", { class: part })]));
    const line = make("div", { class: "class", role: "group", "aria-label": name },
      make("span", { class: "label", text: name }), input, parts.logit,
      make("span", { class: "track" }, parts.bar, parts.tick), parts.prob,
      make("span", { class: "track middle" }, parts.pull), parts.gradient);
    return { input, line, ...parts };
  });
  const head = make("div", { class: "class head", "aria-hidden": "true" }, ...["", "logit z", "", "probability p, and the target y", "", "gradient of the loss", ""].map((text) => make("span", { text })));

  const step = make("button", { type: "button", text: "One step downhill", onclick: descend });
  const reset = make("button", { type: "button", text: "Back to the start", onclick: () => {
    Object.assign(state, { logits: [...first.logits], correct: first.correct, steps: 0 });
    correct.value = first.correct;
    paint();
  } });

  const now = () => LOSSES[loss.value](state.logits, targets(classes.length, state.correct, smoothing.value));

  function descend() {
    const { gradient } = now();
    state.logits = state.logits.map((logit, i) => Math.max(-limit, Math.min(limit, logit - STEP_SIZE * gradient[i])));
    state.steps += 1;
    paint();
  }

  function paint() {
    const target = targets(classes.length, state.correct, smoothing.value);
    const probs = logSoftmax(state.logits).map(Math.exp);
    const found = now();
    rows.forEach((row, i) => {
      row.input.value = state.logits[i];
      row.line.classList.toggle("correct", i === state.correct);
      row.logit.textContent = state.logits[i].toFixed(1).replace("-", "−");
      row.bar.style.width = `${100 * probs[i]}%`;
      row.tick.style.left = `${100 * target[i]}%`;
      row.prob.textContent = probs[i].toFixed(3);
      const share = Math.max(-1, Math.min(1, found.gradient[i]));
      row.pull.style.left = `${50 + 50 * Math.min(share, 0)}%`;
      row.pull.style.width = `${50 * Math.abs(share)}%`;
      row.pull.classList.toggle("up", share < 0);
      row.gradient.textContent = signed(found.gradient[i]);
    });
    const length = Math.hypot(...found.gradient);
    const unit = loss.value === "cross-entropy" ? " nats" : "";
    told.say(`${loss.value}: ${found.loss.toFixed(3)}${unit}${state.steps ? ` after ${state.steps} step${state.steps > 1 ? "s" : ""}` : ""}. `
      + `The correct class, ${classes[state.correct]}, has probability ${probs[state.correct].toFixed(3)}. `
      + `The gradient has length ${length < 0.001 ? length.toExponential(1) : length.toFixed(3)}, and its entries sum to 0.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Loss" }), loss),
      make("label", { class: "field" }, make("span", { text: "Correct class" }), correct), smoothing.box),
    head, ...rows.map(({ line }) => line),
    make("div", { class: "row buttons" }, step, reset),
    ...told.parts,
    make("p", { class: "hint", text: `The mark on a bar is the target. A gradient to the left (orange) means: raising this logit lowers the loss. A step subtracts ${STEP_SIZE} times the gradient.` }),
  );
  el.append(root);
  paint();
}

export default { render };
