"""The loop against a bare PyTorch loop; accumulation, clipping, schedules, precisions, overflow, and bad input."""

import functools
import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests import tiny
from utils.training import objectives
from utils.training.loop import TrainConfig, Trainer, TrainingDiverged
from utils.training.optimizers import build_optimizers, learning_rate_at, parameter_groups

CPU = torch.device("cpu")


def trainer(model=None, objective=objectives.next_token, **config):
    return Trainer(model or tiny.gpt(), objective, TrainConfig(**{"max_steps": 5, **config}), CPU)


def bare_loop(model, steps, accumulate=1, clip=1.0, precision=None):
    """What a reader would write: AdamW, warm-up and cosine, accumulation, clipping. Returns losses and norms."""
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.2}, {"params": rest, "weight_decay": 0.0}],
        lr=1.0,
        betas=(0.9, 0.95),
        fused=True,  # the kernels differ by rounding, which Adam makes large where gradients are nearly 0
    )
    losses, norms = [], []
    for step in range(steps):
        progress = (step - 2) / (steps - 2)
        rate = 3e-3 * ((step + 1) / 2 if step < 2 else 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        parts = [tiny.batch(step * accumulate + i) for i in range(accumulate)]
        total = sum(int((part["targets"] != -100).sum()) for part in parts)
        loss_sum = 0.0
        for part in parts:
            with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
                logits = model(part["input_ids"])
            loss = F.cross_entropy(logits.float().flatten(0, 1), part["targets"].flatten(), reduction="sum")
            (loss / total).backward()
            loss_sum += loss.item()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss_sum / total)
    return losses, norms


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip", [0.05, math.inf])
def test_the_loop_equals_a_bare_pytorch_loop_step_by_step(accumulate, clip, record_property):
    bare, run = (
        tiny.gpt(),
        trainer(learning_rate=3e-3, warmup_steps=2, weight_decay=0.2, accumulate_steps=accumulate, clip_norm=clip),
    )
    records = list(run.fit(tiny.batches()))
    losses, norms = bare_loop(bare, 5, accumulate, clip)
    assert [r.loss for r in records] == pytest.approx(losses, abs=1e-6)
    assert [r.grad_norm for r in records] == pytest.approx(norms, abs=1e-6)
    assert [r.step for r in records] == [1, 2, 3, 4, 5]
    record_property(
        "largest difference of parameters", tiny.assert_close(tiny.parameters(run.model), tiny.parameters(bare))
    )


def test_a_bf16_step_is_autocast_and_equals_the_bare_loop_in_autocast():
    bare, run = tiny.gpt(), trainer(learning_rate=3e-3, warmup_steps=2, weight_decay=0.2, precision="bf16")
    records = list(run.fit(tiny.batches()))
    losses, _ = bare_loop(bare, 5, precision=torch.bfloat16)
    assert [r.loss for r in records] == pytest.approx(losses, abs=1e-3)
    fp32 = list(trainer(learning_rate=3e-3, warmup_steps=2, weight_decay=0.2).fit(tiny.batches()))
    assert [r.loss for r in records] != [r.loss for r in fp32]
    assert all(p.dtype == torch.float32 for p in run.model.parameters())


def test_four_micro_batches_equal_one_large_batch_with_uneven_target_counts():
    parts = [tiny.batch(m) for m in range(12)]
    counts = [objectives.count_targets(part) for part in parts]
    assert len(set(counts[:4])) == 4
    small, large = trainer(accumulate_steps=4, max_steps=3), trainer(max_steps=3)
    from_small = list(small.fit(parts))
    from_large = list(large.fit([tiny.joined(parts[i : i + 4]) for i in (0, 4, 8)]))
    assert [r.loss for r in from_small] == pytest.approx([r.loss for r in from_large], abs=1e-6)
    assert (
        [r.targets for r in from_small]
        == [r.targets for r in from_large]
        == [sum(counts[i : i + 4]) for i in (0, 4, 8)]
    )
    tiny.assert_close(tiny.parameters(small.model), tiny.parameters(large.model))


