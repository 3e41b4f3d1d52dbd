"""Comparisons of plain Python answers, single numbers above all, in the manner of `properties`."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import torch

from utils.checks.calls import NotYet, describe

TOLERANCE = 1e-9


def is_number(got: Any, *, name: str = "The result", hint: str = "") -> float:
    """The number `got` as a float; a tensor or array of one number will do. Raises NotYet otherwise, and for NaN."""
    if isinstance(got, torch.Tensor) and got.numel() == 1:
        got = got.item()
    if not isinstance(got, numbers.Real) or isinstance(got, bool):
        raise NotYet(f"{name} is not a number.", {"expected": "a number", "got": describe(got)}, hint)
    if math.isnan(got):
        raise NotYet(f"{name} is NaN.", {"expected": "a number", "got": "NaN"}, hint)
    return float(got)


def is_close(got: float, expected: float, *, problem: str, hint: str = "", tolerance: float = TOLERANCE,
             slips: Mapping[str, float] | None = None) -> float:
    """The difference, if it is at most `tolerance`, or that share of a number above 1.

    `slips` maps a hint to the number that this misconception would give; the first that fits replaces `hint`.
    Raises NotYet otherwise.
    """
    if _near(got, expected, tolerance):
        return abs(got - expected)
    hint = next((why for why, value in (slips or {}).items() if _near(got, value, tolerance)), hint)
    raise NotYet(problem, {"expected": f"{expected:.10g}", "got": f"{got:.10g}"}, hint)


def _near(one: float, other: float, tolerance: float) -> bool:
    return one == other or abs(one - other) <= tolerance * max(1.0, abs(other))
