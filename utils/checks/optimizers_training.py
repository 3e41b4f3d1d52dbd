"""Properties for lab 10: the learning-rate schedule, and clipping by the global norm."""

import warnings

import torch
from torch import nn

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_named, is_equal, is_finite

# Exercise 4: warm-up and cosine decay


def _rates(answer, steps, n_steps: int, warmup_steps: int, peak: float) -> torch.Tensor:
    """The student's rates at the given steps, as a tensor in fp64."""
    rates = []
    for step in steps:
        got = answer(step, n_steps, warmup_steps, peak)
        if (
            isinstance(got, bool)
            or not isinstance(got, int | float | torch.Tensor)
            or (isinstance(got, torch.Tensor) and got.numel() != 1)
        ):
            raise NotYet(
                "The rate is not a number.",
                {"expected": "one number", "got": describe(got)},
                "Return the learning rate of this one step.",
            )
        rates.append(float(got))
    return torch.tensor(rates, dtype=torch.float64)


def _run(draw) -> tuple[int, int, float]:
    """Steps in all, of them warming up, and the peak."""
    warmup_steps = draw.number(3, 9)
    return warmup_steps + 2 * draw.number(8, 20) + 1, warmup_steps, draw.number(1, 9) / 100


def _scheduled(n_steps: int, warmup_steps: int, peak: float) -> torch.Tensor:
    """The rates of torch.optim.lr_scheduler: LinearLR, then CosineAnnealingLR."""
    from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    cosine = CosineAnnealingLR(optimizer, T_max=n_steps - warmup_steps)
    scheduler, rates = cosine, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own schedulers warn about each other
        if warmup_steps:
            warm = LinearLR(optimizer, start_factor=1 / warmup_steps, total_iters=warmup_steps - 1)
            scheduler = SequentialLR(optimizer, [warm, cosine], milestones=[warmup_steps])
        for _ in range(n_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def rate_warm_up(answer, draw):
    """The rates of the warm-up equal LinearLR's."""
    n_steps, warmup_steps, peak = _run(draw)
    steps = torch.arange(warmup_steps, dtype=torch.float64)
    is_equal(
        _rates(answer, range(warmup_steps), n_steps, warmup_steps, peak),
        _scheduled(n_steps, warmup_steps, peak)[:warmup_steps],
        tolerance=1e-9,
        problem=f"The rates of the {warmup_steps} warm-up steps are wrong.",
        hint="Step 0 has one part of the peak, step 1 two parts, and the last step of the warm-up the whole peak.",
        slips={
            "Step 0 has a rate of 0, and is wasted: count from 1.": peak * steps / warmup_steps,
            "There is no warm-up.": torch.full_like(steps, peak),
            "The peak is missing: this is the share of the peak.": (steps + 1) / warmup_steps,
            "The warm-up takes all the steps.": peak * (steps + 1) / n_steps,
        },
    )


def rate_cosine(answer, draw):
    """The rates after the warm-up equal CosineAnnealingLR's."""
    n_steps, warmup_steps, peak = _run(draw)
    late = range(warmup_steps, n_steps)
    expected = _scheduled(n_steps, warmup_steps, peak)
    steps = torch.arange(n_steps, dtype=torch.float64)
    progress = ((steps - warmup_steps) / (n_steps - warmup_steps))[warmup_steps:]
    is_equal(
        _rates(answer, late, n_steps, warmup_steps, peak),
        expected[warmup_steps:],
        tolerance=1e-9,
        problem="After the warm-up, the rates are wrong.",
        hint="The angle goes from 0, right after the warm-up, to pi at the end of the run.",
        slips={
            "The angle counts from step 0: it starts after the warm-up.": _scheduled(n_steps, 0, peak)[warmup_steps:],
            "The rate stays at the peak.": torch.full_like(progress, peak),
            "This is a straight line, not a cosine.": peak * (1 - progress),
            "The rate falls below 0: the cosine goes from 1 to -1. Add 1, and halve.": peak
            * (torch.pi * progress).cos(),
            "The fall is over too early or too late: it takes the steps that are left after the warm-up.": peak
            * (1 + (torch.pi * (steps[warmup_steps:] - warmup_steps) / n_steps).cos())
            / 2,
        },
    )


def rate_library(answer, draw):
    """All rates equal those of PyTorch's schedulers, also without a warm-up."""
    n_steps, warmup_steps, peak = _run(draw)
    for warmup in (0, warmup_steps):
        worst = is_equal(
            _rates(answer, range(n_steps), n_steps, warmup, peak),
            _scheduled(n_steps, warmup, peak),
            tolerance=1e-9,
            problem=f"With a warm-up of {warmup} steps, the rates are not PyTorch's.",
            hint="Without a warm-up, step 0 has the whole peak.",
        )
    return f"Largest difference to PyTorch's schedulers: {worst:.1e}."


# Exercise 5: clipping by the global norm


def _gradients(draw, norm: float) -> dict[str, torch.Tensor]:
    """Gradients by name, of different sizes, with this norm all together."""
    rows, columns, size = draw.sizes(3)
    found = {"matrix": draw.normal(rows, columns), "bias": 10 * draw.normal(size), "scale": draw.normal(1)}
    whole = torch.cat([one.flatten() for one in found.values()]).norm()
    return {name: norm / whole * one for name, one in found.items()}


def _clipped(answer, gradients: dict, max_norm: float) -> dict[str, torch.Tensor]:
    return are_named(
        answer(gradients, max_norm),
        {name: one.shape for name, one in gradients.items()},
        problem="The result does not have the gradients' names.",
        hint="Return a dictionary: for each name, the gradient that came under it, scaled.",
        shape_hint="Scaling keeps the shape.",
    )


def _flat(gradients: dict) -> torch.Tensor:
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def _by_library(gradients: dict, max_norm: float) -> dict[str, torch.Tensor]:
    parameters = {name: nn.Parameter(torch.zeros_like(one)) for name, one in gradients.items()}
    for name, parameter in parameters.items():
        parameter.grad = gradients[name].clone()
    nn.utils.clip_grad_norm_(parameters.values(), max_norm)
    return {name: parameter.grad for name, parameter in parameters.items()}


def clip_shapes(answer, draw):
    """All names and shapes."""
    _clipped(answer, _gradients(draw, 3.0), 1.0)


def clip_length(answer, draw):
    """The norm of gradients that are too long is the one allowed."""
    max_norm = 0.5 * draw.number(1, 5)
    got = _clipped(answer, _gradients(draw, max_norm * draw.number(2, 9)), max_norm)
    is_equal(
        _flat(got).norm()[None],
        torch.tensor([max_norm]),
        tolerance=1e-4,
        problem="The length of all gradients together is wrong.",
        hint="One norm over the entries of all tensors: the root of the sum of all their squares.",
    )


def clip_library(answer, draw):
    """Gradients that are too long equal clip_grad_norm_'s."""
    max_norm = 0.5 * draw.number(1, 5)
    gradients = _gradients(draw, max_norm * draw.number(2, 9))
    expected = _by_library(gradients, max_norm)
    alone = {name: max_norm * one / one.norm() / len(gradients) ** 0.5 for name, one in gradients.items()}
    worst = is_equal(
        _flat(_clipped(answer, gradients, max_norm)),
        _flat(expected),
        problem="The direction has changed.",
        hint="Multiply all tensors by one and the same number: only the length changes.",
        slips={"Each tensor was scaled by a norm of its own.": _flat(alone)},
    )
    return f"Largest difference to clip_grad_norm_: {worst:.1e}."


def clip_short(answer, draw):
    """Gradients that are short enough, and zeros, stay."""
    max_norm = 0.5 * draw.number(1, 5)
    short = _gradients(draw, 0.1 * max_norm * draw.number(1, 9))
    for gradients in (short, {name: torch.zeros_like(one) for name, one in short.items()}):
        got = _flat(_clipped(answer, gradients, max_norm))
        is_finite(
            got,
            problem="Gradients of 0 become NaN.",
            hint="Dividing by the norm is 0/0 there: look at the length before you divide.",
        )
        is_equal(
            got,
            _flat(gradients),
            problem="Short gradients were made longer or shorter.",
            hint="Clip only what is longer than allowed: the factor is never above 1.",
        )
