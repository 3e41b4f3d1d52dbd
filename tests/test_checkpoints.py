"""Checkpoints: a resumed run equals the unbroken one bit for bit; damaged, foreign and unwritable ones harm nothing."""

import dataclasses
import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny
from utils import environment
from utils.training import checkpoints, objectives
from utils.training.checkpoints import CheckpointError
from utils.training.loop import TrainConfig, Trainer

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[1]


def trainer(max_steps=6, dropout=0.2, seed=0, d_model=12, model=None, **config):
    """What a fresh process would build."""
    model = model or tiny.gpt(dropout, seed, d_model)
    return Trainer(model, objectives.next_token, TrainConfig(max_steps=max_steps, **config), CPU)


def drawn():
    """One number of every random generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def state_of(run):
    """Everything that a load may change, as bytes-comparable values."""
    tensors = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    for i, optimizer in enumerate(run.optimizers):
        for j, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{i}.{j}.{name}": torch.as_tensor(value).clone() for name, value in state.items()}
    return tensors, (run.step, run.micro_batches, run.skipped_in_a_row, run.scaler.get_scale()), torch.get_rng_state()


def assert_same_state(found, expected):
    assert found[0].keys() == expected[0].keys() and found[1] == expected[1]
    assert all(torch.equal(tensor, expected[0][name]) for name, tensor in found[0].items())
    assert torch.equal(found[2], expected[2])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(tmp_path, precision, optimizer, accumulate):
    # A scale that overflows at first: skipped attempts and the scaler's state must come through, too.
    config = dict(precision=precision, optimizer=optimizer, accumulate_steps=accumulate, loss_scale=2.0**27)
    environment.seed_everything(5)
    unbroken = trainer(**config)
    whole = list(unbroken.fit(tiny.batches()))
    final, after = state_of(unbroken), drawn()

    environment.seed_everything(5)
    first = trainer(**config)
    records = []
    for record in first.fit(tiny.batches()):
        records.append(record)
        if record.step == 3:
            first.save(tmp_path / "checkpoint.pt")
            break
    del first
    drawn()  # another process would have other random numbers
    second = trainer(seed=99, **config)
    second.load(tmp_path / "checkpoint.pt")
    records += second.fit(tiny.batches(start=second.micro_batches))

    end = state_of(second)
    assert drawn() == after
    assert_same_state(end, final)
    for found, expected in zip(records, whole, strict=True):
        found, expected = (repr(dataclasses.replace(record, seconds=0)) for record in (found, expected))  # nan != nan
        assert found == expected
    if precision == "fp16":
        assert any(r.skipped for r in records)


def test_without_the_random_state_a_resumed_run_with_dropout_differs(tmp_path, monkeypatch):
    """Broken on purpose: the test above would notice."""
    unbroken = trainer()
    list(unbroken.fit(tiny.batches()))
    first = trainer(max_steps=6)
    next(first.fit(tiny.batches()))
    first.save(tmp_path / "checkpoint.pt")
    monkeypatch.setattr(checkpoints, "restore_random_state", lambda state: None)
    second = trainer()
    second.load(tmp_path / "checkpoint.pt")
    list(second.fit(tiny.batches(start=second.micro_batches)))
    with pytest.raises(AssertionError):
        tiny.assert_close(tiny.parameters(second.model), tiny.parameters(unbroken.model), tolerance=0)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint after two steps; its path and its trainer."""
    run = trainer(model=tiny.gpt(0.2))
    for _ in zip(run.fit(tiny.batches()), range(2), strict=False):
        pass
    path = tmp_path / "runs" / "checkpoint.pt"
    run.save(path)
    return path, run


class Attack:
    """A pickle that would run code when loaded."""

    def __reduce__(self):
        return os.system, ("touch attacked",)


def damaged(content, kind):
    """The bytes of a checkpoint, damaged."""
    generator = random.Random(0)
    if kind == "flipped bits":
        for seed in range(60):
            place = random.Random(seed).randrange(len(content))
            yield content[:place] + bytes([content[place] ^ 1 << seed % 8]) + content[place + 1 :]
    elif kind == "truncated":
        yield from (content[: generator.randrange(len(content))] for _ in range(20))
        yield content[:-1]
    elif kind == "empty":
        yield b""
    elif kind == "text":
        yield b"these are not the weights you are looking for\n" * 50
    elif kind == "pickle that runs code":
        yield pickle.dumps(Attack())
    elif kind == "random bytes":
        yield from (generator.randbytes(n) for n in (1, 10, 1000))


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "pickle that runs code", "random bytes"])
def test_a_damaged_or_foreign_file_is_one_clear_error_and_changes_nothing(saved, kind, monkeypatch):
    path, run = saved
    monkeypatch.chdir(path.parent)
    before = state_of(run)
    for content in damaged(path.read_bytes(), kind):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or foreign file.*resume from an older one"):
            run.load(path)
        assert path.read_bytes() == content
    assert_same_state(state_of(run), before)
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_flipped_bit_is_found_or_was_in_the_padding(saved):
    path, run = saved
    content, before, found = path.read_bytes(), state_of(run), 0
    for flipped in damaged(content, "flipped bits"):
        path.write_bytes(flipped)
        try:
            run.load(path)
        except CheckpointError:
            found += 1
        assert_same_state(state_of(run), before)
    assert found > 20


