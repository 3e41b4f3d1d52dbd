"""Two real processes train one model: data, tensor and pipeline parallel, and fully sharded; what each rank held.

`torchrun --standalone --nproc-per-node 2 -m utils.experiments.parallelism --folder FOLDER`
"""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from utils import environment
from utils.data.batches import Batch
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import checkpoints, objectives, parallel, ranks
from utils.training.loop import TrainConfig, Trainer

CONFIG = TransformerConfig(61, 12, d_model=24, n_layers=3, n_heads=4, d_ff=52)
STEPS, MICRO_BATCHES, LEARNING_RATE = 5, 4, 3e-3
KINDS = ("data", "tensor", "pipeline", "sharded")


@dataclasses.dataclass
class Outcome:
    """What a run gave: losses of its steps, the gradients of its first step, and the weights at its end."""

    losses: list[float]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    held_parameters: int
    seconds: float


def new_model(config: TransformerConfig = CONFIG, seed: int = 12) -> GPT:
    """The model of all runs, in double precision, so that an error of the method cannot hide in rounding."""
    torch.manual_seed(seed)
    return GPT(config).double()


def step_batches(step: int, config: TransformerConfig = CONFIG, rows: int = 3) -> list[Batch]:
    """The micro-batches of a step: random ids, and targets of which every micro-batch leaves out another share."""
    found = []
    for m in range(MICRO_BATCHES):
        generator = torch.Generator().manual_seed(1000 * step + m)
        ids = torch.randint(config.vocab_size, (rows, config.context_length + 1), generator=generator)
        left_out = torch.rand(rows, config.context_length, generator=generator) < m / MICRO_BATCHES
        found.append({"input_ids": ids[:, :-1], "targets": ids[:, 1:].masked_fill(left_out, -100)})
    return found


