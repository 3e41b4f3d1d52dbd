"""What the tunings of reviews-gpt share: its adapters, their cards, and what texts cost a model."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from utils import environment
from utils.experiments.results import loss_curve
from utils.metrics import intervals
from utils.models import adapters
from utils.models.pretrained import load_model
from utils.models.scoring import document_log_probs
from utils.models.transformer import GPT
from utils.training.loop import Record, TrainConfig

BASE, SEPARATOR = "reviews-gpt", "<|endoftext|>"
EVERY_LAYER = ("*.query", "*.key", "*.value", "*.output", "*.expand", "*.contract")


def load_adapted(folder: Path) -> tuple[GPT, Tokenizer]:
    """reviews-gpt with a saved adapter, for evaluation.

    Raises: SourceError or AdapterError if its files are missing or do not fit.
    """
    model, tokenizer = load_model(BASE)
    adapters.load_adapter(folder, model)
    return model.eval(), tokenizer


def save_adapted(
    folder: Path, model: GPT, lora: adapters.LoRAConfig, config: TrainConfig, records: Sequence[Record], **card: Any
) -> None:
    """Write a trained adapter in half precision, with a card that says how it was made; `card` adds to it."""
    adapters.save_adapter(folder, model, lora, BASE, {
        "name": folder.name,
        "base": BASE,
        **card,
        "trained_parameters": adapters.count_parameters(model)[0],
        "recipe": dataclasses.asdict(config),
        "hardware": environment.hardware(),
        "versions": {"torch": torch.__version__},
        **loss_curve(records),
        "licence": "Weights: Apache-2.0. The reviews are the work of their authors, collected for research. "
        "For teaching only.",
    }, torch.float16)  # fmt: skip


def until(ids: Sequence[int], stop: int) -> list[int]:
    """The ids before the first `stop`."""
    ids = list(ids)
    return ids[: ids.index(stop)] if stop in ids else ids


def nats(model: nn.Module, fronts: Sequence[list[int]], texts: Sequence[list[int]]) -> np.ndarray:
    """-log p of each text behind its front, in nats, (N,). A front begins with the separator."""
    documents = [np.array(front[1:] + text) for front, text in zip(fronts, texts, strict=True)]
    rows = document_log_probs(model, documents, fronts[0][0])
    return np.array([-row[len(front) - 1 :].sum() for row, front in zip(rows, fronts, strict=True)])


def bits(nats_of: np.ndarray, n_bytes: np.ndarray, baseline: np.ndarray | None = None) -> intervals.Interval:
    """Bits per byte of texts, or how many more than a baseline's on the same texts; texts are drawn whole."""
    other = np.zeros(len(nats_of)) if baseline is None else baseline
    return intervals.paired_bootstrap_ratio(nats_of / np.log(2), other / np.log(2), n_bytes)


def as_numbers(interval: intervals.Interval) -> list[float]:
    """Estimate and both ends, for a result file."""
    return [round(value, 5) for value in (interval.estimate, interval.low, interval.high)]


def as_interval(numbers: Sequence[float], level: float = 0.95) -> intervals.Interval:
    """The interval of a result file."""
    return intervals.Interval(*numbers, level)
