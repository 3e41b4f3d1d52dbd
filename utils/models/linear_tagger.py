"""A linear tagger: features of each position and its neighbors, hashed, and a logistic regression for each label.

Letters in shape comments: N positions of all sequences, K features of one.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.linear_model import SGDClassifier

EDGE = "\n"  # stands beyond the ends of a sequence
N_ROWS = 2**18


def neighbor_features(sequence: Sequence[str]) -> list[list[str]]:
    """Named features of each position: it, two neighbors on each side, pairs, and parts of a longer unit."""
    units = [EDGE, EDGE, *sequence, EDGE, EDGE]
    found = []
    for i in range(2, len(units) - 2):
        a, b, c, d, e = units[i - 2 : i + 3]
        names = [f"0{c}", f"1{a}", f"2{b}", f"3{d}", f"4{e}", f"5{a}{b}", f"6{b}{c}", f"7{c}{d}", f"8{d}{e}"]
        if len(c) > 1:
            names += [f"9{c[0]}", f"a{c[-1]}", f"b{c[:2]}", f"c{c[-2:]}", f"d{min(len(c), 5)}{c.isdigit()}"]
        found.append(names)
    return found


class LinearTagger:
    """Labels each position on its own, by the features of a window of five.

    Raises: ValueError for no sequences, or labels that do not fit them.
    Source: Ratnaparkhi (1996), table 1, for features of such a kind; the classifier is scikit-learn's.
    """

    def __init__(self, passes: int = 2, seed: int = 0) -> None:
        self.model = SGDClassifier(
            loss="log_loss", alpha=1e-6, max_iter=passes, tol=None, random_state=seed, average=True
        )

    @staticmethod
    def matrix(sequences: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """One row a position, a one at each of its features. Shapes: (N, N_ROWS)."""
        columns, ends, known = [], [0], {}
        for sequence in sequences:
            for names in neighbor_features(sequence):
                for name in names:
                    if name not in known:
                        known[name] = zlib.crc32(name.encode()) % N_ROWS
                    columns.append(known[name])
                ends.append(len(columns))
        ones = np.ones(len(columns), dtype=np.float32)
        return sparse.csr_matrix((ones, np.array(columns, dtype=np.int32), np.array(ends)), (len(ends) - 1, N_ROWS))

    def fit(self, sequences: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> "LinearTagger":
        """Train on labelled sequences."""
        if not len(sequences) or [len(sequence) for sequence in sequences] != [len(row) for row in labels]:
            raise ValueError("LinearTagger: expected at least one sequence, and a label for each position of each")
        self.model.fit(self.matrix(sequences), np.array([label for row in labels for label in row]))
        return self

    def predict(self, sequences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The label of each position of each sequence."""
        found = self.model.predict(self.matrix(sequences)).tolist()
        ends = np.cumsum([len(sequence) for sequence in sequences])
        return [found[end - len(sequence) : end] for sequence, end in zip(sequences, ends.tolist(), strict=True)]
