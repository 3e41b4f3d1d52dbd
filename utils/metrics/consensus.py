"""Choosing among texts: the one that agrees most with all others is the safest."""

from collections.abc import Sequence

import numpy as np

from utils.metrics.overlap import chrf


def agreement(one: str, other: str) -> float:
    """How much two texts share, 0 to 100: chrF of characters and pairs of them, precision and recall alike.

    0 if either is empty. Longer runs, as in plain chrF, say little about lines of a few characters.
    Source: Popović 2015, equation 1.
    """
    return chrf([one], [other], char_order=2, beta=1.0) if one and other else 0.0


def expected_agreement(candidates: Sequence[str], votes: Sequence[float]) -> np.ndarray:
    """The mean agreement of each candidate with all of them, in the measure of their votes.

    The highest is the choice of minimum Bayes risk. Shapes: (N,), from 0 to 100.
    Raises: ValueError for no candidates, another number of votes, or votes that are negative or all 0.
    Source: Kumar and Byrne 2004, equation 4, with the agreement for a negative loss.
    """
    shares = np.asarray(votes, dtype=float)
    if not len(candidates) or shares.shape != (len(candidates),) or shares.min() < 0 or shares.sum() == 0:
        raise ValueError(
            f"consensus: expected candidates and a vote for each, at least 0 and not all 0; got {len(candidates)} "
            f"candidates and votes {list(votes)}"
        )
    return np.array([[agreement(one, other) for other in candidates] for one in candidates]) @ (shares / shares.sum())
