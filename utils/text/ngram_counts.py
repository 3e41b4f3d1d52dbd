"""Counting the n-grams of a corpus, of any order, in sorted arrays.

Every n-gram is known by a number: an n-gram of order m is the pair (number of its first m - 1 tokens, last token),
packed into one int64 key, `context * base + token`. The sorted unique keys of an order are its table. So any order fits
in 64 bits, a lookup is a binary search, and all continuations of one context lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class CountTable:
    """All n-grams of one order, U of them, sorted by key, under C contexts.

    keys: (U,) int64, context number * base + last token.
    counts: (U + 1,) int64. totals: (C + 1,) int64, the counts summed by context.
    Both end in an extra 0, so that the number -1 ("never seen") looks up 0.
    from_start: (U,) bool, whether the n-gram starts with the begin symbol.
    """

    base: int
    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    from_start: np.ndarray

    def set_counts(self, counts: np.ndarray, n_contexts: int) -> None:
        """Take counts (U,) and sum them by context."""
        totals = np.bincount(self.keys // self.base, weights=counts, minlength=n_contexts + 1)
        self.counts, self.totals = np.append(counts, 0), totals.astype(np.int64)

    def find(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Numbers (T,) of the n-grams made of context numbers (T,) and tokens (T,); -1 where there is none."""
        if len(self.keys) == 0:
            return np.full(len(tokens), -1)
        keys = contexts * self.base + tokens  # negative, so found nowhere, for the context -1
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)

    def row(self, context: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens seen after one context number and their counts, both (n,)."""
        low, high = np.searchsorted(self.keys, (context * self.base, (context + 1) * self.base))
        return self.keys[low:high] % self.base, self.counts[low:high]


def _next_table(previous: CountTable, ids: np.ndarray, stream: np.ndarray, starts: np.ndarray):
    """The table one order up; the number of the n-gram that ends at each position (N,), -1 where there is none; and for
    each n-gram of the previous table the number of different tokens that stand before it (U,)."""
    positions = np.flatnonzero((ids[:-1] >= 0) & ~starts[1:]) + 1
    keys = ids[positions - 1] * previous.base + stream[positions]
    order = np.argsort(keys)
    keys = keys[order]
    is_new = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
    firsts = np.flatnonzero(is_new)
    new_ids = np.full(len(stream), -1, dtype=np.int64)
    new_ids[positions[order]] = np.cumsum(is_new) - 1
    keys, counts = keys[firsts], np.diff(firsts, append=len(keys))
    suffixes = ids[positions[order[firsts]]]  # the n-gram without its first token: each gets one more left neighbor
    table = CountTable(previous.base, keys, counts, counts, previous.from_start[keys // previous.base])
    table.set_counts(counts, n_contexts=len(previous.keys))
    return table, new_ids, np.bincount(suffixes, minlength=len(previous.keys))


def count_ngrams(stream: np.ndarray, starts: np.ndarray, order: int, base: int, bos: int):
    """Count all n-grams of orders 1 to `order` that lie inside one document: a table for each order, and for each but
    the last the number of different tokens that stand before each of its n-grams (U,), its continuation counts.

    stream: (N,) int64, the documents one after another, each with its begin symbol first.
    starts: (N,) bool, True at those begin symbols. base: token ids are below it.
    """
    unigrams = np.arange(base)
    table = CountTable(base, unigrams, unigrams, unigrams, unigrams == bos)
    table.set_counts(np.bincount(stream[~starts], minlength=base), n_contexts=1)
    tables, continuations, ids = [table], [], stream
    for _ in range(order - 1):
        table, ids, continuation = _next_table(tables[-1], ids, stream, starts)
        tables.append(table)
        continuations.append(continuation)
    return tables, continuations
