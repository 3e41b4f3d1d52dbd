"""Two real processes equal one: data, tensor, pipeline parallel and FSDP2; impossible meshes; a rank that is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests import offline
from utils.experiments import parallelism
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import checkpoints, objectives, parallel
from utils.training.loop import TrainConfig, Trainer
from utils.training.ranks import Mesh

ROOT = Path(__file__).resolve().parents[1]
MODULE = "utils.experiments.parallelism"


def variables():
    found = {**offline.environment(), "OMP_NUM_THREADS": "1"}
    return {**found, "PYTHONPATH": os.pathsep.join([str(ROOT), found["PYTHONPATH"]])}


def torchrun(n, *arguments):
    """Run the module on n ranks; returns the finished process and its seconds."""
    started = time.monotonic()
    answer = parallelism.launch(n, *arguments)
    return answer, time.monotonic() - started


@pytest.fixture(autouse=True, scope="module")
def without_network():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What two ranks wrote, by kind and rank, and the one process they must equal."""
    folder = tmp_path_factory.mktemp("two")
    answer, _ = torchrun(2, "--folder", folder)
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = {
        kind: [torch.load(folder / f"{kind}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        for kind in parallelism.KINDS
    }
    return found, parallelism.one_process()


@pytest.mark.parametrize("kind", parallelism.KINDS)
def test_two_ranks_equal_one_process_in_losses_gradients_and_weights(outcomes, kind, record_property):
    found, one = outcomes
    for rank in found[kind]:
        assert rank["losses"] == pytest.approx(one.losses, abs=1e-6)
        for name, expected in (("gradients", one.gradients), ("weights", one.weights)):
            largest = parallelism.largest_difference(rank[name], expected)
            record_property(f"largest difference of {name}", largest)
            assert largest < 1e-6
    moved = parallelism.largest_difference(one.weights, dict(parallelism.new_model().named_parameters()))
    assert moved > 1e-3  # the steps did something


def test_each_rank_holds_what_its_kind_says(outcomes):
    found, one = outcomes
    held = {kind: [rank["held_parameters"] for rank in ranks] for kind, ranks in found.items()}
    P, D, V = one.held_parameters, parallelism.CONFIG.d_model, parallelism.CONFIG.vocab_size
    assert held["data"] == [P, P]
    assert held["tensor"][0] == held["tensor"][1] < 0.6 * P
    assert sum(held["pipeline"]) == P + V * D  # tied embeddings are on the first and the last rank
    assert sum(held["sharded"]) == P and max(held["sharded"]) < 0.52 * P


def test_layers_are_dealt_out_evenly_and_in_order():
    for n_layers, world in ((3, 2), (7, 3), (5, 5), (12, 1)):
        dealt = [parallel.layers_of(n_layers, rank, world) for rank in range(world)]
        assert [layer for layers in dealt for layer in layers] == list(range(n_layers))
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_a_pipeline_stage_keeps_the_names_of_the_whole_model():
    whole = set(dict(parallelism.new_model().named_parameters()))
    stages = [set(dict(parallel.PipelineStage(parallelism.new_model(), r, 3).named_parameters())) for r in range(3)]
    assert set.union(*stages) == whole
    assert stages[0] & stages[2] == {"transformer.token_embedding.weight"} and not stages[0] & stages[1]


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 4), (2, 1), (4, 12), (3, 5)])
def test_the_bubble_is_what_a_schedule_shows(stages, micro_batches):
    """Forward passes only: stage s works on micro-batch m at time s + m."""
    busy = {(s, s + m) for s in range(stages) for m in range(micro_batches)}
    ticks = 1 + max(tick for _, tick in busy)
    assert parallel.bubble(stages, micro_batches) == pytest.approx(1 - len(busy) / (stages * ticks))


CONFIG = TransformerConfig(31, 9, 12, n_layers=2, n_heads=4, n_kv_heads=2)


