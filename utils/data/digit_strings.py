"""Spoken digit strings: who speaks, how fast, what is said and what is heard beside it; batches for a recognizer.

Voices are split by family (f1 to f5 are one): a recognizer is judged on families, accents and rates it never heard.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
import torch

from utils.data import audio, recordings, speech
from utils.data.batches import IGNORE, Batch

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ("train", "validation", "test")
TEST_ACCENTS = ("en-gb-scotland", "en-us-nyc", "en-gb-x-gbcwmd")
TRAIN_ACCENTS = tuple(accent for accent in speech.ACCENTS if accent not in TEST_ACCENTS)
TRAIN_RATES, SLOW_RATES, FAST_RATES = (130, 260), (90, 120), (280, 330)
LONGEST = 8  # digits of a training string
# The shares of the families, and the seed that deals them out.
TEST_SHARE, VALIDATION_SHARE, FAMILY_SEED = 0.25, 0.08, 18
NOISES = ("white", "pink", "hum")


@dataclass(frozen=True)
class Spoken:
    """A digit string and how it sounds: samples (N,) float32 at 16 kHz."""

    digits: tuple[int, ...]
    utterance: speech.Utterance
    samples: np.ndarray


def family(variant: str) -> str:
    """The family of a voice variant: its name without number or case."""
    return re.sub(r"[\d ]+$", "", variant).lower()


@functools.cache
def families(split: str) -> dict[str, tuple[str, ...]]:
    """The voice families of a split, each with its variants. The three splits share no family.

    Raises: ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    found: dict[str, list[str]] = {}
    for variant in speech.variants():
        found.setdefault(family(variant), []).append(variant)
    names = sorted(found)
    order = np.random.default_rng(FAMILY_SEED).permutation(len(names))
    n_test, n_validation = round(TEST_SHARE * len(names)), round(VALIDATION_SHARE * len(names))
    places = {"test": order[:n_test], "validation": order[n_test : n_test + n_validation],
              "train": order[n_test + n_validation :]}[split]  # fmt: skip
    # Breathy voices would say something else in each run.
    kept = {names[i]: tuple(name for name in found[names[i]] if name not in speech.breathy()) for i in sorted(places)}
    return {name: voices for name, voices in kept.items() if voices}


def to_words(digits: Sequence[int]) -> str:
    """Digits as they are spoken: (4, 0) is "four zero"."""
    return " ".join(WORDS[digit] for digit in digits)


def parse_digits(text: str, longest: int = LONGEST) -> tuple[int, ...]:
    """Typed digits, with or without spaces between: "47 0" is (4, 7, 0).

    Raises: ValueError for an empty text, too many digits, or anything but the digits 0 to 9.
    """
    written = "".join(text.split()) if isinstance(text, str) else ""
    if not written:
        raise ValueError("digits: expected some, such as 4 7 0, got none")
    strange = sorted({character for character in written if character not in "0123456789"})
    if strange:
        shown = ", ".join(repr(character) for character in strange[:3])
        raise ValueError(f"digits: expected only 0 to 9 and spaces, got {shown}")
    if len(written) > longest:
        raise ValueError(f"digits: expected at most {longest}, got {len(written)}")
    return tuple(int(character) for character in written)


def random_digits(rng: np.random.Generator, n: int | None = None) -> tuple[int, ...]:
    """`n` digits, each as likely as any other; without n, 1 to 8 of them."""
    n = int(rng.integers(1, LONGEST + 1)) if n is None else n
    return tuple(int(digit) for digit in rng.integers(10, size=n))


def random_utterance(
    digits: Sequence[int],
    rng: np.random.Generator,
    voices: dict[str, tuple[str, ...]],
    accents: Sequence[str] = TRAIN_ACCENTS,
    rates: tuple[int, int] = TRAIN_RATES,
) -> speech.Utterance:
    """A digit string in the voice of some family, each family as likely, with pauses in every third.

    Raises: ValueError as `speech.Utterance`.
    """
    names = voices[sorted(voices)[int(rng.integers(len(voices)))]]
    variant, accent = names[int(rng.integers(len(names)))], accents[int(rng.integers(len(accents)))]
    text = to_words(digits)
    if rng.random() < 1 / 3:
        text = text.replace(" ", ", ")
    return speech.Utterance(text, f"{accent}+{variant}", int(rng.integers(*rates)), int(rng.integers(25, 76)))


