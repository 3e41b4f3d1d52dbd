"""How sure we are of a measured number: bootstrap, Wilson and Student intervals, McNemar's test, Holm's steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

_DRAWS_AT_ONCE = 1_000_000  # bounds the memory of a bootstrap: 8 MB of indices


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval. level: the share of such intervals that hold the truth."""

    estimate: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return format(self, ".3f")

    def __format__(self, spec: str) -> str:
        """Each of the three numbers in the given format: `f"{interval:.1%}"`; three decimals when none is given."""
        estimate, low, high = (format(number, spec or ".3f") for number in (self.estimate, self.low, self.high))
        return f"{estimate} [{low}, {high}]"

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside of the interval."""
        return not self.low <= value <= self.high


class McNemar(NamedTuple):
    """only_a, only_b: how many examples only the first, only the second classifier got right. p_value: two-sided."""

    only_a: int
    only_b: int
    p_value: float


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    generator: np.random.Generator | int = 0,
) -> Interval:
    """Percentile bootstrap interval of any statistic of `n` independent examples, rows drawn with replacement.

    statistic: row numbers (..., n) -> values (...), such as the BLEU of the counts in those rows. A draw for which it
    is undefined (NaN) is left out. For a paired comparison, let it return the difference of two systems on the rows.
    Raises: ValueError for a level or a number of resamples out of range, or n below 1.
    Source: Efron & Tibshirani (1993), chapter 13; Koehn (2004) for corpus scores.
    """
    _check_level(level)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100 for the ends to mean something, got {n_resamples}")
    generator = np.random.default_rng(generator)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    sizes = [min(at_once, n_resamples - done) for done in range(0, n_resamples, at_once)]
    values = np.concatenate([statistic(generator.integers(n, size=(size, n))) for size in sizes])
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(np.arange(n))), float(low), float(high), level)


def bootstrap_mean(
    values, *, level: float = 0.95, n_resamples: int = 10_000, generator: np.random.Generator | int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of independent values (N,). generator: NumPy's, or a seed.

    With a handful of values it is too short: take `student_mean` there.
    Raises: ValueError for an empty or non-finite sample, or a level or number of resamples out of range.
    Source: Efron & Tibshirani (1993), chapter 13.
    """
    (values,) = _samples(values=values)
    return bootstrap(
        lambda rows: values[rows].mean(axis=-1),
        len(values),
        level=level,
        n_resamples=n_resamples,
        generator=generator,
    )


def student_mean(values, *, level: float = 0.95) -> Interval:
    """Student's interval of the mean of a few independent values (N,), N at least 2, such as one score a seed.

    Raises: ValueError for fewer than two values, a non-finite one, or a level out of range.
    Source: Student (1908).
    """
    (values,) = _samples(values=values)
    _check_level(level)
    if len(values) < 2:
        raise ValueError("expected at least two values, got one: a single run has no spread to measure")
    half = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half), level)


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion such as an accuracy: `successes` right out of `n` examples.

    Raises: ValueError unless 0 <= successes <= n and n >= 1, or for a level out of range.
    Source: Wilson (1927).
    """
    _check_level(level)
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got successes={successes}, n={n}")
    z, p = NormalDist().inv_cdf((1 + level) / 2), successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and at n successes the end is exactly 0 or 1; rounding must not exclude the estimate.
    return Interval(p, max(0.0, min(p, center - half)), min(1.0, max(p, center + half)), level)


def paired_bootstrap_ratio(
    numerators_a,
    numerators_b,
    denominators,
    *,
    denominators_b=None,
    level: float = 0.95,
    n_resamples: int = 10_000,
    generator: np.random.Generator | int = 0,
) -> Interval:
    """Interval of a difference of two ratios of sums, sum(a) / sum(d) - sum(b) / sum(d), over the same clusters.

    All (D,), one entry a cluster. For bits per byte: a cluster is a document, the numerators are its bits (nats / ln 2)
    under either model, the denominator its bytes. Whole clusters are drawn, since tokens of one document are not
    independent. denominators_b: the second model's, where it has its own.
    Raises: ValueError for empty, unequal or non-finite samples, denominators that are negative or all zero, or a level
    or number of resamples out of range.
    Source: Efron & Tibshirani (1993), chapter 13; Koehn (2004) for the paired form.
    """
    denominators_b = denominators if denominators_b is None else denominators_b
    a, b, d, e = _samples(
        numerators_a=numerators_a, numerators_b=numerators_b, denominators=denominators, denominators_b=denominators_b
    )
    if min(d.min(), e.min()) < 0 or 0 in (d.sum(), e.sum()):
        raise ValueError("denominators must be at least 0, and not all 0")

    def statistic(rows):
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw of nothing but zeros has no ratio
            return a[rows].sum(-1) / d[rows].sum(-1) - b[rows].sum(-1) / e[rows].sum(-1)

    return bootstrap(statistic, len(a), level=level, n_resamples=n_resamples, generator=generator)


def paired_bootstrap_accuracy(
    correct_a,
    correct_b,
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    generator: np.random.Generator | int = 0,
) -> Interval:
    """Interval of accuracy a - accuracy b of two classifiers on the same examples; correct_a, correct_b: (N,) booleans.

    Raises: ValueError for empty or unequal samples, or what is neither True nor False.
    Source: Efron & Tibshirani (1993), chapter 13.
    """
    a, b = _outcomes(correct_a, correct_b)
    return bootstrap_mean(a.astype(np.float64) - b, level=level, n_resamples=n_resamples, generator=generator)


def mcnemar_exact(correct_a, correct_b) -> McNemar:
    """McNemar's exact test whether two classifiers on the same examples are equally good; both (N,) booleans.

    Only the examples on which they disagree tell: under equality each is a fair coin. The p-value is two-sided.
    Raises: ValueError for empty or unequal samples, or what is neither True nor False.
    Source: McNemar (1947), in the exact binomial form; Dietterich (1998), section 3.1.
    """
    a, b = _outcomes(correct_a, correct_b)
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    n, tail, ways = only_a + only_b, 0, 1
    for i in range(min(only_a, only_b) + 1):
        tail += ways  # ways = n choose i, in whole numbers of any size
        ways = ways * (n - i) // (i + 1)
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2**n))


def holm(p_values) -> np.ndarray:
    """P-values (K,) of K tests, adjusted so that the chance of even one false alarm stays below the level: Holm's way.

    The smallest is multiplied by K, the next by K - 1, ...; none gets smaller than one before it, or larger than 1.
    Raises: ValueError for no p-values, or one outside [0, 1].
    Source: Holm (1979).
    """
    (p_values,) = _samples(p_values=p_values)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError(f"p-values lie in [0, 1], got {p_values.min()} to {p_values.max()}")
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return adjusted


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.95, got {level}")


def _samples(**named) -> list[np.ndarray]:
    """Each as a float64 array, all of one length (N,), N at least 1, finite."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"{name} must be a 1-D sequence of at least one number, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    if len({array.size for array in arrays.values()}) > 1:
        sizes = ", ".join(f"{name} {array.size}" for name, array in arrays.items())
        raise ValueError(f"expected equal lengths, one entry for the same example in each, got {sizes}")
    return list(arrays.values())


def _outcomes(correct_a, correct_b) -> list[np.ndarray]:
    """Both as boolean arrays (N,)."""
    arrays = _samples(correct_a=correct_a, correct_b=correct_b)
    if not all(np.isin(array, (0, 1)).all() for array in arrays):
        raise ValueError("expected True and False only: pass predictions == targets")
    return [array.astype(bool) for array in arrays]
