"""Connectionist temporal classification: the probability of labels, summed over all ways to spread them in time.

A path gives each frame one label or the blank; collapsing it merges what repeats and drops the blanks. The extended
sequence puts a blank around every label; its S = 2U + 1 places are the rows of the lattice.
Letters in shape comments: T frames, C classes (the blank among them), U labels, S places.
Source: Graves et al. 2006, "Connectionist Temporal Classification", sections 3 and 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lattice:
    """What the forward-backward pass finds, in log space.

    `places` (S,) the extended sequence; `alpha` (T, S) all beginnings that are at a place at a time, that frame
    included; `beta` (T, S) all endings from there, without it; `posterior` (T, S) the probability of being there, given
    the labels; `loss` in nats.
    """

    places: Tensor
    alpha: Tensor
    beta: Tensor
    posterior: Tensor
    loss: float


def collapse(path: Sequence[int], blank: int) -> list[int]:
    """The labels of a path: merge what repeats, then drop the blanks."""
    return [int(label) for label, _ in groupby(int(label) for label in path) if label != blank]


def extended(labels: Sequence[int], blank: int) -> Tensor:
    """A blank before, between and after the labels: (2U + 1,)."""
    places = torch.full((2 * len(labels) + 1,), blank, dtype=torch.long)
    places[1::2] = torch.tensor([int(label) for label in labels], dtype=torch.long)
    return places


def frames_needed(labels: Sequence[int]) -> int:
    """The fewest frames that a sequence fits into: one a label, and a blank between equal neighbors."""
    return len(labels) + sum(int(a) == int(b) for a, b in zip(labels, labels[1:], strict=False))


def _checked(log_probs: Tensor, labels: Sequence[int], blank: int) -> None:
    """Raise ValueError unless the arguments make a lattice."""
    if log_probs.dim() != 2 or not len(log_probs) or not log_probs.is_floating_point():
        raise ValueError(
            f"log_probs: expected shape (T, C) with at least one frame, got {tuple(log_probs.shape)} {log_probs.dtype}"
        )
    n_classes = log_probs.shape[1]
    if not 0 <= blank < n_classes:
        raise ValueError(f"blank: expected a class from 0 to {n_classes - 1}, got {blank}")
    wrong = sorted({int(label) for label in labels if int(label) == blank or not 0 <= int(label) < n_classes})
    if wrong:
        raise ValueError(f"labels: expected classes from 0 to {n_classes - 1} without the blank {blank}, got {wrong}")


def _arrivals(before: Tensor, skips: Tensor) -> Tensor:
    """Log-sum over the ways into each place: from itself, from the one before, and where allowed from two before."""
    minus_infinity = before.new_full((2,), -math.inf)
    padded = torch.cat([minus_infinity, before])
    two_before = padded[:-2].masked_fill(~skips, -math.inf)
    return torch.stack([before, padded[1:-1], two_before]).logsumexp(dim=0)


def _skips(places: Tensor, blank: int) -> Tensor:
    """Where a path may come from two places before: at a label that differs from the one before it. (S,) bool."""
    skips = torch.zeros(len(places), dtype=torch.bool)
    skips[2:] = (places[2:] != blank) & (places[2:] != places[:-2])
    return skips


def forward_scores(log_probs: Tensor, labels: Sequence[int], blank: int) -> Tensor:
    """alpha (T, S): log-probability of all beginnings of a path that stand at a place after a frame.

    Source: Graves et al. 2006, equations 5 to 7.
    """
    _checked(log_probs, labels, blank)
    places = extended(labels, blank)
    skips = _skips(places, blank)
    emitted = log_probs[:, places]  # (T, S)
    start = torch.full((len(places),), -math.inf, dtype=log_probs.dtype)
    start[0] = 0.0
    rows = [_arrivals(start, skips & False) + emitted[0]]
    for t in range(1, len(log_probs)):
        rows.append(_arrivals(rows[-1], skips) + emitted[t])
    return torch.stack(rows)


def backward_scores(log_probs: Tensor, labels: Sequence[int], blank: int) -> Tensor:
    """beta (T, S): log-probability of all endings of a path after a place and frame; 0 where it may end.

    It is the forward pass over the reversed time and labels, without the frame itself.
    Source: Graves et al. 2006, equations 9 to 11, but for the frame itself, which they count in both.
    """
    backwards = forward_scores(log_probs.flip(0), list(labels)[::-1], blank).flip(0, 1)
    emitted = log_probs[:, extended(labels, blank)]
    # -inf less -inf has no value: what cannot be reached stays -inf.
    return torch.where(backwards.isneginf(), backwards, backwards - emitted)


def lattice(log_probs: Tensor, labels: Sequence[int], blank: int) -> Lattice:
    """The whole forward-backward pass; loss infinity and posterior 0 when the labels do not fit into the frames.

    Shapes: log_probs (T, C) -> see `Lattice`.
    Raises: ValueError for shapes or labels that make no lattice.
    """
    alpha = forward_scores(log_probs, labels, blank)
    beta = backward_scores(log_probs, labels, blank)
    total = alpha[-1, -2:].logsumexp(dim=0)
    posterior = torch.zeros_like(alpha) if total.isneginf() else (alpha + beta - total).exp()
    return Lattice(extended(labels, blank), alpha, beta, posterior, -float(total))


def gradient(log_probs: Tensor, labels: Sequence[int], blank: int) -> Tensor:
    """d loss / d logits (T, C): what the model expects in a frame, less what the labels say about it.

    Impossible labels give 0. Source: Graves et al. 2006, equation 16.
    """
    found = lattice(log_probs, labels, blank)
    if math.isinf(found.loss):
        return torch.zeros_like(log_probs)
    occupied = torch.zeros_like(log_probs).index_add(1, found.places, found.posterior)
    return log_probs.exp() - occupied


def best_path(log_probs: Tensor, labels: Sequence[int], blank: int) -> list[int]:
    """The likeliest single path that collapses to the labels, as T places of the extended sequence (Viterbi).

    Raises: ValueError if the labels do not fit into the frames.
    """
    _checked(log_probs, labels, blank)
    if frames_needed(labels) > len(log_probs):
        raise ValueError(f"labels: expected at most {len(log_probs)} frames' worth, got {frames_needed(labels)}")
    places = extended(labels, blank)
    emitted = log_probs[:, places]
    score = torch.full((len(places),), -math.inf, dtype=log_probs.dtype)
    score[:2] = emitted[0, :2]
    skips, origins = _skips(places, blank), []
    for frame in emitted[1:]:
        padded = torch.cat([score.new_full((2,), -math.inf), score])
        ways = torch.stack([score, padded[1:-1], padded[:-2].masked_fill(~skips, -math.inf)])
        best, origin = ways.max(dim=0)
        origins.append(origin)
        score = best + frame
    place = len(places) - 1
    if len(places) > 1 and score[-2] > score[-1]:
        place -= 1
    path = [place]
    for origin in reversed(origins):
        path.append(path[-1] - int(origin[path[-1]]))
    return path[::-1]
