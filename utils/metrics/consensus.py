"""Choosing among texts: the one that agrees most with all others is the safest."""

from collections.abc import Sequence

import numpy as np

from utils.metrics.overlap import chrf


def expected_chrf(candidates: Sequence[str], votes: Sequence[float]) -> np.ndarray:
    """The mean chrF of each candidate if each candidate were the right one, in the measure of its vote.

    The highest is the choice of minimum Bayes risk. Shapes: (N,), from 0 to 100; an empty candidate has 0.
    Raises: ValueError for no candidates, another number of votes, or votes that are negative or all 0.
    Source: Kumar and Byrne 2004, equation 4, with chrF for the (negative) loss.
    """
    shares = np.asarray(votes, dtype=float)
    if not len(candidates) or shares.shape != (len(candidates),) or shares.min() < 0 or shares.sum() == 0:
        raise ValueError(
            f"consensus: expected candidates and a vote for each, at least 0 and not all 0; got {len(candidates)} "
            f"candidates and votes {list(votes)}"
        )
    utilities = [[chrf([one], [other]) if one and other else 0.0 for other in candidates] for one in candidates]
    return np.array(utilities) @ (shares / shares.sum())
