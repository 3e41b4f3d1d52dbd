"""Ways to make a training step faster or smaller, measured in one run: padding, packing, accumulation and so on."""

import dataclasses
import functools
import itertools
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora, packing
from utils.data.batches import Batch, TokenCorpus, tokenize
from utils.experiments.precision import Size, matrix_speed
from utils.experiments.pretraining import train_byte_bpe
from utils.experiments.results import ResultFile
from utils.models.transformer import GPT
from utils.training import costs, objectives, profiling

RESULT = ResultFile("training_at_scale", "training-at-scale")
SEPARATOR = 0  # id of the first special token of `train_byte_bpe`, which stands before each text
VOCAB_SIZE, LEARNING_RATE, SEED = 1024, 3e-3, 12
SIZES = {"cpu": Size(256, 4, 4, 128, 1024), "cuda": Size(768, 12, 12, 512, 16_384)}
ROUNDS = {"cpu": 8, "cuda": 20}
MATRIX_SIZES = {"cpu": (256, 512, 1024), "cuda": (2048, 4096, 8192)}


@dataclass(frozen=True)
class Variant:
    """One way to run a step: how the texts are laid out, and what is done about memory and speed."""

    order: str = "packed"
    accumulate: int = 1
    recompute: bool = False
    compile: bool = False


VARIANTS = {
    "padded": Variant("padded"),
    "bucketed": Variant("bucketed"),
    "packed": Variant(),
    "packed, 4 micro-batches": Variant(accumulate=4),
    "packed, recomputed": Variant(recompute=True),
    "packed, compiled": Variant(compile=True),
}


@functools.cache
def sentences(n_train: int = 2000, n_held_out: int = 400) -> tuple[TokenCorpus, TokenCorpus, Tokenizer]:
    """Short film reviews (Rotten Tomatoes) to train on and held out, and the byte-level BPE trained on the former."""
    train = corpora.reviews("rotten_tomatoes", "train").select(range(n_train))["text"][:]
    held_out = corpora.reviews("rotten_tomatoes", "validation").select(range(n_held_out))["text"][:]
    tokenizer = train_byte_bpe(train, VOCAB_SIZE)
    return tokenize(train, tokenizer), tokenize(held_out, tokenizer), tokenizer


def compiler() -> str | None:
    """The C++ compiler that torch.compile needs on a CPU, or None."""
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++", "cl"))), None)


def micro_batches(batch: Batch, n: int) -> list[Batch]:
    """A batch cut into n of about as many rows; n of fewer rows gives as many as there are rows."""
    parts = {name: tensor.chunk(n) for name, tensor in batch.items()}
    return [{name: parts[name][i] for name in parts} for i in range(len(parts["targets"]))]


class Step:
    """A training step of a variant: own model, own optimizer; counts the targets of each turn."""

    def __init__(self, variant: Variant, size: Size, batches: Iterable[Batch], device: torch.device) -> None:
        environment.seed_everything(SEED)
        self.variant, self.device = variant, device
        self.model: nn.Module = GPT(size.model(VOCAB_SIZE)).to(device)
        self.model.transformer.recompute = variant.recompute
        self.forward_model = torch.compile(self.model) if variant.compile else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE)
        self.batches = [{name: t.to(device) for name, t in batch.items()} for batch in batches]

    def targets(self, turn: int) -> int:
        """Number of targets that a turn trains on."""
        return objectives.count_targets(self.batches[turn % len(self.batches)])

    def __call__(self, turn: int) -> float:
        """One update; returns the loss in nats a target."""
        batch, loss_sum = self.batches[turn % len(self.batches)], 0.0
        count = objectives.count_targets(batch)
        for part in micro_batches(batch, self.variant.accumulate):
            loss = objectives.next_token(self.forward_model, part)[0]
            (loss / count).backward()
            loss_sum += float(loss.detach())  # waits for a GPU
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss_sum / count


def compare(
    variants: dict[str, Variant],
    size: Size,
    rounds: int,
    device: torch.device,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, dict]:
    """Targets a second over some rounds, the first step's seconds, the peak bytes of a step, and the places wasted.

    The variants take turns. A variant that compiles needs a compiler: `compiler()`.
    """
    texts = packing.pieces(sentences()[0], size.context_length, SEPARATOR)
    steps, found = {}, {}
    for name, variant in variants.items():
        endless = packing.batches_of(texts, variant.order, size.context_length, size.tokens_per_step, SEPARATOR, SEED)
        # All rectangles of one width would be kinder to compilers and caches; texts come as they are.
        step = steps[name] = Step(variant, size, itertools.islice(endless, rounds + 1), device)
        started = time.perf_counter()
        step(0)
        first = time.perf_counter() - started
        widest = max(range(rounds + 1), key=lambda turn, step=step: step.batches[turn]["input_ids"].numel())
        found[name] = {
            "first_seconds": first,
            "peak_bytes": profiling.peak_bytes(lambda step=step, widest=widest: step(widest), device),
            "wasted": float(np.mean([packing.wasted(batch) for batch in step.batches])),
        }
        progress()
    seconds = profiling.interleaved_seconds(steps, rounds)
    for name, step in steps.items():
        turns = range(1, rounds + 1)
        found[name]["targets_per_second"] = [
            step.targets(turn) / s for turn, s in zip(turns, seconds[name], strict=True)
        ]
    return found


def measure(device: torch.device | None = None) -> dict:
    """The whole measurement: every variant, the machine's peak, and the utilization that the packed step reaches."""
    device = device or environment.device()
    kind = "cuda" if device.type == "cuda" else "cpu"
    size, rounds, started = SIZES[kind], ROUNDS[kind], time.monotonic()
    variants = {name: v for name, v in VARIANTS.items() if not v.compile or kind == "cuda" or compiler()}
    with tqdm(total=len(variants), desc="training-at-scale") as bar:
        found = compare(variants, size, rounds, device, bar.update)
    peak = max(speeds["fp32"] for speeds in matrix_speed(MATRIX_SIZES[kind], device).values()) * 1e9
    config = size.model(VOCAB_SIZE)
    for result in found.values():
        places = np.median(result["targets_per_second"]) / (1 - result["wasted"])
        result["utilization"] = round(costs.utilization(places, config, size.context_length, peak), 4)
        result["targets_per_second"] = [round(x, 1) for x in result["targets_per_second"]]
        result["first_seconds"], result["wasted"] = round(result["first_seconds"], 2), round(result["wasted"], 4)
    return {
        **RESULT.heading(),
        "seed": SEED,
        "threads": torch.get_num_threads(),
        "size": dataclasses.asdict(size),
        "vocab_size": VOCAB_SIZE,
        "rounds": rounds,
        "peak_gflops": round(peak / 1e9, 1),
        "variants": found,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def measure_scale(folder: Path | None = None) -> Path:
    """Measure, and write the result file; it replaces an earlier one only when all was measured."""
    return RESULT.write(measure(), folder)
