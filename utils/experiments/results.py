"""Result files: what a named command measured, in a small JSON file that chapters print from."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from utils import environment
from utils.training.checkpoints import write_atomically
from utils.training.loop import Record

FOLDER = Path(__file__).parent.parent / "assets" / "results"


@dataclass(frozen=True)
class ResultFile:
    """The result file of a named command: `name`.json in the package, or in another folder."""

    name: str
    command: str

    @property
    def run(self) -> str:
        """What a user types to measure anew."""
        return f"python -m utils.launch {self.command}"

    def path(self, folder: Path | None = None) -> Path:
        """The file, in the package's folder unless another is given."""
        return (folder or FOLDER) / f"{self.name}.json"

    def heading(self, **versions: str) -> dict:
        """What every result file begins with: how it was made, and on what; `versions` are those of more libraries."""
        return {
            "command": self.run,
            "hardware": environment.hardware(),
            "versions": {"torch": torch.__version__, **versions},
        }

    def read(
        self,
        folder: Path | None = None,
        needs: tuple[str, ...] = (),
        prepare: Callable[[dict], None] = lambda result: None,
    ) -> dict:
        """The file's contents, after `prepare` has unpacked them in place.

        Raises: ValueError if the file is missing or damaged, or lacks one of the keys it `needs`.
        """
        path = self.path(folder)
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            missing = [key for key in needs if key not in result]
            if missing:
                raise ValueError(f"nothing about {', '.join(missing)} in it")
            prepare(result)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"expected the results of {self.command} in {path}, got: {error!r}; make them anew: {self.run} --fresh"
            ) from error
        return result

    def earlier(self, folder: Path | None = None, fresh: bool = False, needs: tuple[str, ...] = ()) -> dict:
        """What an earlier call left to go on from: nothing without a file, or when a `fresh` start is asked for.

        Raises: as `read`.
        """
        return {} if fresh or not self.path(folder).is_file() else self.read(folder, needs)

    def write(self, result: dict, folder: Path | None = None) -> Path:
        """Write the file whole or not at all, and return its path."""
        path, text = self.path(folder), json.dumps(result, indent=1) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))
        return path


def loss_curve(records: Sequence[Record], every: int = 10) -> dict:
    """The losses of a training for its card: means over so many steps each, in nats."""
    losses = [record.loss for record in records]
    means = [round(float(np.mean(losses[i : i + every])), 4) for i in range(0, len(losses), every)]
    return {"loss_every_steps": every, "loss_nats": means}


def pack(correct: np.ndarray) -> str:
    """Booleans (N,) as a hexadecimal string, four to a digit."""
    return np.packbits(correct).tobytes().hex()


def unpack(text: str, n: int) -> np.ndarray:
    """The booleans (n,) of `pack`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8))[:n].astype(bool)


def one_process(command: str) -> None:
    """Raise ValueError under `torchrun`: what `command` runs is too small to be worth sharing out."""
    if environment.world_size() > 1:
        raise ValueError(f"{command}: expected one process, got {environment.world_size()}; run it without torchrun")
