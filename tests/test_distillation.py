"""Distillation: the gradient (q - p) / T, the factor T squared, teachers in batches, students, refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests import tiny
from utils.models.heads import SequenceClassifier
from utils.training import distillation, objectives
from utils.training.loop import TrainConfig, Trainer


def logits(seed, rows=5, classes=4):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("T", [0.5, 1.0, 3.0, 20.0])
def test_gradient_and_value_follow_the_formula(T):
    u, v = logits(0), logits(1).requires_grad_()
    value = distillation.soft_cross_entropy_gap(v, u, T)
    p, q = (u / T).softmax(-1), (v / T).softmax(-1)
    torch.testing.assert_close(value, T**2 * (p * (p / q).log()).sum(), rtol=1e-9, atol=1e-12)
    (gradient,) = torch.autograd.grad(value, v)
    torch.testing.assert_close(gradient, T * (q - p), rtol=0, atol=1e-12)


def test_the_factor_keeps_the_gradients_size():
    u, v = logits(0), logits(1)
    sizes = []
    for T in (10.0, 100.0):
        w = v.clone().requires_grad_()
        sizes.append(torch.autograd.grad(distillation.soft_cross_entropy_gap(w, u, T), w)[0].norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def lessons(n=12):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(tiny.VOCAB_SIZE, (n, 6), generator=generator)
    labels, teacher = torch.randint(2, (n,), generator=generator), torch.randn(n, 2, generator=generator)
    mask = torch.ones(n, 6, dtype=torch.bool)
    rows = torch.randperm(n, generator=generator)
    return ids, labels, teacher, {"input_ids": ids[rows], "attention_mask": mask, "targets": rows}


def test_batches_carry_their_own_teacher():
    _, labels, teacher, batch = lessons()
    (found,) = distillation.with_teacher([batch], labels, teacher)
    assert torch.equal(found["targets"], labels[batch["targets"]])
    assert torch.equal(found["teacher_logits"], teacher[batch["targets"]])


def test_without_a_soft_share_it_is_plain_classification():
    _, labels, teacher, batch = lessons()
    (batch,) = distillation.with_teacher([batch], labels, teacher)
    model = SequenceClassifier(tiny.bert()).eval()
    expected, n = objectives.classification(model, batch)
    found, m = distillation.distillation(3.0, 0.0)(model, batch)
    torch.testing.assert_close(found, expected)
    assert n == m == 12
    found, _ = distillation.distillation(3.0, 0.25)(model, batch)
    out = model(batch["input_ids"], batch["attention_mask"])
    soft = 9 * F.kl_div((out / 3).log_softmax(-1), (batch["teacher_logits"] / 3).softmax(-1), reduction="sum")
    torch.testing.assert_close(found, 0.25 * soft + 0.75 * expected)


def test_a_student_comes_closer_to_its_teacher():
    _, labels, teacher, batch = lessons()
    (batch,) = distillation.with_teacher([batch], labels, teacher)
    model = SequenceClassifier(tiny.bert(), dropout=0.0)
    objective = distillation.distillation(2.0, 1.0)
    config = TrainConfig(max_steps=60, learning_rate=1e-2, schedule="constant")
    records = list(Trainer(model, objective, config, torch.device("cpu")).fit(iter([batch] * 60)))
    assert records[-1].loss < 0.5 * records[0].loss


def test_a_shallow_copy_shares_nothing_and_begins_as_those_layers():
    teacher = tiny.bert()
    student = distillation.take_layers(teacher, [1])
    assert student.config.n_layers == 1 and len(teacher.transformer.blocks) == 2
    ids = torch.arange(6)[None]
    x = teacher.transformer.dropout(teacher.transformer.embed(ids))
    expected = teacher.transformer.norm(teacher.transformer.blocks[1](x)[0])
    torch.testing.assert_close(student.encode(ids), expected)
    before = copy.deepcopy(teacher.state_dict())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    for wrong in ([], [2], [-1]):
        with pytest.raises(ValueError, match="take_layers: expected some of the layers 0 to 1"):
            distillation.take_layers(teacher, wrong)
    assert len(teacher.transformer.blocks) == 2


def test_a_student_must_be_smaller():
    small, large = nn.Linear(2, 2), nn.Linear(4, 4)
    assert distillation.check_smaller(small, large) == pytest.approx(6 / 20)
    for student, teacher in ((large, small), (small, small)):
        with pytest.raises(ValueError, match="expected a student smaller than its teacher"):
            distillation.check_smaller(student, teacher)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="temperature: expected a number above 0"):
        distillation.soft_cross_entropy_gap(logits(0), logits(1), 0)
    with pytest.raises(ValueError, match="the same classes"):
        distillation.soft_cross_entropy_gap(logits(0), logits(1, classes=3), 1)
    for arguments in ((0, 0.5), (1, 1.5), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match="distillation: expected a temperature above 0 and a soft_share"):
            distillation.distillation(*arguments)