def draw_spoken(
    n: int,
    seed: int,
    split: str = "train",
    accents: Sequence[str] = TRAIN_ACCENTS,
    rates: tuple[int, int] = TRAIN_RATES,
    strings: Sequence[tuple[int, ...]] | None = None,
) -> list[Spoken]:
    """`n` spoken digit strings of a split's voices, without noise: random ones, or the given ones.

    The same arguments give the same samples, and fewer of them the first ones.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    voices = families(split)
    said, utterances = [], []
    for number in range(n):
        said.append(random_digits(rng) if strings is None else strings[number])
        utterances.append(random_utterance(said[-1], rng, voices, accents, rates))
    sounds = speech.synthesize_many(utterances)
    return [Spoken(*parts) for parts in zip(said, utterances, sounds, strict=True)]


def noise(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (n,) of mean square 1: "white" (all frequencies alike), "pink" (less the higher) or "hum" (mains, 50 Hz).

    Raises: ValueError for another kind.
    """
    if kind not in NOISES:
        raise ValueError(f"noise: expected one of {NOISES}, got {kind!r}")
    if kind == "hum":
        times = np.arange(n) / recordings.SAMPLE_RATE
        made = sum(np.sin(2 * np.pi * 50 * k * times + rng.uniform(0, 6.28)) / k for k in range(1, 12))
        made = made + 0.05 * rng.standard_normal(n)
    else:
        made = rng.standard_normal(n)
        if kind == "pink":
            spectrum = np.fft.rfft(made)
            made = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), n)
    return (made / np.sqrt(np.mean(made**2) + 1e-12)).astype(np.float32)


def add_noise(samples: np.ndarray, decibels: float, rng: np.random.Generator, kind: str = "white") -> np.ndarray:
    """Samples with noise so loud that the mean power of the sound is `decibels` above it. Shapes: (N,) -> (N,)."""
    loudness = np.sqrt(np.mean(samples**2))
    return samples + (loudness * 10 ** (-decibels / 20) * noise(kind, len(samples), rng)).astype(np.float32)


def heard(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples as some microphone in some room hears them: another speaker's size, an echo, noise, silence around.

    Played faster or slower, a voice sounds like that of a smaller or larger speaker.
    """
    speed = float(np.exp(rng.uniform(-0.16, 0.16)))
    samples = np.interp(np.arange(0, len(samples) - 1, speed), np.arange(len(samples)), samples).astype(np.float32)
    if rng.random() < 0.4:
        seconds = rng.uniform(0.05, 0.3)
        length = int(seconds * recordings.SAMPLE_RATE)
        echo = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length) * rng.uniform(0.02, 0.1)
        echo[0] = 1.0
        samples = scipy.signal.fftconvolve(samples, echo).astype(np.float32)
    before, after = rng.integers(0, 6000, size=2)
    samples = np.pad(samples, (int(before), int(after)))
    kind = NOISES[int(rng.integers(len(NOISES)))]
    return add_noise(samples, rng.uniform(3, 40), rng, kind)


def masked(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Features (T, M) with a few bands, and now and then a few frames, set to their mean, 0.

    Source: Park et al. 2019, "SpecAugment", section 2.
    """
    features = features.clone()
    for _ in range(2):
        width = int(rng.integers(0, 6))
        start = int(rng.integers(0, features.shape[1] - width))
        features[:, start : start + width] = 0
    width = int(rng.integers(0, min(9, features.shape[0])))
    start = int(rng.integers(0, features.shape[0] - width))
    features[start : start + width] = 0
    return features


def collate(features: Sequence[torch.Tensor], strings: Sequence[Sequence[int]]) -> Batch:
    """Features (T, M) of recordings and their digits as a batch: `features` (B, T, M), `frame_mask` (B, T), `targets`.

    Raises: ValueError for no recordings, or unequal numbers.
    """
    if not features or len(features) != len(strings):
        raise ValueError(f"batch: expected as many digit strings as recordings, got {len(strings)} and {len(features)}")
    lengths = torch.tensor([len(one) for one in features])
    targets = [torch.tensor(list(digits), dtype=torch.long) for digits in strings]
    return {
        "features": torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True),
        "frame_mask": torch.arange(int(lengths.max())) < lengths[:, None],
        "targets": torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORE),
    }


def training_batches(spoken: Sequence[Spoken], batch_size: int, seed: int, start: int = 0) -> Iterator[Batch]:
    """Endless batches of strings as they might be heard: new noise, room and speed each time. Batch m follows from
    (seed, m) alone; recordings of about the same length stand together."""
    order = np.argsort([len(one.samples) for one in spoken], kind="stable")
    batch_size = min(batch_size, len(spoken))
    number = start
    while True:
        rng = np.random.default_rng([seed, number])
        # A window of the lengths, wide enough that a batch is never the same twice.
        width = min(len(spoken), 8 * batch_size)
        first = int(rng.integers(-width // 2, len(spoken) - width // 2))
        window = order[max(0, first) : max(0, first) + width]
        rows = rng.choice(window, size=min(batch_size, len(window)), replace=False)
        made = [masked(audio.features(torch.from_numpy(heard(spoken[i].samples, rng))), rng) for i in rows]
        yield collate(made, [spoken[i].digits for i in rows])
        number += 1
