"""Features of characters and words as rows of a table, by hashing: no vocabulary to keep, and none to fall out of.

A feature's row is its CRC-32 modulo the size of the table, the same on every machine. Row 0 is left for padding.
Letters in shape comments: T positions, K features.
Source: Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning"; two rows a rare feature as in
Serra and Karatzoglou 2017, "Getting Deep Recommenders Fit".
"""

import zlib
from collections.abc import Sequence

import numpy as np

EDGE = "\n"  # stands beyond the ends of a sentence
N_CHARACTER_FEATURES, N_WORD_FEATURES = 3, 7


def row(feature: str, n_rows: int) -> int:
    """The row of a feature, from 1 to n_rows - 1."""
    return 1 + zlib.crc32(feature.encode()) % (n_rows - 1)


def character_features(text: str, n_rows: int) -> np.ndarray:
    """For each character: itself, and the pair it forms with the next one, twice. Shapes: (T, 3).

    Raises: ValueError for an empty text.
    """
    _check_not_empty(text)
    pairs = [text[i : i + 2] if i + 1 < len(text) else text[i] + EDGE for i in range(len(text))]
    names = [(f"c{c}", f"p{pair}", f"q{pair}") for c, pair in zip(text, pairs, strict=True)]
    return _rows(names, n_rows)


def word_features(words: Sequence[str], n_rows: int) -> np.ndarray:
    """For each word: itself, twice; its first and last one and two characters; its length and kind. Shapes: (T, 7).

    Raises: ValueError for no words, or an empty one.
    """
    _check_not_empty(words)
    if not all(words):
        raise ValueError("word_features: expected words of at least one character, got an empty one")
    names = [
        (f"v{w}", f"w{w}", f"<{w[0]}", f">{w[-1]}", f"<{w[:2]}", f">{w[-2:]}", f"s{min(len(w), 5)}{w.isdigit()}")
        for w in words
    ]
    return _rows(names, n_rows)


def _check_not_empty(sequence: Sequence[str]) -> None:
    if not sequence:
        raise ValueError("features: expected at least one character or word, got none")


def _rows(names: list[tuple[str, ...]], n_rows: int) -> np.ndarray:
    """Rows of named features, each different one hashed once."""
    known = {name: row(name, n_rows) for name in {name for names_here in names for name in names_here}}
    return np.array([[known[name] for name in names_here] for names_here in names])
