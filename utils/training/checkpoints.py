"""Checkpoints: written whole or not at all, read without running code, checked before anything changes."""

import contextlib
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMAT = 1
PARTS = {"config", "step", "micro_batches", "skipped_in_a_row", "model", "optimizers", "scaler", "random_states"}


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
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"expected to write {path}, got: {reason}; choose a folder you may write to, with space left"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone after the rename; never there if the folder is none
            aside.unlink()


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
        # The file is a zip archive with a checksum for each part; torch.load does not compare them.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"expected a checkpoint at {path}, found nothing; check the path, or start from the beginning"
        ) from None
    except Exception as error:  # a damaged file can fail anywhere in the zip and pickle readers
        raise CheckpointError(
            f"expected a checkpoint in {path}, got a damaged or foreign file ({type(error).__name__}); "
            f"delete it, and resume from an older one"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not PARTS <= content.keys():
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
            f"expected a checkpoint of the same {what}, got one with {len(differences)} differences: "
            f"{'; '.join(differences[:6])}; "
            f"build the {what} as it was when the checkpoint was saved"
        )
