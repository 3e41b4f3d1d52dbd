"""Properties for lab 11: the bits of a number, and the gap to its neighbor."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.checks.calls import NotYet
from utils.checks.plain_values import is_number
from utils.checks.properties import is_equal, is_finite, is_tensor

ONE_EACH = "Each number has a result of its own."


@dataclass(frozen=True)
class Format:
    """A number format, and PyTorch's types for it: `dtype` reads the bits that `whole` holds."""

    name: str
    exponent_bits: int
    fraction_bits: int
    dtype: torch.dtype
    whole: torch.dtype

    @property
    def top(self) -> int:
        """The exponent field whose bits are all ones."""
        return 2**self.exponent_bits - 1

    def pattern(self, sign: int, exponent: int, fraction: int) -> int:
        """The bit pattern of three fields, as a whole number."""
        return (sign << self.exponent_bits | exponent) << self.fraction_bits | fraction

    def values(self, patterns: Tensor) -> Tensor:
        """The numbers, in fp64, that PyTorch reads from patterns."""
        return patterns.to(self.whole).view(self.dtype).double()

    def rounded(self, x: Tensor) -> Tensor:
        """The numbers, in fp64, to which PyTorch rounds x. The x must be numbers of fp32: it rounds to that first."""
        return x.to(self.dtype).double()

    def gap(self, x: Tensor) -> Tensor:
        """From the largest number that is at most |x| to the next one."""
        patterns = x.abs().to(self.dtype).view(self.whole).long()
        below = torch.where(self.values(patterns) > x.abs(), patterns - 1, patterns)
        return self.values(below + 1) - self.values(below)

    @property
    def tiny(self) -> float:
        """The smallest number above 0."""
        return self.values(torch.tensor([1])).item()


FORMATS = (
    Format("fp16", 5, 10, torch.float16, torch.int16),
    Format("bf16", 8, 7, torch.bfloat16, torch.int16),
    Format("fp8", 5, 2, torch.float8_e5m2, torch.uint8),
)


# Exercise 1: from bits to a number


