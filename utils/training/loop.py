"""The training loop, as a generator: it yields a record an optimizer attempt; the rest is ordinary code around it."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from utils import environment
from utils.data.batches import Batch
from utils.training import checkpoints
from utils.training.objectives import Objective, count_targets
from utils.training.optimizers import build_optimizers, learning_rate_at


class TrainingDiverged(RuntimeError):
    """The loss or the gradients stayed non-finite: says at which step, and what to try."""


@dataclass(frozen=True)
class TrainConfig:
    """What a training run does; checked whole, all problems in one message.

    `floor` is the last learning rate as a share of the peak; `max_skipped` the attempts in a row that may be skipped.
    Raises: ValueError naming every field that does not fit.
    """

    max_steps: int = 100
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: str = "cosine"
    floor: float = 0.1
    decay_share: float = 1.0
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    accumulate_steps: int = 1
    clip_norm: float = 1.0
    precision: str = "fp32"
    loss_scale: float = 2.0**16
    compile: bool = False
    max_skipped: int = 10

    def __post_init__(self) -> None:
        checks = {
            "max_steps": (self.max_steps >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "warmup_steps": (self.warmup_steps >= 0, "at least 0"),
            "schedule": (self.schedule in ("cosine", "linear", "constant"), "cosine, linear or constant"),
            "floor": (0 <= self.floor <= 1, "from 0 to 1"),
            "decay_share": (0 < self.decay_share <= 1, "above 0, at most 1"),
            "optimizer": (self.optimizer in ("adamw", "muon"), "adamw or muon"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "accumulate_steps": (self.accumulate_steps >= 1, "at least 1"),
            "clip_norm": (self.clip_norm > 0, "above 0; math.inf for no clipping"),
            "precision": (self.precision in environment.PRECISIONS, f"one of {sorted(environment.PRECISIONS)}"),
            "loss_scale": (self.loss_scale > 0, "above 0"),
            "max_skipped": (self.max_skipped >= 1, "at least 1"),
        }
        problems = [f"{name}={getattr(self, name)!r} ({wanted})" for name, (fits, wanted) in checks.items() if not fits]
        if problems:
            raise ValueError("TrainConfig: expected in brackets, got " + "; ".join(problems))


@dataclass(frozen=True)
class Record:
    """One optimizer attempt. `step` counts updates made, this one included; a skipped attempt leaves it as it was."""

    step: int
    loss: float  # nats a target, mean over the whole step on all ranks
    learning_rate: float
    grad_norm: float  # before clipping
    skipped: bool
    loss_scale: float
    targets: int
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens read a second, over all ranks."""
        return self.tokens / self.seconds


