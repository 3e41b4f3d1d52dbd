"""Two gloo ranks under torchrun equal one process: gradients, records, micro-batches, checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import offline, tiny
from tests.test_launch import RECIPES
from utils.training import objectives
from utils.training.checkpoints import CheckpointError
from utils.training.loop import TrainConfig, Trainer

ROOT = Path(__file__).resolve().parents[1]
CONFIG = dict(max_steps=4, learning_rate=3e-3, warmup_steps=1, weight_decay=0.2, clip_norm=0.5)

# Micro-batch m of rank r is number 2m + r of one process; the numbers have uneven target counts, some rows none at all.
RANK = """
import os, sys, time, torch
import torch.distributed as dist
from tests import tiny
from pathlib import Path
from tests.test_launch import RECIPES
from utils import environment
from utils.data import batches, corpora, sources
from utils.experiments import pretraining
from utils.training import checkpoints, objectives
from utils.training.checkpoints import CheckpointError
from utils.training.loop import TrainConfig, Trainer
folder, config = sys.argv[1], eval(sys.argv[2])
dist.init_process_group("gloo")
rank, world = environment.rank(), environment.world_size()
drawn = []
def make(m):
    drawn.append(m)
    return tiny.batch(m)
def build(dropout=0.0, seed=rank, **changes):
    # Another seed on each rank: DDP gives all of them the weights of rank 0.
    training = TrainConfig(**{**config, **changes})
    return Trainer(tiny.gpt(dropout, seed), objectives.next_token, training, torch.device("cpu"))
result = {}
for accumulate in (1, 2):
    drawn.clear()
    run = build(accumulate_steps=accumulate)
    records = list(run.fit(batches.sharded(make)))
    result[accumulate] = {
        "records": [(r.step, r.loss, r.grad_norm, r.targets, r.tokens) for r in records],
        "drawn": list(drawn), "model": run.model.state_dict(), "micro_batches": run.micro_batches,
    }
# Straight against save and resume, with dropout: every rank has random numbers of its own.
torch.manual_seed(100 + rank)
whole = build(dropout=0.3, seed=0)
torch.manual_seed(100 + rank)
list(whole.fit(batches.sharded(tiny.batch)))
first = build(dropout=0.3, seed=0)
torch.manual_seed(100 + rank)
for record in first.fit(batches.sharded(tiny.batch)):
    if record.step == 2:
        break
first.save(folder + "/checkpoint.pt")
dist.barrier()
second = build(dropout=0.3, seed=9)
second.load(folder + "/checkpoint.pt")
list(second.fit(batches.sharded(tiny.batch, start=second.micro_batches)))
result["resumed equals unbroken"] = all(
    torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True)
)
result["random"] = float(torch.rand(()))
try:
    build().load(folder + "/alone.pt")
except CheckpointError as error:
    result["other world"] = str(error)
# A fresh pre-training in a cache that is not there yet, with rank 0 late to make its folder.
os.environ["LLM_COURSE_CACHE"] = folder + "/cache"
texts = sources.load_reviews("rotten_tomatoes").select(range(200))["text"][:]
corpora.reviews = lambda name, split: {"text": texts}
write = checkpoints.write_atomically
checkpoints.write_atomically = lambda *given: (time.sleep(0.3), write(*given))
saved = pretraining.pretrain(RECIPES["gpt"], folder=Path(folder, "model"), fresh=True)
result["saved"] = None if saved is None else str(saved)
torch.save(result, f"{folder}/rank{rank}.pt")
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two ranks computed, and the folder of their checkpoint."""
    folder = tmp_path_factory.mktemp("ranks")
    script = folder / "rank.py"
    script.write_text(RANK)
    alone().save(folder / "alone.pt")
    variables = {**offline.environment(), "OMP_NUM_THREADS": "1"}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), variables["PYTHONPATH"]])
    # Port 0: torchrun's rendezvous takes a free port on loopback.
    launcher = ["--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=127.0.0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, str(script), str(folder), repr(CONFIG)]
    answer = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)], folder


def alone(accumulate=1):
    """One process that takes at each step what the two ranks take together."""
    model = tiny.gpt(seed=0)
    return Trainer(
        model, objectives.next_token, TrainConfig(**CONFIG, accumulate_steps=accumulate), torch.device("cpu")
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_ranks_equal_one_process_with_uneven_target_counts(ranks, accumulate, record_property):
    one = alone(2 * accumulate)
    records = list(one.fit(tiny.batches()))
    assert len({r.targets for r in records}) > 1
    for rank in ranks[0]:
        found = rank[accumulate]
        for (step, loss, norm, targets, tokens), expected in zip(found["records"], records, strict=True):
            assert (step, targets, tokens) == (expected.step, expected.targets, expected.tokens)
            assert loss == pytest.approx(expected.loss, abs=1e-6)
            assert norm == pytest.approx(expected.grad_norm, abs=1e-6)
        difference = tiny.assert_close(found["model"], one.model.state_dict())
        record_property("largest difference of parameters", difference)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_draw_disjoint_micro_batches_that_are_those_of_one_process(ranks, accumulate):
    first, second = (rank[accumulate]["drawn"] for rank in ranks[0])
    assert not set(first) & set(second)
    assert sorted(first + second) == list(range(2 * accumulate * CONFIG["max_steps"]))
    assert [rank[accumulate]["micro_batches"] for rank in ranks[0]] == [4 * accumulate] * 2


def test_a_checkpoint_of_rank_0_resumes_bit_for_bit_on_both_ranks(ranks):
    assert all(rank["resumed equals unbroken"] for rank in ranks[0])
    assert ranks[0][0]["random"] != ranks[0][1]["random"]


def test_a_checkpoint_of_another_number_of_ranks_is_refused_on_both_sides(ranks):
    for rank in ranks[0]:
        assert "ranks: 1 in the checkpoint, 2 here" in rank["other world"]
    with pytest.raises(CheckpointError, match="ranks: 2 in the checkpoint, 1 here"):
        alone().load(ranks[1] / "checkpoint.pt")


def test_a_fresh_pretraining_on_two_ranks_writes_one_log_and_one_model(ranks):
    results, folder = ranks
    assert [rank["saved"] for rank in results] == [str(folder / "model"), None]
    steps = RECIPES["gpt"].training.max_steps
    log = (folder / "cache" / "runs" / "tiny-gpt" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == list(range(1, steps + 1))
    card = json.loads((folder / "model" / "card.json").read_text())
    assert card["processes"] == 2 and card["tokens"] == steps * RECIPES["gpt"].tokens_per_step
