"""Preference tuning of reviews-gpt: its pairs, what is looked at, and a run of the command in small."""

import json

import numpy as np
import pytest
import torch

from utils.experiments import preference_tuning as tuning
from utils.models.pretrained import load_model
from utils.training import preferences
from utils.training.preferences import Pair


@pytest.fixture(scope="module")
def base():
    return load_model("reviews-gpt")


def by_length(texts):
    """A judge that likes long texts."""
    return np.array([1 / (1 + np.exp(0.05 * (180 - len(text)))) for text in texts])


def test_prompts_are_the_first_words_of_reviews_and_of_one_length(base):
    _, tokenizer = base
    asked = tuning.prompts(tokenizer, "test", 20)
    assert {len(ids) for ids in asked} == {tuning.PROMPT_TOKENS} and {ids[0] for ids in asked} == {0}
    assert asked != tuning.prompts(tokenizer, "validation", 20)
    with pytest.raises(ValueError, match="at most 500"):
        tuning.prompts(tokenizer, "validation", 501)


def test_pairs_are_what_the_judge_prefers_and_no_close_calls(base):
    model, tokenizer = base
    asked = tuning.prompts(tokenizer, "train", 12)
    pairs = tuning.make_pairs(model, tokenizer, by_length, asked, batch=5)
    assert 0 < len(pairs) <= 12
    for pair in pairs:
        won, lost = (len(tokenizer.decode(pair.prompt + ids)) for ids in (pair.preferred, pair.other))
        assert 0.05 * (won - lost) >= tuning.MARGIN - 1e-6
    assert pairs == tuning.make_pairs(model, tokenizer, by_length, asked, batch=5)
    assert not tuning.make_pairs(model, tokenizer, lambda texts: np.full(len(texts), 0.5), asked[:3])


def test_log_odds_are_finite_at_the_ends():
    np.testing.assert_allclose(tuning.log_odds([0.5, 0.75]), [0, np.log(3)])
    assert np.isfinite(tuning.log_odds([0.0, 1.0])).all()


def test_the_base_is_at_no_distance_from_itself(base):
    model, tokenizer = base
    asked = tuning.prompts(tokenizer, "test", 6)
    found = tuning.look(model, model, tokenizer, {"length": by_length}, asked, 1)
    assert np.abs(found["kl"]).max() == 0 and found["positive"]["length"].shape == (6,)
    assert (found["nats"] > 0).all() and 0 < found["distinct_pairs"] <= 1
    again = tuning.look(model, model, tokenizer, {"length": by_length}, asked, 1)
    assert again["texts"] == found["texts"]


def test_the_command_in_small(tmp_path, monkeypatch):
    small = {"N_PROMPTS": 12, "N_HELD_OUT": 8, "N_READ": 10, "STEPS": 4, "EVERY": 4, "BETAS": (0.1,), "SHIPPED": 0.1}
    for name, value in small.items():
        monkeypatch.setattr(tuning, name, value)
    monkeypatch.setattr(tuning.judges, "encoder_judge", lambda: lambda texts: by_length(texts))
    monkeypatch.setattr(tuning.judges, "word_judge", lambda: lambda texts: 1 - by_length(texts))
    monkeypatch.setattr(tuning, "MARGIN", 0.01)
    assert tuning.preference_tuning(tmp_path) == tuning.RESULT.path(tmp_path)
    result = tuning.load_results(tmp_path)
    (run,) = result["runs"]
    assert len(run["loss_nats"]) == 4 and run["loss_nats"][0] == pytest.approx(np.log(2), abs=1e-3)
    (point,) = run["points"]
    assert point["kl_nats"][0] > 0 and (point["positive"]["words"] != point["positive"]["encoder"]).all()
    policy, _ = tuning.load_preference(tmp_path / tuning.ADAPTER.name)
    with torch.inference_mode():
        assert policy(torch.zeros(1, 2, dtype=torch.long)).shape == (1, 2, 8192)


def test_the_shipped_adapter_and_result_agree_with_the_code(base):
    _, tokenizer = base
    card = json.loads((tuning.ADAPTER / "card.json").read_text())
    result = tuning.load_results()
    assert card["beta"] == tuning.SHIPPED and tuple(run["beta"] for run in result["runs"]) == tuning.BETAS
    assert sum(path.stat().st_size for path in tuning.ADAPTER.iterdir()) < 1_000_000
    for run in result["runs"]:
        assert [point["step"] for point in run["points"]] == list(range(tuning.EVERY, tuning.STEPS + 1, tuning.EVERY))
        assert all(point["margin_nats"][1] > 0 for point in run["points"])  # held-out pairs, the interval's lower end
        assert run["points"][-1]["positive"]["words"].mean() > result["base"]["positive"]["words"].mean()
    far, near = (run["points"][-1]["kl_nats"][0] for run in result["runs"])
    assert far > near
    policy, _ = tuning.load_preference()
    pairs = [Pair(prompt, tokenizer.encode(good).ids, tokenizer.encode(bad).ids) for prompt, good, bad in (
        (tuning.prompts(tokenizer, "test", 1)[0], " a beautiful and touching film", " a dull and stupid film"),)]
    reference = preferences.reference_log_probs(base[0], pairs, 0)
    assert tuning.margins(policy, pairs, reference, tuning.SHIPPED)[0] > 0
