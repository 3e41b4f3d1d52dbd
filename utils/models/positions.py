"""Positions: how a layer that treats its input as a set is told the order of the tokens."""

import torch
from torch import Tensor


def sinusoidal_positions(n_positions: int, d_model: int) -> Tensor:
    """Table of fixed position vectors: sines in the even features, cosines in the odd ones.

    Shapes: (n_positions, d_model). Feature pair i has angular frequency 10000^(-2i/d_model).
    Raises: ValueError if d_model is odd.
    Source: Vaswani et al. 2017, section 3.5.
    """
    if d_model % 2:
        raise ValueError(f"sinusoidal_positions: expected an even d_model, got {d_model}")
    angles = torch.arange(n_positions)[:, None] * frequencies(d_model)  # (n_positions, d_model / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def frequencies(dim: int, base: float = 10_000.0) -> Tensor:
    """Angular frequencies base^(-2i/dim) of the dim/2 feature pairs, from 1 to about 1/base. Shapes: (dim / 2,)."""
    return base ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)


def rotate(x: Tensor, start: int = 0, base: float = 10_000.0) -> Tensor:
    """Rotary positions: turn each feature pair (i, i + Dh/2) of position t by the angle t times its frequency.

    The product of a rotated query and a rotated key then depends on their distance alone.
    Shapes: x (..., T, Dh) -> the same; the first position is `start`.
    Raises: ValueError if Dh is odd.
    Source: Su et al. 2021, "RoFormer", section 3.2.2; the pairing (i, i + Dh/2) is that of GPT-NeoX and Llama.
    """
    dim = x.shape[-1]
    if dim % 2:
        raise ValueError(f"rotate: expected an even head_dim, got {dim}")
    times = torch.arange(start, start + x.shape[-2], device=x.device)
    angles = times[:, None] * frequencies(dim, base).to(x.device)  # (T, Dh / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
