"""How good a ranking is: where the first right answer stands."""

from collections.abc import Collection, Sequence

import numpy as np


def first_ranks(scores, relevant: Sequence[Collection[int]]) -> np.ndarray:
    """Rank of the best relevant item for each query, 1 for the first; an item with an equal score counts as better.

    Shapes: scores (Q, N), higher is better; relevant: for each query the numbers of its relevant items -> (Q,).
    Raises: ValueError for unequal numbers of queries, a query without a relevant item, or a number out of range.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or len(scores) != len(relevant):
        raise ValueError(f"expected scores (Q, N) for {len(relevant)} queries, got shape {scores.shape}")
    ranks = []
    for row, items in zip(scores, relevant, strict=True):
        items = list(items)
        if not items or not all(0 <= item < len(row) for item in items):
            raise ValueError(f"expected relevant items from 0 to {len(row) - 1} for each query, got {items}")
        others = np.delete(row, items)
        ranks.append(1 + int((others >= row[items].max()).sum()))
    return np.array(ranks)


def reciprocal_ranks(ranks, cutoff: int = 10) -> np.ndarray:
    """1 / rank for each query, 0 below the cutoff; their mean is the mean reciprocal rank, MRR@10.

    Shapes: ranks (Q,), from 1 -> (Q,).
    Raises: ValueError for a rank or cutoff below 1.
    Source: Voorhees 1999, section 2.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    if cutoff < 1 or (ranks < 1).any():
        raise ValueError(f"expected ranks and a cutoff of at least 1, got cutoff={cutoff}, ranks {ranks}")
    return np.where(ranks <= cutoff, 1 / ranks, 0.0)


def fuse_ranks(*all_scores, constant: float = 60) -> np.ndarray:
    """Scores of several systems for the same items joined by rank alone: the sum of 1 / (constant + rank).

    Equal scores share their mean rank. Shapes: each (..., N) -> (..., N).
    Raises: ValueError for no scores, or unequal shapes.
    Source: Cormack, Clarke and Büttcher 2009, section 2.
    """
    arrays = [np.asarray(scores, dtype=np.float64) for scores in all_scores]
    if not arrays or len({array.shape for array in arrays}) > 1:
        raise ValueError(f"expected scores of equal shapes, got {[array.shape for array in arrays]}")
    from scipy.stats import rankdata

    return sum(1 / (constant + rankdata(-array, axis=-1)) for array in arrays)
