"""Checkpoints: written whole or not at all, read without running code, checked before anything changes."""

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read: says what was expected, what came, and what to do."""


def write_atomically(path: Path, write) -> None:
    """Call `write(file)` on a file beside `path`, flush it to disk, then rename: readers see the old file or the new
    one.

    Raises: CheckpointError without write permission or space; the old file stays.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise CheckpointError(
            f"expected to write {path}, got: {error.strerror or error}; choose a folder you may write to, "
            f"with space left"
        ) from error


def random_state() -> dict[str, Any]:
    """State of this process's random generators, in types that load with `weights_only=True`."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries still draw from it
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Set every random generator of this process as `random_state` found it."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically. Raises: CheckpointError if it cannot be written."""
    write_atomically(Path(path), lambda file: torch.save({"format": FORMAT, **content}, file))


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint with `weights_only=True`, onto the CPU.

    Raises: CheckpointError if the file is missing, truncated, corrupted or of another format.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"expected a checkpoint at {path}, found nothing; check the path, or start from the beginning"
        ) from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"expected a checkpoint in {path}, got a damaged or foreign file ({type(error).__name__}); "
            f"delete it, and resume from an older one"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"expected a checkpoint of format {FORMAT} in {path}, got another kind of file; was it written by "
            f"Trainer.save?"
        )
    return content


def check_same(expected: dict[str, Any], found: dict[str, Any], what: str) -> None:
    """Raise CheckpointError naming every field in which two configurations differ."""
    differences = [
        f"{name}: {found.get(name)!r} in the checkpoint, {expected.get(name)!r} here"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"expected a checkpoint of the same {what}, got one that differs in {'; '.join(differences)}; "
            f"build the {what} as it was when the checkpoint was saved"
        )
