"""Quantization: weights as whole numbers of 8 or 4 bits and a scale, for storage, for use, and under adapters.

Letters in shape comments: O and I the width of a layer's output and input, G groups in a row, N rows of activations.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BITS = (4, 8)
SMALLEST_SCALE = torch.finfo(torch.float32).eps  # keeps a row of zeros from a division by zero


class Quantized(NamedTuple):
    """Whole numbers and what they stand for: (codes - zero_point) * scale.

    Shapes: codes (O, I) int8; scale (1, 1), (O, 1) or (O, G) fp32; zero_point int8 of the same shape, or None.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None = None


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest code of so many bits: -128 and 127 for 8. Raises: ValueError for bits other than 4 and 8."""
    if bits not in BITS:
        raise ValueError(
            f"bits: expected one of {BITS} (two codes or one fill a byte), got {bits!r}; to see what other widths "
            f"would lose, use round_to_levels"
        )
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def check_scales(shape: torch.Size, scales: str | int) -> None:
    """Raise ValueError unless `scales` is "tensor", "row", or a number that divides the rows into equal groups."""
    if len(shape) != 2:
        raise ValueError(f"quantize: expected a matrix, got shape {tuple(shape)}")
    if scales in ("tensor", "row"):
        return
    if isinstance(scales, bool) or not isinstance(scales, int) or scales < 1:
        raise ValueError(f"scales: expected 'tensor', 'row' or a group size from 1, got {scales!r}")
    if shape[1] % scales:
        raise ValueError(
            f"scales: expected a group size that divides the row's {shape[1]} numbers, got {scales}; "
            f"take a divisor of {shape[1]}"
        )


def grouped(x: Tensor, scales: str | int) -> Tensor:
    """A view of a matrix whose last axis shares one scale. Shapes: (O, I) -> (1, 1, O*I), (O, 1, I) or (O, G, I/G)."""
    check_scales(x.shape, scales)
    if scales == "tensor":
        return x.reshape(1, 1, -1)
    return x.reshape(len(x), -1, x.shape[1] if scales == "row" else scales)


def to_codes(x: Tensor, scale: Tensor, zero_point: Tensor | int, lowest: int, highest: int) -> Tensor:
    """The nearest code of each number: round(x / scale) + zero_point, kept between the two ends.

    As x times 1 / scale: one division a scale instead of one a number.
    """
    return ((x * (1.0 / scale)).round() + zero_point).clamp(lowest, highest)


def quantize(x: Tensor, bits: int = 8, scales: str | int = "row", symmetric: bool = True) -> Quantized:
    """Round a matrix to whole numbers with one scale for the tensor, for each row, or for each group of a row.

    Symmetric (absmax): scale = max|x| / (2^(bits-1) - 1). Otherwise (zero point): scale = (max - min) / (2^bits - 1)
    over a range that holds 0, and zero_point is the code of 0. No number moves by more than half a scale.
    Shapes: (O, I) -> see `Quantized`. Raises: ValueError for other bits, no matrix, or a group size that does not
    divide I.
    Source: Jacob et al. 2018, section 2.1 (zero point); Dettmers et al. 2022, section 2 (absmax); Dettmers et al. 2023,
    section 2 (groups).
    """
    lowest, highest = limits(bits)
    parts = grouped(x.detach().float(), scales)
    if symmetric:
        scale = (parts.abs().amax(dim=-1, keepdim=True) / highest).clamp(min=SMALLEST_SCALE)
        codes = to_codes(parts, scale, 0, -highest, highest)
        return Quantized(codes.to(torch.int8).view(x.shape), scale[..., 0])
    low, high = parts.amin(dim=-1, keepdim=True).clamp(max=0), parts.amax(dim=-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / (highest - lowest)).clamp(min=SMALLEST_SCALE)
    zero_point = (lowest - (low / scale).round()).clamp(lowest, highest)
    codes = to_codes(parts, scale, zero_point, lowest, highest)
    return Quantized(codes.to(torch.int8).view(x.shape), scale[..., 0], zero_point[..., 0].to(torch.int8))


def dequantize(quantized: Quantized) -> Tensor:
    """The numbers that the codes stand for. Shapes: (O, I), fp32."""
    codes, scale, zero_point = quantized
    if zero_point is None and len(scale) == len(codes) and scale.shape[1] == 1:
        return codes * scale  # one pass over the matrix: this runs in every forward
    parts = codes.view(len(scale), scale.shape[1], -1)
    if zero_point is not None:
        parts = parts.to(torch.int16) - zero_point[..., None]
    return (parts * scale[..., None]).view(codes.shape)


def round_to_levels(x: Tensor, bits: int, scales: str | int = "row") -> Tensor:
    """What is left of a matrix in so many bits, as fp32: absmax for any width, for study; nothing gets smaller.

    Raises: ValueError for bits outside 2 to 8.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise ValueError(f"bits: expected a whole number from 2 to 8, got {bits!r}")
    parts, highest = grouped(x.detach().float(), scales), 2 ** (bits - 1) - 1
    scale = (parts.abs().amax(dim=-1, keepdim=True) / highest).clamp(min=SMALLEST_SCALE)
    return (to_codes(parts, scale, 0, -highest, highest) * scale).view(x.shape)