@pytest.mark.parametrize(
    ("mesh", "world", "message"),
    [
        (dict(data=2, tensor=2), 3, r"data \* tensor \* pipeline = 4 ranks \(the job has 3\)"),
        (dict(tensor=3), 3, r"tensor=3 \(a divisor of n_heads=4\)"),
        (dict(tensor=4), 4, r"tensor=4 \(a divisor of n_kv_heads=2\)"),
        (dict(pipeline=3), 3, r"pipeline=3 \(at most n_layers=2\)"),
        (dict(data=0, tensor=1.5), 1, r"whole numbers from 1, got data=0, tensor=1.5"),
    ],
)
def test_an_impossible_mesh_is_refused(mesh, world, message):
    with pytest.raises(ValueError, match=message):
        Mesh(**mesh).check(CONFIG, world)


def test_a_possible_mesh_passes():
    Mesh(data=3, tensor=2, pipeline=2).check(CONFIG, 12)
    with pytest.raises(ValueError, match="more micro_batches|micro_batches=0"):
        Mesh().check(CONFIG, 1, micro_batches=0)


def test_three_ranks_for_four_heads_end_with_one_clear_error(tmp_path):
    answer, seconds = torchrun(3, "--folder", tmp_path, "--kinds", "tensor")
    assert answer.returncode != 0 and seconds < 60
    assert "ValueError: mesh: expected in brackets, got tensor=3 (a divisor of n_heads=4)" in answer.stderr
    assert not list(tmp_path.iterdir())


def check_checkpoint(folder, steps):
    """The last checkpoint loads whole: a new trainer of the same two ranks would go on from it."""
    content = checkpoints.load(folder / "checkpoint.pt")
    assert content["step"] == steps and [path.name for path in folder.iterdir()] == ["checkpoint.pt"]
    model = parallelism.new_model().float()
    model.load_state_dict(content["model"])
    return model


def test_a_rank_that_dies_ends_the_job_within_a_minute_and_the_checkpoint_is_whole(tmp_path):
    answer, seconds = torchrun(2, "--folder", tmp_path, "--lose", "die", "--at", 2)
    assert answer.returncode != 0 and seconds < 60
    assert "exitcode  : -9" in answer.stderr and "step 2" in answer.stdout and "step 3" not in answer.stdout
    model = check_checkpoint(tmp_path, 2)
    # What one process has after the same two steps.
    one = Trainer(
        parallelism.new_model().float(),
        objectives.next_token,
        TrainConfig(max_steps=50, learning_rate=parallelism.LEARNING_RATE, accumulate_steps=2),
        torch.device("cpu"),
    )
    source = (batch for m in range(2) for batch in parallelism.step_batches(m)[:2])
    list(one.fit(source))
    assert parallelism.largest_difference(dict(model.named_parameters()), dict(one.model.named_parameters())) < 1e-5


def start_alone(rank, port, folder, *arguments):
    """One rank without torchrun, as on machines of their own: nobody ends it but itself."""
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", MODULE, "--folder", str(folder), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env={**variables(), **place}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("how", "patience"), [("die", "100"), ("hang", "5")])
def test_the_other_rank_ends_itself_with_a_clear_error(tmp_path, how, patience):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = [start_alone(r, port, tmp_path, "--lose", how, "--at", "2", "--patience", patience) for r in (0, 1)]
    try:
        _, errors = both[0].communicate(timeout=60)
        assert both[0].returncode == 1
        assert "RankLost: rank 0 of 2: expected an answer from the other ranks within" in errors
        assert "start the job again from the last checkpoint" in errors and "Traceback" not in errors
        check_checkpoint(tmp_path, 2)
    finally:
        for process in both:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


def test_another_kind_of_error_is_no_lost_rank():
    with pytest.raises(ValueError, match="same names"):
        parallelism.largest_difference({"a": torch.zeros(1)}, {"b": torch.zeros(1)})


def test_the_model_of_the_runs_is_an_ordinary_gpt():
    assert isinstance(parallelism.new_model(), GPT) and parallelism.CONFIG.n_heads % 2 == 0
