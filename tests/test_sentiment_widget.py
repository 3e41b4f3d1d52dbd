"""The sentiment explorer: what it asks of the models, what each word adds, and what it refuses."""

import pytest

from utils.widgets import base, sentiment


def count_good(texts):
    """A model that counts good words."""
    return {
        "counts": [min(1.0, 0.1 + 0.4 * text.split().count("good")) for text in texts],
        "unsure": [0.5] * len(texts),
    }


def test_words_add_what_leaving_them_out_changes():
    explorer = sentiment.explore_sentiment(count_good, "a good  film")
    counts, unsure = explorer.models
    assert explorer.words == ["a", "good", "film"] and explorer.error == ""
    assert counts["prob"] == 0.5 and counts["adds"] == pytest.approx([0.0, 0.4, 0.0])
    assert unsure["adds"] == [0.0, 0.0, 0.0]
    explorer.query = {"text": "a good  film", "dropped": [1]}
    assert explorer.words == ["a", "good", "film"]
    assert explorer.models[0]["prob"] == pytest.approx(0.1) and explorer.models[0]["adds"] == pytest.approx([0, 0, 0])


def test_says_what_is_wrong_and_recovers():
    explorer = sentiment.explore_sentiment(count_good, "a good film")
    before = explorer.models
    explorer.query = {"text": "word " * 41, "dropped": []}
    assert "at most 40 words, got 41" in explorer.error and explorer.models == before
    explorer.query = {"text": "good", "dropped": [0]}
    assert "nothing to read" in explorer.error
    explorer.query = {"text": "good", "dropped": []}
    assert explorer.error == "" and explorer.models[0]["prob"] == 0.5


def test_refuses_what_is_no_probability():
    assert "Expected a probability" in sentiment.explore_sentiment(lambda texts: {"m": [1.5] * len(texts)}, "a").error
    assert "each of 2 texts" in sentiment.explore_sentiment(lambda texts: {"m": [0.5]}, "a").error


def test_leaves_a_still_picture_and_keeps_to_its_own_module():
    explorer = sentiment.explore_sentiment(count_good, "a <b>good</b> film")
    data, _ = explorer._repr_mimebundle_()
    assert "counts: 10.0 % positive" in data["text/plain"]
    assert "<b>" not in data["text/html"] and "svg" in data["text/html"]
    assert explorer._esm == base.source("sentiment") and "innerHTML" not in explorer._esm
    assert "url(" not in explorer._css
