"""Scoring: the log-probability that a causal model gives to each token of documents of any length."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from utils.data.batches import IGNORE

TOKENS_PER_BATCH = 1024


def windows(n_tokens: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """How a document is read: (first, end, scored from) of each window, positions counted from the first token.

    Windows overlap by context - stride tokens; each token is scored once, in the first window that reaches it.
    """
    found, done, start = [], 0, 0
    while done < n_tokens:
        end = min(start + context, n_tokens)
        found.append((start, end, done))
        done, start = end, start + stride
    return found


@torch.inference_mode()
def document_log_probs(
    model: nn.Module, documents: Sequence[np.ndarray], separator: int, stride: int | None = None
) -> list[np.ndarray]:
    """Natural log-probability of each token given those before it; each document begins behind `separator`.

    Windows of all documents are read in batches of like lengths, padded on the right: a causal model sees no padding.
    Shapes: each document (T,) -> (T,) float64.
    Raises: ValueError for an empty document or a stride that is not from 1 to context_length.
    """
    context = model.config.context_length
    stride = context // 2 if stride is None else stride
    lengths = [len(tokens) for tokens in documents]
    if min(lengths, default=1) == 0 or not 1 <= stride <= context:
        raise ValueError(
            f"document_log_probs: expected at least one token a document and a stride from 1 to {context}, got "
            f"{min(lengths, default=0)} tokens in the shortest and stride {stride}"
        )
    scores = [np.empty(length) for length in lengths]
    jobs = [(i, *window) for i, length in enumerate(lengths) for window in windows(length, context, stride)]
    jobs.sort(key=lambda job: job[2] - job[1])
    while jobs:
        width = jobs[-1][2] - jobs[-1][1]
        size = max(1, TOKENS_PER_BATCH // width)
        jobs, batch = jobs[:-size], jobs[-size:]
        for (i, first, end, scored), row in zip(batch, _score(model, documents, batch, width, separator), strict=True):
            scores[i][scored:end] = row[scored - first : end - first]
    return scores


def _score(model: nn.Module, documents: Sequence[np.ndarray], batch: list, width: int, separator: int) -> np.ndarray:
    """Log-probabilities of a batch of windows (document, first, end, _), (B, width) float64; 0 at padding."""
    rows = np.full((len(batch), width + 1), IGNORE)
    for row, (i, first, end, _) in zip(rows, batch, strict=True):
        row[0] = documents[i][first - 1] if first else separator
        row[1 : end - first + 1] = documents[i][first:end]
    ids = torch.from_numpy(rows).to(next(model.parameters()).device)
    logits = model(ids[:, :-1].clamp(min=0)).float()
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=IGNORE, reduction="none")
    return -losses.view(len(batch), width).double().cpu().numpy()


def token_log_probs(model: nn.Module, tokens: np.ndarray, separator: int, stride: int | None = None) -> np.ndarray:
    """Natural log-probability of each token of one document; see `document_log_probs`. Shapes: (T,) -> (T,) float64."""
    return document_log_probs(model, [np.asarray(tokens)], separator, stride)[0]
