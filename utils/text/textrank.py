"""TextRank: the sentences of a text that most resemble the others, by PageRank on a graph of sentences."""

import math
import re
from collections.abc import Sequence

import numpy as np

DAMPING = 0.85


def sentences(text: str) -> list[str]:
    """The sentences of a text: cut behind . ! or ? where white space and a capital follow."""
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip()) if sentence]


def words(sentence: str) -> set[str]:
    """The different words of a sentence, in lower case."""
    return set(re.findall(r"[a-z0-9_]+", sentence.lower()))


def similarities(texts: Sequence[str]) -> np.ndarray:
    """How alike two sentences are: shared words over the sum of the logarithms of their lengths; 0 to themselves.

    One is added to each length, so that a sentence of one word divides nothing by zero. Shapes: (N, N).
    Source: Mihalcea and Tarau 2004, section 4.
    """
    sets = [words(text) for text in texts]
    matrix = np.zeros((len(sets), len(sets)))
    for i, one in enumerate(sets):
        for j, other in enumerate(sets):
            if i != j and one and other:
                matrix[i, j] = len(one & other) / (math.log(1 + len(one)) + math.log(1 + len(other)))
    return matrix


def pagerank(weights: np.ndarray, damping: float = DAMPING, tolerance: float = 1e-10) -> np.ndarray:
    """The share of its time that a random walker spends at each node: with probability `damping` along an edge,
    chosen by weight, else anywhere. From a node without edges it goes anywhere.

    Shapes: weights (N, N), not negative -> (N,), which sum to 1.
    Raises: ValueError for weights that are not square or negative, or a damping that is not from 0 to below 1.
    Source: Brin and Page 1998, section 2.1; with weights, Mihalcea and Tarau 2004, section 2.2.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or not len(weights) or (weights < 0).any():
        raise ValueError(f"pagerank: expected a square matrix of weights from 0, got shape {weights.shape}")
    if not 0 <= damping < 1:
        raise ValueError(f"pagerank: expected a damping from 0 to below 1, got {damping}")
    moves = transitions(weights)
    shares = np.full(len(weights), 1 / len(weights))
    while True:
        new = (1 - damping) / len(weights) + damping * shares @ moves
        if np.abs(new - shares).sum() < tolerance:
            return new
        shares = new


def transitions(weights: np.ndarray) -> np.ndarray:
    """Each row of weights as probabilities; a row of zeros becomes even. Shapes: (N, N) -> (N, N)."""
    totals = weights.sum(axis=1, keepdims=True)
    return np.where(totals > 0, weights / np.where(totals > 0, totals, 1), 1 / len(weights))


def textrank(text: str, most_words: int) -> str:
    """The best-ranked sentence of a text, cut after so many words; of a text without sentences, nothing."""
    found = sentences(text)
    if not found:
        return ""
    best = int(np.argmax(pagerank(similarities(found))))
    return " ".join(found[best].split()[:most_words])