def test_a_mean_of_batch_means_would_be_another_gradient():
    """The mistake that accumulation by counts avoids, made on purpose."""
    parts = [tiny.batch(m) for m in range(4)]
    right, wrong = tiny.gpt(), tiny.gpt()
    for part in parts:
        loss, count = objectives.next_token(right, part)
        (loss / sum(objectives.count_targets(p) for p in parts)).backward()
        loss, count = objectives.next_token(wrong, part)
        (loss / count / 4).backward()
    gap = max(float((a.grad - b.grad).abs().max()) for a, b in zip(right.parameters(), wrong.parameters(), strict=True))
    assert gap > 1e-3


def test_a_last_step_with_fewer_micro_batches_is_made_and_the_run_ends_with_the_batches():
    run = trainer(accumulate_steps=4, max_steps=100)
    records = list(run.fit(tiny.batches(n=6)))
    assert [r.step for r in records] == [1, 2] and run.micro_batches == 6
    assert records[1].targets == sum(objectives.count_targets(tiny.batch(m)) for m in (4, 5))
    assert records[0].tokens == 4 * 28 and records[0].tokens_per_second > 0


@pytest.mark.parametrize("scale", [2.0**4, 2.0**12])
def test_fp16_clips_after_unscaling(scale):
    """The gradient norm that is reported and clipped does not depend on the loss scale."""
    records = list(trainer(precision="fp16", loss_scale=scale, clip_norm=0.05, max_steps=3).fit(tiny.batches()))
    _, norms = bare_loop(tiny.gpt(), 3, clip=0.05)
    assert records[0].grad_norm == pytest.approx(norms[0], rel=0.02)
    assert [r.loss_scale for r in records] == [scale] * 3 and not any(r.skipped for r in records)


def test_clipping_scales_the_gradient_to_the_norm():
    """Plain arithmetic: under constant sign, Adam hides the scale, so the gradient itself is looked at."""
    run, seen = trainer(clip_norm=0.01), []
    step = run.optimizers[0].step
    run.optimizers[0].step = lambda *a, **k: (seen.append([p.grad.clone() for p in run.model.parameters()]), step())
    record = run.attempt([tiny.batch(0)])
    norm = math.sqrt(sum(float((g**2).sum()) for g in seen[0]))
    assert record.grad_norm > 0.02 and norm == pytest.approx(0.01, rel=1e-3)


def tiny_signal(model, batch):
    """A loss whose gradient in fp16 is below the smallest number of that type, 6e-8."""
    with torch.autocast("cpu", enabled=False):
        hidden = model.transformer.token_embedding.weight.half()
    loss = (hidden.sum() * torch.tensor(1e-4, dtype=torch.float16)) * 1e-4
    return loss.float(), objectives.count_targets(batch)


def test_dropping_the_loss_scale_loses_small_gradients_in_fp16():
    """Broken on purpose: with the scale the gradient arrives, without it it is zero."""
    batch = tiny.batch(0)
    scaled = trainer(objective=tiny_signal, precision="fp16", loss_scale=2.0**16).attempt([batch])
    dropped = trainer(objective=tiny_signal, precision="fp16", loss_scale=1.0).attempt([batch])
    exact = 1e-8 / scaled.targets * math.sqrt(tiny.VOCAB_SIZE * 12)
    assert scaled.grad_norm == pytest.approx(exact, rel=0.02)
    assert dropped.grad_norm == 0.0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_overflow_in_fp16_skips_the_step_and_halves_the_scale(optimizer):
    run = trainer(precision="fp16", loss_scale=2.0**30, max_steps=3, max_skipped=5, optimizer=optimizer)
    before, records = tiny.parameters(run.model), []
    source = run.fit(tiny.batches())
    for record in source:
        records.append(record)
        if not record.skipped:
            break
        assert record.step == 0 and run.step == 0
        tiny.assert_close(tiny.parameters(run.model), before, tolerance=0)
        assert not any(o.state for o in run.optimizers)
    skipped = [r.loss_scale for r in records if r.skipped]
    assert skipped == [2.0 ** (30 - i) for i in range(len(skipped))] and len(skipped) >= 1
    assert records[-1].step == 1 and records[-1].loss_scale == 2.0 ** (30 - len(skipped))
    assert run.micro_batches == len(records) and run.skipped_in_a_row == 0
    assert all(math.isfinite(r.loss) for r in records)


