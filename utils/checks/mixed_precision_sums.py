"""Properties for lab 11: adding with a memory, and the rule for the loss scale."""

import math

import torch
from torch import Tensor, nn

from utils.checks.calls import NotYet, describe
from utils.checks.plain_values import is_number
from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

# Exercise 3: adding with a memory


def _added(answer, total: Tensor, lost: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The student's new total and memory, both in bf16."""
    found = []
    for name, one in zip(("total", "lost"), are_results(answer(total, lost, x), 2, "total, lost"), strict=True):
        is_tensor(one, total.shape, name=f"`{name}`", letters="(D,)", hint="Each sum is on its own.")
        if one.dtype != torch.bfloat16:
            raise NotYet(
                f"`{name}` is not in bf16.",
                {"expected": "bfloat16", "got": describe(one)},
                "In this exercise there is no room for more than 16 bits between two calls.",
            )
        found.append(is_finite(one.detach(), problem=f"`{name}` holds NaN or infinity.", hint="It only adds."))
    return found[0], found[1]


def memory_types(answer, draw):
    """Two tensors in bf16."""
    size = draw.number(3, 9)
    _added(answer, *(draw.normal(size).bfloat16() for _ in range(3)))


def memory_exact(answer, draw):
    """From an empty memory, total and memory together are the exact sum."""
    size = draw.number(5, 9)
    total = (draw.normal(size).sign() * (1 + torch.rand(size, generator=draw.generator))).bfloat16()
    x = (draw.normal(size).sign() * (0.01 + torch.rand(size, generator=draw.generator) / 20)).bfloat16()
    new, lost = _added(answer, total, torch.zeros_like(total), x)
    exact = total.double() + x.double()
    is_equal(
        new.double(),
        (total + x).double(),
        tolerance=0,
        problem="From an empty memory, the total is not the sum, rounded to bf16.",
        hint="The new total is the old one plus x (and plus what was lost before).",
        slips={"x was subtracted.": (total - x).double()},
    )
    is_equal(
        new.double() + lost.double(),
        exact,
        tolerance=1e-9,
        problem="The new total and the memory together are not the exact sum.",
        hint="What has arrived is new total minus old total. Lost is what should have arrived, minus that.",
        slips={
            "The memory is empty, though the total was rounded.": new.double(),
            "The memory has the wrong sign: it is what is still to be added.": new.double() - (exact - new.double()),
            "The memory holds all of x, as if nothing had arrived.": new.double() + x.double(),
        },
    )


def memory_run(answer, draw):
    """Five hundred small numbers add up to what fp64 finds."""
    size, steps = draw.number(3, 9), 500
    begin = (1 + torch.rand(size, generator=draw.generator)).bfloat16()
    numbers = (2.0**-11 * (0.5 + torch.rand(steps, size, generator=draw.generator))).bfloat16()
    total, lost = begin, torch.zeros_like(begin)
    for x in numbers:
        total, lost = _added(answer, total, lost, x)
    exact = begin.double() + numbers.double().sum(dim=0)
    worst = is_equal(
        total.double(),
        exact,
        tolerance=0.02,  # two gaps of bf16 between 2 and 4 are 0.03; half a gap is 0.008
        problem=f"After {steps} small numbers the total is not what fp64 finds.",
        hint="Add what was lost before to x first. Then the memory starts anew, from that sum.",
        slips={"The total has not moved: each number alone is less than half a gap.": begin.double()},
    )
    return f"Largest difference to fp64 after {steps} additions: {worst:.4f}; a gap of bf16 at 2 is {2**-6:.4f}."


# Exercise 4: the rule for the scale


def _scaler(scale: float, good_steps: int, growth_interval: int):
    """PyTorch's scaler in a given state, and a function that makes one attempt with it."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)
    scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": good_steps})
    scaler.scale(torch.ones(1))  # the state becomes tensors

    def attempt(overflow: bool) -> tuple[float, int]:
        parameter.grad = torch.tensor([math.inf if overflow else 1.0])
        scaler.step(optimizer)
        scaler.update()
        return scaler.get_scale(), scaler.state_dict()["_growth_tracker"]

    return attempt


def _next(answer, scale: float, good_steps: int, overflow: bool, growth_interval: int) -> tuple[float, int]:
    got = are_results(answer(scale, good_steps, overflow, growth_interval), 2, "scale, good_steps")
    return is_number(got[0], name="The scale"), int(is_number(got[1], name="The number of good steps"))


def _same_state(got: tuple, expected: tuple, before: str, hint: str, slips: dict[str, tuple]) -> None:
    if got != expected:
        hint = next((why for why, state in slips.items() if state == got), hint)
        show = "scale {}, {} good steps in a row".format
        raise NotYet(
            f"The state after {before} is wrong.", {"expected": show(*expected), "got": show(*got)}, hint
        )


def _state(draw) -> tuple[float, int, int]:
    """A scale, a number of good steps and a growth interval; some steps are left until the scale grows."""
    growth_interval = draw.number(4, 9)
    return 2.0 ** draw.number(5, 20), draw.number(1, growth_interval - 2), growth_interval


def scale_results(answer, draw):
    """Two numbers."""
    scale, good_steps, growth_interval = _state(draw)
    _next(answer, scale, good_steps, False, growth_interval)


def scale_overflow(answer, draw):
    """An overflow halves the scale, and the count starts anew."""
    scale, good_steps, growth_interval = _state(draw)
    _same_state(
        _next(answer, scale, good_steps, True, growth_interval),
        _scaler(scale, good_steps, growth_interval)(True),
        "an overflow",
        "Half the scale, and no good step in a row.",
        {
            "The count goes on over an overflow. It counts good steps in a row.": (scale / 2, good_steps),
            "The skipped step was counted as a good one.": (scale / 2, good_steps + 1),
            "An overflow means that the scale was too large.": (scale * 2, 0),
            "The scale stays as it was.": (scale, 0),
        },
    )


def scale_growth(answer, draw):
    """The scale doubles after exactly `growth_interval` good steps."""
    scale, good_steps, growth_interval = _state(draw)
    for before in (good_steps, growth_interval - 1):
        _same_state(
            _next(answer, scale, before, False, growth_interval),
            _scaler(scale, before, growth_interval)(False),
            f"a good step (number {before + 1} of {growth_interval})",
            "One more good step. If this makes growth_interval of them, the scale doubles and the count starts anew.",
            {
                "The growth comes one step too late: this step counts, too.": (scale, before + 1),
                "The scale has doubled, but the count goes on.": (scale * 2, before + 1),
                "The count was set back without a doubling.": (scale, 0),
                "The growth comes too early: the step before it must have been good, too.": (scale * 2, 0),
                "A good step adds 1 to the count.": (scale, before),
            },
        )


def scale_run(answer, draw):
    """Sixty attempts take the states of PyTorch's scaler."""
    scale, _, growth_interval = _state(draw)
    good_steps, attempt = 0, _scaler(scale, 0, growth_interval)
    overflows = [draw.number(1, 9) == 1 for _ in range(60)]
    for number, overflow in enumerate(overflows, 1):
        before = scale, good_steps
        scale, good_steps = _next(answer, scale, good_steps, overflow, growth_interval)
        _same_state(
            (scale, good_steps),
            attempt(overflow),
            f"attempt {number} ({'overflow' if overflow else 'good'}; before it {before[0]:g}, {before[1]})",
            "Single steps are right: does your function depend on anything but its arguments?",
            {},
        )
    return f"60 attempts, {sum(overflows)} of them overflows, in the states of torch.amp.GradScaler."
