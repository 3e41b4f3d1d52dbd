"""Test texts found in training data by shared runs of words."""

import numpy as np
import pytest

from utils.data.contamination import shared_ngrams


def naive(text, training, n):
    def runs(some):
        words = "".join(c if c.isascii() and c.isalnum() else " " for c in some.lower()).split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    known = set().union(*map(runs, training))
    return len(runs(text) & known) / len(runs(text)) if runs(text) else np.nan


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_equals_the_plain_form(n):
    generator = np.random.default_rng(n)
    texts = [" ".join(generator.choice(list("abcd"), generator.integers(0, 12))) for _ in range(23)]
    tests, training = texts[:9], texts[9:]
    found = shared_ngrams(tests, (text for text in training), n)  # any iterable: training data may be a stream
    np.testing.assert_allclose(found, [naive(text, training, n) for text in tests])


def test_case_and_punctuation_do_not_hide_a_copy():
    text = "One two, three four five six seven eight nine."
    assert shared_ngrams([text], ["so: one TWO three-four five six seven eight nine, ten"], 8) == 1
    assert shared_ngrams([text], ["one two three four", "five six seven eight nine"], 8) == 0
    assert np.isnan(shared_ngrams(["too short"], [text], 8))


@pytest.mark.parametrize("tests, n", [([], 8), (["a"], 0)])
def test_bad_input_gets_one_clear_error(tests, n):
    with pytest.raises(ValueError, match="at least one test text"):
        shared_ngrams(tests, ["a"], n)
