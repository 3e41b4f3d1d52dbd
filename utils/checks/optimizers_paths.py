"""Paths for lab 10: a hundred steps of a student's optimizer and of PyTorch's on the same gradients, in fp64."""

from collections.abc import Callable

import torch
from torch import Tensor

from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

STEPS, TOLERANCE = 100, 1e-10
SAME_SHAPE = "Weights, gradient and memory all have one shape: nothing is summed over the entries."
Path = dict[str, Tensor]  # a tensor (steps, D) for the weights "w" and for each memory


def problem(draw, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Weights (D,), and one gradient a step (steps, D): of different sizes, and always 0 in the last place."""
    size = 2 * draw.number(2, 4) + 1
    scales = 10 ** draw.normal(size, dtype=torch.float64).clamp(-1, 1)
    gradients = (draw.normal(steps, size, dtype=torch.float64) + 0.3) * scales
    gradients[:, -1] = 0
    return draw.normal(size, dtype=torch.float64) + 2, gradients


def library(kind: type, w: Tensor, gradients: Tensor, **options) -> Path:
    """The path of a torch optimizer that is given these gradients, with its memories under PyTorch's names."""
    parameter = torch.nn.Parameter(w.clone())
    optimizer, rows = kind([parameter], **options), []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        state = optimizer.state[parameter]
        memories = {name: one.clone() for name, one in state.items() if torch.is_tensor(one) and one.shape == w.shape}
        rows.append({"w": parameter.detach().clone(), **memories})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def follow(step: Callable, names: str, w: Tensor, gradients: Tensor) -> Path:
    """The path of the student's function; `step(w, memories, gradient, t)` calls it."""
    letters, rows = names.split(", "), []
    memories = [torch.zeros_like(w) for _ in letters[1:]]
    for t, gradient in enumerate(gradients, 1):
        got = are_results(step(w, memories, gradient, t), len(letters), names)
        w, *memories = (
            is_tensor(one, w.shape, name=f"`{letter}`", letters="(D,)", hint=SAME_SHAPE)
            for letter, one in zip(letters, got, strict=True)
        )
        rows.append([w, *memories])
    return {letter: torch.stack([row[i] for row in rows]) for i, letter in enumerate(letters)}


def same_path(got: Tensor, expected: Tensor, what: str, hint: str, slips: dict[str, Tensor] | None = None) -> float:
    """The largest difference of two paths (steps, D); the first step that differs is the one to show."""
    wrong = (~((got - expected).abs() <= TOLERANCE)).any(dim=1).nonzero()
    first = int(wrong[0]) if len(wrong) else len(got) - 1
    is_finite(
        got[first],
        problem=f"After step {first + 1}, {what} hold NaN or infinity.",
        hint="An entry whose gradients are all 0 has a memory of 0: without epsilon, the step is 0/0.",
    )
    # Two mistakes may look alike at their first step: one that explains all steps comes before one that does not.
    ordered = sorted((slips or {}).items(), key=lambda slip: not torch.allclose(got, slip[1], rtol=0, atol=1e-8))
    is_equal(
        got[first],
        expected[first],
        tolerance=TOLERANCE,
        hint=hint,
        problem=f"After step {first + 1}, {what} are not PyTorch's.",
        slips={why: path[first] for why, path in ordered},
    )
    return (got - expected).abs().max().item()


def note(worst: float) -> str:
    """What the card of a correct answer says about a whole path."""
    return f"Largest difference to PyTorch's over {STEPS} steps: {worst:.1e}."
