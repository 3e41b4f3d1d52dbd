// One number in five floating-point formats. `encode` rounds as torch's casts do: to nearest, ties to even, and to the
// formats below fp32 by way of fp32.

const FORMATS = [
  { name: "fp32", exponentBits: 8, fractionBits: 23 },
  { name: "bf16", exponentBits: 8, fractionBits: 7 },
  { name: "fp16", exponentBits: 5, fractionBits: 10 },
  // e4m3 (the variant that PyTorch calls float8_e4m3fn) spends its top exponent on numbers: no infinity, one NaN.
  { name: "fp8 e4m3", exponentBits: 4, fractionBits: 3, finite: true },
  { name: "fp8 e5m2", exponentBits: 5, fractionBits: 2 },
].map((format) => {
  const bias = 2 ** (format.exponentBits - 1) - 1;
  const lowest = 1 - bias;
  const step = 2 ** -format.fractionBits;
  const top = 2 ** format.exponentBits - 1;
  const fullFraction = 2 ** format.fractionBits - 1;
  return {
    ...format, bias, lowest, top,
    width: 1 + format.exponentBits + format.fractionBits,
    largest: format.finite ? (2 - 2 * step) * 2 ** (top - bias) : (2 - step) * 2 ** (top - 1 - bias),
    smallestNormal: 2 ** lowest,
    smallest: 2 ** lowest * step,
    // What a NaN and an overflow turn into, without the sign.
    nan: top * 2 ** format.fractionBits + (format.finite || format.name === "fp8 e5m2" ? fullFraction : 2 ** (format.fractionBits - 1)),
    infinity: format.finite ? null : top * 2 ** format.fractionBits,
  };
});

const scratch = new DataView(new ArrayBuffer(8));

/** The exponent of a double: floor(log2(size)), read off its bits, since Math.log2 rounds. */
function exponentOf(size) {
  scratch.setFloat64(0, size);
  return (scratch.getUint16(0) >> 4 & 0x7ff) - 1023;
}

/** To the nearest integer, ties to the even one; exact for every double. */
function halfEven(size) {
  const floor = Math.floor(size);
  const rest = size - floor;
  if (rest < 0.5 || (rest === 0.5 && floor % 2 === 0)) return floor;
  return floor + 1;
}

/**
 * A number's code in a format, as a non-negative integer of `format.width` bits. Where a format has no infinity, what is
 * too large is held at the largest (`saturates`) or becomes NaN: torch has done the former since 2.12, the latter before.
 */
function encode(number, format, saturates = true) {
  const x = format.name === "fp32" ? number : Math.fround(number);
  const sign = x < 0 || Object.is(x, -0) ? 2 ** (format.width - 1) : 0;
  if (Number.isNaN(x)) return format.nan;
  const size = Math.abs(x);
  const overflow = format.infinity ?? (saturates ? format.nan - 1 : format.nan);
  if (size === Infinity) return sign + overflow;
  // Dividing by a power of two is exact, so that this is the only rounding.
  const unit = 2 ** (Math.max(exponentOf(size), format.lowest) - format.fractionBits);
  const rounded = halfEven(size / unit) * unit;
  if (rounded > format.largest) return sign + overflow;
  if (rounded < format.smallestNormal) return sign + rounded / format.smallest;
  const exponent = exponentOf(rounded);
  const fraction = rounded / 2 ** (exponent - format.fractionBits) - 2 ** format.fractionBits;
  return sign + (exponent + format.bias) * 2 ** format.fractionBits + fraction;
}

/** The parts of a code, and the number it stands for. */
function decode(code, format) {
  const half = 2 ** (format.width - 1);
  const negative = code >= half;
  const rest = code % half;
  const field = Math.floor(rest / 2 ** format.fractionBits);
  const fraction = rest % 2 ** format.fractionBits;
  let size;
  if (format.finite ? rest === format.nan : field === format.top) size = !format.finite && fraction === 0 ? Infinity : NaN;
  else if (field === 0) size = fraction * format.smallest;
  else size = (1 + fraction / 2 ** format.fractionBits) * 2 ** (field - format.bias);
  return { field, fraction, value: negative ? -size : size };
}

