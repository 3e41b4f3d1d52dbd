"""The table of `make bench`: who was how many times faster, from contenders that took turns in one run."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from utils import environment

RESAMPLES = 10_000


@dataclass(frozen=True)
class Row:
    """One line: a ratio (how many times as fast) or seconds, a value a round; `aim` is the least ratio, or the most
    seconds.
    """

    ours: str
    other: str
    values: tuple[float, ...]
    aim: float | None = None
    unit: str = "×"

    @property
    def interval(self) -> tuple[float, float, float]:
        """The median of the rounds and the ends of its 95 % percentile bootstrap interval."""
        values = np.array(self.values)
        draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
        low, high = np.quantile(np.median(values[draws], axis=1), [0.025, 0.975])
        return float(np.median(values)), float(low), float(high)

    @property
    def verdict(self) -> str:
        """Whether the aim was met; open where the interval holds values on both sides of it."""
        if self.aim is None:
            return ""
        _, low, high = self.interval
        if self.unit == "s":
            low, high, aim = -high, -low, -self.aim
        else:
            aim = self.aim
        return "met" if low >= aim else "missed" if high < aim else "open: the interval holds the aim"

    def cells(self) -> tuple[str, ...]:
        """The texts of the line."""
        middle, low, high = self.interval
        digits = 1 if self.unit == "s" else 2
        sign = "at most" if self.unit == "s" else "at least"
        return (
            self.ours,
            self.other,
            f"{middle:.{digits}f} {self.unit}",
            f"{low:.{digits}f} to {high:.{digits}f}",
            str(len(self.values)),
            "" if self.aim is None else f"{sign} {self.aim:g} {self.unit}",
            self.verdict,
        )


HEADINGS = ("ours", "beside", "median", "95 % interval", "rounds", "aim", "")


def table(rows: list[Row]) -> str:
    """All rows as text, and a first line that says on what they were measured."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "  ".join("-" * width for width in widths[:-1])
    return "\n".join(
        [
            f"{environment.hardware()}, {torch.get_num_threads()} thread(s) used, torch {torch.__version__}.",
            "A ratio says how many times as fast ours is; the contenders of a round took turns. No test asserts one.",
            "",
            text[0],
            rule,
            *text[1:],
        ]
    )


class Contest:
    """Contenders that run one after another, round by round, in an order that rotates.

    What a contender returns is ignored, unless it is a float: the seconds that count when that is not the whole call.
    """

    def __init__(self, contenders: dict[str, Callable[[], object]]) -> None:
        self.contenders, self.turn = contenders, 0
        self.seconds: dict[str, list[float]] = {name: [] for name in contenders}

    def round(self) -> None:
        """Let each contender run once."""
        names = list(self.contenders)
        start = self.turn % len(names)
        for name in names[start:] + names[:start]:
            started = time.perf_counter()
            found = self.contenders[name]()
            self.seconds[name].append(found if isinstance(found, float) else time.perf_counter() - started)
        self.turn += 1

    def forget(self) -> None:
        """Drop all times, as after a round that warms up."""
        self.seconds = {name: [] for name in self.contenders}

    def ratios(self, ours: str, other: str) -> tuple[float, ...]:
        """How many times as fast `ours` was as `other`, a number a round."""
        return tuple(b / a for a, b in zip(self.seconds[ours], self.seconds[other], strict=True))
