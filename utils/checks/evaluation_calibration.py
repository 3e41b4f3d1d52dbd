"""Properties for lab 14: the calibration error, and temperature scaling."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.calls import NotYet
from utils.checks.plain_values import is_close, is_number


def binned_error(confidences: Tensor, correct: Tensor, n_bins: int) -> float:
    """The expected calibration error, with the means of the bins by scikit-learn."""
    from sklearn.calibration import calibration_curve

    sure, right = confidences.double().numpy(), correct.numpy().astype(int)
    accuracy, confidence = calibration_curve(right, sure, n_bins=n_bins, strategy="uniform")
    counts, _ = np.histogram(sure, bins=n_bins, range=(0, 1))
    return float((counts[counts > 0] * np.abs(accuracy - confidence)).sum() / counts.sum())


def loss_at(logits: Tensor, targets: Tensor, temperature: float) -> float:
    """Mean cross-entropy in nats at a temperature."""
    return F.cross_entropy(logits.double() / temperature, targets).item()


def best_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature with the least cross-entropy, by SciPy."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda power: loss_at(logits, targets, 2.0**power), bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}
    )
    return float(2.0**found.x)


# Exercise 7a: the calibration error


def _outcomes(draw, count: int) -> tuple[Tensor, Tensor]:
    """Confidences of a binary classifier, none at the edge of a bin, and whether it was right.

    It is right too often where it is unsure, and too seldom where it is sure: over all bins, that cancels.
    """
    confidences = 0.5007 + 0.4983 * torch.rand(count, generator=draw.generator)
    luck = torch.rand(count, generator=draw.generator)
    return confidences, luck < torch.where(confidences < 0.7, 0.95, confidences - 0.25)


def error_value(answer, draw):
    """The error equals the one from scikit-learn's bins."""
    confidences, correct = _outcomes(draw, draw.number(150, 250))
    for n_bins in (10, draw.number(3, 9), 17):
        expected = binned_error(confidences, correct, n_bins)
        gap = abs(confidences.double().mean() - correct.double().mean()).item()
        which = (confidences * n_bins).long()
        gaps = [
            abs(confidences[which == i].double().mean() - correct[which == i].double().mean()).item()
            for i in which.unique()
        ]
        got = is_number(answer(confidences, correct, n_bins), name="The error")
        is_close(
            got,
            expected,
            tolerance=1e-5,
            problem=f"With {n_bins} bins, the error is not that of scikit-learn's bins.",
            hint="For each bin: |mean confidence - share right|, times the share of all examples that are in it.",
            slips={
                "All bins count alike. A bin counts by its number of examples.": sum(gaps) / len(gaps),
                "This divides by all bins, the empty ones included, and counts them alike.": sum(gaps) / n_bins,
                "This is the largest gap. The expected error is a mean.": max(gaps),
                "Without bins, too high here and too low there cancel.": gap,
            },
        )


def error_sparse(answer, draw):
    """Empty bins do no harm, and bins with few examples count little."""
    confidences, correct = _outcomes(draw, draw.number(3, 6))
    got = is_number(answer(confidences, correct, 20), name="The error", hint="Skip empty bins: their mean is 0/0.")
    is_close(
        got,
        binned_error(confidences, correct, 20),
        tolerance=1e-5,
        problem="With hardly any examples, most bins are empty, and the error is wrong.",
        hint="An empty bin adds nothing.",
    )
    return "The bins' means are scikit-learn's."


# Exercise 7b: the temperature


def _logits(draw, factor: float) -> tuple[Tensor, Tensor]:
    """Logits (N, C) that are `factor` times too large, and targets (N,) drawn from the true probabilities."""
    logits = 2 * draw.normal(draw.number(150, 250), draw.number(2, 5))
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=draw.generator)[:, 0]
    return factor * logits, targets


def _fitted(answer, draw, factor: float, what: str) -> str:
    logits, targets = _logits(draw, factor)
    best = best_temperature(logits, targets)
    got = is_number(answer(logits, targets), name="The temperature")
    if got <= 0:
        raise NotYet("A temperature is above 0.", {"expected": f"{best:.3f}", "got": f"{got:.3f}"}, "")
    is_close(
        got / best,
        1.0,
        tolerance=0.02,
        problem=f"For a model that is {what}, the temperature {got:.4g} is not the best one.",
        hint="It is the T with the least mean cross-entropy of softmax(logits / T). Search finely, from 0.05 to 20.",
        slips={
            "This is 1/T: the logits are divided by T.": 1 / best**2,
            "The logits stay as they are at a temperature of 1.": 1 / best,
        },
    )
    return f"Loss {loss_at(logits, targets, got):.5f} nats; by SciPy {loss_at(logits, targets, best):.5f}."


def temperature_sure(answer, draw):
    """The temperature of a model that is too sure."""
    return _fitted(answer, draw, draw.number(3, 6), "too sure")


def temperature_unsure(answer, draw):
    """The temperature of a model that is not sure enough."""
    return _fitted(answer, draw, 1 / draw.number(3, 6), "not sure enough")
