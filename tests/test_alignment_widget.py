"""The alignment explorer: what Python sends, what the page makes of it, and what it refuses."""

import numpy as np
import torch

from tests.test_widgets import needs_node, run_js
from utils.widgets import alignment, base

H, T, S = 3, 4, 7


def fake_translation(text):
    """A translation with random weights, the same for the same text."""
    if not text.strip():
        raise ValueError("Expected an English text, got an empty one.")
    weights = torch.rand(H, T, S, generator=torch.Generator().manual_seed(len(text))).softmax(-1)
    return "打开 <b>", [["open", "<b>", "file"], ["打", "开"], ["文", "件"]], ["打", "开", "<b>", "<end>"], weights


def test_everything_is_sent():
    widget = alignment.explore_alignment(fake_translation, "open <b> file")
    assert widget.parts == [0, 0, 0, 1, 1, 2, 2] and widget.n_heads == H and widget.translation == "打开 <b>"
    sent = np.frombuffer(widget.weights, "<f4").reshape(H, T, S)
    np.testing.assert_array_equal(sent, fake_translation("open <b> file")[3].numpy())


@needs_node
def test_the_page_averages_heads_and_turns_the_table(tmp_path):
    weights = fake_translation("abc")[3]
    code = """return [-1, 2].map((head) => {
        const rows = rowsOf(data.weights, 3, 4, 7, head);
        return [tints(rows, "target", 1), tints(rows, "source", 5)]; });"""
    found = run_js("alignment", code, {"weights": weights.flatten().tolist()}, tmp_path)
    for (of_target, of_source), expected in zip(found, (weights.mean(0), weights[2]), strict=True):
        np.testing.assert_allclose(of_target, expected[1], rtol=1e-6)
        np.testing.assert_allclose(of_source, expected[:, 5], rtol=1e-6)


def test_what_is_wrong_is_said_and_the_last_picture_stays():
    widget = alignment.explore_alignment(fake_translation, "open")
    before = widget.weights
    widget.text = " "
    assert widget.error == "Expected an English text, got an empty one." and widget.weights == before
    widget.text = "close it"
    assert widget.error == "" and widget.weights != before
    wrong = alignment.explore_alignment(lambda text: ("x", [["a"]], ["b"], torch.ones(2, 2, 2)), "a")
    assert "Expected weights of shape (heads, 1, 1), got (2, 2, 2)" in wrong.error
    assert "Nothing could be translated" in wrong.says() and wrong.still() == ""
    long = alignment.explore_alignment(lambda text: ("x", [["a"] * 121], ["b"], torch.ones(1, 1, 121)), "a")
    assert "at most 120 tokens, got 121" in long.error


def test_says_and_still_are_safe():
    widget = alignment.explore_alignment(fake_translation, "open <b> file")
    assert "“打开 <b>”" in widget.says() and "<b>" not in widget.still()
    assert widget._esm == base.source("alignment") and "https:" not in widget._esm and "innerHTML" not in widget._esm