def pack(codes: Tensor) -> Tensor:
    """Codes of 4 bits, two to a byte: the even columns in the lower half. Shapes: (O, I) int8 -> (O, I/2) uint8.

    Raises: ValueError for an odd number of columns or a code outside -8 to 7.
    """
    if codes.shape[-1] % 2 or codes.amin() < -8 or codes.amax() > 7:
        raise ValueError(
            f"pack: expected an even number of columns and codes from -8 to 7, got shape {tuple(codes.shape)} and "
            f"codes from {int(codes.amin())} to {int(codes.amax())}"
        )
    halves = (codes + 8).to(torch.uint8)
    return halves[..., 0::2] | (halves[..., 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """The codes of `pack`. Shapes: (O, I/2) uint8 -> (O, I) int8."""
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).to(torch.int8) - 8


@dataclass(frozen=True)
class QuantizationConfig:
    """How a model is quantized; checked whole, all problems in one message.

    `scales`: "tensor", "row", or a group size. `activations` 8 rounds what enters a layer, too, row by row as it comes,
    and multiplies whole numbers. `skip` names layers (by their ends) that stay as they are.
    Raises: ValueError naming every field that does not fit.
    """

    bits: int = 8
    scales: str | int = "row"
    symmetric: bool = True
    activations: int | None = None
    embeddings: bool = True
    skip: tuple[str, ...] = ("head",)

    def __post_init__(self) -> None:
        problems = []
        if self.bits not in BITS:
            problems.append(f"bits={self.bits!r} (4 or 8: two codes or one fill a byte)")
        if self.scales not in ("tensor", "row") and (
            isinstance(self.scales, bool) or not isinstance(self.scales, int) or self.scales < 1
        ):
            problems.append(f"scales={self.scales!r} ('tensor', 'row' or a group size from 1)")
        if self.activations not in (None, 8):
            problems.append(f"activations={self.activations!r} (None or 8)")
        elif self.activations and (self.bits != 8 or self.scales != "row" or not self.symmetric):
            problems.append("activations=8 (only with bits=8, scales='row' and symmetric=True)")
        if problems:
            raise ValueError("QuantizationConfig: expected in brackets, got " + "; ".join(problems))


class FrozenProduct(torch.autograd.Function):
    """x W^T for a quantized W without a gradient of its own.

    Backward needs W again. Autograd would keep the dequantized copy of every layer; this makes it anew.
    Source: Dettmers et al. 2023, "QLoRA", section 3.
    """

    @staticmethod
    def forward(ctx, x: Tensor, layer: "QuantizedLinear") -> Tensor:
        """Shapes: x (..., I) -> (..., O)."""
        ctx.layer, ctx.dtype = layer, x.dtype
        return F.linear(x, layer.weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """Shapes: (..., O) -> (..., I)."""
        return (gradient @ ctx.layer.weight.to(gradient.dtype)).to(ctx.dtype), None


class QuantizedMatrix(nn.Module):
    """Codes, scales and zero points of a matrix as buffers; 4-bit codes lie two to a byte."""

    def __init__(self, matrix: Tensor, config: QuantizationConfig) -> None:
        super().__init__()
        codes, scale, zero_point = quantize(matrix, config.bits, config.scales, config.symmetric)
        self.bits = config.bits
        self.register_buffer("codes", pack(codes) if config.bits == 4 else codes)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point)

    def quantized(self, rows: Tensor | slice = slice(None)) -> Quantized:
        """The matrix, or some of its rows, with one code a number."""
        codes = self.codes[rows]
        codes = unpack(codes) if self.bits == 4 else codes
        if len(self.scale) == 1:
            return Quantized(codes, self.scale, self.zero_point)
        return Quantized(codes, self.scale[rows], None if self.zero_point is None else self.zero_point[rows])


class QuantizedLinear(QuantizedMatrix):
    """A linear layer with quantized, frozen weights. Shapes: x (..., I) -> (..., O)."""

    def __init__(self, layer: nn.Linear, config: QuantizationConfig) -> None:
        super().__init__(layer.weight, config)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.activations = config.activations
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The weights that the codes stand for, made anew at each call. Shapes: (O, I)."""
        return dequantize(self.quantized())

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b: from dequantized weights, or with `activations` by a product of whole numbers."""
        if self.activations:
            return self.whole_number_product(x)
        y = FrozenProduct.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def whole_number_product(self, x: Tensor) -> Tensor:
        """Round each row of x to int8, multiply int8 by int8 into int32, and scale the sums back. No gradient.

        Source: Dettmers et al. 2022, "LLM.int8()", section 2 (one scale a row of x, one a row of W).
        """
        codes, scale, _ = quantize(x.flatten(0, -2))  # (N, I), (N, 1)
        sums = torch._int_mm(codes, self.codes.T)  # (N, O), int32
        y = sums * scale * self.scale.T
        y = y if self.bias is None else y + self.bias
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)