class Trainer:
    """Trains a model on an objective; under `torchrun`, on all ranks together.

    Raises: ValueError for a batch without targets; TrainingDiverged when non-finite steps persist.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, config: TrainConfig, device: torch.device | None = None
    ) -> None:
        self.device = device or environment.device()
        self.model, self.objective, self.config = model.to(self.device), objective, config
        self.optimizers = build_optimizers(
            model, config.optimizer, config.learning_rate, config.weight_decay, config.betas
        )
        self.trained = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
        self.scaler = torch.amp.GradScaler(
            self.device.type, init_scale=config.loss_scale, enabled=config.precision == "fp16"
        )
        self.step, self.micro_batches, self.skipped_in_a_row = 0, 0, 0
        self.parallel = environment.world_size() > 1
        wrapped: nn.Module = DistributedDataParallel(model) if self.parallel else model
        self.forward_model = torch.compile(wrapped) if config.compile else wrapped

    def fit(self, batches: Iterable[Batch]) -> Iterator[Record]:
        """Train until `max_steps`, or until the batches end; yields a record for each optimizer attempt."""
        source = iter(batches)
        self.model.train()
        while self.step < self.config.max_steps:
            started = time.perf_counter()
            micro_batches = []
            for batch in source:
                micro_batches.append(batch)
                if len(micro_batches) == self.config.accumulate_steps:
                    break
            if not micro_batches:
                return
            yield self.attempt(micro_batches, started)

    def attempt(self, micro_batches: list[Batch], started: float | None = None) -> Record:
        """One optimizer attempt: backward through every micro-batch, unscale, clip, then step or skip."""
        started = time.perf_counter() if started is None else started
        self.micro_batches += len(micro_batches)
        count = self.summed(sum(count_targets(batch) for batch in micro_batches))
        tokens = self.summed(sum(batch["input_ids"].numel() for batch in micro_batches))
        if count == 0:
            raise ValueError(
                "training step: expected at least one target, got none; every target of the step's batches is -100"
            )
        learning_rate = self.set_learning_rate()
        loss_sum = sum(self.backward(batch, count, last=batch is micro_batches[-1]) for batch in micro_batches)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        loss = self.summed(loss_sum) / count
        grad_norm = float(nn.utils.clip_grad_norm_(self.trained, self.config.clip_norm))
        skipped = not (math.isfinite(loss) and math.isfinite(grad_norm))
        loss_scale = self.scaler.get_scale()
        self.update(skipped)
        record = Record(
            self.step,
            loss,
            learning_rate,
            grad_norm,
            skipped,
            loss_scale,
            int(count),
            int(tokens),
            time.perf_counter() - started,
        )
        self.stop_if_diverged(record)
        return record

    def backward(self, batch: Batch, count: float, last: bool) -> float:
        """Forward and backward of one micro-batch; returns its summed loss. Ranks exchange after the last one only."""
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        dtype = environment.PRECISIONS[self.config.precision]
        exchange = contextlib.nullcontext() if last or not self.parallel else self.forward_model.no_sync()
        with exchange:
            with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
                loss_sum, _ = self.objective(self.forward_model, batch)
            # DDP averages over ranks; times their number makes it the sum that the total count divides.
            self.scaler.scale(loss_sum * (environment.world_size() / count)).backward()
        return loss_sum.item()

    def update(self, skipped: bool) -> None:
        """Step the optimizers unless the attempt is skipped; adjust the loss scale; clear the gradients."""
        if not skipped:
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
            self.step += 1
        if self.scaler.is_enabled():
            self.scaler.update()  # halves the scale after an overflow that unscaling found; doubles it in time
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def stop_if_diverged(self, record: Record) -> None:
        """End the run when skipped attempts persist; fp16 may first halve its scale down to 1."""
        limit = self.config.max_skipped
        if self.scaler.is_enabled():
            limit = max(limit, math.ceil(math.log2(max(self.config.loss_scale, 1.0))) + 1)
        if self.skipped_in_a_row >= limit:
            raise TrainingDiverged(
                f"step {self.step + 1}: expected a finite loss and gradient, got loss {record.loss} and "
                f"gradient norm {record.grad_norm} "
                f"in {self.skipped_in_a_row} attempts in a row; try a lower learning_rate (now "
                f"{record.learning_rate:.3g}), more "
                f"warmup_steps, precision='bf16' or 'fp32', and look for bad rows in the data"
            )

    def set_learning_rate(self) -> float:
        """Set the learning rate of the coming update in all groups, and return it."""
        c = self.config
        learning_rate = learning_rate_at(
            self.step, c.learning_rate, c.warmup_steps, c.max_steps, c.floor, c.schedule, c.decay_share
        )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        return learning_rate

    def summed(self, value: float) -> float:
        """A number summed over all ranks."""
        if not self.parallel:
            return value
        total = torch.tensor(
            float(value), dtype=torch.float64, device=self.device if self.device.type == "cuda" else "cpu"
        )
        dist.all_reduce(total)
        return total.item()

    def save(self, path: str | Path) -> None:
        """Write a checkpoint atomically; rank 0 writes, with every rank's random state."""
        state = checkpoints.random_state()
        states = [state]
        if self.parallel:
            states = [None] * environment.world_size()
            dist.all_gather_object(states, state)
        if environment.rank() == 0:
            checkpoints.save(
                path,
                {
                    "config": self._comparable(),
                    "step": self.step,
                    "micro_batches": self.micro_batches,
                    "skipped_in_a_row": self.skipped_in_a_row,
                    "model": self.model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                    "scaler": self.scaler.state_dict(),
                    "random_states": states,
                },
            )

    def load(self, path: str | Path) -> None:
        """Continue from a checkpoint, bit for bit; nothing changes unless the whole checkpoint fits.

        Raises: CheckpointError for a damaged file, another config, model or number of ranks.
        """
        content = checkpoints.load(path)
        checkpoints.check_same(self._comparable(), content["config"], "training configuration")
        shapes = {name: tuple(tensor.shape) for name, tensor in content["model"].items()}
        checkpoints.check_same(
            {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}, shapes, "model"
        )
        checkpoints.check_same(
            group_sizes(optimizer.state_dict() for optimizer in self.optimizers),
            group_sizes(content["optimizers"]),
            "set of trainable parameters",
        )
        self.model.load_state_dict(content["model"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.scaler.load_state_dict(content["scaler"])
        self.step, self.micro_batches = content["step"], content["micro_batches"]
        self.skipped_in_a_row = content["skipped_in_a_row"]
        checkpoints.restore_random_state(content["random_states"][environment.rank()])

    def _comparable(self) -> dict:
        """The configuration as it must be the same for a resume to be exact."""
        return {**dataclasses.asdict(self.config), "betas": list(self.config.betas), "ranks": environment.world_size()}


def group_sizes(states: Iterable[dict]) -> dict[str, int]:
    """Number of parameters in each group of each optimizer, from the optimizers' state dictionaries."""
    return {
        f"optimizer {i}, group {j}": len(group["params"])
        for i, state in enumerate(states)
        for j, group in enumerate(state["param_groups"])
    }
