"""Entities in label sequences: spans of BIO labels, their F1, and the most probable sequence that is legal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.metrics import intervals
from utils.metrics.classification import PrecisionRecallF1

Span = tuple[int, int, str]  # first position, the one after the last, and the kind


def spans(labels: Sequence[str]) -> list[Span]:
    """The entities of a sequence of BIO labels, in order: "B-x" begins one, "I-x" right after goes on with it.

    Strict: an "I-x" that follows neither "B-x" nor "I-x" belongs to no entity.
    Raises: ValueError for a label other than "O", "B-x" and "I-x".
    Source: Ramshaw & Marcus (1995) in the form IOB2; seqeval's mode "strict".
    """
    found: list[Span] = []
    start, kind = 0, None
    for i, label in enumerate([*labels, "O"]):
        part, _, name = label.partition("-")
        if not (label == "O" or (part in ("B", "I") and name)):
            raise ValueError(f"labels must be O, B-kind or I-kind, got {label!r} at position {i}")
        if part == "I" and name == kind:
            continue
        if kind is not None:
            found.append((start, i, kind))
        start, kind = i, name if part == "B" else None
    return found


def span_counts(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> np.ndarray:
    """Of each sequence how many entities are right, predicted and true: (N, 3) int64.

    An entity is right if both ends and the kind are. Raises: ValueError for sequences of unequal number or length.
    """
    if len(targets) != len(predictions) or not len(targets):
        raise ValueError(
            f"expected as many predictions as targets, at least one, got {len(predictions)} and {len(targets)}"
        )
    counts = []
    for i, (target, prediction) in enumerate(zip(targets, predictions, strict=True)):
        if len(target) != len(prediction):
            raise ValueError(f"sequence {i}: expected {len(target)} labels, got {len(prediction)}")
        true, found = spans(target), spans(prediction)
        counts.append((len(set(true) & set(found)), len(found), len(true)))
    return np.array(counts)


def entity_f1(counts: np.ndarray) -> PrecisionRecallF1:
    """Precision, recall and F1 over all entities of `span_counts` (N, 3); 0 where a denominator is 0.

    Source: Tjong Kim Sang & De Meulder (2003), section 2.4; seqeval's micro average.
    """
    right, found, true = (int(total) for total in np.asarray(counts).sum(axis=0))
    return PrecisionRecallF1(right / max(found, 1), right / max(true, 1), 2 * right / max(found + true, 1))


def f1_interval(counts: np.ndarray, **options) -> intervals.Interval:
    """Bootstrap interval of F1, whole rows of counts (N, 3) drawn: a row is a sentence, or a paragraph of them."""
    right, found, true = np.asarray(counts, dtype=np.float64).T

    def statistic(rows):
        return 2 * right[rows].sum(-1) / np.maximum(found[rows].sum(-1) + true[rows].sum(-1), 1)

    return intervals.bootstrap(statistic, len(right), **options)


def f1_difference(counts_a: np.ndarray, counts_b: np.ndarray, **options) -> intervals.Interval:
    """Paired bootstrap interval of F1 of a minus F1 of b on the same rows (N, 3)."""
    (a, found_a, true), (b, found_b, _) = np.asarray(counts_a).T, np.asarray(counts_b).T
    return intervals.paired_bootstrap_ratio(2 * a, 2 * b, found_a + true, denominators_b=found_b + true, **options)


def legal_labels(log_probs, labels: Sequence[str]) -> list[str]:
    """The most probable sequence in which each "I-x" follows a "B-x" or "I-x": Viterbi's algorithm.

    log_probs: (T, L), T at least 1. labels: the L labels of the columns.
    Raises: ValueError for shapes that do not fit. Source: Viterbi (1967).
    """
    scores = np.asarray(log_probs, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(labels) or not len(scores):
        raise ValueError(f"log_probs must have the shape (T, {len(labels)}) with T at least 1, got {scores.shape}")
    inside = np.array([label.startswith("I-") for label in labels])
    names = [label.partition("-")[2] for label in labels]
    may_follow = np.array(
        [[not inside[j] or names[i] == names[j] for j in range(len(labels))] for i in range(len(labels))]
    )
    best, back = np.where(inside, -np.inf, scores[0]), []  # a sequence begins with no "I-x"
    for row in scores[1:]:
        ways = np.where(may_follow, best[:, None], -np.inf)  # (from, to)
        back.append(ways.argmax(axis=0))
        best = ways.max(axis=0) + row
    path = [int(best.argmax())]
    for came_from in reversed(back):
        path.append(int(came_from[path[-1]]))
    return [labels[i] for i in reversed(path)]
