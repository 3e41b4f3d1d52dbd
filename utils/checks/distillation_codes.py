"""Properties for lab 15: numbers in 8 and in 4 bits, beside PyTorch's and plain integers."""

import torch
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

# Exercise 4: 8 bits a number, and 4


def _weight(draw) -> tuple[Tensor, Tensor, Tensor]:
    """A weight (R, C) in fp32, its codes, and its scales (R,); no number is near the middle of two codes."""
    rows, columns = draw.sizes(2, (3, 5, 7, 9))
    codes = torch.randint(-126, 127, (rows, columns), generator=draw.generator)
    place = torch.randint(columns, (rows,), generator=draw.generator)
    sign = 2 * torch.randint(2, (rows,), generator=draw.generator) - 1
    shift = 0.35 * (2 * torch.rand(rows, columns, generator=draw.generator, dtype=torch.float64) - 1)
    shift[(torch.arange(rows), place)] = 0.0
    codes[(torch.arange(rows), place)] = 127 * sign
    scales = (10 ** draw.normal(rows, dtype=torch.float64).clamp(-1.5, 1.5)) / 127
    return ((codes + shift) * scales[:, None]).float(), codes, scales.float()


def _quantized(answer, weight: Tensor) -> tuple[Tensor, Tensor]:
    codes, scales = are_results(answer(weight), 2, "codes, scales")
    codes = is_tensor(codes, weight.shape, letters="(R, C)", name="`codes`", hint="A code for each number.")
    scales = is_tensor(scales, weight.shape[:1], letters="(R,)", name="`scales`", hint="One scale for each row.",
                       slips={(): "One scale for all rows is too coarse: each row gets its own.",
                              weight.shape[1:]: "These are scales of the columns: look along each row.",
                              (len(weight), 1): "Leave the axis of the columns out."})
    if codes.dtype != torch.int8:
        raise NotYet("The codes are not stored in 8 bits.", {"expected": "dtype int8", "got": str(codes.dtype)},
                     "`tensor.to(torch.int8)` makes bytes of whole numbers. That is what saves the memory.")
    return codes, scales


def quantize_shapes(answer, draw):
    """Codes in int8, and a scale for each row."""
    _quantized(answer, _weight(draw)[0])


def quantize_scales(answer, draw):
    """The largest size of a row is 127 scales."""
    weight, _, right = _weight(draw)
    scales = _quantized(answer, weight)[1]
    is_equal(scales / right, torch.ones_like(right), tolerance=1e-5,
             problem="A row's scale is not its largest size over 127 (shown: got over expected).",
             hint="The largest absolute value of the row gets the code 127 or -127.",
             slips={"127 is the largest code that has a negative partner: divide by 127, not 128.":
                        torch.full_like(right, 127 / 128),
                    "With 255 the codes do not fit: half of them are for negative numbers.":
                        torch.full_like(right, 127 / 255),
                    "That is the scale of the whole matrix.": right.max() / right,
                    "The largest number was taken, not the largest size: a negative one may be larger.":
                        weight.amax(1) / 127 / right,
                    "Multiplied by a scale, a code gives the number back: it is the inverse of this.":
                        1 / right / right})


def quantize_library(answer, draw):
    """The codes that PyTorch's quantization by channel gives, and an error of at most half a scale."""
    weight, codes, scales = _weight(draw)
    got, own = _quantized(answer, weight)
    nothing = torch.zeros(len(weight), dtype=torch.int32)
    rounded = torch.fake_quantize_per_channel_affine(weight, scales, nothing, 0, -127, 127)
    library = (rounded / scales[:, None]).round().to(torch.int8)
    if not torch.equal(library.long(), codes):
        raise RuntimeError("the library disagrees with the codes that the weight was made of")
    is_equal(got, library, tolerance=0, problem="These are not the codes that PyTorch gives.",
             hint="Divide each row by its scale, and round to the nearest whole number.",
             slips={"A conversion to int8 cuts off what follows the point: round first.":
                        (weight / scales[:, None]).to(torch.int8),
                    "Always rounded down: take the nearest.": (weight / scales[:, None]).floor().to(torch.int8)})
    error = (got * own[:, None] - weight).abs() / own[:, None]
    return f"Largest error: {error.max().item():.2f} scales (rounding allows 0.50)."


def quantize_zeros(answer, draw):
    """A row of zeros stays a row of zeros."""
    weight, codes, _ = _weight(draw)
    row = draw.number(0, len(weight) - 1)
    weight[row], codes[row] = 0, 0
    got, scales = _quantized(answer, weight)
    is_finite(scales, problem="A row of zeros has a scale that is not finite.", hint="Any scale will do for it but 0.")
    if not (scales > 0).all():
        raise NotYet("A row of zeros has a scale of 0.", {"expected": "scales above 0", "got": describe(scales)},
                     "0/0 is NaN, and NaN as a byte is anything. Use 1 for such a row.")
    is_equal(got, codes.to(torch.int8), tolerance=0, problem="Next to a row of zeros, codes are wrong.",
             hint="A row of zeros has the codes 0; the other rows are as before.")