def train(
    model: nn.Module,
    backward: Callable[[list[Batch], int], float],
    whole: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Outcome:
    """Some steps of AdamW; `backward(micro_batches, count)` leaves the gradients, and `whole` puts tensors together."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1)
    losses, gradients, started = [], {}, time.perf_counter()
    for step in range(STEPS):
        micro_batches = step_batches(step)
        losses.append(backward(micro_batches, sum(objectives.count_targets(batch) for batch in micro_batches)))
        if step == 0:
            gradients = whole({name: p.grad.detach() for name, p in model.named_parameters()})
            gradients = {name: gradient.clone() for name, gradient in gradients.items()}
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - started
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in model.parameters())
    weights = whole({name: p.detach() for name, p in model.named_parameters()})
    return Outcome(losses, gradients, weights, held, seconds)


def one_process() -> Outcome:
    """The run that all others must equal: one process takes all micro-batches in turn."""
    model = new_model()

    def backward(micro_batches: list[Batch], count: int) -> float:
        return sum(_backward(model, batch, count) for batch in micro_batches)

    return train(model, backward)


def _backward(model: nn.Module, batch: Batch, count: int, factor: float = 1.0) -> float:
    loss = objectives.next_token(model, batch)[0] / count
    (loss * factor).backward()
    return float(loss.detach())


def _summed(value: float) -> float:
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return total.item()


def data_parallel() -> Outcome:
    """Each rank takes its share of the micro-batches; DistributedDataParallel averages the gradients."""
    model = new_model()
    wrapped = DistributedDataParallel(model)
    rank, world = dist.get_rank(), dist.get_world_size()

    def backward(micro_batches: list[Batch], count: int) -> float:
        mine, loss = micro_batches[rank::world], 0.0
        for i, batch in enumerate(mine):
            wrapped.require_backward_grad_sync = i == len(mine) - 1
            # An average times the number of ranks is the sum that the count divides.
            loss += _backward(wrapped, batch, count, float(world))
        return _summed(loss)

    return train(model, backward)


def tensor_parallel() -> Outcome:
    """Every rank takes every micro-batch, with half of the heads and features."""
    model = parallel.tensor_parallel(new_model())

    def backward(micro_batches: list[Batch], count: int) -> float:
        return sum(_backward(model, batch, count) for batch in micro_batches)

    return train(model, backward, lambda tensors: parallel.gathered(model, tensors))


def pipeline_parallel() -> Outcome:
    """Each rank holds some of the layers; the micro-batches pass through."""
    stage = parallel.PipelineStage(new_model(), dist.get_rank(), dist.get_world_size())

    def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        parts: list = [None] * dist.get_world_size()
        dist.all_gather_object(parts, {name: tensor.clone() for name, tensor in tensors.items()})
        return {name: tensor for held in parts for name, tensor in held.items()}

    return train(stage, lambda batches, count: parallel.pipeline_step(stage, batches, count), whole)


def fully_sharded() -> Outcome:
    """Each rank takes its share of the micro-batches and holds its share of every parameter."""
    model = parallel.shard_fully(new_model())
    rank, world = dist.get_rank(), dist.get_world_size()

    def backward(micro_batches: list[Batch], count: int) -> float:
        return _summed(sum(_backward(model, batch, count) for batch in micro_batches[rank::world]))

    def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.full_tensor() for name, tensor in tensors.items()}

    return train(model, backward, whole)


RUNS = {"data": data_parallel, "tensor": tensor_parallel, "pipeline": pipeline_parallel, "sharded": fully_sharded}


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference between two sets of tensors. Raises: ValueError if their names differ."""
    if found.keys() != expected.keys():
        others = sorted(found.keys() ^ expected.keys())
        raise ValueError(f"expected tensors of the same names, found on one side alone: {others}")
    return max(float((found[name] - expected[name]).detach().abs().max()) for name in expected)


def run_all(folder: Path, kinds: tuple[str, ...]) -> None:
    """Run each kind on all ranks; every rank writes what it found to `folder`/KIND-RANK.pt."""
    world = dist.get_world_size()
    if "tensor" in kinds:
        ranks.Mesh(tensor=world).check(CONFIG, world)
    if "pipeline" in kinds:
        ranks.Mesh(pipeline=world).check(CONFIG, world)
    for kind in kinds:
        outcome = RUNS[kind]()
        content = {**dataclasses.asdict(outcome), "resident_gb": psutil.Process().memory_info().rss / 1e9}
        path = folder / f"{kind}-{dist.get_rank()}.pt"
        checkpoints.write_atomically(path, lambda file, content=content: torch.save(content, file))


def lose_a_rank(folder: Path, die_at: int, how: str) -> None:
    """Train data parallel with a checkpoint a step; the last rank is killed, or stopped, in the middle of one."""
    config = TrainConfig(max_steps=50, learning_rate=LEARNING_RATE)
    trainer = Trainer(new_model().float(), objectives.next_token, config, torch.device("cpu"))
    source = (step_batches(m)[environment.rank()] for m in range(50))
    for record in trainer.fit(source):
        trainer.save(folder / "checkpoint.pt")
        if environment.rank() == 0:
            print(f"step {record.step}: loss {record.loss:.4f}, checkpoint written", flush=True)
        if record.step == die_at and environment.rank() == environment.world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL if how == "die" else signal.SIGSTOP)


def launch(n: int, *arguments: object, timeout: float = 120.0) -> subprocess.CompletedProcess:
    """Run this module on n ranks of this machine under `torchrun`, one thread each; returns the finished process."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command = [*torchrun, f"--nproc-per-node={n}", "-m", "utils.experiments.parallelism", *map(str, arguments)]
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, places))}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout, check=False)


def main(argv: list[str] | None = None) -> None:
    """Be one rank of the job that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m utils.experiments.parallelism", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the ranks write")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--lose", choices=("die", "hang"), help="lose the last rank in the middle instead")
    parser.add_argument("--at", type=int, default=3, help="the step at which it is lost")
    parser.add_argument("--patience", type=float, default=ranks.PATIENCE, help="seconds to wait for another rank")
    options = parser.parse_args(argv)
    try:
        with ranks.joined(options.patience, backend="gloo"):
            if options.lose:
                lose_a_rank(options.folder, options.at, options.lose)
            else:
                run_all(options.folder, tuple(options.kinds))
    except (ranks.RankLost, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # an orderly exit would wait for the lost rank


if __name__ == "__main__":
    main()
