"""What the checks are made of: fresh random inputs of odd sizes, and comparisons that explain how an answer differs."""

from collections.abc import Mapping
from typing import Any

import torch

from utils.checks.calls import SHOWN_EXACTLY, NotYet, describe

TOLERANCE = 1e-5


class Draw:
    """Random inputs from one seed, independent of the global generator that the student's notebook uses."""

    def __init__(self, seed: int):
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Standard normal numbers, shape `shape`."""
        return torch.randn(*shape, generator=self.generator, dtype=dtype)

    def number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def sizes(self, count: int, of: tuple[int, ...] = (2, 3, 5, 7, 11)) -> list[int]:
        """`count` different sizes, in random order, so that no two axes can be confused unnoticed."""
        order = torch.randperm(len(of), generator=self.generator).tolist()
        return [of[index] for index in order[:count]]


def is_tensor(got: Any, shape: tuple[int, ...], *, name: str = "the result", letters: str = "", hint: str = "",
              slips: Mapping[tuple[int, ...], str] | None = None) -> torch.Tensor:
    """The tensor `got`, detached, if it has this shape. `slips` gives a hint for each likely wrong shape.

    Raises NotYet otherwise.
    """
    wanted = f"a tensor of shape {f'{letters} = ' if letters else ''}{tuple(shape)}"
    if not isinstance(got, torch.Tensor):
        raise NotYet(f"{_capital(name)} is not a tensor.", {"expected": wanted, "got": describe(got)}, hint)
    if got.is_complex() or got.layout != torch.strided:
        raise NotYet(f"{_capital(name)} is not a plain tensor of real numbers.",
                     {"expected": wanted, "got": f"{got.dtype}, {got.layout}"}, hint)
    if tuple(got.shape) != tuple(shape):
        raise NotYet(f"{_capital(name)} has the wrong shape.", {"expected": wanted, "got": f"shape {tuple(got.shape)}"},
                     (slips or {}).get(tuple(got.shape), hint))
    return got.detach()


def is_bool(got: torch.Tensor, *, name: str = "the result") -> torch.Tensor:
    """The tensor `got` if it holds booleans. Raises NotYet otherwise."""
    if got.dtype != torch.bool:
        raise NotYet(f"{_capital(name)} is not boolean.", {"expected": "dtype bool", "got": describe(got)},
                     "A comparison such as `a <= b` gives booleans; `&` combines two of them.")
    return got


def are_results(got: Any, count: int, names: str) -> tuple:
    """The tuple `got` if it has `count` members. Raises NotYet otherwise."""
    if not isinstance(got, tuple) or len(got) != count:
        raise NotYet(f"Your function must return {count} results.",
                     {"expected": names, "got": f"a tuple of {len(got)}" if isinstance(got, tuple) else describe(got)},
                     f"End it with `return {names}`.")
    return got


def are_named(got: Any, shapes: Mapping[str, tuple[int, ...]], *, problem: str, hint: str, of: str = "",
              shape_hint: str = "") -> dict[str, torch.Tensor]:
    """The tensors of the dictionary `got`, detached, if it has these names, each with its shape; `of` says of what.

    Raises NotYet otherwise, with `problem` and `hint` for other names.
    """
    if not isinstance(got, dict) or set(got) != set(shapes):
        names = f"names {sorted(map(str, got))}" if isinstance(got, dict) else describe(got)
        raise NotYet(problem, {"expected": f"a dictionary with the names {', '.join(shapes)}", "got": names}, hint)
    return {name: is_tensor(got[name], shape, name=f"`{name}`{of}", hint=shape_hint) for name, shape in shapes.items()}


def is_finite(got: torch.Tensor, *, problem: str, hint: str) -> torch.Tensor:
    """The tensor `got` if it holds neither NaN nor infinity. Raises NotYet otherwise."""
    wrong = (~torch.isfinite(got)).sum().item()
    if wrong:
        raise NotYet(problem, {"expected": "finite numbers",
                               "got": f"{wrong} of {got.numel()} are NaN or infinite"}, hint)
    return got


def is_equal(got: torch.Tensor, expected: torch.Tensor, *, problem: str, hint: str = "", tolerance: float = TOLERANCE,
             slips: Mapping[str, torch.Tensor] | None = None) -> float:
    """The largest absolute difference, if it is at most `tolerance`; shapes must be the same.

    `slips` maps a hint to the value that this misconception would give; the first that fits replaces `hint`.
    Raises NotYet otherwise, with the worst place shown.
    """
    difference = _difference(got, expected)
    worst = difference.max().item() if difference.numel() else 0.0
    if worst <= tolerance:
        return worst
    for why, value in (slips or {}).items():
        if value.shape == got.shape and _difference(got, value).max().item() <= 10 * tolerance:
            hint = why
            break
    raise NotYet(problem, _comparison(got, expected, difference, tolerance), hint)


def _difference(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Absolute differences in fp64; a NaN or an infinity in `got` alone counts as infinitely wrong."""
    difference = (got.double() - expected.double()).abs()
    return torch.where(torch.isfinite(difference) | (got == expected), difference.nan_to_num(nan=0.0), torch.inf)


def _comparison(got, expected, difference, tolerance: float) -> dict[str, str]:
    if got.numel() <= 6:
        return {"expected": describe(expected), "got": describe(got)}
    place = torch.unravel_index(difference.argmax(), difference.shape)
    index = tuple(int(one) for one in place)
    wrong = int((difference > tolerance).sum())
    # The whole last row around the worst place tells more than one number.
    row = index[:-1] if got.shape[-1] <= SHOWN_EXACTLY else index
    worst, amount = ("first", "") if got.dtype == torch.bool else ("worst", f" by more than {tolerance:g}")
    return {"where": f"{worst} at {list(index)}, whose row is shown; {wrong} of {got.numel()} entries differ{amount}",
            "expected": _values(expected[row]), "got": _values(got[row])}


def _values(row: torch.Tensor) -> str:
    return str((row.double().round(decimals=5) if row.is_floating_point() else row).tolist())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