def _nibbles(draw) -> Tensor:
    """Codes (R, 2 C) from -8 to 7 in int8, with every one of them among them."""
    rows, pairs = draw.number(2, 4), draw.number(8, 11)
    codes = torch.randint(-8, 8, (rows, 2 * pairs), generator=draw.generator)
    codes[0, :16] = torch.randperm(16, generator=draw.generator) - 8
    return codes.to(torch.int8)


def _bytes(codes: Tensor) -> Tensor:
    """The bytes that Python's own integers give: the first of two codes in the low half."""
    pairs = codes.long().reshape(len(codes), -1, 2).tolist()
    return torch.tensor([[int(f"{high % 16:x}{low % 16:x}", 16) for low, high in row] for row in pairs]).to(torch.uint8)


def _is_type(got: Tensor, dtype: torch.dtype, hint: str) -> Tensor:
    if got.dtype != dtype:
        raise NotYet("The result has the wrong type.", {"expected": f"dtype {dtype}".replace("torch.", ""),
                                                        "got": describe(got)}, hint)
    return got


def _packed(answer, codes: Tensor) -> Tensor:
    rows, columns = codes.shape
    got = is_tensor(answer(codes), (rows, columns // 2), letters="(R, C)", name="the bytes",
                    hint="Two codes share a byte: half as many columns.")
    return _is_type(got, torch.uint8, "A byte is a number from 0 to 255: `.to(torch.uint8)`.")


def pack_shape(answer, draw):
    """Half as many bytes as codes."""
    _packed(answer, _nibbles(draw))


def pack_positive(answer, draw):
    """Codes from 0 to 7 come out right."""
    codes = _nibbles(draw).abs() % 8
    is_equal(_packed(answer, codes), _bytes(codes), tolerance=0, problem="Two codes from 0 to 7 give the wrong byte.",
             hint="The first code of a pair, plus 16 times the second one.",
             slips={"The two have changed places: the first one goes into the low half.": _bytes(_swapped(codes)),
                    "Neighbors belong together: columns 0 and 1, then 2 and 3.": _bytes(_halves(codes))})


def pack_all(answer, draw):
    """Negative codes, too."""
    codes = _nibbles(draw)
    low, high = codes[:, ::2].long(), codes[:, 1::2].long()
    is_equal(_packed(answer, codes), _bytes(codes), tolerance=0, problem="With negative codes, a byte is wrong.",
             hint="Keep the last four bits of each code, `code & 15`, before the two are joined: -1 is 15 then.",
             slips={"A negative low code has ones in its upper bits, which spoil the neighbor: `& 15` first.":
                        ((high * 16) | low).to(torch.uint8),
                    "Codes were shifted by 8. Keep their last four bits instead.":
                        ((high + 8) * 16 + low + 8).to(torch.uint8)})


def _swapped(codes: Tensor) -> Tensor:
    return codes.reshape(len(codes), -1, 2).flip(2).reshape(codes.shape)


def _halves(codes: Tensor) -> Tensor:
    return codes.reshape(len(codes), 2, -1).transpose(1, 2).reshape(codes.shape)


def _unpacked(answer, packed: Tensor) -> Tensor:
    rows, columns = packed.shape
    got = is_tensor(answer(packed), (rows, 2 * columns), letters="(R, 2 C)", name="the codes",
                    hint="Each byte gives two codes: twice as many columns.")
    return _is_type(got, torch.int8, "The codes are small whole numbers with a sign: `.to(torch.int8)`.")


def unpack_shape(answer, draw):
    """Twice as many codes as bytes."""
    _unpacked(answer, _bytes(_nibbles(draw)))


def unpack_positive(answer, draw):
    """Bytes of codes from 0 to 7."""
    codes = _nibbles(draw).abs() % 8
    is_equal(_unpacked(answer, _bytes(codes)), codes, tolerance=0, problem="A byte gives the wrong two codes.",
             hint="The low half is `byte & 15`, the high half is `byte >> 4`. The low one comes first.",
             slips={"The two have changed places: the low half comes first.": _swapped(codes),
                    "All low halves came first, then all high ones: they belong side by side.":
                        codes.reshape(len(codes), -1, 2).transpose(1, 2).reshape(codes.shape)})


def unpack_all(answer, draw):
    """All bytes."""
    codes = _nibbles(draw)
    is_equal(_unpacked(answer, _bytes(codes)), codes, tolerance=0, problem="Negative codes do not come back.",
             hint="Four bits from 8 to 15 stand for -8 to -1: subtract 16 from them.",
             slips={"The sign is lost: from 8 on, subtract 16.": codes.long() % 16,
                    "8 was subtracted from all of them.": codes.long() % 16 - 8})
