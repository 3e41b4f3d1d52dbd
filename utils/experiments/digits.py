"""The recognizer of spoken digits: its recipe, its test sets, its errors."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from utils.data import audio, digit_strings
from utils.metrics import intervals
from utils.metrics.error_rate import align
from utils.models.config import TransformerConfig
from utils.models.recognizer import BLANK, Recognizer
from utils.training import objectives
from utils.training.loop import Record, TrainConfig, Trainer

SEED, TEST_SEED = 18, 1018
N_TRAIN, N_TEST, BATCH_SIZE = 3000, 300, 16
STEPS, LEARNING_RATE = 900, 2e-3
LIVE_STRINGS, LIVE_STEPS, LIVE_RATE = 800, 400, 3e-3  # of the small one, within a minute
# Name: voices' split, accents, rates. What a set does not change is as in training.
TEST_SETS = {
    "heard voices": ("train", digit_strings.TRAIN_ACCENTS, digit_strings.TRAIN_RATES),
    "unheard voices": ("test", digit_strings.TRAIN_ACCENTS, digit_strings.TRAIN_RATES),
    "unheard accents": ("train", digit_strings.TEST_ACCENTS, digit_strings.TRAIN_RATES),
    "slower": ("train", digit_strings.TRAIN_ACCENTS, digit_strings.SLOW_RATES),
    "faster": ("train", digit_strings.TRAIN_ACCENTS, digit_strings.FAST_RATES),
    "unheard voices, accents and rates": ("test", digit_strings.TEST_ACCENTS, digit_strings.FAST_RATES),
}


def config(small: bool = False) -> TransformerConfig:
    """The recognizer's sizes: those of the shipped one, or of one that learns in a minute."""
    sizes = dict(d_model=96, n_layers=2, d_ff=256) if small else dict(d_model=128, n_layers=4, d_ff=384)
    return TransformerConfig(vocab_size=BLANK + 1, n_heads=4, dropout=0.1, positions="rotary", tied=False, **sizes)


def train(
    model: Recognizer, spoken: Sequence[digit_strings.Spoken], steps: int, learning_rate: float, seed: int
) -> Iterator[Record]:
    """Train a recognizer on spoken strings, heard through new noise and rooms each time; yields a record a step."""
    recipe = training_config(steps, learning_rate)
    batches = digit_strings.training_batches(spoken, BATCH_SIZE, seed)
    yield from Trainer(model, objectives.ctc, recipe).fit(batches)


def training_config(steps: int, learning_rate: float) -> TrainConfig:
    """How the recognizer is trained."""
    return TrainConfig(
        max_steps=steps, learning_rate=learning_rate, warmup_steps=max(1, steps // 12), floor=0.02, betas=(0.9, 0.98)
    )


def test_set(name: str, n: int = N_TEST, decibels: float | None = None) -> list[digit_strings.Spoken]:
    """Spoken strings of a test set, heard 10 to 30 dB above white noise, or as many as are given.

    Raises: ValueError for an unknown name.
    """
    if name not in TEST_SETS:
        raise ValueError(f"test set: expected one of {', '.join(TEST_SETS)}, got {name!r}")
    split, accents, rates = TEST_SETS[name]
    return noisy(digit_strings.draw_spoken(n, TEST_SEED, split, accents, rates), decibels)


def noisy(spoken: Sequence[digit_strings.Spoken], decibels: float | None = None) -> list[digit_strings.Spoken]:
    """The same strings in white noise: `decibels` below the voice, or 10 to 30, another each."""
    made = []
    for number, one in enumerate(spoken):
        rng = np.random.default_rng([TEST_SEED, number])
        level = rng.uniform(10, 30) if decibels is None else decibels
        made.append(dataclasses.replace(one, samples=digit_strings.add_noise(one.samples, level, rng)))
    return made


@torch.inference_mode()
def frame_log_probs(
    model: Recognizer, spoken: Sequence[digit_strings.Spoken], batch_size: int = 25
) -> list[torch.Tensor]:
    """Log-probabilities (P, C) of each recording, in evaluation mode; the model's mode is restored."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    order, found = np.argsort([len(one.samples) for one in spoken], kind="stable"), [None] * len(spoken)
    try:
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = digit_strings.collate(
                [audio.features(torch.from_numpy(spoken[i].samples)) for i in rows], [spoken[i].digits for i in rows]
            )
            log_probs, lengths = model(batch["features"].to(device), batch["frame_mask"].to(device))
            for row, values, length in zip(rows, log_probs.cpu(), lengths.tolist(), strict=True):
                found[row] = values[:length]
    finally:
        model.train(was_training)
    return found


def edits(spoken: Sequence[digit_strings.Spoken], found: Sequence[Sequence[int]]) -> np.ndarray:
    """Word edits of each string: (N,)."""
    return np.array([align(one.digits, tuple(labels)).distance for one, labels in zip(spoken, found, strict=True)])


def error_rate(spoken: Sequence[digit_strings.Spoken], wrong: np.ndarray) -> intervals.Interval:
    """Word error rate, with a bootstrap interval over the strings."""
    words = np.array([len(one.digits) for one in spoken])
    return intervals.bootstrap(lambda rows: wrong[rows].sum(-1) / words[rows].sum(-1), len(spoken), n_resamples=4000)


def confusions(spoken: Sequence[digit_strings.Spoken], found: Sequence[Sequence[int]]) -> np.ndarray:
    """How often each digit was taken for each: (11, 11), rows what was said; the last is nothing."""
    table = np.zeros((11, 11), dtype=np.int64)
    for one, labels in zip(spoken, found, strict=True):
        for said, taken in align(one.digits, tuple(labels)).pairs:
            table[10 if said is None else said, 10 if taken is None else taken] += 1
    return table
