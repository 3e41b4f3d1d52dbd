"""The merge stepper: its steps end in the tokenizer's encoding, and what it refuses."""

import pytest

from tests.test_widgets import needs_node, run_js
from utils.text.bpe import BPE
from utils.widgets import base, merges


@pytest.fixture(scope="module")
def tokenizer():
    return BPE.train(["a fine film, finer than the finest; the film of films"] * 3, 290)


def test_steps_lead_from_bytes_to_the_encoding_in_the_order_of_training(tokenizer):
    text = "the finest film, é"
    steps = merges.merge_steps(tokenizer, text)
    assert len(steps[0]["tokens"]) == len(text.encode())
    assert [tokenizer.vocab[token] for token, _ in steps[-1]["tokens"]] == tokenizer.encode(text)
    ranks = [step["rank"] for step in steps[1:]]
    assert ranks == sorted(ranks) and len(set(ranks)) == len(ranks) > 5
    for before, step in zip(steps, steps[1:], strict=False):
        assert "".join(token for token, _ in step["tokens"]) == "".join(token for token, _ in before["tokens"])
        assert "".join(step["pair"]) in [token for token, _ in step["tokens"]]
        assert step["count"] == tokenizer.history[step["rank"] - 1].count > 0


def test_says_what_is_wrong_and_recovers(tokenizer):
    explorer = merges.explore_merges(tokenizer, "a film")
    assert "6 bytes become" in explorer.says() and "<table>" in explorer.still()
    before = explorer.steps
    for text, message in ((" ", "nothing to merge"), ("x" * 121, "at most 120 bytes, got 121")):
        explorer.text = text
        assert message in explorer.error and explorer.steps == before
    explorer.text = "film"
    assert explorer.error == "" and explorer.steps != before


@needs_node
def test_the_page_marks_what_a_merge_made(tokenizer, tmp_path):
    explorer = merges.explore_merges(tokenizer, "fine films")
    assert explorer._esm == base.source("merges") and "https:" not in explorer._esm
    found = run_js("merges", "return data.map((step) => fresh(step));", explorer.steps, tmp_path)
    for marks, step in zip(found, explorer.steps, strict=True):
        made = [token for (token, _), mark in zip(step["tokens"], marks, strict=True) if mark]
        assert set(made) == ({"".join(step["pair"])} if step["pair"] else set())