def _read(answer, draw, form: Format, exponents: range, fractions: range, scale: float = 1.0, slips=None) -> None:
    """Compare some patterns with what PyTorch reads; numbers are shown as multiples of `scale`."""
    for sign in (0, 1):
        exponent = draw.number(exponents[0], exponents[-1])
        fraction = draw.number(fractions[0], fractions[-1])
        pattern = form.pattern(sign, exponent, fraction)
        got = torch.tensor([is_number(answer(pattern, form.exponent_bits, form.fraction_bits))]).double()
        expected = form.values(torch.tensor([pattern]))
        size = 2.0 ** (exponent - form.top // 2)
        share = fraction / 2**form.fraction_bits
        is_equal(
            got / scale,
            expected / scale,
            tolerance=1e-9 * max(1.0, abs(expected.item() / scale)),
            problem=f"The {form.name} number with the bits {pattern:0{1 + form.exponent_bits + form.fraction_bits}b} "
            f"is wrong{'' if scale == 1 else f' (shown in multiples of {scale:.3g})'}.",
            hint=f"Here s = {sign}, e = {exponent} and f = {fraction}. Print yours.",
            slips={why: torch.tensor([value / scale]).double() for why, value in slips(sign, size, share).items()},
        )


def decode_normal(answer, draw):
    """Numbers of medium size with both signs."""
    for form in FORMATS:
        middle = form.top // 2
        _read(
            answer,
            draw,
            form,
            range(middle - 6, middle + 7),
            range(1, 2**form.fraction_bits),
            slips=lambda sign, size, share: {
                "The sign bit has no effect.": (-1.0) ** (1 - sign) * size * (1 + share) if sign else math.inf,
                "The 1 before the fraction is missing: a normal number is 1 + f / 2^m times a power of 2.": (-1.0)
                ** sign
                * size
                * share,
                "The bias is one too large: it is 2^(k-1) - 1.": (-1.0) ** sign * size / 2 * (1 + share),
            },
        )


def decode_small(answer, draw):
    """Subnormal numbers, and zero."""
    for form in FORMATS:
        tiny = form.tiny
        _read(
            answer,
            draw,
            form,
            range(0, 1),
            range(1, 2**form.fraction_bits),
            tiny,
            lambda sign, size, share: {
                "A subnormal number has no 1 before its fraction: it continues down to 0.": (-1.0) ** sign
                * size
                * (1 + share),
                "A subnormal number's power of 2 is that of e = 1: 1 - b, not 0 - b.": (-1.0) ** sign * size * share,
                "A subnormal number's power of 2 is that of e = 1, and it has no 1 before its fraction.": (-1.0) ** sign
                * 2
                * size
                * (1 + share),
                "Subnormal numbers are not 0: only f = 0 is.": 0.0,
            },
        )
        _read(answer, draw, form, range(0, 1), range(0, 1), tiny, lambda sign, size, share: {
            "All bits but the sign are 0: this is zero.": size})


def decode_special(answer, draw):
    """Infinities and NaN."""
    for form in FORMATS:
        bits = form.exponent_bits, form.fraction_bits
        for sign in (0, 1):
            got = answer(form.pattern(sign, form.top, 0), *bits)
            expected = -math.inf if sign else math.inf
            if got != expected:
                raise NotYet(
                    f"All exponent bits are ones, and the fraction is 0: in {form.name}, too, this is infinity.",
                    {"expected": str(expected), "got": str(got)},
                    "The largest exponent field is no power of 2. With f = 0 it is infinity, with the number's sign.",
                )
            fraction = draw.number(1, 2**form.fraction_bits - 1)
            got = float(answer(form.pattern(sign, form.top, fraction), *bits))
            if not math.isnan(got):
                raise NotYet(
                    f"All exponent bits are ones, and f = {fraction}: in {form.name}, too, this is NaN.",
                    {"expected": "nan", "got": str(got)},
                    "With all ones in the exponent, any other fraction than 0 means \"not a number\": `math.nan`.",
                )
    return "PyTorch reads the same from these bits, in fp16, bf16 and an fp8 with 2 fraction bits."


# Exercise 2: gaps


def numbers(draw, form: Format, low: int, high: int, count: int = 8) -> Tensor:
    """Numbers of fp32, in fp64, with sizes from 2^low to 2^high; two are powers of 2."""
    powers = torch.tensor([float(draw.number(low, high - 1)) for _ in range(count)], dtype=torch.float64)
    within = torch.rand(count, generator=draw.generator, dtype=torch.float64)
    within[:2] = 0
    return (2.0**powers * (1 + within)).float().double()


def middle(form: Format) -> tuple[int, int]:
    """Powers of 2 well inside the normal numbers of a format."""
    return (-9, 10) if form.exponent_bits == 5 else (-30, 31)


def _gap(answer, x: Tensor, form: Format, problem: str, hint: str, slips=None) -> None:
    got = is_tensor(answer(x, form.exponent_bits, form.fraction_bits), x.shape, letters="(N,)", hint=ONE_EACH)
    is_finite(got.double(), problem=problem, hint=hint)
    # As powers of 2, because a gap may be far below any tolerance.
    is_equal(
        got.double().log2(),
        form.gap(x).log2(),
        tolerance=1e-6,
        problem=f"{problem} ({form.name}; gaps are shown as powers of 2)",
        hint=hint,
        slips={why: value.log2() for why, value in (slips or {}).items()},
    )


def gap_shape(answer, draw):
    """A gap for each number."""
    x = numbers(draw, FORMATS[0], -5, 5)
    is_tensor(answer(x, 5, 10), x.shape, letters="(N,)", hint=ONE_EACH)


def gap_normal(answer, draw):
    """Gaps of positive normal numbers."""
    for form in FORMATS:
        x = numbers(draw, form, *middle(form))
        expected = form.gap(x)
        _gap(
            answer,
            x,
            form,
            "The gap is wrong.",
            "Which power of 2 lies just below x, or at x? The gap is 2^m times smaller.",
            {
                "The gap grows in steps, with the power of 2 below x: x itself is not one.": x
                * 2.0**-form.fraction_bits,
                "This is the gap after 1, for every x.": torch.full_like(x, 2.0**-form.fraction_bits),
                "Half the gap is the largest rounding error. The gap is twice that.": expected / 2,
                "This is twice the gap: there are 2^m numbers from one power of 2 to the next.": 2 * expected,
                "This takes the power of 2 above x, or the nearest.": expected * torch.where(
                    x.log2() == x.log2().floor(), 1.0, 2.0),
            },
        )


def gap_negative(answer, draw):
    """Negative numbers have the gaps of positive ones."""
    for form in FORMATS:
        x = -numbers(draw, form, *middle(form))
        _gap(answer, x, form, "The gap at negative numbers is wrong.", "A gap is a distance: only |x| counts.")


def gap_small(answer, draw):
    """Below the smallest normal number, and at 0, the gap stays."""
    for form in FORMATS[::2]:  # the subnormal numbers of bf16 are subnormal in fp32, too, and PyTorch may drop them
        lowest = 1 - form.top // 2
        x = torch.cat([numbers(draw, form, lowest - form.fraction_bits, lowest, 5), torch.zeros(1).double()])
        _gap(
            answer,
            x,
            form,
            "The gap of tiny numbers is wrong.",
            "Below the smallest normal number, 2^(1-b), the gap shrinks no further. Log 0 is no number, either.",
        )
    return "PyTorch's next numbers lie at the same distance."
