"""Word translation learned by counting: IBM's first model, and a dictionary that translates word by word."""

from collections.abc import Sequence

import numpy as np

NULL = "<null>"


class WordTranslation:
    """t(f | e): how likely the source word e is translated as the target word f, for words seen together.

    A target word may come from no source word: each sentence has NULL in it. Pairs of words are held in three arrays
    (source, target, probability), one entry a pair that some sentence has.
    Shapes: P pairs of words; of all sentence pairs, N places (i, j) of a target word beside a source word.
    Raises: ValueError for no sentences, unequal numbers, or an empty target.
    Source: Brown et al. 1993, section 4.1 and equations 12 to 17 (model 1).
    """

    def __init__(self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> None:
        if not sources or len(sources) != len(targets) or not all(len(target) for target in targets):
            raise ValueError(
                f"word translation: expected as many target sentences as source sentences, at least one, none empty; "
                f"got {len(targets)} and {len(sources)}"
            )
        self.source_words = {NULL: 0} | {w: i for i, w in enumerate(sorted({w for s in sources for w in s}), 1)}
        self.target_words = {w: i for i, w in enumerate(sorted({w for t in targets for w in t}))}
        n_targets = len(self.target_words)
        keys, groups, group = [], [], 0  # a group: one target word of one sentence, and all that it may come from
        self.log_lengths = 0.0
        for source, target in zip(sources, targets, strict=True):
            e = np.array([0, *(self.source_words[word] for word in source)])
            self.log_lengths -= len(target) * np.log(len(e))
            for word in target:
                keys.append(e * n_targets + self.target_words[word])
                groups.append(np.full(len(e), group))
                group += 1
        self.groups, self.n_groups = np.concatenate(groups), group  # (N,)
        self.keys, self.pairs = np.unique(np.concatenate(keys), return_inverse=True)  # (P,), (N,)
        self.source, self.target = np.divmod(self.keys, n_targets)
        self.probs = np.full(len(self.keys), 1 / n_targets)

    def step(self) -> float:
        """One step of expectation and maximization; returns the log-likelihood in nats before it.

        Expectation: each target word is shared out among the source words of its sentence, in proportion to t.
        Maximization: t is the share of each pair among all of its source word.
        """
        weights = self.probs[self.pairs]
        totals = np.bincount(self.groups, weights, self.n_groups)
        counts = np.bincount(self.pairs, weights / totals[self.groups], len(self.probs))
        self.probs = counts / np.bincount(self.source, counts)[self.source]
        return float(np.log(totals).sum() + self.log_lengths)

    def table(self, n: int = 1) -> dict[str, list[tuple[str, float]]]:
        """The `n` likeliest translations of each source word, with their probabilities, best first."""
        names = list(self.target_words)
        found: dict[str, list[tuple[str, float]]] = {}
        words = list(self.source_words)
        for i in np.lexsort((-self.probs, self.source)):
            best = found.setdefault(words[self.source[i]], [])
            if len(best) < n:
                best.append((names[self.target[i]], float(self.probs[i])))
        return found

    def alignment(self, source: Sequence[str], target: Sequence[str]) -> list[int]:
        """For each target word the place of the source word it most likely comes from; -1 for none of them."""
        e = [0, *(self.source_words.get(word, -1) for word in source)]
        f = [self.target_words.get(word, -1) for word in target]
        return [int(np.argmax([self._prob(a, b) for a in e])) - 1 for b in f]

    def _prob(self, e: int, f: int) -> float:
        """t(f | e) by the numbers of both; pairs lie in the order of these numbers."""
        key = e * len(self.target_words) + f
        place = int(np.searchsorted(self.keys, key))
        found = min(e, f) >= 0 and place < len(self.keys) and self.keys[place] == key
        return float(self.probs[place]) if found else 0.0


def translate_words(words: Sequence[str], table: dict[str, list[tuple[str, float]]]) -> list[str]:
    """Each word by its likeliest translation, in the order of the source; words without one stay, nothing twice."""
    translated: list[str] = []
    for word in words:
        new = table[word][0][0] if word in table else word
        if not translated or translated[-1] != new:
            translated.append(new)
    return translated