@pytest.mark.parametrize(
    "content", [{"format": 1, "model": {}}, {"model": {}, "step": 3}, torch.zeros(3), {"format": 99}], ids=repr
)
def test_a_file_of_another_kind_is_refused(saved, content):
    path, run = saved
    before = state_of(run)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="was it written by Trainer.save"):
        run.load(path)
    assert_same_state(state_of(run), before)


@pytest.mark.parametrize("path", ["absent.pt", "."])
def test_an_absent_checkpoint_says_where_it_was_looked_for(saved, path):
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        saved[1].load(saved[0].parent / path)


@pytest.mark.parametrize(
    "change, named",
    [
        (dict(learning_rate=5e-3), r"learning_rate: 0.001 in the checkpoint, 0.005 here"),
        (dict(max_steps=7, betas=(0.8, 0.9)), r"betas: \[0.9, 0.95\] in the checkpoint.*max_steps: 6"),
        (dict(optimizer="muon"), "optimizer: 'adamw' in the checkpoint, 'muon' here"),
        (dict(d_model=15), r"same model.*transformer.blocks.0.attention.key.weight: \(12, 12\) in the checkpoint"),
        (dict(model=tiny.bert()), "same model.*next_sentence"),
        (dict(frozen=True), "same set of trainable parameters"),
    ],
    ids=["learning rate", "two fields", "optimizer", "other width", "other family", "frozen part"],
)
def test_a_checkpoint_of_another_run_names_the_differences_and_changes_nothing(saved, change, named):
    change = dict(change)
    if change.pop("frozen", False):
        change["model"] = tiny.gpt()
        change["model"].transformer.token_embedding.requires_grad_(False)
    other, content = trainer(**change), saved[0].read_bytes()
    before = state_of(other)
    with pytest.raises(CheckpointError, match=named):
        other.load(saved[0])
    assert_same_state(state_of(other), before)
    assert saved[0].read_bytes() == content


def refuse(error):
    def call(*arguments, **options):
        raise error

    return call


@pytest.mark.parametrize("where", ["open", "replace", "fsync", "full disk", "parent is a file"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_and_the_run(saved, where, monkeypatch):
    path, run = saved
    content, before = path.read_bytes(), state_of(run)
    denied = PermissionError(errno.EACCES, "Permission denied")
    if where == "open":
        monkeypatch.setattr("builtins.open", refuse(denied))
    elif where in ("replace", "fsync"):
        monkeypatch.setattr(os, where, refuse(denied))
    elif where == "full disk":
        save = torch.save
        monkeypatch.setattr(torch, "save", lambda content, file: save(content, FullDisk(file)))
    target = path / "below" / "checkpoint.pt" if where == "parent is a file" else path
    with pytest.raises(CheckpointError, match="expected to write .*; choose a folder you may write to"):
        run.save(target)
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.pt"]
    assert_same_state(state_of(run), before)


class FullDisk:
    """A file that takes a thousand bytes."""

    def __init__(self, file):
        self.file, self.left = file, 1000

    def write(self, content):
        self.left -= len(content)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_error(saved):
    path, run = saved
    path.parent.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="Permission denied"):
            run.save(path)
    finally:
        path.parent.chmod(0o700)


SCRIPT = """
import os, sys, time, torch
from tests import tiny
from utils.training import checkpoints, objectives
from utils.training.loop import TrainConfig, Trainer
path, mode = sys.argv[1:]
run = Trainer(tiny.gpt(0.2), objectives.next_token, TrainConfig(max_steps=100_000), torch.device("cpu"))
def slowly(content, file, save=torch.save):
    save(content, file)
    file.flush()
    print("writing", flush=True)
    time.sleep(0.05)
    file.truncate(file.tell() // 2)
    file.flush()
    time.sleep(60)
for record in run.fit(tiny.batches(n=10**9)):
    if mode == "during" and record.step == 4:
        torch.save = slowly
    if mode == "any" or record.step % 2 == 0:
        run.save(path)
        print(record.step, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("mode", ["any", "during"])
def test_a_run_killed_at_any_moment_leaves_a_checkpoint_that_resumes_exactly(tmp_path, mode):
    path = tmp_path / "checkpoint.pt"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), mode],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
    )
    try:
        until = "writing\n" if mode == "during" else "7\n"
        assert until in iter(process.stdout.readline, "")
        time.sleep(0.1)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    run = trainer(max_steps=100_000)
    run.load(path)
    assert run.step == 2 if mode == "during" else run.step >= 7
    expected = trainer(max_steps=100_000)
    for _ in zip(range(run.step), expected.fit(tiny.batches()), strict=False):
        pass
    tiny.assert_close(tiny.parameters(run.model), tiny.parameters(expected.model), tolerance=0)
    run.save(path)  # what the killed process left behind is not in the way
    trainer(max_steps=100_000).load(path)
