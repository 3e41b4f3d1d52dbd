"""What counting knows of a translation before a network is asked: a word-by-word draft, and the nearest known pair.

Both go into the network's source, around the English text. For a training pair they come from the other pairs alone,
or the network would learn to trust drafts that are better than any it will meet.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from utils.data.translation_pairs import Pair, normalized
from utils.text import interface_text
from utils.text.word_translation import WordTranslation, translate_words

N_FOLDS, IBM_STEPS, CHINESE_WORDS = 8, 8, 2200
SIMILAR = 0.75  # chosen on the validation pairs
MARK = ";"  # between the parts of a source


@dataclass(frozen=True)
class Prepared:
    """A source for the network, the target if it is known, what was copied, in the order of its signs, and the source
    in parts: draft, English, nearest pair."""

    source: str
    target: str
    copies: list[str]
    parts: tuple[str, ...] = ()


def words_of(text: str) -> list[str]:
    """English words and signs in lower case, copies as signs."""
    return [word.lower() for word in interface_text.pieces(text)]


class Drafts:
    """Drafts and nearest pairs for English texts, learned from pairs.

    Raises: ValueError for fewer than two pairs.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        if len(pairs) < 2:
            raise ValueError(f"drafts: expected at least two pairs to learn from, got {len(pairs)}")
        self.pairs = list(pairs)
        self.keys = np.array([normalized(pair.english) for pair in pairs])
        self.hidden = [hidden(pair.english, pair.chinese) for pair in pairs]
        self.chinese_words = interface_text.train_chinese_words([one.target for one in self.hidden], CHINESE_WORDS)
        self.table = self.table_of(self.hidden)
        self.vectorizer = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4), binary=True, dtype=np.float32)
        self.vectors = self.vectorizer.fit_transform([pair.english for pair in pairs])
        self.sizes = np.asarray(self.vectors.sum(axis=1)).ravel()

    def table_of(self, rows: Sequence[Prepared]) -> dict[str, list[tuple[str, float]]]:
        """The likeliest Chinese word of each English word, by IBM's first model."""
        return self.aligner(rows).table()

    def aligner(self, rows: Sequence[Prepared] | None = None) -> WordTranslation:
        """IBM's first model of these rows, or of all."""
        rows = self.hidden if rows is None else rows
        cut = self.chinese_words.encode_batch([one.target for one in rows])
        model = WordTranslation([words_of(one.source) for one in rows], [one.tokens for one in cut])
        for _ in range(IBM_STEPS):
            model.step()
        return model

    def similarities(self, texts: Sequence[str]) -> np.ndarray:
        """How many runs of 2 to 4 letters each text shares with each pair's English: 2 |A and B| / (|A| + |B|).

        Shapes: (N, number of pairs), from 0 to 1.
        Source: Dice 1945.
        """
        own = self.vectorizer.transform(texts)
        sizes = np.asarray(own.sum(axis=1)).reshape(-1, 1) + self.sizes
        return 2 * (own @ self.vectors.T).toarray() / np.maximum(sizes, 1)

    def nearest(self, texts: Sequence[str], other_than: Sequence[str] | None = None) -> list[Pair]:
        """The pair whose English is most similar to each text.

        `other_than`: for each text the normalized form that does not count.
        """
        similar = self.similarities(texts)
        if other_than is not None:
            similar[self.keys[None] == np.array(other_than)[:, None]] = -1
        return [self.pairs[i] for i in similar.argmax(axis=1)]

    def choose(self, texts: Sequence[str], others: Sequence[str]) -> list[str]:
        """The nearest pair's Chinese where its English is similar enough, else the other translation."""
        similar = self.similarities(texts)
        return [
            self.pairs[row.argmax()].chinese if row.max() >= SIMILAR else other
            for other, row in zip(others, similar, strict=True)
        ]

    def draft(self, source: str, table: dict | None = None) -> str:
        """A translation word by word of a source whose copies are hidden."""
        return interface_text.joined(translate_words(words_of(source), self.table if table is None else table))

    def translate_by_words(self, english: str) -> str:
        """The dictionary baseline: the draft with its copies put back."""
        source, copies = interface_text.hide_copies(english)
        return interface_text.restore_copies(self.draft(source), copies)

    def prepare(self, texts: Sequence[str]) -> list[Prepared]:
        """Sources of new texts."""
        rows = [Prepared(source, "", copies) for source, copies in map(interface_text.hide_copies, texts)]
        return [self._join(row, self.draft(row.source), near)
                for row, near in zip(rows, self.nearest(texts), strict=True)]  # fmt: skip

    def prepare_training(self) -> list[Prepared]:
        """Sources and targets of the pairs themselves, their drafts and nearest pairs learned from others."""
        folds = [int(hashlib.sha256(f"fold {key}".encode()).hexdigest(), 16) % N_FOLDS for key in self.keys]
        tables = [
            self.table_of([row for row, fold in zip(self.hidden, folds, strict=True) if fold != k])
            for k in range(N_FOLDS)
        ]
        near = []
        for i in range(0, len(self.pairs), 500):  # similarities of 500 with all: a few megabytes
            texts = [pair.english for pair in self.pairs[i : i + 500]]
            near += self.nearest(texts, self.keys[i : i + 500])
        return [
            self._join(row, self.draft(row.source, tables[fold]), pair)
            for row, fold, pair in zip(self.hidden, folds, near, strict=True)
        ]

    @staticmethod
    def _join(row: Prepared, draft: str, near: Pair) -> Prepared:
        """The draft stands first: its place i goes with the decoder's place i, so copying is easy to learn."""
        known = hidden(near.english, near.chinese).target
        parts = draft, row.source, known
        return Prepared(f" {MARK} ".join(parts), row.target, row.copies, parts)


def hidden(english: str, chinese: str) -> Prepared:
    """A pair with what stands in both languages as signs."""
    source, copies = interface_text.hide_copies(english, chinese)
    return Prepared(source, interface_text.hide_the_same(chinese, copies), copies)

