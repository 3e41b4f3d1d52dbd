"""Distillation: a small student learns from the probabilities of a large teacher.

Letters in shape comments: N texts, B batch, C classes.
"""

import copy
import dataclasses
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.data.batches import Batch
from utils.models.transformer import BERT
from utils.training.objectives import Objective, count_targets


def soft_cross_entropy_gap(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL(p || q), summed over the rows, of p = softmax(teacher / T) and q = softmax(student / T), times T^2.

    The gradient of the KL by the student's logits is (q - p) / T, and q - p itself shrinks like 1 / T; T^2 keeps the
    size of the whole. Shapes: both (B, C). Raises: ValueError unless the temperature is above 0 and the shapes agree.
    Source: Hinton, Vinyals, Dean 2015, section 2 (equations 2 to 4).
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature!r}")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"distillation: expected the student's and the teacher's logits for the same classes, got shapes "
            f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        )
    # At a high temperature the two nearly agree, and half precision would see no difference.
    wide = [x if x.dtype == torch.float64 else x.float() for x in (teacher_logits, student_logits)]
    p, q = (F.log_softmax(logits / temperature, dim=-1) for logits in wide)
    return temperature**2 * F.kl_div(q, p, reduction="sum", log_target=True)


def distillation(temperature: float = 2.0, soft_share: float = 0.5) -> Objective:
    """The objective soft_share * T^2 KL(teacher || student) + (1 - soft_share) * cross-entropy of the labels, summed.

    Batches hold `teacher_logits` (B, C) beside ids, mask and targets.
    Raises: ValueError for a temperature not above 0, or a share outside 0 to 1.
    Source: Hinton, Vinyals, Dean 2015, section 2.
    """
    if not temperature > 0 or not 0 <= soft_share <= 1:
        raise ValueError(
            f"distillation: expected a temperature above 0 and a soft_share from 0 to 1, got {temperature!r} and "
            f"{soft_share!r}"
        )

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        logits = model(batch["input_ids"], batch["attention_mask"]).float()
        soft = soft_cross_entropy_gap(logits, batch["teacher_logits"], temperature)
        hard = F.cross_entropy(logits, batch["targets"], reduction="sum")
        return soft_share * soft + (1 - soft_share) * hard, count_targets(batch)

    return objective


def with_teacher(batches: Iterable[Batch], labels: Tensor, teacher_logits: Tensor) -> Iterator[Batch]:
    """Batches whose `targets` are row numbers, with those rows' labels and teacher's logits put in.

    Shapes: labels (N,), teacher_logits (N, C). The teacher reads each text once, not once an epoch.
    """
    for batch in batches:
        rows = batch["targets"]
        yield {**batch, "targets": labels[rows], "teacher_logits": teacher_logits[rows]}


def n_parameters(model: nn.Module) -> int:
    """How many numbers a model holds."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_smaller(student: nn.Module, teacher: nn.Module) -> float:
    """The student's share of the teacher's parameters. Raises: ValueError if the student is not the smaller one."""
    small, large = n_parameters(student), n_parameters(teacher)
    if small >= large:
        raise ValueError(
            f"distillation: expected a student smaller than its teacher, got {small:,} parameters against {large:,}; "
            f"take fewer layers or a narrower model, or swap the two"
        )
    return small / large


def take_layers(encoder: BERT, layers: Iterable[int]) -> BERT:
    """A shallower copy of an encoder: its embeddings, heads, and the given layers, in that order.

    Raises: ValueError for no layer, or one that is not there. Source: Sanh et al. 2019, section 3 (a student begins
    with every other layer of a larger model).
    """
    layers, n_layers = list(layers), encoder.config.n_layers
    if not layers or not set(layers) <= set(range(n_layers)):
        raise ValueError(f"take_layers: expected some of the layers 0 to {n_layers - 1}, got {layers}")
    blocks, encoder.transformer.blocks = encoder.transformer.blocks, nn.ModuleList()
    try:
        shallow = copy.deepcopy(encoder)
    finally:
        encoder.transformer.blocks = blocks
    shallow.transformer.blocks = nn.ModuleList([copy.deepcopy(blocks[layer]) for layer in layers])
    shallow.config = shallow.transformer.config = dataclasses.replace(encoder.config, n_layers=len(layers))
    return shallow
