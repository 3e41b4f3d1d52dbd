"""The compression explorer: what it asks and shows, its levels those of absmax, and what it refuses."""

import pytest
import torch

from tests.test_widgets import needs_node, run_js
from utils.metrics.intervals import wilson
from utils.models.quantization import round_to_levels
from utils.widgets import base, compression

CURVES = {32: [(0.0, 0.81), (0.9, 0.55)], 4: [(0.0, 0.8), (0.9, 0.5)]}


def compute(text, sparsity, bits, matrix):
    if not text:
        raise ValueError("Type a review: there is nothing to read.")
    return {"before": 0.8, "after": 0.8 - sparsity, "n_correct": 70 + bits // 8, "n": 100, "megabytes": 3.5 * bits,
            "kept": [1, 2, 3, 2], "pruned": [0, 4, 4, 0]}


def explorer():
    names = ["blocks.0.weight", "blocks.1.weight"]
    return compression.explore_compression(compute, "a <b>good</b> film", names, CURVES)


@needs_node
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_its_levels_are_those_that_numbers_are_rounded_to(bits, tmp_path):
    found = run_js("compression", "return levels(data);", bits, tmp_path)
    x = torch.linspace(-1, 1, 40001)[None]
    expected = round_to_levels(x, bits).unique()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float32), expected, rtol=0, atol=1e-6)
    assert run_js("compression", "return levels(32);", None, tmp_path) == []


@needs_node
def test_places_and_heights(tmp_path):
    code = "return [placed(0, 0.9), placed(1, 0.4), placed(1, 0.2), stacked([1, 3], [1, 5]), stacked([0], [0])];"
    first, last, below, heights, empty = run_js("compression", code, None, tmp_path)
    assert first[1] < last[1] == below[1] and first[0] < last[0]
    assert heights == [[0.125, 0.125], [0.375, 0.625]] and empty == [[0, 0]]


def test_it_asks_and_says_what_it_found():
    shown = explorer()
    assert shown.error == "" and shown.found["bits"] == 4
    shown.query = {"text": "so so", "sparsity": 0.5, "bits": 8, "matrix": "blocks.1.weight"}
    assert shown.found["sparsity"] == 0.5 and shown.found["after"] == pytest.approx(0.3)
    interval = wilson(71, 100)
    assert shown.found["accuracy"] == [interval.estimate, interval.low, interval.high]
    assert "50% of the weights pruned, 8 bits: 71 of 100 reviews right" in shown.says()
    assert "0.80 before, 0.30 after" in shown.says()


def test_what_cannot_be_is_refused_and_it_recovers():
    shown = explorer()
    before = dict(shown.found)
    for wrong in ({"sparsity": 1.0}, {"bits": 9}, {"matrix": "head"}, {"text": ""}):
        shown.query = {"text": "so so", "sparsity": 0.5, "bits": 8, "matrix": "blocks.1.weight", **wrong}
        assert shown.error and dict(shown.found) == before
    shown.query = {"text": "so so", "sparsity": 0.0, "bits": 32, "matrix": "blocks.0.weight"}
    assert shown.error == "" and "no rounding" in shown.says()
    with pytest.raises(ValueError, match="at least one matrix"):
        compression.explore_compression(compute, "a", [], CURVES)
    failing = compression.explore_compression(compute, "", ["a"], CURVES)
    assert "nothing to read" in failing.error and failing.says() == "Nothing was computed yet."


def test_leaves_a_still_picture_and_keeps_to_its_own_module():
    shown = explorer()
    data, _ = shown._repr_mimebundle_()
    assert "<svg" in data["text/html"] and "<b>" not in data["text/html"] and "30% of the weights" in data["text/plain"]
    assert shown._esm == base.source("compression") and "innerHTML" not in shown._esm and "url(" not in shown._css
