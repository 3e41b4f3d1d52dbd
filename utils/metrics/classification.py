"""How good a classifier is: accuracy, the confusion matrix, precision, recall, F1, and calibration."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax


class PrecisionRecallF1(NamedTuple):
    """Three fractions from 0 to 1; arrays (C,) when asked for class by class."""

    precision: float | np.ndarray
    recall: float | np.ndarray
    f1: float | np.ndarray


class ReliabilityBins(NamedTuple):
    """One entry a bin of confidence; a bin that holds nothing has NaN as its confidence and accuracy.

    edges: (n_bins + 1,) from 0 to 1. counts: (n_bins,) int64.
    confidence, accuracy: (n_bins,) float64, the means over the bin's predictions.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def accuracy(targets, predictions) -> float:
    """The fraction of predictions that equal their target, both (N,) class numbers.

    Raises: ValueError for empty or unequal lengths, or what is not a class number.
    Source: scikit-learn's accuracy_score.
    """
    targets, predictions = _class_numbers(targets, predictions)
    return float(np.mean(targets == predictions))


def confusion_matrix(targets, predictions, n_classes: int | None = None) -> np.ndarray:
    """How often class i was called class j: (C, C) int64, targets in rows, predictions in columns.

    targets, predictions: (N,) class numbers. n_classes: C, by default the largest number that occurs plus one.
    Raises: ValueError for empty or unequal lengths, or what is not a class number below C.
    Source: scikit-learn's confusion_matrix.
    """
    targets, predictions = _class_numbers(targets, predictions, n_classes)
    size = n_classes or int(max(targets.max(), predictions.max())) + 1
    return np.bincount(targets * size + predictions, minlength=size * size).reshape(size, size)


def precision_recall_f1(
    targets,
    predictions,
    average: str | None = "binary",
    *,
    positive: int = 1,
    n_classes: int | None = None,
) -> PrecisionRecallF1:
    """Precision tp / (tp + fp), recall tp / (tp + fn) and F1, their harmonic mean; 0 where a denominator is 0.

    targets, predictions: (N,) class numbers.
    average: "binary" for the class `positive`; "micro" over the pooled counts of all classes (each then equals the
    accuracy); "macro" for the mean over the classes, all `n_classes` where given, else those that occur; None for
    arrays (C,), class by class.
    Raises: ValueError for empty or unequal lengths, what is not a class number, or an unknown average.
    Source: scikit-learn's precision_recall_fscore_support with zero_division=0.
    """
    if average not in ("binary", "micro", "macro", None):
        raise ValueError(f'average must be "binary", "micro", "macro" or None, got {average!r}')
    matrix = confusion_matrix(targets, predictions, n_classes)
    if average == "binary" and positive not in range(max(2, len(matrix))):
        raise ValueError(f"positive must be a class number from 0 to {max(2, len(matrix)) - 1}, got {positive!r}")
    if average == "binary" and len(matrix) > 2:
        raise ValueError(f'expected the classes 0 and 1, got {len(matrix)} classes: choose average "micro" or "macro"')
    hits, predicted, actual = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    if average == "micro":
        hits, predicted, actual = hits.sum(), predicted.sum(), actual.sum()
    # 2 tp / (2 tp + fp + fn) is the harmonic mean without its 0 / 0.
    scores = [_divide(hits, predicted), _divide(hits, actual), _divide(2 * hits, predicted + actual)]
    if average == "micro":
        return PrecisionRecallF1(*map(float, scores))
    if average == "binary":
        return PrecisionRecallF1(*(float(score[positive]) if positive < len(matrix) else 0.0 for score in scores))
    if average == "macro":
        counted = slice(None) if n_classes else predicted + actual > 0
        return PrecisionRecallF1(*(float(score[counted].mean()) for score in scores))
    return PrecisionRecallF1(*scores)


