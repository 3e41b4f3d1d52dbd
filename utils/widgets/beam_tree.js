// The tree of a beam search: Python sends all its steps, the page shows them one by one and ranks what there is.

const [COLUMN, ROW, BOX, START] = [108, 26, 92, 64];

/** The nodes that Python sends, with names. */
function named(nodes) {
  return nodes.map(([step, parent, token, logProb, fate], index) => ({ step, parent, token, logProb, fate, index }));
}

/** A hypothesis as text. */
function wordsOf(nodes, node) {
  return (node.parent < 0 ? "" : wordsOf(nodes, nodes[node.parent])) + node.token;
}

/** All that is finished by `step`, or kept at it, with scores log-probability / length^penalty, best first. */
function ranked(nodes, step, penalty) {
  return nodes
    .filter((node) => (node.fate === "finished" && node.step <= step) || (node.fate === "kept" && node.step === step))
    .map((node) => ({ ...node, score: node.logProb / node.step ** penalty }))
    .sort((a, b) => b.score - a.score || a.index - b.index);
}

/** The indexes on the way from the text to a node. */
function wayTo(nodes, node) {
  const way = new Set();
  for (let at = node; at; at = nodes[at.parent]) way.add(at.index);
  return way;
}

function render({ model, el }) {
  const root = stage("beam_tree");
  const told = teller();
  const state = { nodes: [], steps: 1 };

  const text = make("textarea", { rows: 2, spellcheck: "false", "aria-label": "Text to continue" });
  text.value = model.get("text");
  const send = () => { if (text.value !== model.get("text")) ask(model, root, { text: text.value }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const move = framed(paint);
  const beams = slider("Beams", { min: 1, max: model.get("most_beams"), value: model.get("n_beams"), onmove: settled((n) => ask(model, root, { n_beams: n }), 120) });
  const penalty = slider("Length penalty", { min: -1, max: 3, step: 0.1, value: 1, shown: (a) => a.toFixed(1), onmove: move });
  const step = slider("Step", { min: 0, max: 1, value: 1, onmove: move });
  const next = make("button", { type: "button", text: "Next step", onclick: () => { step.value = step.value < state.steps ? step.value + 1 : 0; move(); } });

  const svg = draw("svg", { role: "img", "aria-label": "The tree of the search" });
  const table = make("table", { class: "ranking" });
  const answered = onAnswer(model, root, rebuild);

  function rebuild() {
    const before = state.steps;
    state.nodes = named(model.get("nodes"));
    state.steps = Math.max(1, ...state.nodes.map((node) => node.step));
    step.input.max = state.steps;
    step.value = Math.min(step.value === before && before > 1 ? state.steps : step.value, state.steps);
    if (document.activeElement !== text) text.value = model.get("text");
    paint();
  }

  function paint() {
    const [now, alpha] = [step.value, penalty.value];
    next.textContent = now < state.steps ? "Next step" : "Start again";
    const seen = state.nodes.filter((node) => node.step <= now);
    const hypotheses = ranked(state.nodes, now, alpha);
    const best = hypotheses.length ? wayTo(state.nodes, state.nodes[hypotheses[0].index]) : new Set();
    const places = new Map();
    const filled = new Array(state.steps + 1).fill(0);
    for (const node of state.nodes) {
      places.set(node.index, [START + (node.step - 1) * COLUMN, 22 + ROW * filled[node.step]]);
      filled[node.step] += 1;
    }
    const height = 24 + ROW * Math.max(...filled);
    const width = START + state.steps * COLUMN;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.minWidth = `${Math.min(width, 760)}px`;
    const [back, front] = [[], []];
    for (const node of seen) {
      const [x, y] = places.get(node.index);
      const [px, py] = node.parent < 0 ? [START - 20 - (COLUMN - BOX) + 12, 34] : [places.get(node.parent)[0] + BOX, places.get(node.parent)[1] + 11];
      const kind = `${node.fate}${best.has(node.index) ? " best" : ""}`;
      back.push(draw("path", { class: `edge ${kind}`, d: `M${px} ${py}C${px + 8} ${py} ${x - 8} ${y + 11} ${x} ${y + 11}` }));
      const label = word(node.token);
      const most = node.logProb > -9.95 ? 8 : 7;
      front.push(draw("g", { class: `node ${kind}` },
        draw("title", {}, `${wordsOf(state.nodes, node)}: ${node.logProb.toFixed(3)} nats, ${node.fate}`),
        draw("rect", { x, y, width: BOX, height: 22, rx: 4 }),
        draw("text", { x: x + 5, y: y + 15 }, label.length > most ? `${label.slice(0, most - 1)}…` : label),
        draw("text", { class: "number", x: x + BOX - 4, y: y + 15, "text-anchor": "end" }, node.logProb.toFixed(1))));
    }
    const heads = Array.from({ length: now }, (_, i) => draw("text", { x: START + i * COLUMN + BOX / 2, y: 12, "text-anchor": "middle" }, `step ${i + 1}`));
    svg.replaceChildren(draw("g", { class: "node root" }, draw("rect", { x: 1, y: 22, width: 38, height: 24, rx: 4 }), draw("text", { x: 20, y: 38, "text-anchor": "middle" }, "text")), ...heads, ...back, ...front);
    table.replaceChildren(
      make("tr", {}, ...["score", "log-probability", "tokens", "", "continuation"].map((name) => make("th", { text: name }))),
      ...hypotheses.slice(0, 8).map((one, i) => make("tr", { class: i ? "" : "best" },
        ...[one.score.toFixed(3), one.logProb.toFixed(3), one.step, one.fate === "finished" ? "finished" : "goes on", word(wordsOf(state.nodes, one)).replaceAll("·", " ")].map((cell) => make("td", { text: cell })))),
    );
    const [leader] = hypotheses;
    told.say(leader
      ? `Step ${now} of ${state.steps}, ${model.get("n_beams")} beams: of ${seen.length} continuations looked at, ${seen.filter((node) => node.fate === "dropped").length} dropped. `
        + `Best score at length penalty ${alpha.toFixed(1)}: ${leader.logProb.toFixed(3)} / ${leader.step}^${alpha.toFixed(1)} = ${leader.score.toFixed(3)}, “${wordsOf(state.nodes, leader)}”.`
      : `Step 0 of ${state.steps}, ${model.get("n_beams")} beams, length penalty ${alpha.toFixed(1)}: only the text “${model.get("text")}”. Press “Next step”.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Text to continue" }), text)),
    make("div", { class: "row" }, beams.box, penalty.box, step.box, next),
    answered.problem, ...told.parts,
    make("div", { class: "legend" }, ...[["kept", "kept"], ["dropped", "dropped"], ["finished", "finished"], ["best", "on the way to the best score"]].map(([kind, words]) => make("span", { class: kind, text: words }))),
    make("div", { class: "tree" }, svg),
    make("p", { class: "hint", text: "A box is a token and the log-probability of all tokens up to it. Each step looks at twice as many continuations as there are beams, best on top." }),
    table,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