def poisoned(model, batch, value):
    loss, count = objectives.next_token(model, batch)
    return loss * value, count


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_persistent_non_finite_losses_end_the_run_naming_the_step_and_what_to_try(precision, value):
    state = {"m": 0}

    def objective(model, batch):
        state["m"] += 1
        return objectives.next_token(model, batch) if state["m"] <= 2 else poisoned(model, batch, value)

    run = trainer(objective=objective, precision=precision, max_steps=50, max_skipped=3, loss_scale=4.0)
    records = []
    with pytest.raises(TrainingDiverged, match=r"step 3: .*3 attempts in a row; try a lower learning_rate"):
        for record in run.fit(tiny.batches()):
            records.append((record, tiny.parameters(run.model)))
    assert [r.skipped for r, _ in records] == [False, False, True, True] and run.step == 2
    tiny.assert_close(tiny.parameters(run.model), records[1][1], tolerance=0)


def test_one_bad_batch_is_skipped_and_training_goes_on():
    def objective(model, batch):
        return poisoned(model, batch, math.nan if batch["input_ids"][0, 0] == bad else 1.0)

    bad = int(tiny.batch(1)["input_ids"][0, 0])
    assert int(tiny.batch(0)["input_ids"][0, 0]) != bad != int(tiny.batch(2)["input_ids"][0, 0])
    records = [
        r for r, _ in zip(trainer(objective=objective, max_skipped=2).fit(tiny.batches()), range(3), strict=False)
    ]
    assert [(r.skipped, r.step) for r in records] == [(False, 1), (True, 1), (False, 2)]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_precision_and_optimizer_learns(precision, optimizer):
    run = trainer(precision=precision, optimizer=optimizer, max_steps=30, learning_rate=1e-2, warmup_steps=3)
    records = list(run.fit(tiny.batch(0) for _ in range(60)))
    assert records[-1].step == 30 and records[-1].loss < records[0].loss - 0.8


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = tiny.gpt()
    muon, adamw = build_optimizers(model, "muon", 1e-3, 0.1, (0.9, 0.95))
    names = {id(p): name for name, p in model.named_parameters()}
    inner = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    outer = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert inner == {n for n, p in model.named_parameters() if ".blocks." in n and p.dim() == 2}
    assert inner | outer == set(names.values()) and not inner & outer


def test_matrices_and_tables_decay_and_vectors_do_not():
    model = tiny.bert()
    decayed, rest = parameter_groups(model, 0.3)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {
        n for n in names.values() if n.endswith("weight") and "norm" not in n
    }
    assert all(names[id(p)].endswith("bias") or "norm" in names[id(p)] for p in rest["params"])
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert len(decayed["params"]) + len(rest["params"]) == len(names)


def test_frozen_parameters_are_left_alone_and_a_frozen_model_is_refused():
    model = tiny.gpt()
    model.transformer.token_embedding.requires_grad_(False)
    before = tiny.parameters(model)
    list(trainer(model, max_steps=2, weight_decay=0.5).fit(tiny.batches()))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(before) - {"transformer.token_embedding.weight"}
    with pytest.raises(ValueError, match="trainable"):
        trainer(model.requires_grad_(False))


def test_warm_up_and_cosine_equal_pytorchs_schedulers():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 5, total_iters=4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25, eta_min=0.04)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[5])
    for step in range(31):
        rate = optimizer.param_groups[0]["lr"]
        assert learning_rate_at(step, 0.4, 5, 30, 0.1, "cosine") == pytest.approx(rate, abs=1e-9), step
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    "schedule, values",
    [
        ("linear", {0: 0.1, 9: 1.0, 10: 1.0, 60: 1.0, 80: 0.6, 99: 0.22, 100: 0.2, 130: 0.2}),
        ("constant", {0: 0.1, 9: 1.0, 10: 1.0, 99: 1.0}),
        ("cosine", {0: 0.1, 10: 1.0, 55: 0.6, 100: 0.2, 130: 0.2}),
    ],
)
def test_schedules_have_the_values_computed_by_hand(schedule, values):
    for step, value in values.items():
        assert learning_rate_at(step, 1.0, 10, 100, 0.2, schedule, 0.4) == pytest.approx(value, abs=1e-9), step


def test_the_records_carry_the_learning_rate_of_their_step():
    records = list(trainer(learning_rate=0.01, warmup_steps=2).fit(tiny.batches()))
    assert [r.learning_rate for r in records] == [learning_rate_at(i, 0.01, 2, 5, 0.1, "cosine") for i in range(5)]


