"""Short conversations by topic, in English and Chinese, from the installed package `chatterbot-corpus`.

The package (ChatterBot Language Training Corpus, version 1.3.3, BSD licence) holds YAML files written by its users, a
file a topic. Only its files are read; its code is not imported.
"""

import hashlib
from dataclasses import dataclass

import yaml

from utils.data import sources

PACKAGE, FOLDER = "chatterbot-corpus", "chatterbot_corpus/data"


@dataclass(frozen=True)
class Exchange:
    """One conversation: its topic, and what is said, speakers in turn."""

    topic: str
    turns: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """The files of one language, how many exchanges they hold together, and the SHA-256 of their bytes end to end."""

    files: tuple[str, ...]
    n_exchanges: int
    sha256: str


CHINESE_TOPICS = (
    "ai botprofile conversations emotion food gossip greetings history humor literature money movies politics "
    "psychology science sports trivia"
)
ENGLISH_TOPICS = (
    "ai botprofile coding computers conversations emotion food gossip greetings health history humor literature money "
    "movies politics psychology science sports tech_support trivia"
)
CORPORA = {
    "chinese": Corpus(
        tuple(CHINESE_TOPICS.split()), 467, "407f4e76d1716f4bfcde3743132965d3b1c82b52c2e431ba3abcccb613cc1afe"
    ),
    "english": Corpus(
        tuple(ENGLISH_TOPICS.split()), 2025, "905a1d222567d5d83f9c7eb99789fac9dc1e6546291f06a367590022dacbf67c"
    ),
}


def load_dialogues(language: str) -> list[Exchange]:
    """All exchanges of a language, "english" or "chinese", in the order of the files; the topic is the file's name.

    Most have two turns. Line breaks within a turn are kept (there is program code among them).
    Raises: ValueError for an unknown language or altered files; SourceError if the package or a file is missing.
    """
    if language not in CORPORA:
        raise ValueError(f"language: expected one of {sorted(CORPORA)}, got {language!r}")
    corpus = CORPORA[language]
    contents = [sources.packaged_file(PACKAGE, f"{FOLDER}/{language}/{name}.yml").read_bytes() for name in corpus.files]
    found = hashlib.sha256(b"".join(contents)).hexdigest()
    if found != corpus.sha256:
        raise ValueError(
            f"{language} dialogues: expected SHA-256 {corpus.sha256[:16]}…, got {found[:16]}…; a file of {PACKAGE} is "
            f"altered or of another version; reinstall it with the version in constraints.txt"
        )
    exchanges = []
    for name, content in zip(corpus.files, contents, strict=True):
        exchanges += _exchanges(name.replace("_", " "), content)
    if len(exchanges) != corpus.n_exchanges:
        raise ValueError(f"{language} dialogues: expected {corpus.n_exchanges} exchanges, got {len(exchanges)}")
    return exchanges


def _exchanges(topic: str, content: bytes) -> list[Exchange]:
    """The exchanges of one YAML file. One row of the package is a bare string, not a list of turns: it is left out."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C, where it was built, is ten times as fast
    rows = yaml.load(content, Loader=loader)["conversations"]
    return [Exchange(topic, tuple(str(turn).strip() for turn in turns)) for turns in rows if isinstance(turns, list)]
