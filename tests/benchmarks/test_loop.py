"""Our training loop beside a bare one, Hugging Face's Trainer and Lightning Fabric: same model, batches, optimizer."""

import logging
import math
import time
import warnings

import torch
from torch import nn

from tests.benchmarks.ratios import Contest, Row
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training.loop import TrainConfig, Trainer
from utils.training.objectives import next_token
from utils.training.optimizers import parameter_groups

CONFIG = TransformerConfig(vocab_size=1024, context_length=128, d_model=128, n_layers=4, n_heads=4)
ROWS, STEPS, UNCOUNTED = 4, 12, 2
PEAK, CLIP, BETAS, DECAY = 1e-3, 1.0, (0.9, 0.95), 0.01
CPU = torch.device("cpu")


def make_batches():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(CONFIG.vocab_size, (STEPS, ROWS, CONFIG.context_length + 1), generator=generator)
    return [{"input_ids": i[:, :-1], "targets": i[:, 1:]} for i in ids]


BATCHES = make_batches()


def make_model() -> GPT:
    torch.manual_seed(0)
    return GPT(CONFIG)


def make_optimizer(model: nn.Module, fused: bool = True) -> torch.optim.Optimizer:
    """AdamW with its fused kernel, as our loop and Hugging Face's Trainer have it by default."""
    return torch.optim.AdamW(parameter_groups(model, DECAY), lr=PEAK, betas=BETAS, fused=fused)


class Clock:
    """The seconds of all steps but the first ones, in which a loop sets itself up."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tick(self, *_, **__) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        assert len(self.ends) == STEPS
        return self.ends[-1] - self.ends[UNCOUNTED - 1]


def ours(model: GPT) -> float:
    config = TrainConfig(STEPS, PEAK, floor=0.0, weight_decay=DECAY, betas=BETAS, clip_norm=CLIP)
    clock = Clock()
    for _ in Trainer(model, next_token, config, CPU).fit(BATCHES):
        clock.tick()
    return clock.seconds


def bare(model: GPT, fused: bool = True) -> float:
    """What a reader would write inline."""
    optimizer, losses, clock = make_optimizer(model, fused), [], Clock()
    for step, batch in enumerate(BATCHES):
        for group in optimizer.param_groups:
            group["lr"] = PEAK * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        loss = model(batch["input_ids"], targets=batch["targets"]) / batch["targets"].numel()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        clock.tick()
    return clock.seconds


def fabric(model: GPT) -> float:
    from lightning_fabric import Fabric

    optimizer, losses, clock = make_optimizer(model), [], Clock()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    runner = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = runner.setup(model, optimizer)
    for batch in BATCHES:
        batch = runner.to_device(batch)
        loss = wrapped(batch["input_ids"], targets=batch["targets"]) / batch["targets"].numel()
        runner.backward(loss)
        runner.clip_gradients(wrapped, optimizer, max_norm=CLIP, error_if_nonfinite=False)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        clock.tick()
    return clock.seconds


class WithLoss(nn.Module):
    """A model as Hugging Face's Trainer wants it: it returns its mean loss."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids, targets):
        return {"loss": self.model(input_ids, targets=targets) / targets.numel()}


def hugging_face(model: GPT, folder) -> float:
    import transformers

    clock = Clock()

    class Ticks(transformers.TrainerCallback):
        on_step_end = clock.tick

    class OnOurBatches(transformers.Trainer):
        def get_train_dataloader(self):
            return BATCHES  # as they are: no loader, no collation

    optimizer = make_optimizer(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    settings = transformers.TrainingArguments(
        folder, max_steps=STEPS, max_grad_norm=CLIP, use_cpu=True, report_to=[], logging_strategy="no",
        save_strategy="no", disable_tqdm=True, per_device_train_batch_size=ROWS,
    )  # fmt: skip
    trainer = OnOurBatches(
        WithLoss(model), settings, train_dataset=BATCHES, optimizers=(optimizer, schedule), callbacks=[Ticks()]
    )
    trainer.train()
    return clock.seconds


def test_loop(race, rows, tmp_path):
    for name in ("transformers", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    trained = {}

    def contender(name, loop, *arguments):
        def run():
            trained[name] = make_model()
            return loop(trained[name], *arguments)

        return run

    loops = {"ours": (ours,), "bare": (bare,), "not fused": (bare, False)}
    loops |= {"Trainer": (hugging_face, tmp_path), "Fabric": (fabric,)}
    contest = Contest({name: contender(name, *loop) for name, loop in loops.items()})
    race(contest, rounds=20)
    for name in loops:  # the same work: one model came out of all
        for found, expected in zip(trained[name].parameters(), trained["bare"].parameters(), strict=True):
            assert torch.allclose(found, expected, rtol=0, atol=1e-4), name
    tokens = ROWS * CONFIG.context_length * (STEPS - UNCOUNTED)
    ours_seconds = sorted(contest.seconds["ours"])[len(contest.seconds["ours"]) // 2]
    label = f"training loop ({tokens / ours_seconds:,.0f} tokens/s)"
    rows.append(Row(label, "a bare inline loop", contest.ratios("ours", "bare"), aim=0.98))
    rows.append(Row(label, "a bare loop, AdamW not fused", contest.ratios("ours", "not fused")))
    rows.append(Row(label, "Hugging Face Trainer", contest.ratios("ours", "Trainer"), aim=1))
    rows.append(Row(label, "Lightning Fabric", contest.ratios("ours", "Fabric"), aim=1))
