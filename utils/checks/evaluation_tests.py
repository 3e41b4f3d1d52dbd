"""Properties for lab 14: the paired bootstrap, and McNemar's test."""

import inspect
import math

import numpy as np
import torch
from torch import Tensor

from utils.checks.plain_values import is_close, is_number
from utils.checks.properties import are_results


def resampled(n: int, n_resamples: int, seed: int) -> Tensor:
    """Row numbers (R, N), drawn with replacement as SciPy's bootstrap draws them from this seed."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, n, size=(n_resamples, n)))


def scipy_interval(correct_a: Tensor, correct_b: Tensor, n_resamples: int, seed: int) -> tuple[float, float]:
    """SciPy's paired percentile interval, 95 %, of the accuracy of a minus that of b."""
    from scipy.stats import bootstrap

    # SciPy 1.15 renamed the argument.
    name = "rng" if "rng" in inspect.signature(bootstrap).parameters else "random_state"
    found = bootstrap(
        (correct_a.double().numpy(), correct_b.double().numpy()),
        lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        n_resamples=n_resamples,
        paired=True,
        vectorized=True,
        method="percentile",
        **{name: np.random.default_rng(seed)},
    ).confidence_interval
    return float(found.low), float(found.high)


def _pair(draw, n: int) -> tuple[Tensor, Tensor]:
    """Whether two classifiers are right, example by example (N,); they often agree."""
    hard = torch.rand(n, generator=draw.generator)
    a = hard + 0.3 * torch.rand(n, generator=draw.generator) < 0.9
    b = hard + 0.4 * torch.rand(n, generator=draw.generator) < 0.85
    return a, b


def _interval(answer, draw, a: Tensor, b: Tensor, rows: Tensor) -> tuple[float, float, float]:
    got = are_results(answer(a, b, rows), 3, "difference, low, high")
    return tuple(is_number(one, name=name) for one, name in zip(got, ("The difference", "low", "high"), strict=True))


def interval_difference(answer, draw):
    """The difference of the two accuracies."""
    a, b = _pair(draw, 2 * draw.number(30, 60) + 1)
    a[: 1 + int((b & ~a).sum())], b[: 1 + int((b & ~a).sum())] = True, False  # so that the difference is not 0
    expected = a.double().mean().item() - b.double().mean().item()
    got, low, high = _interval(answer, draw, a, b, resampled(len(a), 200, draw.seed))
    is_close(
        got,
        expected,
        tolerance=1e-6,
        problem="The difference is wrong.",
        hint="The accuracy of a minus that of b, on the examples themselves.",
        slips={"This is b minus a.": -expected, "This is the number of examples, not the share.": expected * len(a)},
    )


def interval_scipy(answer, draw):
    """The ends equal those of SciPy's paired bootstrap from the same draws."""
    a, b = _pair(draw, 2 * draw.number(30, 60) + 1)
    rows = resampled(len(a), 1000, draw.seed)
    low, high = scipy_interval(a, b, 1000, draw.seed)
    _, got_low, got_high = _interval(answer, draw, a, b, rows)
    differences = a.double() - b.double()
    found = differences[rows].mean(dim=1)
    deviation = differences.std() / math.sqrt(len(a))
    apart = a.double()[rows].mean(dim=1) - b.double()[rows.flip(0)].mean(dim=1)
    quantiles = {name: torch.quantile(apart, level).item() for name, level in (("low", 0.025), ("high", 0.975))}
    for name, got, expected, sign in (("low", got_low, low, -1), ("high", got_high, high, 1)):
        is_close(
            got,
            expected,
            tolerance=1e-6,
            problem=f"`{name}` is not the end of SciPy's paired interval.",
            hint="For each row of `rows`: both accuracies on those examples, and their difference. Then the quantiles "
            "0.025 and 0.975 of all differences.",
            slips={
                "This interval holds 90 %: cut 2.5 % off at each end.": torch.quantile(
                    found, 0.05 if sign < 0 else 0.95
                ).item(),
                "These are the most extreme resamples. Cut 2.5 % off at each end.": (
                    found.min() if sign < 0 else found.max()
                ).item(),
                "This is the formula of the normal distribution. Use the resamples.": (
                    differences.mean() + sign * 1.96 * deviation
                ).item(),
                "The two must be resampled together: both on the same rows.": quantiles[name],
            },
        )
    return f"95 % interval by scipy.stats.bootstrap: [{low:.4f}, {high:.4f}]."


def _split(draw, only_a: int, only_b: int) -> tuple[Tensor, Tensor]:
    """Outcomes with so many examples that a alone, and b alone, gets right."""
    both, none = draw.number(20, 60), draw.number(5, 20)
    a = torch.tensor([True] * (both + only_a) + [False] * (only_b + none))
    b = torch.tensor([True] * both + [False] * only_a + [True] * only_b + [False] * none)
    order = torch.randperm(len(a), generator=draw.generator)
    return a[order], b[order]


def _p_value(answer, draw, only_a: int, only_b: int) -> None:
    from scipy.stats import binomtest

    a, b = _split(draw, only_a, only_b)
    n, least = only_a + only_b, min(only_a, only_b)
    expected = binomtest(only_a, n, 0.5).pvalue if n else 1.0
    got = is_number(answer(a, b), name="The p-value")
    half = binomtest(least, n, 0.5, alternative="less").pvalue if n else 0.5
    chi = math.erfc(abs(only_a - only_b) / math.sqrt(2 * n)) if n else math.nan
    is_close(
        got,
        expected,
        tolerance=1e-7,
        problem=f"a alone is right {only_a} times, b alone {only_b} times: this is not the exact p-value.",
        hint=f"{n} fair coins: how likely is a split at least as uneven as {only_a} to {only_b}, in either direction?",
        slips={
            "This is one tail only. The other direction is as likely: double it.": half,
            "A p-value is at most 1: an even split doubles the middle.": 2 * half,
            "This is the approximation by the chi-squared distribution. Add the coins' probabilities up.": chi,
            "All examples were thrown as coins. Only those on which the two disagree tell something.": binomtest(
                int(a.sum()), len(a), 0.5
            ).pvalue,
            "This is how likely exactly this split is. Add the more uneven ones.": math.comb(n, least) / 2**n,
        },
    )


def mcnemar_uneven(answer, draw):
    """The p-value of uneven splits, in both directions."""
    few, many = draw.number(1, 6), draw.number(8, 16)
    _p_value(answer, draw, many, few)
    _p_value(answer, draw, few, many)


def mcnemar_even(answer, draw):
    """The p-value of an even split, and of classifiers that never disagree."""
    n = draw.number(2, 9)
    _p_value(answer, draw, n, n)
    _p_value(answer, draw, 0, 0)
    return "The p-values are those of scipy.stats.binomtest."