/** The distance from a stored number to the next larger in size. */
function spacing({ field }, format) {
  return 2 ** (Math.max(field - format.bias, format.lowest) - format.fractionBits);
}

/** What became of a number: a name, and whether to draw attention to it. */
function fate(number, part, format) {
  const { value, field } = part;
  if (Number.isNaN(number)) return ["not a number", false];
  if (Number.isNaN(value)) return ["overflow: no infinity here, so NaN", true];
  if (Math.abs(number) > format.largest && Math.abs(value) === format.largest && format.finite) return ["overflow: held at the largest", true];
  if (Math.abs(value) === Infinity) return Math.abs(number) === Infinity ? ["infinity", false] : ["overflow to infinity", true];
  if (value === 0) return number === 0 ? ["zero", false] : ["underflow to 0", true];
  if (field === 0) return ["subnormal: fewer digits", true];
  return [value === number ? "exact" : "rounded", false];
}

function brief(number) {
  if (!Number.isFinite(number) || number === 0) return shown(number);
  const size = Math.abs(number);
  return size >= 1e-3 && size < 1e5 ? String(Number(number.toPrecision(5))) : number.toExponential(2);
}

function shown(number) {
  if (Object.is(number, -0)) return "-0";
  return Number.isNaN(number) ? "NaN" : String(number).replace("Infinity", "inf");
}

/** What the learner typed, as a number; NaN and infinities by name, simple fractions and powers of two too. */
function parsed(typed) {
  const words = typed.trim().toLowerCase().replace("−", "-").replace(/(\d)\s*\^\s*/, "$1^");
  const named = { inf: Infinity, "+inf": Infinity, "-inf": -Infinity, infinity: Infinity, "-infinity": -Infinity, nan: NaN };
  if (words in named) return named[words];
  const pair = words.match(/^(-?[\d.e+-]+)\s*([/^])\s*(-?[\d.e+-]+)$/);
  if (pair) return pair[2] === "/" ? Number(pair[1]) / Number(pair[3]) : Number(pair[1]) ** Number(pair[3]);
  const number = words === "" ? NaN : Number(words);
  return Number.isNaN(number) ? null : number;
}

const EXAMPLES = [
  ["0.1", "0.1: no format has it exactly"], ["1/3", "1/3"], ["2049", "2049: fp16 skips every second integer"],
  ["16777217", "16777217: the first integer fp32 lacks"], ["65504", "65504: the largest fp16"],
  ["65520", "65520: the first to overflow fp16"], ["1e-8", "1e-8: a small gradient"],
  ["5.960464477539063e-8", "5.96e-8: the smallest fp16"], ["3e38", "3e38: near the largest fp32"], ["1e-40", "1e-40: subnormal in fp32"],
];

