// A recording as a recognizer hears it: spectrogram, classes by frame, and the paths of CTC; a cursor through time.

// An image cannot be styled by CSS: --blue and --orange once more.
const INK = { blue: [37, 135, 198], orange: [213, 94, 0] };
const SOUND_RATE = 16000;
const LONGEST_SECONDS = 15;
const LARGEST_FILE = 20e6;

/** A table (columns of frames) as pixels, the last row on top; `shade(column, row)` gives [colour, strength]. */
function pixels(columns, rows, shade) {
  const image = new ImageData(Math.max(1, columns), Math.max(1, rows));
  for (let x = 0; x < columns; x += 1) {
    for (let y = 0; y < rows; y += 1) {
      const [ink, strength] = shade(x, y);
      const at = 4 * ((rows - 1 - y) * columns + x);
      image.data.set(ink, at);
      image.data[at + 3] = 255 * Math.max(0, Math.min(1, strength));
    }
  }
  return image;
}

/** The classes of a frame in falling order of probability: [[class, probability], ...]. */
function ranked(probs, frame, count) {
  const own = [...probs.subarray(frame * count, (frame + 1) * count)];
  return own.map((p, i) => [i, p]).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

/** What of a typed text are digits and spaces (`kept`), the digits alone, and what else there was. */
function onlyDigits(text) {
  const strange = [...new Set(text.replace(/[0-9\s]/gu, ""))].join(" ");
  return { kept: text.replace(/[^0-9\s]/gu, ""), digits: text.replace(/[^0-9]/gu, ""), strange };
}

/** A WAV file of 16-bit samples. */
function wavFile(sound) {
  const head = new DataView(new ArrayBuffer(44));
  const words = [[0, "RIFF"], [8, "WAVE"], [12, "fmt "], [36, "data"]];
  for (const [at, name] of words) [...name].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  head.setUint32(4, 36 + sound.byteLength, true);
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, SOUND_RATE, true);
  head.setUint32(28, 2 * SOUND_RATE, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  head.setUint32(40, sound.byteLength, true);
  return new Blob([head.buffer, sound], { type: "audio/wav" });
}

/** The mean of a decoded recording's channels, as bytes of float32. */
function monoBytes(channels) {
  const mono = new Float32Array(channels[0].length);
  for (const channel of channels) channel.forEach((value, i) => { mono[i] += value / channels.length; });
  return new DataView(mono.buffer);
}

/** What went wrong with the microphone, in words. */
function whyNot(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the microphone. Allow it for this page, or choose a file.";
  if (error.name === "NotFoundError") return "No microphone was found. Connect one, or choose a file.";
  return `The microphone could not be used (${error.name}). Choose a file instead.`;
}

function render({ model, el }) {
  const root = stage("ctc_path");
  const told = teller();
  const state = { frame: 0, frames: 0, probs: new Float32Array(0), posterior: new Float32Array(0) };
  const classes = model.get("classes");
  const query = (changes) => ask(model, root, { query: { ...model.get("query"), ...changes } });
  const answered = onAnswer(model, root, rebuild);
  let asked = 0;

  // What the page itself has to say; Python's errors have a line of their own.
  const note = make("p", { class: "problem", role: "status" });
  const complain = (words) => { note.textContent = words; };

  /** A field for digits; what is none is taken out at once, and said. `send` gets the digits when they have changed. */
  function field(label, value, send) {
    const input = make("input", { type: "text", value, spellcheck: "false", inputmode: "numeric", "aria-label": label });
    let sent = onlyDigits(value).digits;
    const act = () => {
      const { digits } = onlyDigits(input.value);
      if (digits === sent) return;
      sent = digits;
      send(input.value);
    };
    input.addEventListener("input", () => {
      const { kept, strange } = onlyDigits(input.value);
      complain(strange ? `Digits only, from 0 to 9: “${strange}” was left out.` : "");
      if (strange) input.value = kept;
    });
    input.addEventListener("input", settled(act, 250));
    input.addEventListener("change", act);
    return {
      input, box: make("label", { class: "field" }, make("span", { text: label }), input),
      show(text) { if (document.activeElement !== input) { input.value = text; sent = onlyDigits(text).digits; } },
    };
  }

  // What to hear: typed digits in some voice, or a recording.
  const later = settled(query, 120);
  const voice = make("select", { "aria-label": "Voice", onchange: () => query({ voice: voice.value }) },
    ...model.get("voices").map((name) => make("option", { value: name, text: name })));
  const rate = slider("Rate", { min: 100, max: 340, step: 10, value: model.get("query").rate, shown: (v) => `${v} words/min`, onmove: (value) => later({ rate: value }) });
  const noise = slider("Voice above noise", { min: -5, max: 40, step: 5, value: model.get("query").noise, shown: (v) => (v >= 40 ? "no noise" : `${v} dB`), onmove: (value) => later({ noise: value }) });
  const typedRow = make("div", { class: "row" }, field("Digits", model.get("query").text, (text) => query({ text, labels: "" })).box, make("label", { class: "field" }, make("span", { text: "Voice" }), voice), rate.box, noise.box);

  const recorder = make("button", { type: "button", text: "Record", onclick: () => record() });
  const picker = make("input", { type: "file", accept: "audio/*,.wav", "aria-label": "Sound file", onchange: () => pick() });
  const recordedRow = make("div", { class: "row" }, recorder, make("label", { class: "field" }, make("span", { text: "or a file" }), picker));
  let capture = null;

  function send(bytes, kind, sampleRate) {
    asked += 1;
    complain("");
    model.set("recording", bytes);
    query({ kind, sample_rate: sampleRate, asked, labels: "" });
  }

  async function decode(data) {
    // Decoding at this rate also resamples.
    const context = new OfflineAudioContext(1, 1, SOUND_RATE);
    const decoded = await context.decodeAudioData(data);
    if (decoded.duration > 4 * LONGEST_SECONDS) throw new RangeError(`${decoded.duration.toFixed(0)} s`);
    return monoBytes(Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i)));
  }

  async function record() {
    if (capture) { capture.stop(); return; }
    if (!navigator.mediaDevices?.getUserMedia) {
      complain("This page has no way to a microphone (browsers give it to https and localhost only). Choose a file instead.");
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      complain(whyNot(error));
      return;
    }
    const pieces = [];
    capture = new MediaRecorder(stream);
    capture.ondataavailable = ({ data }) => pieces.push(data);
    const timer = setTimeout(() => capture?.stop(), 1000 * LONGEST_SECONDS);
    capture.onstop = async () => {
      clearTimeout(timer);
      stream.getTracks().forEach((track) => track.stop());
      capture = null;
      recorder.textContent = "Record";
      try {
        send(await decode(await new Blob(pieces).arrayBuffer()), "samples", SOUND_RATE);
      } catch (error) {
        complain(`The recording could not be read (${error.name}). Try again, or choose a file.`);
      }
    };
    capture.start();
    recorder.textContent = "Stop";
    complain("");
    told.say(`Recording. Say some digits, then press Stop (it stops by itself after ${LONGEST_SECONDS} s).`);
  }

  async function pick() {
    const file = picker.files[0];
    if (!file) return;
    if (file.size > LARGEST_FILE) {
      complain(`Expected a file of at most ${LARGEST_FILE / 1e6} MB, got ${(file.size / 1e6).toFixed(1)} MB. Cut it to a few seconds.`);
      return;
    }
    const data = await file.arrayBuffer();
    // Python reads WAV files and says what is wrong with one; any other format is the browser's to decode.
    const start = String.fromCharCode(...new Uint8Array(data.slice(0, 4)));
    if (start === "RIFF" || !data.byteLength) { send(new DataView(data), "file", 0); return; }
    try {
      send(await decode(data), "samples", SOUND_RATE);
    } catch (error) {
      complain(error instanceof RangeError ? `Expected at most ${LONGEST_SECONDS} s of sound, got ${error.message}.` : `“${file.name}” is no sound that this browser can read. Save it as a WAV file.`);
    }
  }

  // The pictures, one above the other over the same seconds, with a cursor through all of them.
  const strip = (title, note) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const names = make("div", { class: "names", "aria-hidden": "true" });
    const cursor = make("div", { class: "cursor" });
    const heat = make("div", { class: "heat" }, canvas, cursor);
    heat.addEventListener("click", (event) => {
      const box = heat.getBoundingClientRect();
      move(Math.floor(((event.clientX - box.left) / box.width) * state.frames));
    });
    return { canvas, names, cursor, box: make("figure", {}, make("figcaption", {}, make("b", { text: title }), ` ${note}`), make("div", { class: "strip" }, names, heat)) };
  };
  const spectrum = strip("spectrogram", "low tones below, high above; strong is loud");
  const byFrame = strip("the model", "probability of each class, a column every 40 ms");
  const paths = strip("the paths", "to the labels, from below to above: how likely a path is there; orange is the best one");
  const frame = slider("Time", { min: 0, max: 1, value: 0, shown: (v) => `${(0.04 * v).toFixed(2)} s`, onmove: (value) => { state.frame = value; point(); } });
  const player = make("button", { type: "button", text: "Play", onclick: () => play() });
  const labels = field("Labels to align", "", (text) => query({ labels: text }));
  const facts = make("p", { class: "facts" });
  const bars = make("div", { class: "bars" });
  let playing = null;

  function move(to) {
    state.frame = Math.max(0, Math.min(to, state.frames - 1));
    frame.value = state.frame;
    point();
  }

  function halt() {
    if (!playing) return;
    playing.audio.pause();
    URL.revokeObjectURL(playing.address);
    cancelAnimationFrame(playing.next);
    playing = null;
    player.textContent = "Play";
  }

  function play() {
    if (playing) { halt(); return; }
    const view = model.get("sound");
    const address = URL.createObjectURL(wavFile(view));
    const audio = new Audio(address);
    const [begun, seconds] = [performance.now(), view.byteLength / 2 / SOUND_RATE];
    playing = { audio, address, next: 0 };
    player.textContent = "Stop";
    audio.play().catch(() => {});  // where nothing can be heard, the cursor still shows
    const tick = () => {
      const now = (performance.now() - begun) / 1000;
      move(Math.floor(now / 0.04));
      if (now < seconds) playing.next = requestAnimationFrame(tick);
      else halt();
    };
    tick();
  }

  function rows(names, list) {
    names.replaceChildren(...list.map((name) => make("span", { text: name })));
  }

  function paint(view, columns, count, height, shade) {
    Object.assign(view.canvas, { width: Math.max(1, columns), height: Math.max(1, count) });
    view.canvas.style.height = `${height}px`;
    view.names.style.height = `${height}px`;
    view.canvas.getContext("2d").putImageData(pixels(columns, count, shade), 0, 0);
  }

  function rebuild() {
    const found = model.get("found");
    if (!found.places) return;
    halt();
    state.probs = floats(model.get("probs"));
    state.posterior = floats(model.get("posterior"));
    state.frames = state.probs.length / classes.length;
    const view = model.get("spectrogram");
    const mel = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const [bands, places] = [found.n_mels, found.places];
    paint(spectrum, mel.length / bands, bands, 100, (x, y) => [INK.blue, (mel[x * bands + y] / 255) ** 2]);
    paint(byFrame, state.frames, classes.length, 15 * classes.length, (x, y) => [y === classes.length - 1 ? [127, 127, 127] : INK.blue, Math.sqrt(state.probs[x * classes.length + y])]);
    paint(paths, state.frames, places.length, 15 * places.length, (x, y) => [
      found.path[x] === y ? INK.orange : INK.blue,
      Math.max(found.path[x] === y ? 0.75 : 0, Math.sqrt(state.posterior[x * places.length + y])),
    ]);
    rows(spectrum.names, ["8 kHz", "0"]);
    rows(byFrame.names, [...classes].reverse());
    rows(paths.names, [...places].reverse().map((place) => (place === classes.length - 1 ? "·" : classes[place])));
    frame.limit(state.frames - 1);
    const [heard, aligned] = [found.heard, found.labels].map((list) => list.join(" ") || "nothing");
    labels.show(found.labels.join(" "));
    facts.textContent = `Heard greedily: ${heard}. Labels ${aligned}: ${found.loss == null ? "they do not fit into so few frames, the loss is infinite" : `loss ${found.loss.toFixed(2)} nats, probability ${percent(Math.exp(-found.loss))}`}.`;
    move(state.frame);
  }

  function point() {
    if (!state.frames) return;
    for (const view of [spectrum, byFrame, paths]) view.cursor.style.left = `${(100 * (state.frame + 0.5)) / state.frames}%`;
    const best = ranked(state.probs, state.frame, classes.length).slice(0, 4);
    bars.replaceChildren(...best.map(([i, p]) => make("div", { class: "line" }, make("span", { class: "label", text: classes[i] }),
      make("span", { class: "track" }, make("span", { class: "bar", style: `width: ${100 * p}%` })), make("span", { class: "number", text: percent(p) }))));
    told.say(`At ${(0.04 * state.frame).toFixed(2)} s (frame ${state.frame + 1} of ${state.frames}) the model says ${best[0][0] === classes.length - 1 ? "blank" : `“${classes[best[0][0]]}”`} with ${percent(best[0][1])}.`);
  }

  root.append(
    model.get("mode") === "typed" ? typedRow : recordedRow,
    answered.problem, note,
    make("div", { class: "row" }, player, frame.box, labels.box),
    facts, spectrum.box, byFrame.box, paths.box, bars, ...told.parts,
  );
  el.append(root);
  rebuild();
  return () => { halt(); capture?.stop(); answered.stop(); };
}

export default { render };
