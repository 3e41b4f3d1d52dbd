"""The beam-tree explorer: its tree is the search's, its ranking equals Python's, and what it refuses."""

from itertools import islice

import pytest
import torch

from tests.test_generation import small_gpt
from tests.test_widgets import needs_node, run_js
from utils.models.beam import FINISHED, KEPT, beam_search, beam_steps, length_normalized
from utils.widgets import base, beam_tree

TOKENS = [f" t{i}" for i in range(97)]


def explorer(model=None, n_beams=3, steps=5, stop=None):
    model = model or small_gpt()

    def grow(text, n_beams):
        if not text:
            raise ValueError("Expected a text, got none.")
        ids = torch.tensor([[len(text), 5]])
        return islice(beam_steps(model, ids, steps + 1, n_beams, stop), steps)

    return beam_tree.explore_beam_tree(grow, "so", TOKENS, n_beams)


def test_the_tree_holds_every_candidate_under_its_parent():
    model = small_gpt()
    nodes = explorer(model).nodes
    expected = [one for step in islice(beam_steps(model, torch.tensor([[2, 5]]), 6, 3), 5) for one in step]
    assert len(nodes) == len(expected) == 5 * 6

    def tokens(node):
        return (() if node[1] < 0 else tokens(nodes[node[1]])) + (TOKENS.index(node[2]),)

    for node, one in zip(nodes, expected, strict=True):
        assert tokens(node) == one.tokens and node[0] == len(one.tokens)
        assert node[3:] == [one.log_prob, one.fate]
        assert node[1] < 0 or nodes[node[1]][4] == KEPT


@needs_node
def test_the_ranking_in_the_browser_equals_the_searchs(tmp_path):
    model = small_gpt(vocab_size=9)
    ending = list(beam_steps(model, torch.tensor([[2, 5]]), 7, 4))[2][0].tokens[-1]
    shown = explorer(model, n_beams=4, steps=6, stop=ending)
    assert any(node[4] == FINISHED for node in shown.nodes)
    code = """const nodes = named(data);
        return [-1, 0, 1, 2.5].map((alpha) => [0, 1, 3, 6].map((step) => ranked(nodes, step, alpha).map(
            (one) => [wordsOf(nodes, one), one.score, [...wayTo(nodes, one)].length])));"""
    for alpha, at_steps in zip((-1, 0, 1, 2.5), run_js("beam_tree", code, shown.nodes, tmp_path), strict=True):
        for step, found in zip((0, 1, 3, 6), at_steps, strict=True):
            nodes = [node for node in shown.nodes
                     if (node[4] == FINISHED and node[0] <= step) or (node[4] == KEPT and node[0] == step)]  # fmt: skip
            expected = sorted((-length_normalized(node[3], node[0], alpha), shown._words(node)) for node in nodes)
            assert [words for words, _, _ in found] == [words for _, words in expected]
            assert [score for _, score, _ in found] == pytest.approx([-score for score, _ in expected], rel=1e-12)
            assert all(length == words.count("t") for words, _, length in found)


def test_the_best_at_the_end_is_what_beam_search_returns():
    model = small_gpt()
    shown = explorer(model, n_beams=4, steps=5)
    best = beam_search(model, torch.tensor([[2, 5]]), 5, 4)[0]
    assert shown._ranked()[0] == (best.score, "".join(TOKENS[token] for token in best.tokens))


def test_it_grows_again_when_text_or_width_changes_and_says_what_is_wrong():
    shown = explorer()
    before = shown.nodes
    shown.n_beams = 5
    assert len(shown.nodes) == 5 * 10
    shown.text = ""
    assert shown.error == "Expected a text, got none." and len(shown.nodes) == 5 * 10
    shown.text, shown.n_beams = "so", 3
    assert shown.error == "" and shown.nodes == before
    empty = beam_tree.explore_beam_tree(lambda text, n_beams: [], "so", TOKENS)
    assert "at least one step" in empty.error


def test_says_what_it_shows_and_refuses_a_width_the_slider_does_not_have():
    shown = explorer()
    assert "3 beams continues “so”" in shown.says() and shown.still().startswith("<table>")
    assert shown._esm == base.source("beam_tree") and "https:" not in shown._esm and "innerHTML" not in shown._esm
    for n_beams in (0, 7):
        with pytest.raises(ValueError, match=f"expected from 1 to 6, got {n_beams}"):
            explorer(n_beams=n_beams)
