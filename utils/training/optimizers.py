"""Optimizers as a training run uses them: parameter groups for weight decay, and the learning-rate schedule."""

import functools
import math

import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups for AdamW: matrices and tables decay, vectors (biases, norms) do not; shared parameters count once.

    Source: Loshchilov and Hutter 2019 for decoupled decay; leaving vectors out is GPT-2's and BERT's practice.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("optimizer: expected at least one trainable parameter, got none; set requires_grad on some")
    return [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]


def build_optimizers(
    model: nn.Module, name: str, learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> list[torch.optim.Optimizer]:
    """AdamW for everything ("adamw"), or Muon for the matrices inside the blocks and AdamW for the rest ("muon").

    Muon's update is scaled to the size of AdamW's, so one learning rate serves both. AdamW is the fused kernel: a third
    of the time on a CPU, and the same up to rounding.
    Source: Loshchilov and Hutter 2019; Jordan et al. 2024 and Liu et al. 2025 for Muon and its scale.
    """
    adamw = functools.partial(torch.optim.AdamW, lr=learning_rate, betas=betas, fused=True)
    if name == "adamw":
        return [adamw(parameter_groups(model, weight_decay))]
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    groups = parameter_groups(model, weight_decay)
    inner = [p for p in groups[0]["params"] if p.dim() == 2 and id(p) not in tables]
    outer = [p for p in groups[0]["params"] if p.dim() != 2 or id(p) in tables]
    muon = torch.optim.Muon(inner, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, adamw([{"params": outer, "weight_decay": weight_decay}, groups[1]])]


def learning_rate_at(
    step: int, peak: float, warmup_steps: int, max_steps: int, floor: float, schedule: str, decay_share: float = 1.0
) -> float:
    """Learning rate of update number `step` (from 0): a linear warm-up, then down to `floor` times the peak.

    "cosine" falls along half a cosine; "linear" stays at the peak and falls in the last `decay_share` of the steps, so
    a
    run can be made longer while it is still at the peak; "constant" stays.
    Source: Loshchilov and Hutter 2017, equation 5 (cosine); Hägele et al. 2024 (constant, then linear).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    start = warmup_steps if schedule == "cosine" else max(warmup_steps, round(max_steps * (1 - decay_share)))
    progress = min(1.0, max(0.0, (step - start) / max(1, max_steps - start)))
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1 - progress
    return peak * (floor + (1 - floor) * shape)
