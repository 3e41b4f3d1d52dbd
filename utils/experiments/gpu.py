"""What one GPU does with GPT-2: speed in each precision, the share of its peak that is used, and its memory."""

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from utils import environment
from utils.data.batches import Batch
from utils.experiments.precision import matrix_speed
from utils.experiments.results import ResultFile
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import costs, objectives, profiling
from utils.training.loop import TrainConfig, Trainer

RESULT = ResultFile("gpu", "measure-gpu")
ROWS, STEPS, SEED = 8, 20, 12
# How a step is run: its precision, and whether it is compiled.
VARIANTS = {"fp32": ("fp32", False), "bf16": ("bf16", False), "fp16": ("fp16", False), "bf16, compiled": ("bf16", True)}
MATRIX_SIZES = (2048, 4096, 8192)


class NoGPU(RuntimeError):
    """A measurement of a GPU was asked for where there is none: says what is here, and what to do."""


def batch_of(config: TransformerConfig, rows: int, device: torch.device) -> Batch:
    """Random ids: what they are changes neither speed nor memory. Shapes: both (rows, context_length)."""
    generator = torch.Generator().manual_seed(SEED)
    ids = torch.randint(config.vocab_size, (rows, config.context_length + 1), generator=generator).to(device)
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_variant(
    config: TransformerConfig, rows: int, variant: tuple[str, bool], steps: int, device: torch.device
) -> dict:
    """Seconds of the first step, tokens a second of the `steps` after it, and the bytes of a step.

    `peak_bytes` is the most that was held at once, weights and AdamW's moments included; `counted_bytes` is what
    `costs.memory` counts for the same step.
    """
    precision, compiled = variant
    environment.seed_everything(SEED)
    settings = TrainConfig(max_steps=steps + 2, learning_rate=1e-4, precision=precision, compile=compiled)
    trainer = Trainer(GPT(config), objectives.next_token, settings, device)
    batch = batch_of(config, rows, device)
    trainer.model.train()
    seconds = []
    for _ in range(steps + 1):
        wait_for(device)
        started = time.perf_counter()
        trainer.attempt([batch])
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    # Between steps weights and moments are there; gradients and activations come and go within.
    state = sum(t.numel() * t.element_size() for t in trainer.model.parameters())
    for optimizer in trainer.optimizers:
        moments = [t for found in optimizer.state.values() for t in found.values() if torch.is_tensor(t)]
        state += sum(t.numel() * t.element_size() for t in moments)
    peak = state + profiling.peak_bytes(lambda: trainer.attempt([batch]), device)
    return {
        "first_seconds": round(seconds[0], 3),
        "tokens_per_second": [round(batch["input_ids"].numel() / s, 1) for s in seconds[1:]],
        "peak_bytes": peak,
        # The count knows fp32 and bf16; fp16 holds what bf16 does.
        "counted_bytes": costs.memory(
            config, rows, config.context_length, "fp32" if precision == "fp32" else "bf16"
        ).total,
    }


def check_gpu(device: torch.device) -> None:
    """Raise NoGPU unless the device is a CUDA GPU."""
    if device.type != "cuda":
        raise NoGPU(
            f"measure-gpu: expected a CUDA GPU, got {environment.hardware()}, which has none that PyTorch can use; "
            f"run `{RESULT.run}` on a machine with one"
        )


def measure(
    device: torch.device,
    config: TransformerConfig = costs.GPT2,
    rows: int = ROWS,
    steps: int = STEPS,
    matrix_sizes: tuple[int, ...] = MATRIX_SIZES,
    variants: dict[str, tuple[str, bool]] = VARIANTS,
) -> dict:
    """The whole measurement; `utilization` is the median step's, of the fastest product in the same precision."""
    started = time.monotonic()
    products = matrix_speed(matrix_sizes, device)
    peaks = {name: 1e9 * max(speeds[name] for speeds in products.values()) for name in environment.PRECISIONS}
    found = {}
    for name, variant in tqdm(variants.items(), desc="measure-gpu"):
        if not environment.supports(variant[0], device):
            continue
        found[name] = result = measure_variant(config, rows, variant, steps, device)
        speed = float(np.median(result["tokens_per_second"]))
        result["utilization"] = round(costs.utilization(speed, config, config.context_length, peaks[variant[0]]), 4)
        torch._dynamo.reset()
        environment.release_memory()
    return {
        **RESULT.heading(cuda=torch.version.cuda),
        "seed": SEED,
        "config": dataclasses.asdict(config),
        "parameters": costs.parameters(config),
        "rows": rows,
        "peak_flops_per_second": {name: round(peak) for name, peak in peaks.items()},
        "variants": found,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def measure_gpu(folder: Path | None = None, device: torch.device | None = None) -> Path:
    """Measure, and write the result file; it replaces an earlier one only when all was measured.

    Raises: NoGPU without a CUDA GPU, before anything is done.
    """
    device = device or environment.device()
    check_gpu(device)
    return RESULT.write(measure(device), folder)


def measure_or_exit(folder: Path | None = None) -> Path:
    """The named command: without a GPU it says so and ends."""
    try:
        return measure_gpu(folder)
    except NoGPU as error:
        sys.exit(str(error))


def load_result(folder: Path | None = None) -> dict | None:
    """The committed figures of a GPU; None if nobody has run the command on one yet.

    Raises: ValueError if the file is damaged.
    """
    return RESULT.read(folder, needs=("variants",)) if RESULT.path(folder).is_file() else None
