"""Fine-tuning experiments: batches, recipes, resuming the grid, and the shipped adapter."""

import itertools
import json

import numpy as np
import pytest
import torch

from utils.data import corpora
from utils.experiments import fine_tuning, results
from utils.models import adapters
from utils.models.config import TransformerConfig
from utils.models.heads import SequenceClassifier, predict_probs
from utils.models.pretrained import load_model
from utils.models.sentiment import ADAPTER, load_sentiment
from utils.models.transformer import BERT
from utils.training.checkpoints import CheckpointError
from utils.training.optimizers import learning_rate_at


@pytest.fixture
def tiny_start(monkeypatch):
    """Two small random encoders in place of the real ones, with the packaged encoder's tokenizer."""
    _, tokenizer = load_model("all-minilm-l6-v2")
    config = TransformerConfig(
        vocab_size=tokenizer.get_vocab_size(), context_length=64, d_model=16, n_layers=1, n_heads=2
    )
    monkeypatch.setattr(fine_tuning, "load_start", lambda start: (BERT(config), tokenizer))
    monkeypatch.setattr(fine_tuning, "load_model", lambda name: (BERT(config), tokenizer))
    return config


def test_grouped_batches_cover_each_epoch_once_with_little_padding():
    random = np.random.default_rng(0)
    sequences = [[i + 1] * int(random.integers(3, 60)) for i in range(101)]
    labels = [i % 2 for i in range(101)]
    per_epoch = -(-101 // 8)
    source = fine_tuning.grouped_batches(sequences, labels, 0, batch_size=8, seed=4)
    epochs = [list(itertools.islice(source, per_epoch)) for _ in range(2)]
    for epoch in epochs:
        seen = [int(row) - 1 for batch in epoch for row in batch["input_ids"][:, 0]]
        assert sorted(seen) == list(range(101))
        assert [labels[row] for row in seen] == [int(target) for batch in epoch for target in batch["targets"]]
        real = sum(int(batch["attention_mask"].sum()) for batch in epoch)
        assert real / sum(batch["input_ids"].numel() for batch in epoch) > 0.6
        assert all(batch["input_ids"].shape[1] % 16 == 0 for batch in epoch)
    assert not all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(*epochs, strict=True))
    again = next(fine_tuning.grouped_batches(sequences, labels, 0, batch_size=8, seed=4))
    assert torch.equal(again["input_ids"], epochs[0][0]["input_ids"])


@pytest.mark.parametrize("n", [1, 7, 8, 1000])
def test_correctness_survives_packing(n):
    correct = np.random.default_rng(n).random(n) < 0.5
    assert np.array_equal(results.unpack(results.pack(correct), n), correct)


def test_the_learning_rate_rises_and_then_falls_in_a_straight_line_to_nothing():
    config = fine_tuning.linear_schedule(11, 2e-3, warmup_steps=3, precision="fp32")
    shape = config.warmup_steps, config.max_steps, config.floor, config.schedule, config.decay_share
    found = [learning_rate_at(step, config.learning_rate, *shape) for step in range(12)]
    assert found == pytest.approx([2e-3 / 3, 4e-3 / 3, 2e-3, *np.linspace(2e-3, 0, 9)])


def test_fewer_labels_are_seen_more_often():
    passes = {n: fine_tuning.recipe(n, 1e-4, 4, "fp32").max_steps * 32 / n for n in (100, 1000, 7000)}
    assert passes[1000] == pytest.approx(4, rel=0.05)
    assert passes[100] > passes[1000] > passes[7000]


def test_unknown_start():
    with pytest.raises(ValueError, match="'gpt'"):
        fine_tuning.load_start("gpt")


def test_scratch_is_the_same_shape_with_other_weights(monkeypatch):
    config = TransformerConfig(vocab_size=9, context_length=8, d_model=8, n_layers=1, n_heads=1)
    trained = BERT(config)
    monkeypatch.setattr(fine_tuning, "load_model", lambda name: (trained, None))
    assert fine_tuning.load_start("reviews-bert")[0] is trained
    scratch = fine_tuning.load_start("scratch")[0]
    assert scratch.config == config
    assert not torch.equal(scratch.transformer.token_embedding.weight, trained.transformer.token_embedding.weight)


def test_one_run_on_real_reviews(tiny_start):
    correct, seconds = fine_tuning.run_once("scratch", 64, 0, 1e-3, 1, "validation")
    assert correct.shape == (500,) and correct.dtype == bool and seconds > 0
    again, _ = fine_tuning.run_once("scratch", 64, 0, 1e-3, 1, "validation")
    assert np.array_equal(correct, again)


