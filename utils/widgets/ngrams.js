// The next word by counting, by model and order.

function render({ model, el }) {
  const root = stage("ngrams");
  const told = teller();
  const text = make("input", { type: "text", spellcheck: "false", "aria-label": "Words so far" });
  const query = (changes) => ask(model, root, { query: { ...model.get("query"), ...changes } });
  const send = () => { if (text.value !== model.get("query").text) query({ text: text.value }); };
  text.addEventListener("input", settled(send, 300));
  text.addEventListener("change", send);

  const name = make("select", { "aria-label": "Model", onchange: () => query({ name: name.value }) },
    ...model.get("names").map((each) => make("option", { value: each, text: each })));
  const orders = model.get("orders");
  const order = slider("Order", { min: 0, max: orders.length - 1, value: orders.length - 1, shown: (i) => String(orders[i]), onmove: settled((i) => query({ order: orders[i] }), 60) });
  const bars = make("div", { class: "bars" });
  const answered = onAnswer(model, root, rebuild);

  function rebuild() {
    const { bars: shares, context, seen, entropy, zeros, size } = model.get("found");
    const asked = model.get("query");
    if (document.activeElement !== text) text.value = asked.text;
    name.value = asked.name;
    order.value = orders.indexOf(asked.order);
    const most = Math.max(shares[0][1], 1e-9);
    bars.replaceChildren(...shares.map(([label, share]) => make("button", {
      type: "button", class: "line", title: "Append this word", "aria-label": `${label}: ${percent(share)}; append it`,
      onclick: () => { text.value = `${text.value.trimEnd()} ${label}`; send(); },
    }, make("span", { class: "label", text: label }), make("span", { class: "track" }, make("span", { class: "bar", style: `width: ${(100 * share) / most}%` })),
    make("span", { class: "number", text: percent(share) }))));
    const times = seen ? `seen ${seen.toLocaleString("en-US")} ${seen === 1 ? "time" : "times"}` : "never seen";
    const looks = context.length ? `It looks at “${context.join(" ")}”, ${times}` : "It looks at nothing";
    const possible = zeros ? `${zeros.toLocaleString("en-US")} of ${size.toLocaleString("en-US")} words are called impossible` : "no word is called impossible";
    // Counts alone give 0 / 0 after a context never seen; all words equally likely is how that is shown.
    const clueless = Math.abs(entropy - Math.log(size)) < 1e-6;
    told.say(`${looks}. Entropy ${entropy.toFixed(2)} nats; ${clueless ? "it knows nothing: all words are equally likely" : possible}.`);
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field wide" }, make("span", { text: "Words so far" }), text)),
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Model" }), name), order.box),
    answered.problem, ...told.parts,
    make("p", { class: "hint", text: "The likeliest next words. Press one to append it." }),
    bars,
  );
  el.append(root);
  rebuild();
  return answered.stop;
}

export default { render };
