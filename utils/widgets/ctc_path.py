"""A recording as a recognizer hears it: spectrogram, each frame's classes, and the paths of CTC to some labels."""

from collections.abc import Callable

import numpy as np
import torch
import traitlets

from utils.data import audio, digit_strings, recordings, speech
from utils.models import ctc, ctc_search
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, packed, source

VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-gb-scotland+m7", "en+klatt2", "en-029+grandma", "en-us+whisper")
MOST_DIGITS = 12
LOUDEST_NOISE, NO_NOISE = -5, 40  # decibels of the voice above it


class CtcPathExplorer(Explorer):
    """The widget; `explore_ctc_path` and `explore_recording` make it."""

    _esm = source("ctc_path")
    _css = Explorer._css + (FOLDER / "ctc_path.css").read_text(encoding="utf-8")
    mode = traitlets.Unicode().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    voices = traitlets.List().tag(sync=True)
    # The page's question: what to say and how, or which recording; and the labels to align, "" for those said or heard.
    query = traitlets.Dict().tag(sync=True)
    # A recording from the page: the bytes of a WAV file, or float32 samples at `query["rate"]`.
    recording = traitlets.Bytes().tag(sync=True)
    # The answer: sound (int16 at 16 kHz), spectrogram (T, M) as bytes, probabilities (P, C), posteriors (P, S), more.
    sound = traitlets.Bytes().tag(sync=True)
    spectrogram = traitlets.Bytes().tag(sync=True)
    probs = traitlets.Bytes().tag(sync=True)
    posterior = traitlets.Bytes().tag(sync=True)
    found = traitlets.Dict().tag(sync=True)

    def __init__(self, listen: Callable, mode: str, text: str, samples=None) -> None:
        self._listen, self._said, self._heard = listen, None, samples
        query = {"text": text, "voice": VOICES[0], "rate": 175, "noise": NO_NOISE, "labels": ""}
        classes = [str(digit) for digit in range(10)] + ["blank"]
        super().__init__(mode=mode, classes=classes, voices=list(VOICES), query=query)
        self._recompute()
        self.observe(self._recompute, "query")

    def _recompute(self, _=None) -> None:
        self.answer(self._run)

    def _run(self) -> dict:
        samples, said = self._typed() if self.mode == "typed" else (self._recorded(), None)
        with torch.inference_mode():
            log_probs = torch.as_tensor(self._listen(samples)).float().cpu()
            mel = audio.log_mel(torch.from_numpy(samples))
        if log_probs.dim() != 2 or log_probs.shape[1] != len(self.classes):
            raise ValueError(f"Expected log-probabilities (P, {len(self.classes)}), got {tuple(log_probs.shape)}.")
        blank = len(self.classes) - 1
        heard = ctc_search.greedy(log_probs, blank)
        typed = self.query["labels"].strip()
        labels = heard if said is None else list(said)
        if typed:
            labels = list(digit_strings.parse_digits(typed, MOST_DIGITS))
        scaled = 255 * (mel - mel.min()) / (mel.max() - mel.min()).clamp(min=1e-6)
        return {
            "sound": (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(),
            "spectrogram": scaled.round().to(torch.uint8).numpy().tobytes(),
            "probs": packed(log_probs.exp()),
            **self._aligned(log_probs, labels, heard, len(samples) / recordings.SAMPLE_RATE, mel.shape[1]),
        }

    def _aligned(self, log_probs: torch.Tensor, labels: list, heard: list, seconds: float, n_mels: int) -> dict:
        """The paths to the labels, as the page gets them; none when they do not fit into the frames."""
        blank = len(self.classes) - 1
        lattice = ctc.lattice(log_probs, labels, blank)
        fits = ctc.frames_needed(labels) <= len(log_probs)
        return {
            "posterior": packed(lattice.posterior),
            "found": {
                "heard": heard,
                "labels": labels,
                "places": lattice.places.tolist(),
                "path": ctc.best_path(log_probs, labels, blank) if fits else [],
                "loss": lattice.loss if fits else None,
                "seconds": seconds,
                "n_mels": n_mels,
            },
        }

    def _typed(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """The typed digits as sound, synthesized once for each way to say them."""
        q = self.query
        digits = digit_strings.parse_digits(q["text"], MOST_DIGITS)
        key = (digits, q["voice"], int(q["rate"]))
        if self._said is None or self._said[0] != key:
            samples, rate = speech.synthesize(digit_strings.to_words(digits), q["voice"], int(q["rate"]))
            self._said = key, recordings.resample(samples, rate)
        samples = self._said[1]
        if q["noise"] < NO_NOISE:
            samples = digit_strings.add_noise(samples, float(q["noise"]), np.random.default_rng(0))
        return samples, digits

    def _recorded(self) -> np.ndarray:
        """The page's recording, mono and at 16 kHz; until there is one, what the cell gave."""
        if self.recording:
            if self.query.get("kind") == "file":
                samples, rate = recordings.read_wav(bytes(self.recording))
            else:
                samples, rate = np.frombuffer(self.recording, "<f4"), int(self.query["sample_rate"])
            return recordings.usable(samples, rate)
        if self._heard is None:
            raise ValueError("Nothing was recorded yet: press Record, or choose a file.")
        return self._heard

    def says(self) -> str:
        if not self.found:
            return f"Nothing could be heard: {self.error}"
        heard, labels = (" ".join(map(str, self.found[name])) or "nothing" for name in ("heard", "labels"))
        loss = "do not fit" if self.found["loss"] is None else f"{self.found['loss']:.2f} nats"
        return f"{self.found['seconds']:.2f} s of sound; heard greedily: {heard}. Labels {labels}: {loss}."

    def still(self) -> str:
        if not self.found:
            return ""
        probs = np.frombuffer(self.probs, "<f4").reshape(-1, len(self.classes))
        runs = {name: (np.arange(len(probs)) * 0.04, probs[:, i]) for i, name in enumerate(self.classes)
                if probs[:, i].max() > 0.3}  # fmt: skip
        return still.curves(runs, "Probability of each class against seconds")


def explore_ctc_path(listen: Callable, text: str = "4 7 7 0") -> CtcPathExplorer:
    """Type digits, choose voice, rate and noise; see the spectrogram, the model's classes by frame, and CTC's paths.

    `listen(samples)` takes samples (N,) float32 at 16 kHz and returns log-probabilities (P, 11) of the ten digits and
    the blank. Its ValueErrors are shown in the widget; up to 12 digits.
    """
    return CtcPathExplorer(listen, "typed", text)


def explore_recording(listen: Callable, samples=None) -> CtcPathExplorer:
    """The same for the learner's own voice: a recorder and a file picker. `samples` (N,) at 16 kHz are shown first.

    Where there is no microphone, or no leave to use it, the widget says so; a bad recording is one plain sentence.
    """
    return CtcPathExplorer(listen, "recorded", "", samples)
