"""The named command training-at-scale: its result file, its parts, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from utils import launch
from utils.data import packing
from utils.experiments import scale
from utils.experiments.precision import Size
from utils.training import objectives

TINY = Size(d_model=12, n_layers=2, n_heads=3, context_length=64, tokens_per_step=256)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found():
    variants = {name: variant for name, variant in scale.VARIANTS.items() if not variant.compile}
    return scale.compare(variants, TINY, rounds=2, device=CPU)


def test_each_variant_is_measured_for_speed_memory_and_waste(found):
    for one in found.values():
        assert len(one["targets_per_second"]) == 2 and min(one["targets_per_second"]) > 0
        assert one["peak_bytes"] > 0 and 0 <= one["wasted"] < 1 and one["first_seconds"] > 0
    assert found["packed"]["wasted"] < found["bucketed"]["wasted"] + 0.05 < found["padded"]["wasted"]
    packed = found["packed"]["peak_bytes"]
    assert found["packed, 4 micro-batches"]["peak_bytes"] < packed > found["packed, recomputed"]["peak_bytes"]


def test_micro_batches_cut_every_part_and_leave_the_update_as_it_was():
    texts = packing.pieces(scale.sentences()[0], TINY.context_length, scale.SEPARATOR)
    batch = next(packing.batches_of(texts, "packed", 64, 256, scale.SEPARATOR, 1))
    parts = scale.micro_batches(batch, 3)
    assert [len(part["targets"]) for part in parts] == [2, 2]  # four rows make no three equal parts
    assert all(torch.equal(torch.cat([part[name] for part in parts]), batch[name]) for name in batch)
    losses, weights = [], []
    for accumulate, recompute in ((1, False), (4, False), (1, True)):
        step = scale.Step(scale.Variant("packed", accumulate, recompute), TINY, [batch], CPU)
        losses.append(step(0))
        weights.append(torch.cat([p.detach().flatten() for p in step.model.parameters()]))
        assert step.targets(0) == objectives.count_targets(batch)
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)
    # The first update of Adam is as long for the tiniest gradient, so only most weights agree to many digits.
    for other in weights[1:]:
        assert np.quantile((other - weights[0]).abs().numpy(), 0.9) < 1e-5


def test_the_committed_result_says_how_it_was_made():
    result = scale.RESULT.read()
    assert result["command"] == "python -m utils.launch training-at-scale" and result["seed"] == scale.SEED
    assert "logical cores" in result["hardware"] and result["versions"]["torch"] and result["threads"] >= 1
    assert set(result["variants"]) == set(scale.VARIANTS)
    for one in result["variants"].values():
        assert len(one["targets_per_second"]) == result["rounds"] and 0 < one["utilization"] < 1


def test_the_named_command_writes_its_file_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "measure", lambda: {"command": "ours"})
    launch.main(["training-at-scale", "--folder", str(tmp_path)])
    path = tmp_path / "training_at_scale.json"
    assert json.loads(path.read_text()) == {"command": "ours"}

    def fails():
        raise RuntimeError("stopped")

    monkeypatch.setattr(scale, "measure", fails)
    with pytest.raises(RuntimeError, match="stopped"):
        launch.main(["training-at-scale", "--folder", str(tmp_path)])
    assert json.loads(path.read_text()) == {"command": "ours"}
    path.write_text("{")
    with pytest.raises(ValueError, match="anew: python -m utils.launch training-at-scale"):
        scale.RESULT.read(tmp_path)


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(scale.shutil, "which", lambda name: None)
    assert scale.compiler() is None
    monkeypatch.setattr(scale, "SIZES", {"cpu": TINY})
    monkeypatch.setattr(scale, "ROUNDS", {"cpu": 1})
    monkeypatch.setattr(scale, "MATRIX_SIZES", {"cpu": (64,)})
    result = scale.measure(CPU)
    assert "packed, compiled" not in result["variants"] and len(result["variants"]) == 5
    assert result["peak_gflops"] > 0 and result["minutes"] >= 0
