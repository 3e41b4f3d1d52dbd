"""How many words or letters must be changed: the edit distance, its alignment, word and character error rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Alignment:
    """One cheapest way from a reference to a hypothesis: pairs (reference item, hypothesis item), None where one lacks.

    (a, a) is a hit, (a, b) a substitution, (a, None) a deletion, (None, b) an insertion.
    """

    pairs: tuple[tuple, ...]

    @property
    def hits(self) -> int:
        """Items that both have."""
        return sum(a == b for a, b in self.pairs)

    @property
    def substitutions(self) -> int:
        """Items of the reference that another stands for."""
        return sum(None not in (a, b) and a != b for a, b in self.pairs)

    @property
    def deletions(self) -> int:
        """Items of the reference that nothing stands for."""
        return sum(b is None for _, b in self.pairs)

    @property
    def insertions(self) -> int:
        """Items of the hypothesis that stand for nothing."""
        return sum(a is None for a, _ in self.pairs)

    @property
    def distance(self) -> int:
        """The edit distance: substitutions, deletions and insertions."""
        return len(self.pairs) - self.hits


def edit_distances(reference: Sequence, hypothesis: Sequence) -> list[list[int]]:
    """The table of dynamic programming: entry [i][j] is the distance of the first i items from the first j.

    Source: Wagner and Fischer (1974).
    """
    table = [list(range(len(hypothesis) + 1))]
    for i, item in enumerate(reference, 1):
        row = [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(table[-1][j - 1] + (item != other), table[-1][j] + 1, row[-1] + 1))
        table.append(row)
    return table


def align(reference: Sequence, hypothesis: Sequence) -> Alignment:
    """One cheapest alignment of two lists of items; where several cost the same, pairing goes before leaving out."""
    table, pairs = edit_distances(reference, hypothesis), []
    i, j = len(reference), len(hypothesis)
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and table[i][j] == table[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return Alignment(tuple(reversed(pairs)))


def word_error_rate(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """Edits of words over words of the reference, summed over all texts first; above 1 where much is inserted.

    references, hypotheses: two texts, or two lists of texts. Words are what white space separates, as they are written:
    lower-case them and take the punctuation off first, if it is not to count.
    Raises: ValueError for no texts, unequal numbers, or a reference without words.
    Source: the measure of NIST's speech recognition evaluations; jiwer's `wer`.
    """
    return _error_rate(references, hypotheses, str.split)


def character_error_rate(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """Edits of characters over characters of the reference, spaces among them but not at the ends.

    Raises: ValueError for no texts, unequal numbers, or a reference without characters.
    Source: jiwer's `cer`.
    """
    return _error_rate(references, hypotheses, lambda text: list(text.strip()))


def _error_rate(references, hypotheses, split: Callable[[str], list[str]]) -> float:
    if isinstance(references, str) != isinstance(hypotheses, str):
        raise ValueError("expected two texts or two lists of texts, got one of each")
    if isinstance(references, str):
        references, hypotheses = [references], [hypotheses]
    references, hypotheses = [split(text) for text in references], [split(text) for text in hypotheses]
    if not references or len(references) != len(hypotheses):
        raise ValueError(
            f"expected as many hypotheses as references, at least one, got {len(hypotheses)} and {len(references)}"
        )
    if not all(references):
        raise ValueError(f"reference {references.index([])} is empty: nothing to divide by, drop the example")
    edits = sum(edit_distances(r, h)[-1][-1] for r, h in zip(references, hypotheses, strict=True))
    return edits / sum(map(len, references))
