"""The recognizer of spoken digits: its recipe, its test sets, its errors, and the named command that trains it."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from tqdm.auto import tqdm

from utils import environment
from utils.data import audio, digit_strings, sources, speech
from utils.experiments.fine_tuning import one_process
from utils.metrics import intervals
from utils.metrics.error_rate import align
from utils.models import ctc_search
from utils.models.config import TransformerConfig
from utils.models.recognizer import BLANK, Recognizer, load_recognizer
from utils.training import objectives
from utils.training.loop import Record, TrainConfig, Trainer

SEED, TEST_SEED = 18, 1018
FOLDER = sources.WEIGHTS / "digits-recognizer"
RESULTS = sources.WEIGHTS.parent / "results" / "digits.json"
N_TRAIN, N_TEST, BATCH_SIZE = 3000, 300, 24
STEPS, LEARNING_RATE = 2400, 2e-3
# Name: voices' split, accents, rates. What a set does not change is as in training.
TEST_SETS = {
    "heard voices": ("train", digit_strings.TRAIN_ACCENTS, digit_strings.TRAIN_RATES),
    "unheard voices": ("test", digit_strings.TRAIN_ACCENTS, digit_strings.TRAIN_RATES),
    "unheard accents": ("train", digit_strings.TEST_ACCENTS, digit_strings.TRAIN_RATES),
    "slower": ("train", digit_strings.TRAIN_ACCENTS, digit_strings.SLOW_RATES),
    "faster": ("train", digit_strings.TRAIN_ACCENTS, digit_strings.FAST_RATES),
    "unheard voices, accents and rates": ("test", digit_strings.TEST_ACCENTS, digit_strings.FAST_RATES),
}
NOISE_LEVELS = (20, 10, 5, 0, -5)  # decibels


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
def frame_log_probs(model: Recognizer, spoken: Sequence[digit_strings.Spoken], batch_size: int = 25) -> list[torch.Tensor]:
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


def numbers(interval: intervals.Interval) -> dict[str, float]:
    """An interval for a result file."""
    return {name: round(getattr(interval, name), 5) for name in ("estimate", "low", "high")}


def measure(model: Recognizer) -> dict:
    """Greedy word error rates of every test set, and of the unheard voices in more and more noise."""
    sets, noise = {}, {}
    for name in TEST_SETS:
        spoken = test_set(name)
        found = [ctc_search.greedy(one, BLANK) for one in frame_log_probs(model, spoken)]
        sets[name] = numbers(error_rate(spoken, edits(spoken, found)))
        if name == "unheard voices":
            table = confusions(spoken, found)
    clean = digit_strings.draw_spoken(N_TEST, TEST_SEED, "test")
    for level in NOISE_LEVELS:
        spoken = noisy(clean, level)
        found = [ctc_search.greedy(one, BLANK) for one in frame_log_probs(model, spoken)]
        noise[str(level)] = numbers(error_rate(spoken, edits(spoken, found)))
    return {"word_error_rate": sets, "noise_decibels": noise, "confusions_of_unheard_voices": table.tolist()}


def save_recognizer(folder: Path, model: Recognizer, card: dict) -> None:
    """Write `config.json`, `model.safetensors` (half precision) and `card.json`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.detach().cpu().half().contiguous() for name, tensor in model.state_dict().items()})
    settings = {"n_mels": model.n_mels, **model.config.to_dict()}
    card = {**card, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    contents = {"config.json": settings, "card.json": card, "model.safetensors": weights}
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else (json.dumps(content, indent=1) + "\n").encode()
        part = folder / f".{name}.part"
        part.write_bytes(data)
        part.replace(folder / name)


def digits_recognizer(folder: Path | None = None, max_steps: int | None = None) -> Path:
    """Train the course's recognizer of spoken digits, save it in half precision, and measure what was saved."""
    one_process("digits-recognizer")
    began, results = time.perf_counter(), RESULTS if folder is None else folder / RESULTS.name
    folder = folder or FOLDER
    environment.seed_everything(SEED)
    spoken = digit_strings.draw_spoken(N_TRAIN, SEED)
    model, steps = Recognizer(config()), max_steps or STEPS
    records = list(tqdm(train(model, spoken, steps, LEARNING_RATE, SEED), total=steps, desc=folder.name))
    trained = time.perf_counter()
    seconds = sum(len(one.samples) for one in spoken) / 16_000
    provenance = {
        "command": "python -m utils.launch digits-recognizer",
        "seed": SEED,
        "hardware": environment.hardware(),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, speech.PACKAGE: speech.VERSION},
        "data": f"{len(spoken)} strings of 1 to {digit_strings.LONGEST} digits ({seconds / 60:.0f} minutes), spoken by "
        f"eSpeak NG in {len(digit_strings.families('train'))} voice families, made noisy anew in each step",
    }
    card = {
        "name": "digits-recognizer",
        **provenance,
        "recipe": dataclasses.asdict(training_config(steps, LEARNING_RATE)),
        "batch_size": BATCH_SIZE,
        "minutes": round((trained - began) / 60, 1),
        "loss_every_steps": 20,
        "loss_nats": [round(float(np.mean([r.loss for r in records[i : i + 20]])), 4) for i in range(0, steps, 20)],
        "licence": "Weights: Apache-2.0. Trained on speech made with eSpeak NG (GPL-3.0-or-later). For teaching only.",
    }
    save_recognizer(folder, model, card)
    found = {**provenance, **measure(load_recognizer(folder)), "minutes": round((time.perf_counter() - began) / 60, 1)}
    results.parent.mkdir(parents=True, exist_ok=True)
    part = results.with_name(f".{results.name}.part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(results)
    return folder
