// The merges of byte-pair encoding on one sentence, forward and back.

const PLAY = 700;

/** A token's letters with the marks for space, line end and tab as we show them everywhere. */
function letters(token) {
  return token.replaceAll("Ġ", "·").replaceAll("Ċ", "↵").replaceAll("ĉ", "⇥");
}

/** Which tokens of a step the last merge made: those that spell the pair's union. */
function fresh(step) {
  if (!step.pair) return step.tokens.map(() => false);
  const union = step.pair.join("");
  return step.tokens.map(([token]) => token === union);
}

function render({ model, el }) {
  const root = stage("merges");
  const told = teller();
  let timer = null;

  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Sentence" });
  text.value = model.get("text");
  const send = () => { if (text.value !== model.get("text")) { stop(); ask(model, root, { text: text.value }); } };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const place = slider("Merges done", { min: 0, max: 1, value: 0, onmove: () => { stop(); paint(); } });
  const back = make("button", { type: "button", text: "Back", onclick: () => { stop(); go(place.value - 1); } });
  const next = make("button", { type: "button", text: "Next merge", onclick: () => { stop(); go(place.value + 1); } });
  const play = make("button", { type: "button", text: "Play", onclick: () => (timer ? stop() : start()) });
  const tokens = make("div", { class: "pieces" });
  const answered = onAnswer(model, root, rebuild);

  function go(step) {
    place.value = Math.max(0, Math.min(model.get("steps").length - 1, step));
    paint();
  }

  function start() {
    if (place.value >= model.get("steps").length - 1) go(0);
    play.textContent = "Stop";
    timer = setInterval(() => {
      go(place.value + 1);
      if (place.value >= model.get("steps").length - 1) stop();
    }, PLAY);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function rebuild() {
    if (document.activeElement !== text) text.value = model.get("text");
    const last = model.get("steps").length - 1;
    place.limit(last);
    go(last);
  }

  function paint() {
    const steps = model.get("steps");
    const step = steps[place.value];
    if (!step) return;
    const isFresh = fresh(step);
    tokens.replaceChildren(...step.tokens.map(([token, piece], i) => make("span", {
      class: `piece${isFresh[i] ? " fresh" : ""}${i && step.tokens[i - 1][1] !== piece ? " first" : ""}`, text: letters(token),
    })));
    back.disabled = place.value === 0;
    next.disabled = place.value >= steps.length - 1;
    const [a, b] = (step.pair ?? []).map(letters);
    const made = step.pair
      ? `Merge ${place.value} of ${steps.length - 1}: “${a}” and “${b}” become “${a}${b}”. It was learned as number ${step.rank.toLocaleString("en-US")}`
        + `${step.count ? `, when the pair stood ${step.count.toLocaleString("en-US")} times in the training text` : ""}.`
      : "Before the first merge: one symbol a byte.";
    told.say(`${made} ${step.tokens.length} symbols now, ${steps[0].tokens.length} at first.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Sentence" }), text)),
    make("div", { class: "row" }, place.box, back, next, play),
    answered.problem, tokens, ...told.parts,
    make("p", { class: "hint", text: "A dot is a space. Gaps show where the text was cut before any merge: no merge crosses them." }),
  );
  el.append(root);
  rebuild();
  return () => { stop(); answered.stop(); };
}

export default { render };