def test_a_compiled_model_trains_as_the_plain_one_does(monkeypatch):
    """The traced forward and backward, without the slow generation of C++ code."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    plain, compiled = trainer(max_steps=2), trainer(max_steps=2, compile=True)
    losses = [[r.loss for r in run.fit(tiny.batches())] for run in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    tiny.assert_close(tiny.parameters(compiled.model), tiny.parameters(plain.model))
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


class Bigrams(nn.Module):
    """The smallest language model: a row of logits for each token."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(tiny.VOCAB_SIZE, tiny.VOCAB_SIZE)

    def forward(self, input_ids, targets):
        return F.cross_entropy(self.table(input_ids).flatten(0, 1), targets.flatten(), reduction="sum")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_generated_code_trains_as_the_plain_model_does():
    torch.manual_seed(0)
    plain, compiled = trainer(Bigrams(), max_steps=2), trainer(Bigrams(), max_steps=2, compile=True)
    compiled.model.load_state_dict(plain.model.state_dict())
    losses = [[r.loss for r in run.fit(tiny.batches())] for run in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    tiny.assert_close(tiny.parameters(compiled.model), tiny.parameters(plain.model))


def test_a_step_without_any_target_is_refused_before_anything_changes():
    run = trainer()
    before = tiny.parameters(run.model)
    with pytest.raises(ValueError, match="expected at least one target, got none"):
        next(run.fit([{"input_ids": torch.zeros(2, 3, dtype=torch.long), "targets": torch.full((2, 3), -100)}]))
    tiny.assert_close(tiny.parameters(run.model), before, tolerance=0)
    assert run.step == 0


def test_a_micro_batch_without_targets_beside_one_with_some_is_fine():
    empty = {"input_ids": tiny.batch(0)["input_ids"], "targets": torch.full((4, 7), -100)}
    both, alone = trainer(accumulate_steps=2, max_steps=1), trainer(max_steps=1)
    a, b = next(both.fit([tiny.batch(1), empty])), next(alone.fit([tiny.batch(1)]))
    assert a.loss == b.loss and a.targets == b.targets
    tiny.assert_close(tiny.parameters(both.model), tiny.parameters(alone.model), tolerance=0)


def test_no_batches_give_no_records():
    assert list(trainer().fit([])) == []


def test_a_wrong_configuration_names_all_its_problems_at_once():
    with pytest.raises(ValueError) as caught:
        TrainConfig(max_steps=0, learning_rate=math.nan, schedule="step", precision="fp8", clip_norm=0, floor=2)
    for name in ("max_steps=0", "learning_rate=nan", "schedule='step'", "precision='fp8'", "clip_norm=0", "floor=2"):
        assert name in str(caught.value)


def test_evaluation_is_a_mean_over_targets_without_dropout_and_restores_the_mode():
    model = tiny.gpt(dropout=0.5).train()
    parts = [tiny.batch(m, rows=m + 1) for m in range(4)]
    found = objectives.evaluate(model, objectives.next_token, parts)
    assert model.training and all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        model.eval()
        losses = [
            F.cross_entropy(model(p["input_ids"]).flatten(0, 1), p["targets"].flatten(), reduction="sum") for p in parts
        ]
    assert found == pytest.approx(float(sum(losses)) / sum(objectives.count_targets(p) for p in parts), abs=1e-5)
    with pytest.raises(ValueError, match="expected at least one target"):
        objectives.evaluate(model, objectives.next_token, [])


def test_berts_objective_is_words_plus_weighted_pairs_and_masked_words_is_words_alone():
    model, part = tiny.bert(), tiny.batch(2)
    part |= {"segment_ids": torch.zeros_like(part["input_ids"]), "next_sentence": torch.tensor([0, 1, 1, 0])}
    words, pairs = model(part["input_ids"], segment_ids=part["segment_ids"])
    expected = F.cross_entropy(words.flatten(0, 1), part["targets"].flatten(), reduction="sum")
    alone, count = objectives.masked_words(model, part)
    torch.testing.assert_close(alone, expected)
    both, _ = objectives.masked_words_and_next_sentence(model, part)
    torch.testing.assert_close(
        both, expected + 0.15 * 7 * F.cross_entropy(pairs, part["next_sentence"], reduction="sum")
    )
    assert count == int((part["targets"] != -100).sum())
