"""The conversations of chatterbot-corpus: what the package holds, and what is said when a file is not what it was."""

import importlib.metadata
import shutil
import sys
from collections import Counter

import pytest

from utils.data import dialogues, sources


@pytest.mark.parametrize("language, n, topics", [("english", 2025, 21), ("chinese", 467, 17)])
def test_the_packaged_dialogues_have_their_stated_size(language, n, topics):
    exchanges = dialogues.load_dialogues(language)
    assert len(exchanges) == n and len({exchange.topic for exchange in exchanges}) == topics
    assert all(len(exchange.turns) >= 2 and all(exchange.turns) for exchange in exchanges)
    assert exchanges[0].topic == "ai" and "chatterbot_corpus" not in sys.modules


def test_topics_are_words_and_most_exchanges_are_a_question_and_an_answer():
    exchanges = dialogues.load_dialogues("english")
    assert Counter(exchange.topic for exchange in exchanges).most_common(1) == [("tech support", 1050)]
    assert exchanges[0].turns[0] == "What is AI?"


def test_another_language_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of \['chinese', 'english'\], got 'klingon'"):
        dialogues.load_dialogues("klingon")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package's Chinese files that a test may spoil."""
    folder = tmp_path / dialogues.FOLDER / "chinese"
    real = sources.packaged_file(dialogues.PACKAGE, f"{dialogues.FOLDER}/chinese/ai.yml").parent
    shutil.copytree(real, folder)

    class Distribution:
        def locate_file(self, relative):
            return tmp_path / relative

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    return folder


def test_an_altered_or_shortened_file_is_found_by_its_hash(copied):
    assert len(dialogues.load_dialogues("chinese")) == 467
    path = copied / "food.yml"
    content = path.read_bytes()
    for other in (content.replace("吃".encode(), "喝".encode()), content[:-40]):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="expected SHA-256 .* altered or of another version; reinstall it"):
            dialogues.load_dialogues("chinese")


def test_a_missing_file_is_named(copied):
    (copied / "food.yml").unlink()
    with pytest.raises(sources.SourceError, match="food.yml of the package 'chatterbot-corpus'.*pip install"):
        dialogues.load_dialogues("chinese")


def test_a_wrong_count_is_found(monkeypatch):
    known = dialogues.CORPORA["chinese"]
    monkeypatch.setitem(dialogues.CORPORA, "chinese", dialogues.Corpus(known.files, 468, known.sha256))
    with pytest.raises(ValueError, match="expected 468 exchanges, got 467"):
        dialogues.load_dialogues("chinese")