@pytest.fixture
def grid(monkeypatch):
    """The grid with quick runs: a run's answer follows from its cell, and every call is noted."""
    calls = []

    def run_once(start, n_labels, seed, learning_rate, epochs, split):
        calls.append((start, n_labels, seed, learning_rate, epochs, split))
        if len(calls) == grid_stops.get("at"):
            raise KeyboardInterrupt
        share = 0.9 if (learning_rate, epochs) == (1e-3, 8) else 0.8 if learning_rate == 1e-3 else 0.6
        return np.random.default_rng([seed, n_labels or 0]).random(1000) < share, 1.0

    grid_stops = {}
    monkeypatch.setattr(fine_tuning, "run_once", run_once)
    monkeypatch.setattr(fine_tuning, "start_fingerprint", lambda start: grid_stops.get("key", "k"))
    return calls, grid_stops


def test_grid_resumes_where_it_was_killed(grid, tmp_path):
    calls, stops = grid
    stops["at"] = 9
    with pytest.raises(KeyboardInterrupt):
        fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    stops.clear()
    fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    finished = [call for i, call in enumerate(calls) if i != 8]
    assert len(finished) == len(set(finished)) == 4 + 15, "each run once, but for the killed one"
    result = fine_tuning.load_curve(tmp_path)
    assert {(run["n_labels"], run["seed"]) for run in result["runs"]} == set(
        itertools.product((100, 300, 1000, 3000, result["n_train"]), (0, 1, 2))
    )
    assert all(run["accuracy"] == pytest.approx(run["correct"].mean()) for run in result["runs"])
    n_calls = len(calls)
    fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    assert len(calls) == n_calls


def test_choices_are_made_on_the_validation_split(grid, tmp_path):
    calls, _ = grid
    fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    result = fine_tuning.load_curve(tmp_path)
    tried = [call for call in calls if call[-1] == "validation"]
    assert [call[3:5] for call in tried] == [(3e-4, 4), (1e-3, 4), (3e-3, 4), (1e-3, 8)]
    assert all(call[3:] == (1e-3, 8, "test") for call in calls if call not in tried)
    assert result["choices"]["scratch"]["learning_rate"] == 1e-3


def test_other_weights_are_run_anew(grid, tmp_path):
    calls, stops = grid
    fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    stops["key"] = "other"
    fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    result = fine_tuning.load_curve(tmp_path)
    assert len(calls) == 2 * 19 and len(result["runs"]) == 15


def test_damaged_results_and_no_permission(grid, tmp_path, monkeypatch):
    calls, _ = grid
    path = tmp_path / "fine_tuning.json"
    path.write_text('{"runs": [')
    for read in (fine_tuning.load_curve, lambda p: fine_tuning.fine_tune_curve(("scratch",), p)):
        with pytest.raises(ValueError, match="--fresh"):
            read(tmp_path)
    assert path.read_text() == '{"runs": ['
    path.write_text('{"runs": []}')  # nothing to go on from, and not to be overwritten without being asked
    with pytest.raises(ValueError, match="nothing about choices in it.*--fresh"):
        fine_tuning.fine_tune_curve(("scratch",), tmp_path)
    assert path.read_text() == '{"runs": []}'
    with pytest.raises(CheckpointError, match="expected to write"):
        fine_tuning.fine_tune_curve(("scratch",), path / "below_a_file")
    assert not calls
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="without torchrun"):
        fine_tuning.fine_tune_curve(("scratch",), tmp_path / "b.json")


def test_shipped_adapter():
    model, tokenizer = load_sentiment()
    card = json.loads((ADAPTER / "card.json").read_text())
    assert card["accuracy"]["test"] >= 0.80
    reviews = corpora.reviews("rotten_tomatoes", "test").select(
        range(0, 1000, 10)
    )  # the rows are in order of their labels
    predicted = predict_probs(model, tokenizer, reviews["text"][:], fine_tuning.MAX_LENGTH).argmax(dim=-1).numpy()
    assert (predicted == np.array(reviews["label"][:])).mean() >= 0.7
    trained, total = adapters.count_parameters(model)
    assert trained == card["trained_parameters"] < total / 50
    files = sum(path.stat().st_size for path in ADAPTER.iterdir())
    assert files < 2**20


def test_shipped_adapter_refuses_another_encoder():
    encoder, _ = load_model("all-minilm-l6-v2")
    with torch.no_grad():
        encoder.transformer.norm.weight[0] += 1e-3
    with pytest.raises(adapters.AdapterError, match="the base's weights are others"):
        adapters.load_adapter(ADAPTER, SequenceClassifier(encoder))
