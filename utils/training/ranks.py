"""Many processes as one job: joining and leaving it, and what to say when a rank is lost."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from utils import environment
from utils.models.config import TransformerConfig

# A collective of a healthy job takes far less; a rank that is silent for so long is taken for dead.
PATIENCE = 25.0


class RankLost(RuntimeError):
    """Another rank died or fell silent: says which one noticed, and what to do."""


@dataclass(frozen=True)
class Mesh:
    """How the ranks of a job divide the work: copies that share the data, parts of each matrix, stages of layers.

    Raises: ValueError naming every size that does not fit the others, the model or the number of ranks.
    """

    data: int = 1
    tensor: int = 1
    pipeline: int = 1

    def __post_init__(self) -> None:
        sizes = {"data": self.data, "tensor": self.tensor, "pipeline": self.pipeline}
        wrong = [f"{name}={size!r}" for name, size in sizes.items() if not isinstance(size, int) or size < 1]
        if wrong:
            raise ValueError(f"mesh: expected whole numbers from 1, got {', '.join(wrong)}")

    @property
    def size(self) -> int:
        """Number of ranks."""
        return self.data * self.tensor * self.pipeline

    def check(self, config: TransformerConfig, world: int, micro_batches: int | None = None) -> None:
        """Refuse a mesh that the model or the job cannot be laid out on."""
        problems = []
        if self.size != world:
            problems.append(f"data * tensor * pipeline = {self.size} ranks (the job has {world})")
        for name, n in (("n_heads", config.n_heads), ("n_kv_heads", config.kv_heads), ("width_ff", config.width_ff)):
            if n % self.tensor:
                problems.append(f"tensor={self.tensor} (a divisor of {name}={n})")
        if config.n_experts and self.tensor > 1:
            problems.append(f"tensor={self.tensor} (1 with n_experts={config.n_experts})")
        if self.pipeline > config.n_layers:
            problems.append(f"pipeline={self.pipeline} (at most n_layers={config.n_layers})")
        if micro_batches is not None and micro_batches < 1:
            problems.append(f"micro_batches={micro_batches} (at least 1)")
        if problems:
            raise ValueError("mesh: expected in brackets, got " + "; ".join(problems))


@contextlib.contextmanager
def joined(patience: float = PATIENCE, backend: str | None = None) -> Iterator[None]:
    """Be one rank of the `torchrun` job: join it, and leave it at the end, even after an error.

    The backend is nccl on GPUs and gloo on CPUs, unless one is named.
    Raises: RankLost when another rank dies, or answers a collective not within `patience` seconds.
    """
    backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    if backend == "nccl":
        torch.cuda.set_device(environment.device())
    dist.init_process_group(backend, timeout=timedelta(seconds=patience))
    lost = False
    try:
        yield
    except RuntimeError as error:
        lost = _is_of_the_network(error)
        if not lost:
            raise
        reason = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]
        raise RankLost(
            f"rank {environment.rank()} of {environment.world_size()}: expected an answer from the other ranks within "
            f"{patience:g} s, got none ({reason}); another rank has died or hangs: see its output, then start the job "
            f"again from the last checkpoint"
        ) from error
    finally:
        if not lost:  # to leave a broken group in order can take for ever
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()


def _is_of_the_network(error: RuntimeError) -> bool:
    """Whether a collective failed because of another rank, not this one's arithmetic."""
    text = str(error).lower()
    signs = ("connection", "timed out", "timeout", "gloo", "nccl", "socket", "broken pipe")
    return isinstance(error, dist.DistError) or any(sign in text for sign in signs)
