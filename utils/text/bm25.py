"""BM25: how well a document answers a query, judged by the words they share."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Runs of letters and digits of any script, lower-cased; all else separates."""
    return WORD.findall(text.lower())


class BM25:
    """Scores of N documents for a query: a rare word counts more, a repeated one ever less, a long document pays.

    score(d) = sum over the query's words w of idf(w) * f * (k1 + 1) / (f + k1 * (1 - b + b * |d| / mean |d|)), with f
    how often w stands in d, and idf(w) = ln(1 + (N - n + 0.5) / (n + 0.5)) for n documents that hold w. A word that
    stands twice in the query counts twice; one that no document holds counts nothing.
    documents: their words. k1: how soon repetition stops to count; b: how much length counts, from 0 to 1.
    Raises: ValueError for no document, none with a word, or k1 or b out of range.
    Source: Robertson and Zaragoza 2009, section 3.3 (equation 3.15); the 1 + in idf keeps it positive (Lucene's form).
    """

    def __init__(self, documents: Sequence[Sequence[str]], k1: float = 1.2, b: float = 0.75) -> None:
        if k1 < 0 or not 0 <= b <= 1:
            raise ValueError(f"BM25: expected k1 of at least 0 and b from 0 to 1, got k1={k1}, b={b}")
        lengths = np.array([len(document) for document in documents], dtype=np.float64)
        if not lengths.sum():
            raise ValueError(f"BM25: expected at least one document with a word, got {len(documents)} without any")
        self.n_documents = len(documents)
        slowness = k1 * (1 - b + b * lengths / lengths.mean())  # (N,) a longer document needs more of a word
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for i, document in enumerate(documents):
            for word, count in Counter(document).items():
                postings[word].append((i, count))
        self.idf = {w: math.log(1 + (self.n_documents - len(p) + 0.5) / (len(p) + 0.5)) for w, p in postings.items()}
        # For each word, the documents that hold it, and what it adds to the score of each.
        self._adds: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for word, pairs in postings.items():
            rows, counts = np.array(pairs).T
            self._adds[word] = rows, self.idf[word] * counts * (k1 + 1) / (counts + slowness[rows])

    def scores(self, query: Sequence[str]) -> np.ndarray:
        """Scores of all documents for a query's words. Shapes: (N,), 0 where no word is shared."""
        scores = np.zeros(self.n_documents)
        for word in query:
            if word in self._adds:
                rows, adds = self._adds[word]
                scores[rows] += adds
        return scores

    def shares(self, query: Sequence[str], document: int) -> dict[str, float]:
        """What each of the query's words adds to the score of one document; words that add nothing are left out."""
        found: dict[str, float] = defaultdict(float)
        for word in query:
            rows, adds = self._adds.get(word, (np.empty(0, int), np.empty(0)))
            at = np.flatnonzero(rows == document)
            if len(at):
                found[word] += float(adds[at[0]])
        return dict(found)