def reliability_bins(confidences, correct, n_bins: int = 10) -> ReliabilityBins:
    """Compare how sure a model says it is with how often it is right, in bins of equal width (low, high].

    confidences: (N,) in [0, 1], the probability the model gave to its prediction. correct: (N,) booleans, or 0 and 1.
    Raises: ValueError for empty or unequal lengths, confidences outside [0, 1], or n_bins below 1.
    Source: Guo et al. (2017), section 2.
    """
    confidences, correct = np.asarray(confidences, dtype=np.float64), np.asarray(correct)
    if confidences.ndim != 1 or confidences.shape != correct.shape or confidences.size == 0:
        raise ValueError(f"expected two equal lengths of at least 1, got {confidences.shape} and {correct.shape}")
    if not np.all((confidences >= 0) & (confidences <= 1)):
        raise ValueError(
            f"confidences must lie in [0, 1], got {confidences.min()} to {confidences.max()}: "
            "take probabilities, after the softmax"
        )
    if not np.all((correct == 0) | (correct == 1)):
        raise ValueError("correct must hold True and False only: pass predictions == targets")
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidences, side="left")
    counts = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):  # an empty bin has no mean: 0 / 0 is NaN
        confidence = np.bincount(bins, weights=confidences, minlength=n_bins) / counts
        right = np.bincount(bins, weights=correct, minlength=n_bins) / counts
    return ReliabilityBins(edges, counts, confidence, right)


def expected_calibration_error(confidences, correct, n_bins: int = 10) -> float:
    """The mean gap between confidence and accuracy over the bins, weighted by their sizes: from 0 to 1.

    confidences: (N,) in [0, 1]. correct: (N,) booleans.
    Raises: ValueError as `reliability_bins`.
    Source: Guo et al. (2017), equation 3.
    """
    bins = reliability_bins(confidences, correct, n_bins)
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.nansum(bins.counts * gaps) / bins.counts.sum())


def fit_temperature(logits, targets) -> float:
    """The temperature T that makes softmax(logits / T) fit best: the smallest mean negative log-likelihood.

    logits: (N, C), of examples that the model was not trained on. targets: (N,) class numbers. T lies in [0.01, 100].
    T above 1 makes the model less sure, below 1 surer; no prediction changes.
    Raises: ValueError for shapes that do not fit, logits that are not finite, or what is not a class number.
    Source: Guo et al. (2017), section 4.2, equation 9.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or not np.isfinite(logits).all():
        raise ValueError(f"expected finite logits of shape (N, C), got shape {logits.shape}")
    targets, _ = _class_numbers(targets, logits.argmax(axis=1), logits.shape[1])
    rows = np.arange(len(targets))

    def slope(log_temperature: float) -> float:
        """The loss by 1 / T: it rises with 1 / T, so that it has one zero at most."""
        probs = softmax(logits / math.exp(log_temperature), axis=1)
        return float(np.mean((probs * logits).sum(axis=1) - logits[rows, targets]))

    limit = math.log(100)
    if slope(-limit) * slope(limit) >= 0:  # every prediction right, or worse than chance: the best T lies at an end
        return math.exp(-limit if slope(limit) < 0 else limit)
    return math.exp(brentq(slope, -limit, limit, xtol=1e-12))


def _divide(numerators, denominators):
    return numerators / np.where(denominators == 0, 1, denominators)


def _class_numbers(targets, predictions, n_classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 arrays (N,), checked."""
    arrays = []
    for name, values in (("targets", targets), ("predictions", predictions)):
        values = np.asarray(values)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"{name} must be a 1-D sequence of at least one class number, got shape {values.shape}")
        if values.dtype != bool and not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be class numbers, got {values.dtype}: take the argmax of scores first")
        values = values.astype(np.int64)
        if values.min() < 0 or (n_classes is not None and values.max() >= n_classes):
            limit = "up" if n_classes is None else f"to {n_classes - 1}"
            raise ValueError(f"{name} must be class numbers from 0 {limit}, got {values.min()} to {values.max()}")
        arrays.append(values)
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"expected as many predictions as targets, got {arrays[1].size} and {arrays[0].size}")
    return arrays[0], arrays[1]