function render({ model, el }) {
  const root = stage("number_formats");
  const told = teller();
  // A flipped bit fixes that format's code; only so can one look at NaN's other codes.
  const state = { number: model.get("value"), flipped: null, code: 0 };

  const field = make("input", { type: "text", value: shown(state.number), spellcheck: "false", "aria-label": "Number", style: "max-width: 190px" });
  const problem = make("p", { class: "problem", role: "alert" });
  field.addEventListener("input", () => {
    const number = parsed(field.value);
    problem.textContent = number === null ? `Expected a number such as 0.1, 1e-8, 1/3, 2^-24 or inf, got “${field.value}”.` : "";
    if (number !== null) set(number, field);
  });
  const size = slider("Size", {
    min: -46, max: 39, step: 0.05, value: -1, shown: (power) => `10^${power.toFixed(1)}`,
    onmove: (power) => set((state.number < 0 ? -1 : 1) * Number((10 ** power).toPrecision(4)), size),
  });
  const examples = make("select", { "aria-label": "Examples", style: "max-width: 220px", onchange: () => set(parsed(examples.value), examples) },
    make("option", { value: "0.1", text: "Examples …", disabled: true, selected: true }),
    ...EXAMPLES.map(([value, name]) => make("option", { value, text: name })));

  const rows = FORMATS.map(row);

  function row(format) {
    const [stored, flag, code] = [make("span", { class: "stored" }), make("span", { class: "flag" }), make("span", { class: "facts" })];
    const facts = make("div", { class: "facts" });
    const bits = Array.from({ length: format.width }, (_, place) => {
      const part = place === 0 ? "sign" : place <= format.exponentBits ? "exponent" : "fraction";
      return make("button", { type: "button", class: "bit", "data-part": part, tabindex: place ? -1 : 0,
        "aria-label": `${format.name} ${part} bit ${format.width - 1 - place}`, onclick: () => flip(format, place), onkeydown: (event) => walk(event, bits, place) });
    });
    const groups = ["sign", "exponent", "fraction"].map((part) => make("span", { class: part }, ...bits.filter((bit) => bit.dataset.part === part)));
    const box = make("div", { class: "format", role: "group", "aria-label": format.name },
      make("div", { class: "head" }, make("b", { text: format.name }), stored, flag, code), make("div", { class: "bits" }, ...groups), facts);
    return { format, stored, flag, code, facts, bits, box };
  }

  /** One tab stop a format; arrow keys move between its bits. */
  function walk(event, bits, place) {
    const next = place + ({ ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0);
    if (next === place || !bits[next]) return;
    event.preventDefault();
    bits[place].tabIndex = -1;
    bits[next].tabIndex = 0;
    bits[next].focus();
  }

  function flip(format, place) {
    const weight = 2 ** (format.width - 1 - place);
    const code = state.flipped === format ? state.code : encode(state.number, format, model.get("saturates"));
    const next = Math.floor(code / weight) % 2 ? code - weight : code + weight;
    set(decode(next, format).value, null, format, next);
  }

  function set(number, origin, flipped = null, code = 0) {
    Object.assign(state, { number, flipped, code });
    if (origin !== field) { field.value = shown(number); problem.textContent = ""; }
    const power = Math.log10(Math.abs(number));
    if (origin !== size && Number.isFinite(power)) size.value = power;
    if (origin !== examples) examples.selectedIndex = 0;
    paint();
  }

  const paint = framed(() => {
    for (const each of rows) update(each);
    told.say(`${shown(state.number)} is stored as ` + rows.slice(0, 3).map(({ format, stored }) => `${stored.textContent} in ${format.name}`).join(", ") + ".");
  });

  function update({ format, stored, flag, code, facts, bits }) {
    const number = state.flipped === format ? state.code : encode(state.number, format, model.get("saturates"));
    const part = decode(number, format);
    bits.forEach((bit, place) => {
      const one = Math.floor(number / 2 ** (format.width - 1 - place)) % 2 === 1;
      bit.textContent = one ? "1" : "0";
      bit.setAttribute("aria-pressed", String(one));
    });
    stored.textContent = shown(part.value);
    const [what, loud] = fate(state.number, part, format);
    flag.textContent = what;
    flag.classList.toggle("loud", loud);
    code.textContent = `0x${number.toString(16).padStart(Math.ceil(format.width / 4), "0")}`;
    const error = part.value - state.number;
    const relative = error && state.number ? ` (${Number((100 * Math.abs(error / state.number)).toPrecision(2))} %)` : "";
    facts.textContent = (Number.isFinite(error) ? `error ${brief(error)}${relative} · gap to the next ${brief(spacing(part, format))} · ` : "")
      + `largest ${brief(format.largest)} · smallest normal ${brief(format.smallestNormal)} · smallest ${brief(format.smallest)}`;
  }

  root.append(
    make("div", { class: "row" }, make("label", { class: "field" }, make("span", { text: "Number" }), field), size.box,
      make("label", { class: "field" }, examples)),
    problem,
    make("p", { class: "hint legend" }, make("span", { class: "sign", text: "sign" }), make("span", { class: "exponent", text: "exponent" }),
      make("span", { class: "fraction", text: "fraction" }), document.createTextNode("Press a bit to flip it; arrow keys move between bits.")),
    ...rows.map(({ box }) => box), told.parts[1],
  );
  el.append(root);
  set(state.number, field);
}

export default { render };
