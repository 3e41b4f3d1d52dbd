"""The entities explorer: what it asks of a tagger, its arithmetic, what it refuses, and its still picture."""

import numpy as np
import pytest

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, entities

LABELS = ("O", "B-nr", "I-nr", "B-ns", "I-ns")
KINDS = {"nr": "person", "ns": "place"}


def tag(text):
    """A tagger that knows two names."""
    if not text.strip():
        raise ValueError("Type a sentence: there is nothing to read.")
    labels = ["O"] * len(text)
    for name, kind in (("李鹏", "nr"), ("北京", "ns")):
        at = text.find(name)
        if at >= 0:
            labels[at : at + 2] = [f"B-{kind}", f"I-{kind}"]
    probs = np.full((len(text), 5), 0.05)
    probs[np.arange(len(text)), [LABELS.index(label) for label in labels]] = 0.8
    return labels, probs


def test_names_and_probabilities_reach_the_page():
    explorer = entities.explore_entities(tag, "李鹏在北京", LABELS, KINDS)
    assert explorer.spans == [[0, 2, "nr"], [3, 5, "ns"]] and explorer.characters == list("李鹏在北京")
    assert np.frombuffer(explorer.probs, "<f4").reshape(5, 5)[1, 2] == pytest.approx(0.8)


def test_says_what_is_wrong_and_recovers():
    explorer = entities.explore_entities(tag, "李鹏", LABELS, KINDS)
    explorer.text = " "
    assert "nothing to read" in explorer.error and explorer.characters == ["李", "鹏"]
    explorer.text = "北京"
    assert explorer.error == "" and explorer.spans == [[0, 2, "ns"]]


@pytest.mark.parametrize("bad", [lambda t: (["O"], np.ones((1, 5)) / 5), lambda t: (["O", "O"], np.ones((2, 5)))])
def test_refuses_answers_that_do_not_fit(bad):
    assert "for each of 2 characters" in entities.explore_entities(bad, "北京", LABELS, KINDS).error


@needs_node
def test_confidence_adds_both_labels_of_a_kind(tmp_path):
    code = """const row = rowOf(data.probs, 5, 1);
    return ["nr", null].map((kind) => confidence(row, data.labels, kind));"""
    probs = [1, 0, 0, 0, 0, 0.1, 0.2, 0.4, 0.2, 0.1]
    assert run_js("entities", code, {"probs": probs, "labels": LABELS}, tmp_path) == pytest.approx([0.6, 0.1])


def test_leaves_a_still_picture_and_keeps_to_its_own_module():
    explorer = entities.explore_entities(tag, "<b>李鹏", LABELS, KINDS)
    data, _ = explorer._repr_mimebundle_()
    assert "李鹏 (person)" in data["text/plain"]
    assert "<b>李" not in data["text/html"] and "<sub>nr</sub>" in data["text/html"]
    assert explorer._esm == base.source("entities") and "innerHTML" not in explorer._esm
    assert "url(" not in explorer._css
