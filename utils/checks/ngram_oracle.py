"""Answers from libraries about n-grams: scikit-learn counts and smooths, the course's own package mixes orders.

Texts are bytes of ASCII letters, so that scikit-learn can take them as characters. A table maps each context to the
counts of the bytes after it.
"""

from collections import Counter

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from utils.text.ngrams import Interpolated, KneserNey

VOCAB_SIZE = 256
BEGIN = 10  # a line feed, which stands at the beginning of a text and nowhere else

Table = dict[bytes, Counter]


def runs(text: bytes, length: int) -> dict[bytes, int]:
    """How often each run of `length` bytes stands in the text."""
    vectorizer = CountVectorizer(analyzer="char", ngram_range=(length, length), lowercase=False)
    counts = np.asarray(vectorizer.fit_transform([text.decode("ascii")]).sum(axis=0))[0]
    return {run.encode(): int(counts[column]) for run, column in vectorizer.vocabulary_.items()}


def next_counts(text: bytes, length: int) -> Table:
    """What came after each context of `length` bytes, and how often."""
    return _by_context(runs(text, length + 1))


def continuation_counts(text: bytes, length: int) -> Table:
    """The same, but how many different bytes came before each context with its next byte."""
    return _by_context(Counter(run[1:] for run in runs(text, length + 2)))


def tables(text: bytes, order: int) -> list[Table]:
    """The counts at every length of context below `order`."""
    return [next_counts(text, length) for length in range(order)]


def kneser_ney_tables(text: bytes, order: int) -> list[Table]:
    """The counts at the longest context, and numbers of continuations at all shorter ones."""
    return [continuation_counts(text, length) for length in range(order - 1)] + [next_counts(text, order - 1)]


def add_k(row: Counter, k: float, vocab_size: int) -> np.ndarray:
    """Add-k probabilities (vocab_size,) of all tokens, from scikit-learn's naive Bayes, which smooths its counts so."""
    counts = np.zeros((1, vocab_size))
    counts[0, list(row)] = list(row.values())
    return np.exp(MultinomialNB(alpha=k, force_alpha=True).fit(counts, [0]).feature_log_prob_[0])


def interpolated(text: bytes, context: bytes, order: int, weights) -> np.ndarray:
    """Probabilities (256,) after a context, from the course's interpolated model."""
    model = Interpolated(order, VOCAB_SIZE, weights).fit([_ids(text)])
    return model.next_distribution(_ids(context), from_start=False)


def kneser_ney(text: bytes, context: bytes, order: int, discount: float) -> np.ndarray:
    """Probabilities (256,) after a context, from the course's Kneser-Ney model with one discount."""
    # It knows where a text begins; so do tables counted with the begin symbol in front.
    begins = order > 1
    model = KneserNey(order, VOCAB_SIZE, discounts=discount, bos=BEGIN if begins else None)
    return model.fit([_ids(text[1:] if begins else text)]).next_distribution(_ids(context), from_start=False)


def _ids(text: bytes) -> np.ndarray:
    return np.frombuffer(text, dtype=np.uint8).astype(np.int64)


def _by_context(counts: dict[bytes, int]) -> Table:
    table: Table = {}
    for run, count in counts.items():
        table.setdefault(run[:-1], Counter())[run[-1]] = count
    return table
