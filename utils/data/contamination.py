"""Contamination: test texts that stand in the training data, found by the runs of words they share."""

from collections.abc import Iterable, Sequence

import numpy as np

from utils.data.corpora import shingles


def shared_ngrams(tests: Sequence[str], training: Iterable[str], n: int = 8) -> np.ndarray:
    """Of each test text the share of its runs of `n` words that occur in the training texts: (N,) from 0 to 1.

    Case, punctuation and white space do not count. A text of fewer than `n` words has no such run: NaN.
    Raises: ValueError for no test texts or n below 1.
    Source: Brown et al. (2020), appendix C: runs of 8 to 13 words.
    """
    if not len(tests) or n < 1:
        raise ValueError(f"expected at least one test text and n of at least 1, got {len(tests)} and {n}")
    wanted = [shingles(text, n) for text in tests]
    all_wanted = set().union(*wanted)
    found = set()
    for text in training:  # only what a test asks for is kept: the training data may be large
        found |= all_wanted & shingles(text, n)
    return np.array([len(runs & found) / len(runs) if runs else np.nan for runs in wanted])
