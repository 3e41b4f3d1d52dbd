"""The n-gram explorer: what it asks, what it shows, and what it refuses."""

import math

import pytest

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, ngrams

WORDS = ["a", "<b>", "c"]


def compute(text, name, order):
    if "?" in text:
        raise ValueError("Expected no question.")
    return WORDS, {"sure": [0.0, 1.0, 0.0], "unsure": [0.5, 0.25, 0.25]}[name], text.split()[1 - order :], 7


def test_shows_the_distribution_of_the_model_and_order_asked_for():
    explorer = ngrams.explore_ngrams(compute, ["sure", "unsure"], [1, 2, 3], "one two three")
    assert explorer.found["bars"] == [["a", 0.5], ["<b>", 0.25], ["c", 0.25]]
    assert explorer.found["entropy"] == pytest.approx(1.5 * math.log(2)) and explorer.found["zeros"] == 0
    assert explorer.found["context"] == ["two", "three"] and explorer.found["seen"] == 7
    explorer.query = {"text": "x", "name": "sure", "order": 2}
    assert explorer.found["zeros"] == 2 and explorer.found["entropy"] == 0
    assert "“<b>” 100.0%" in explorer.says() and "&lt;b&gt;" in explorer.still()


def test_says_what_is_wrong_and_recovers():
    explorer = ngrams.explore_ngrams(compute, ["unsure"], [2], "one two")
    before = explorer.found
    for query, message in (
        ({"text": "so?", "name": "unsure", "order": 2}, "Expected no question"),
        ({"text": "so", "name": "unsure", "order": 9}, "an order of \\[2\\]"),
    ):
        explorer.query = query
        assert message.replace("\\", "") in explorer.error and explorer.found == before
    explorer.query = {"text": "so", "name": "unsure", "order": 2}
    assert explorer.error == ""
    wrong = ngrams.explore_ngrams(lambda *_: (WORDS, [0.5, 0.2, 0.2], [], 0), ["m"], [1], "a")
    assert "sum to 1" in wrong.error
    with pytest.raises(ValueError, match="at least one model"):
        ngrams.explore_ngrams(compute, [], [1], "a")


@needs_node
def test_the_module_parses(tmp_path):
    script = base.source("ngrams")
    assert "https:" not in script and "innerHTML" not in script
    assert run_js("ngrams", "return typeof render;", None, tmp_path) == "function"
