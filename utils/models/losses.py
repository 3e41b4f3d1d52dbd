"""The loss of a model with a large vocabulary, in pieces small enough to be fast."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.data.batches import IGNORE

# Positions a piece. The logits of a whole batch are the largest tensor of a step; on a CPU, allocating it costs more
# than computing it.
LOSS_CHUNK = 512


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """Cross-entropy in nats of softmax(hidden @ weight.T + bias), summed over the targets that are not -100.

    Logits are made for LOSS_CHUNK positions at a time, in fp32 from there on (fp64 stays fp64).
    Shapes: hidden (N, D), weight (V, D), targets (N,), bias (V,) -> scalar.
    """
    pieces = zip(hidden.split(LOSS_CHUNK), targets.split(LOSS_CHUNK), strict=True)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    losses = [
        F.cross_entropy(F.linear(h, weight, bias).to(dtype), t, ignore_index=IGNORE, reduction="sum") for h, t in pieces
    ]
    return torch.stack(losses).sum()
