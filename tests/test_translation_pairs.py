"""English-Chinese pairs: what the packages hold, that nothing crosses the split, and altered or missing files."""

import importlib.metadata
from collections import Counter
from pathlib import Path

import datasets
import pytest

from utils.data import sources, translation_pairs
from utils.data.sources import SourceError
from utils.data.translation_pairs import SPLITS, messages, normalized, pairs, split_of
from utils.text.interface_text import CHINESE, PLACEHOLDER


def test_packages_hold_what_they_claim():
    assert sum(len(messages(package)) for package in translation_pairs.PACKAGES) == 12467
    assert len(messages("jupyterlab-language-pack-zh-CN")) == 3464 and len(messages("django-allauth")) == 376
    django = dict(messages("Django"))
    assert django["Afrikaans"] == "南非荷兰语" and "" not in django


def test_splits_have_known_sizes_and_whole_lines():
    assert {split: len(pairs(split)) for split in SPLITS} == {"train": 8720, "validation": 457, "test": 898}
    for split in SPLITS:
        assert len(set(pairs(split))) == len(pairs(split))
        for pair in pairs(split):
            assert pair.english == " ".join(pair.english.split()) and 0 < len(pair.english) <= 100
            assert CHINESE.search(pair.chinese) and len(pair.chinese) <= 50
    assert Counter(pair.package for pair in pairs("test")).keys() == translation_pairs.PACKAGES.keys()


def test_no_near_copy_crosses():
    keys = {split: [normalized(pair.english) for pair in pairs(split)] for split in SPLITS}
    for held_out in ("validation", "test"):
        assert len(set(keys[held_out])) == len(keys[held_out]), "a held-out text is asked for once"
        assert set(keys[held_out]).isdisjoint(keys["train"])
    assert set(keys["validation"]).isdisjoint(keys["test"])


def test_near_copies_are_normalized_alike():
    for one, other in [
        ("Delete the cell", "delete cells…"),
        ("read-only file", "readonly files"),
        ("“%(value)s” is wrong", "“%s” is wrong."),
    ]:
        assert normalized(one) == normalized(other) and split_of(one) == split_of(other)
    assert normalized("move up") != normalized("move down")


def test_placeholders_stay_in_both_languages():
    kept = [pair for split in SPLITS for pair in pairs(split) if PLACEHOLDER.search(pair.english)]
    same = sum(sorted(PLACEHOLDER.findall(p.english)) == sorted(PLACEHOLDER.findall(p.chinese)) for p in kept)
    assert len(kept) > 500 and same > 0.95 * len(kept)


def copied_package(monkeypatch, tmp_path, change):
    """Django's files in a folder of our own, one of them changed."""
    real = importlib.metadata.distribution("Django")
    names = [name for name in real.files if "zh_Hans" in str(name) and name.suffix == ".mo"]
    for name in names:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(str(real.locate_file(name))).read_bytes())
    change(tmp_path / names[0])

    class Copy:
        files = names

        @staticmethod
        def locate_file(path):
            return tmp_path / path

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Copy)


@pytest.mark.parametrize("end, extra", [(-100, b""), (None, b"x")], ids=["shortened", "altered"])
def test_a_changed_file_is_named(monkeypatch, tmp_path, end, extra):
    copied_package(monkeypatch, tmp_path, lambda path: path.write_bytes(path.read_bytes()[:end] + extra))
    with pytest.raises(ValueError, match="Django: expected translation files with SHA-256 .* altered"):
        messages("Django")


def test_a_missing_file_or_package_says_what_to_install(monkeypatch, tmp_path):
    copied_package(monkeypatch, tmp_path, lambda path: path.unlink())
    with pytest.raises(SourceError, match="pip install .*Django"):
        messages("Django")

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sources.importlib.metadata, "distribution", absent)
    with pytest.raises(SourceError, match="pip install .*Sphinx"):
        messages("Sphinx")


def test_unknown_names_and_the_hub_offline():
    with pytest.raises(ValueError, match="split: expected one of"):
        pairs("dev")
    with pytest.raises(ValueError, match="source: expected 'interface' or 'wmt19', got 'wmt'"):
        pairs("test", "wmt")
    with pytest.raises(ValueError, match="package: expected one of"):
        messages("django")
    with pytest.raises(SourceError, match="wmt/wmt19.*not part of the course"):
        pairs("test", "wmt19")


def test_the_hub_gives_the_same_pairs_in_its_own_columns(monkeypatch):
    asked = []

    def load_dataset(name, configuration, split, download_config):
        asked.append((name, configuration, split, datasets.config.HF_HUB_OFFLINE))
        return {"translation": [{"en": "Good morning.", "zh": "早上好。"}]}

    before = datasets.config.HF_HUB_OFFLINE
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert pairs("train", "wmt19") == (translation_pairs.Pair("Good morning.", "早上好。", "wmt19"),)
    assert asked == [("wmt/wmt19", "zh-en", "train[:200000]", True)] and datasets.config.HF_HUB_OFFLINE == before
