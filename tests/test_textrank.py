"""TextRank: PageRank equal to a linear solve, similarities by hand, and what it refuses."""

import math

import numpy as np
import pytest

from utils.text.textrank import pagerank, sentences, similarities, textrank, transitions


@pytest.mark.parametrize("n, seed", [(1, 0), (2, 1), (7, 2), (23, 3)])
@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85, 0.99])
def test_pagerank_equals_the_solution_of_its_equations(n, seed, damping):
    random = np.random.default_rng(seed)
    weights = random.random((n, n)) * (random.random((n, n)) < 0.4)  # some nodes have no edges
    expected = np.linalg.solve(np.eye(n) - damping * transitions(weights).T, np.full(n, (1 - damping) / n))
    found = pagerank(weights, damping)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    assert found.sum() == pytest.approx(1)


def test_the_walker_follows_edges_as_often_as_published():
    weights = np.array([[0, 1.0, 2.0], [1.0, 0, 0], [2.0, 0, 0]])
    np.testing.assert_array_equal(pagerank(weights), pagerank(weights, 0.85))


def test_similarity_is_shared_words_over_logarithms():
    found = similarities(["The cat sat here.", "A cat sat.", "Dogs!"])
    assert found[0, 1] == pytest.approx(2 / (math.log(5) + math.log(4)))
    assert found[0, 2] == found[0, 0] == 0 and np.array_equal(found, found.T)


def test_textrank_takes_the_sentence_that_resembles_the_others():
    text = "Dogs bark. The cat sat on the mat. A cat sat near the mat today. It rained."
    assert textrank(text, 50) in sentences(text)[1:3]
    assert textrank(text, 2).split() == textrank(text, 50).split()[:2]
    assert textrank("", 5) == "" and textrank("one line only", 2) == "one line"


@pytest.mark.parametrize("weights, damping", [(np.ones((2, 3)), 0.5), (-np.ones((2, 2)), 0.5), (np.ones((2, 2)), 1.0)])
def test_what_it_refuses(weights, damping):
    with pytest.raises(ValueError, match="pagerank: expected"):
        pagerank(weights, damping)
