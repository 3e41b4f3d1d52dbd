"""Docstring pairs: what is found and left out, a split by the summary alone, and what is missing or damaged."""

import importlib.metadata
import json

import datasets
import pytest

from utils import environment
from utils.data import docstrings
from utils.data.docstrings import LIBRARIES, Pair, docstrings_of, of_library, parted, plain, split_of
from utils.data.sources import SourceError

DESCRIPTION = "It reads every file below the folder and keeps what is needed of it for later use."
SOURCE = f'''
class Reader:
    """Read a folder of files.

    {DESCRIPTION}

    Parameters
    ----------
    path : where
    """

    def short(self):
        """Too short."""

    async def listed(self):
        """Read one file only.

        - a list is no description, however long it may be, for no one reads it as prose
        """
'''


@pytest.fixture
def libraries(monkeypatch, tmp_path):
    """Five libraries of our own, with a cache folder that is empty."""
    for library, (folder, _) in LIBRARIES.items():
        (tmp_path / folder / "tests").mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text(SOURCE.replace("folder of files", f"folder of {library}"))
        (tmp_path / folder / "tests" / "b.py").write_text(SOURCE)
        (tmp_path / folder / "broken.py").write_text('def broken(:\n    """Nothing."""')
        (tmp_path / folder / "latin.py").write_bytes(b'"""\xff\xfe"""')

    class Here:
        version = "1.0"

        @staticmethod
        def locate_file(path):
            return tmp_path / path

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Here)
    monkeypatch.setattr(environment, "cache_folder", lambda: tmp_path / "cache")
    docstrings._all_pairs.cache_clear()
    yield tmp_path
    docstrings._all_pairs.cache_clear()


def test_a_docstring_has_a_summary_and_a_description():
    found = dict(docstrings_of(SOURCE))
    assert parted(found["Reader"]) == (DESCRIPTION, "Read a folder of files.")
    assert parted(found["short"]) is None and parted(found["listed"]) is None


def test_marks_are_taken_away():
    assert plain("See :func:`~torch.add` and\n``x * 2``,  :class:`this <that>`.") == "See torch.add and x * 2, this."


def test_damaged_files_and_tests_are_passed_over(libraries):
    assert of_library("numpy") == [Pair(DESCRIPTION, "Read a folder of numpy.", "numpy", "Reader")]


def test_pairs_are_unique_and_kept_in_the_cache(libraries):
    found = [pair for split in docstrings.SPLITS for pair in docstrings.pairs(split)]
    assert len(found) == 1, "the same description five times counts once"
    (kept,) = (libraries / "cache").glob("docstrings-*.json")
    assert len(json.loads(kept.read_text())) == 5
    kept.write_text("[[")  # half a file
    docstrings._all_pairs.cache_clear()
    assert [pair for split in docstrings.SPLITS for pair in docstrings.pairs(split)] == found


def test_the_split_looks_at_the_letters_of_the_summary_alone():
    assert split_of("Return the mean.") == split_of("return the  mean")
    drawn = [split_of(f"Compute number {'abcdefghij'[i % 10] * (i // 10 + 1)}.") for i in range(2000)]
    assert 0.07 < drawn.count("test") / 2000 < 0.13 and 0.03 < drawn.count("validation") / 2000 < 0.07


def test_missing_libraries_are_named(libraries, monkeypatch):
    for path in sorted((libraries / "numpy").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (libraries / "numpy").rmdir()
    with pytest.raises(SourceError, match="'numpy'.*install it again"):
        of_library("numpy")

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(SourceError, match="pip install torch"):
        docstrings.pairs("test")


def test_unknown_names_and_the_hub_offline():
    with pytest.raises(ValueError, match="split: expected one of"):
        docstrings.pairs("dev")
    with pytest.raises(ValueError, match="'docstrings' or 'cnn_dailymail', got 'cnn'"):
        docstrings.pairs("test", "cnn")
    with pytest.raises(SourceError, match="cnn_dailymail.*not part of the course"):
        docstrings.pairs("test", "cnn_dailymail")


def test_the_hub_gives_articles_and_highlights(monkeypatch):
    row = {"article": "It rained. It stopped.", "highlights": "Rain.", "id": "1"}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration, split, download_config: [row])
    assert docstrings.pairs("test", "cnn_dailymail") == (Pair(row["article"], "Rain.", "cnn_dailymail", "1"),)
