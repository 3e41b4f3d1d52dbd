"""Properties for lab 11: rounding to the nearest number of a format."""

import math

import torch
from torch import Tensor

from utils.checks.mixed_precision_bits import FORMATS, ONE_EACH, Format, middle, numbers
from utils.checks.properties import is_equal, is_tensor


def _rounded(answer, x: Tensor, form: Format) -> Tensor:
    got = answer(x, form.exponent_bits, form.fraction_bits)
    return is_tensor(got, x.shape, letters="(N,)", hint=ONE_EACH).double()


def round_shape(answer, draw):
    """A number for each number."""
    _rounded(answer, numbers(draw, FORMATS[0], -5, 5), FORMATS[0])


def round_nearest(answer, draw):
    """Numbers of medium size become the nearest of the format."""
    for form in FORMATS:
        x = numbers(draw, form, *middle(form))
        x[::2] *= -1
        gap = form.gap(x)
        is_equal(
            _rounded(answer, x, form) / gap,
            form.rounded(x) / gap,
            tolerance=1e-9,
            problem=f"These are not the nearest numbers of {form.name} (shown in gaps).",
            hint="How many gaps is x? Round that to a whole number, and multiply it by the gap again.",
            slips={
                "The digits behind were cut off. Rounding goes to the nearest.": (x / gap).trunc(),
                "Negative numbers were rounded down, away from the nearest.": (x / gap).floor(),
                "These are numbers of gaps: multiply by the gap again.": form.rounded(x) / gap / gap,
            },
        )


def round_ties(answer, draw):
    """Halfway between two numbers, the one with an even fraction is taken."""
    for form in FORMATS:
        low = 2**form.fraction_bits
        drawn = torch.tensor([float(draw.number(low, 2 * low - 2)) for _ in range(2)])
        whole = torch.cat([drawn, drawn + 1]).double()  # even and odd ones
        gap = 2.0 ** (draw.number(-3, 3) - form.fraction_bits)
        x = (whole + 0.5) * gap
        is_equal(
            _rounded(answer, x, form) / gap,
            form.rounded(x) / gap,
            tolerance=1e-9,
            problem=f"Numbers halfway between two of {form.name} are rounded the wrong way (shown in gaps).",
            hint="Ties go to the even neighbor: 2.5 gaps become 2, and 3.5 become 4.",
            slips={"Ties went up. They go to the even neighbor, so that they do not add up.": (x / gap + 0.5).floor()},
        )


def round_small(answer, draw):
    """Tiny numbers are rounded to multiples of the smallest one; below half of it, to 0."""
    for form in FORMATS[::2]:
        tiny = form.tiny
        x = torch.tensor([0.3, 0.7, 1.2, draw.number(2, 9) + 0.8, -(draw.number(2, 9) + 0.2), 0.0]).double() * tiny
        x = x.float().double()
        is_equal(
            _rounded(answer, x, form) / tiny,
            form.rounded(x) / tiny,
            tolerance=1e-9,
            problem=f"Tiny numbers are rounded wrong in {form.name} (shown as multiples of the smallest number).",
            hint="Down there all numbers are multiples of the smallest one. Does your gap stop shrinking?",
        )


def round_large(answer, draw):
    """Beyond the largest number and half a gap: infinity."""
    for form in FORMATS[::2]:
        largest = torch.finfo(form.dtype).max
        gap = form.gap(torch.tensor([largest / 1.01]).double()).item()
        x = torch.tensor([largest, largest + 0.4 * gap, largest + 0.6 * gap, largest * draw.number(2, 9)]).double()
        x = torch.cat([x, -x])
        expected = form.rounded(x)
        is_equal(
            _rounded(answer, x, form),
            expected,
            tolerance=1e-9,
            problem=f"The largest numbers of {form.name} are rounded wrong.",
            hint="What rounds to more than (2 - 2^-m) 2^b becomes infinity, with its sign. All else stays.",
            slips={
                "Infinity keeps the sign of the number.": torch.where(expected.isinf(), math.inf, expected),
                "Beyond the largest number comes infinity, not the largest again.": expected.clamp(-largest, largest),
                "Compare after rounding: a number just above the largest still rounds to it.": torch.where(
                    x.abs() > largest, x.sign() * math.inf, x
                ),
            },
        )
    return "PyTorch rounds the same way."