class QuantizedEmbedding(QuantizedMatrix):
    """A table of vectors with quantized, frozen rows; only the rows that are asked for are dequantized."""

    def __init__(self, layer: nn.Embedding, config: QuantizationConfig) -> None:
        super().__init__(layer.weight, config)

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of token ids. Shapes: (...,) -> (..., D)."""
        return dequantize(self.quantized(ids.flatten())).view(*ids.shape, -1)


def quantize_model(model: nn.Module, config: QuantizationConfig) -> list[str]:
    """Quantize the linear layers and token embeddings of a model, in place; returns their names.

    Small tables that a model indexes itself (positions, segments) stay. Raises: ValueError if a layer does not fit
    `config`, or there is none; the model is then as it was.
    """
    kinds = {nn.Linear: QuantizedLinear}
    chosen = {name: m for name, m in model.named_modules() if type(m) in kinds and not name.endswith(config.skip)}
    if config.embeddings:
        kinds[nn.Embedding] = QuantizedEmbedding
        chosen |= {name: m for name, m in model.named_modules() if name.endswith("token_embedding")}
    chosen = {name: layer for name, layer in chosen.items() if type(layer) in kinds}
    if not chosen:
        raise ValueError(
            "quantize_model: expected a model with linear layers in floating point, got none; is it quantized already?"
        )
    for layer in chosen.values():
        check_scales(layer.weight.shape, config.scales)
    for name, layer in chosen.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, kinds[type(layer)](layer, config))
    return list(chosen)
