"""The measurements of mixed precision: same weights and batches in each precision, bytes as counted, a sound result."""

import math

import numpy as np
import pytest
import torch

from utils import environment, launch
from utils.data import batches
from utils.experiments import precision
from utils.training.loop import TrainConfig

CPU = torch.device("cpu")
SIZE = precision.Size(d_model=24, n_layers=3, n_heads=2, context_length=12, tokens_per_step=96)


@pytest.fixture
def reviews() -> precision.Reviews:
    generator = np.random.default_rng(0)

    def corpus(n_documents: int) -> batches.TokenCorpus:
        lengths = generator.integers(5, 40, n_documents)
        return batches.TokenCorpus(
            generator.integers(1, 50, lengths.sum(), dtype=np.int32), np.concatenate([[0], lengths.cumsum()])
        )

    return precision.Reviews(corpus(60), corpus(7), vocab_size=50)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_precisions_start_and_read_alike(reviews, name):
    full = precision.train_once(reviews, SIZE, "fp32", seed=1, steps=4, device=CPU)
    other = precision.train_once(reviews, SIZE, name, seed=1, steps=4, device=CPU)
    assert len(full["losses"]) == len(other["losses"]) == 4
    assert full["losses"] != other["losses"]
    np.testing.assert_allclose(other["losses"], full["losses"], atol=0.02)
    assert math.isclose(full["held_out"], other["held_out"], abs_tol=0.02)


def test_a_run_repeats_exactly(reviews):
    runs = [precision.train_once(reviews, SIZE, "bf16", seed=2, steps=3, device=CPU) for _ in range(2)]
    assert runs[0] == runs[1]


def test_review_losses_are_the_sums_of_log_probabilities(reviews):
    model = precision.trainer(SIZE, 50, TrainConfig(max_steps=1), seed=0, device=CPU).model.eval()
    losses, counts = precision.review_losses(model, reviews.held_out, length=12)
    assert losses.shape == counts.shape == (7,)
    ids = torch.as_tensor(reviews.held_out.document(3)[:13].astype(np.int64))
    with torch.no_grad():
        log_probs = model(ids[None, :-1]).log_softmax(-1)[0]
    expected = -log_probs[torch.arange(len(ids) - 1), ids[1:]].sum().item()
    assert math.isclose(losses[3], expected, rel_tol=1e-5) and counts[3] == len(ids) - 1


def test_speeds_take_turns(reviews):
    found = precision.interleaved_speed(reviews, SIZE, rounds=2, device=CPU)
    assert list(found) == list(precision.PRECISIONS)
    assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in found.values())


def test_matrix_speed_has_every_size_and_precision():
    found = precision.matrix_speed((8, 17), CPU, repeats=2)
    assert {n: set(speeds) for n, speeds in found.items()} == {n: set(precision.PRECISIONS) for n in (8, 17)}
    assert all(speed > 0 for speeds in found.values() for speed in speeds.values())


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_saved_bytes_are_those_of_the_formula(name):
    """Counted anew from the layers: norms and the residual stream in fp32, what products read and write in the type."""
    d, heads, layers, vocab_size, half = SIZE.d_model, SIZE.n_heads, SIZE.n_layers, 50, name != "fp32"
    narrow = 2 if half else 4
    norm = 4 * d + 8
    block = 2 * norm + (3 if half else 1) * d * narrow + 4 * d * narrow + 4 * heads + 9 * d * narrow
    token = layers * block + norm + d * narrow + 4 * vocab_size + 16
    model = precision.trainer(SIZE, vocab_size, TrainConfig(max_steps=1), seed=0, device=CPU).model
    kept = []
    for rows in (3, 8):
        ids = torch.randint(0, vocab_size, (2, rows, SIZE.context_length))
        kept.append(precision.saved_bytes(model, {"input_ids": ids[0].clone(), "targets": ids[1].clone()}, name))
    tokens = 5 * SIZE.context_length
    assert kept[1] - kept[0] == token * tokens
    copies = 2 * (12 * d * d * layers + vocab_size * d) if half else 0
    assert abs(kept[0] - token * 3 * SIZE.context_length - copies) <= 8


def test_overflow_skips_the_step_and_halves_the_scale(reviews):
    trainer = precision.trainer(SIZE, 50, TrainConfig(max_steps=3, precision="fp16", loss_scale=2.0**40), 0, CPU)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    record = trainer.attempt([next(iter(precision.training_batches(reviews, SIZE, seed=0)))])
    assert record.skipped and record.step == 0 and record.loss_scale == 2.0**40
    assert trainer.scaler.get_scale() == 2.0**39
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True))


def test_peak_bytes_need_a_gpu(reviews):
    assert precision.peak_bytes(reviews, SIZE, CPU) == {}


def test_missing_or_damaged_result_names_the_command(tmp_path):
    damaged = precision.RESULT.path(tmp_path)
    damaged.write_text("{")
    for folder in (tmp_path / "missing", damaged.parent):
        with pytest.raises(ValueError, match="python -m utils.launch mixed-precision"):
            precision.RESULT.read(folder)


def test_a_failed_measurement_leaves_the_old_result(tmp_path, monkeypatch):
    old = precision.RESULT.path(tmp_path)
    old.write_text("{}")

    def fail() -> dict:
        raise RuntimeError("stopped")

    monkeypatch.setattr(precision, "measure", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        precision.measure_precisions(tmp_path)
    assert old.read_text() == "{}" and list(tmp_path.iterdir()) == [old]


def test_the_command_writes_a_result_that_the_chapter_can_read(reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "tokenized_reviews", lambda **_: reviews)
    monkeypatch.setattr(precision, "SEEDS", (0, 1))
    monkeypatch.setitem(precision.AGREEMENT, "cpu", SIZE)
    monkeypatch.setitem(precision.AGREEMENT_STEPS, "cpu", 2)
    monkeypatch.setitem(precision.SPEED, "cpu", SIZE)
    monkeypatch.setitem(precision.SPEED_ROUNDS, "cpu", 2)
    monkeypatch.setitem(precision.MATRIX_SIZES, "cpu", (8,))
    monkeypatch.setattr(environment, "device", lambda: CPU)
    launch.main(["mixed-precision", "--folder", str(tmp_path)])
    check_result(precision.RESULT.read(tmp_path), n_seeds=2)


def test_the_shipped_result_is_sound():
    check_result(precision.RESULT.read(), n_seeds=len(precision.SEEDS))


def check_result(result: dict, n_seeds: int) -> None:
    """Command, seeds and hardware are named, and each precision has all its numbers."""
    assert result["command"] == precision.RESULT.run and len(result["seeds"]) == n_seeds
    assert result["hardware"] and result["threads"] >= 1 and result["versions"]["torch"]
    agreement, speed = result["agreement"], result["speed"]["tokens_per_second"]
    for name in precision.PRECISIONS:
        assert len(agreement["held_out_nats"][name]) == len(agreement["skipped"][name]) == n_seeds
        assert len(agreement["loss_nats"][name]) == agreement["steps"]
        assert all(math.isfinite(loss) for loss in agreement["held_out_nats"][name])
        assert len(speed[name]) >= 2 and min(speed[name]) > 0
    assert all(set(speeds) == set(precision.PRECISIONS) for speeds in result["matrix_gflops"].values())
