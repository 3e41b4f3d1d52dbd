"""What this process runs on: device, precisions, threads, seeds, ranks, memory, network, and the budget that follows.

Every notebook begins with `environment.report()` and takes its sizes from `environment.budget()`, so that the same
cells fit a laptop and a GPU.
"""

import ctypes
import functools
import gc
import importlib.metadata
import logging
import os
import platform
import random
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import psutil
import torch

# transformers imports torchao, which logs a line for each of its parts that is for other hardware.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

HUB_HOST = "huggingface.co"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> torch.device:
    """The device to compute on: this rank's CUDA GPU, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def supports(precision: str, on: torch.device | None = None) -> bool:
    """Whether autocast to `precision` ("fp32", "bf16", "fp16") runs on the device; says nothing about its speed.

    Raises: ValueError for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {sorted(PRECISIONS)}, got {precision!r}")
    on = on or device()
    if precision == "bf16" and on.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return True


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch (all devices); returns a CPU generator with the same seed for explicit use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries still draw from it
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def rank() -> int:
    """Index of this process among all processes of a `torchrun` job; 0 without one."""
    return int(os.environ.get("RANK", 0))


def local_rank() -> int:
    """Index of this process on its own machine; 0 without `torchrun`."""
    return int(os.environ.get("LOCAL_RANK", 0))


def world_size() -> int:
    """Number of processes in the `torchrun` job; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", 1))


@functools.cache
def online(timeout: float = 2.0) -> bool:
    """Whether the model hub can be reached. Asked once a process; HF_HUB_OFFLINE=1 answers no without asking."""
    if any(
        os.environ.get(name, "0").lower() not in ("", "0", "false", "no", "off")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    ):
        return False
    answers: list[bool] = []
    # In a thread, because the look-up of the host's name knows no timeout.
    asking = threading.Thread(target=lambda: answers.append(_hub_answers(timeout)), daemon=True)
    asking.start()
    asking.join(timeout)
    return answers == [True]


def _hub_answers(timeout: float) -> bool:
    """Whether a connection to the hub opens."""
    try:
        with socket.create_connection((HUB_HOST, 443), timeout=timeout):
            return True
    except OSError:
        return False


def cache_folder() -> Path:
    """Folder for what can be made again (training runs, tokenized text); LLM_COURSE_CACHE moves it."""
    return Path(os.environ.get("LLM_COURSE_CACHE") or platformdirs.user_cache_dir("llm-course"))


def memory_gb() -> float:
    """Resident memory of this process in GB (10^9 bytes)."""
    return psutil.Process().memory_info().rss / 1e9


def release_memory() -> None:
    """Give what is no longer used back to the system, so that one notebook can train several models in turn.

    After training, the C library keeps hundreds of megabytes in pieces for reuse; it can be asked to let go, as can
    Arrow, through which data sets are read.
    """
    gc.collect()
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@dataclass(frozen=True)
class Budget:
    """How much an experiment may do here. `scale` is 1 on a CPU and grows with a GPU."""

    device: torch.device
    precision: str
    scale: int

    def steps(self, cpu: int, gpu: int | None = None) -> int:
        """Number of steps: `cpu` on a CPU, on a GPU `gpu` or, without it, `cpu` times `scale`."""
        return cpu if self.scale == 1 else (gpu if gpu is not None else cpu * self.scale)


def budget() -> Budget:
    """The budget of this machine: bf16 where it is native or emulated well, eight times the work on a GPU."""
    where = device()
    if where.type == "cuda":
        return Budget(where, "bf16" if supports("bf16", where) else "fp16", 8)
    return Budget(where, "bf16" if where.type == "cpu" and _cpu_has_bf16() else "fp32", 1)


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX-512 BF16, AMX or Arm); emulated bf16 is slower than fp32."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def processor_name() -> str:
    """The CPU's or GPU's name as the system gives it, for result files and reports."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
    except OSError:
        names = []
    return names[0] if names else (platform.processor() or platform.machine())


def hardware() -> str:
    """One line naming the hardware, for result files: processor, logical cores and memory."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{processor_name()}, {os.cpu_count()} logical cores, {memory:.0f} GiB"


def report() -> None:
    """Print where this notebook runs: versions, processor, precision, memory, network."""
    names = ("torch", "transformers", "datasets", "plotly", "ipywidgets")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    here = budget()
    reach = "online" if online() else "offline"
    print(
        f"Python {platform.python_version()}, {versions}\n"
        f"{hardware()}; torch threads: {torch.get_num_threads()}\n"
        f"device {here.device}, autocast {here.precision}, budget x{here.scale}, hub {reach}, "
        f"{memory_gb():.2f} GB in use"
    )
