// Fill in the blank: words that can be masked, and the model's guesses for each mask.

/** Cut a text into masks, words, runs of space and single other characters; joined, the pieces are the text again. */
function pieces(text, mask) {
  const escaped = mask.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return text.match(new RegExp(`${escaped}|[\\p{L}\\p{N}]+(?:['’-][\\p{L}\\p{N}]+)*|\\s+|[^\\s]`, "gu")) ?? [];
}

function render({ model, el }) {
  const root = stage("fill_in");
  const told = teller();
  const mask = model.get("mask");
  const past = [];

  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Sentence" });
  const sentence = make("div", { class: "sentence words", role: "group", "aria-label": "Words: press one to mask it" });
  const guesses = make("div", { class: "guesses" });
  const undo = make("button", { type: "button", text: "Undo", disabled: true, onclick: () => {
    const before = past.pop();
    if (before !== undefined) ask(model, root, { text: before });
  } });
  const answered = onAnswer(model, root, rebuild);

  function change(next) {
    if (next === model.get("text")) return;
    past.push(model.get("text"));
    ask(model, root, { text: next });
  }
  const send = () => change(text.value);
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  /** The sentence with one of its pieces replaced. */
  function put(index, piece) {
    const all = pieces(model.get("text"), mask);
    all[index] = piece;
    change(all.join(""));
  }

  function rebuild() {
    const now = model.get("text");
    if (document.activeElement !== text) text.value = now;
    undo.disabled = !past.length;
    const all = pieces(now, mask);
    const candidates = model.get("candidates");
    const blanks = [...all.keys()].filter((index) => all[index] === mask);
    sentence.replaceChildren(...all.flatMap((piece, index) => {
      if (!piece.trim()) return [];
      const number = blanks.indexOf(index) + 1;
      if (number) return make("span", { class: "blank", text: `${mask} ${blanks.length > 1 ? number : ""}`.trim() });
      if (!/[\p{L}\p{N}]/u.test(piece)) return make("span", { class: "mark", text: piece });
      return make("button", { type: "button", class: "word", text: piece, title: `Mask “${piece}”`, onclick: () => put(index, mask) });
    }));
    guesses.replaceChildren(...blanks.map((index, i) => column(candidates[i] ?? [], index, blanks.length > 1 ? `mask ${i + 1}` : "the mask")));
    const best = blanks.map((_, i) => candidates[i]?.[0]).filter(Boolean);
    told.say(best.length
      ? best.map(([token, share], i) => `${best.length > 1 ? `Mask ${i + 1}` : "The model's first guess"}: “${token}”, ${percent(share)}`).join("; ") + "."
      : "No word is masked. Press a word to mask it.");
  }

  function column(candidates, index, name) {
    const widest = Math.max(...candidates.map(([, share]) => share), 1e-9);
    return make("div", { class: "guess" }, make("p", { class: "hint", text: `Guesses for ${name}` }), ...candidates.map(([token, share]) => {
      const bar = make("span", { class: "bar", style: `width: ${(100 * share) / widest}%` });
      return make("button", { type: "button", class: "line", "aria-label": `Fill in ${token}, ${percent(share)}`, onclick: () => put(index, token) },
        make("span", { class: "label", text: token }), make("span", { class: "track" }, bar), make("span", { class: "number", text: percent(share) }));
    }));
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Sentence" }), text)),
    answered.problem,
    make("p", { class: "hint", text: `Press a word to mask it, or type ${mask} yourself. Press a guess to fill it in.` }),
    make("div", { class: "row" }, sentence, undo), ...told.parts, guesses,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
