"""The environment: what is asked, how long it may take, and what follows from it."""

import random
import socket
import sys
import time
import types

import numpy as np
import pytest
import torch

from utils import environment


@pytest.fixture
def asked(monkeypatch):
    """`online` asked anew, with no variable that answers for it."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    environment.online.cache_clear()
    yield environment.online
    environment.online.cache_clear()


def connects(address, timeout):
    """A connection that opens."""
    assert address == (environment.HUB_HOST, 443)
    return socket.socket()


def fails(address, timeout):
    raise OSError("Name or service not known")


def hangs(address, timeout):
    """A look-up of the name that takes its time, whatever the timeout."""
    time.sleep(5)
    raise OSError("Temporary failure in name resolution")


@pytest.mark.parametrize("behavior, answer", [(connects, True), (fails, False), (hangs, False)])
def test_the_hub_is_asked_once_and_the_question_is_bounded_in_time(asked, behavior, answer, monkeypatch):
    calls = []

    def connection(address, timeout):
        calls.append(address)
        return behavior(address, timeout)

    monkeypatch.setattr(socket, "create_connection", connection)
    started = time.perf_counter()
    assert [asked(timeout=0.3), asked(timeout=0.3)] == [answer, answer]
    assert time.perf_counter() - started < 3 and len(calls) == 1


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("value, offline", [("1", True), ("true", True), ("ON", True), ("0", False), ("", False)])
def test_the_offline_variables_answer_without_asking(asked, name, value, offline, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", connects)
    monkeypatch.setenv(name, value)
    assert asked() is not offline


def test_the_same_seed_gives_the_same_numbers_in_every_library():
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(())), float(torch.rand((), generator=own))  # noqa: NPY002

    own = environment.seed_everything(2**40 + 3)
    first = draw()
    own = environment.seed_everything(2**40 + 3)
    assert draw() == first
    own = environment.seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_ranks_come_from_torchruns_variables(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (environment.rank(), environment.local_rank(), environment.world_size()) == (0, 0, 1)
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert (environment.rank(), environment.local_rank(), environment.world_size()) == (5, 1, 8)


def test_an_unknown_precision_names_the_known_ones():
    with pytest.raises(ValueError, match=r"\['bf16', 'fp16', 'fp32'\], got 'fp8'"):
        environment.supports("fp8")
    assert all(environment.supports(name, torch.device("cpu")) for name in environment.PRECISIONS)


@pytest.mark.parametrize("scale, steps", [(1, (30, 30)), (8, (240, 500))])
def test_the_budget_grows_with_a_gpu(scale, steps):
    budget = environment.Budget(torch.device("cpu"), "fp32", scale)
    assert (budget.steps(30), budget.steps(30, 500)) == steps


def test_this_machines_budget_names_a_precision_that_its_device_has():
    budget = environment.budget()
    assert environment.supports(budget.precision, budget.device) and budget.scale >= 1


def test_the_cache_folder_moves_with_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_COURSE_CACHE", str(tmp_path))
    assert environment.cache_folder() == tmp_path
    monkeypatch.setenv("LLM_COURSE_CACHE", "")
    assert environment.cache_folder().name == "llm-course"


def test_the_report_names_versions_hardware_precision_and_network(capsys):
    environment.report()
    text = capsys.readouterr().out
    for part in (torch.__version__.split("+")[0], "logical cores", "threads", "autocast", "line", "GB in use"):
        assert part in text
    assert environment.hardware() in text and environment.memory_gb() > 0.05


def test_memory_is_released_by_arrow_too(monkeypatch):
    released = []
    pool = types.SimpleNamespace(release_unused=lambda: released.append(True))
    monkeypatch.setitem(sys.modules, "pyarrow", types.SimpleNamespace(default_memory_pool=lambda: pool))
    environment.release_memory()
    assert released == [True]
    monkeypatch.delitem(sys.modules, "pyarrow")
    environment.release_memory()  # without data sets there is no Arrow
