"""English and Chinese texts of program interfaces, from the translation files of nine installed distributions.

Translators of Django, Wagtail, django CMS, django-oscar and JupyterLab (BSD, 3 clauses), Sphinx (BSD, 2 clauses),
Spyder, Thonny and django-allauth (MIT) wrote them. The files are GNU's compiled catalogs (.mo). No code of these
packages is imported, and those in requirements-weights.txt are installed without what they depend on. One split for the
whole course: the hash of the normalized English text decides, so that near-copies stay on one side.
"""

import functools
import hashlib
import importlib.metadata
import re
from typing import NamedTuple

from babel.messages.mofile import read_mo

from utils.data import hub, sources
from utils.text.interface_text import CHINESE, PLACEHOLDER

SPLITS = ("train", "validation", "test")
CATALOG = re.compile(r".*/zh_(CN|Hans)/LC_MESSAGES/\w+\.mo")
# How many messages a package's catalogs hold, and the SHA-256 of their names and bytes, one after the other.
PACKAGES = {
    "Django": (920, "f82ed78dd3e5087cf0a3b6e4987b30da65a84cef1fb5fee2e6f4fb6e8e43a3a1"),
    "jupyterlab-language-pack-zh-CN": (3464, "6b5be7162dfe1c7d6414565981b3da73dbd6f98b86a8db8fe11fea6a2208c582"),
    "Sphinx": (869, "10d25398dd27f5a055b34f3059019e73a04c53870e55a7131197c97dab267510"),
    "spyder": (2122, "7742ff66b3596dbcca33b09af9562b249ae66f6c5509d71fc61d9949d6bd3d98"),
    "django-oscar": (1743, "12090900c5000c53315e20708f1a3c1e6ec994ae7c556aa1afcc18d1f439e212"),
    "wagtail": (1561, "bde41c2f01e75f378c6377c61fbca8413874d5dbb42755279fac8658961f1be1"),
    "thonny": (928, "0785df61a706bfcdbfb8a2954456bc4e7bfc789bf09a6bccc72515227aed1ddc"),
    "django-cms": (484, "c82fff68c86c4c78dc18ddf7ea8b7b4928427a79f6caabbe382d64f7026a38a6"),
    "django-allauth": (376, "e7b61204639c92774048c782735fb7f75931a41549e88b79ccb529410766b0d3"),
}
MOST_ENGLISH, MOST_CHINESE = 100, 50  # characters: a line of an interface, not a paragraph of its manual


class Pair(NamedTuple):
    """An English text, its Chinese translation, and the package both come from."""

    english: str
    chinese: str
    package: str


def normalized(english: str) -> str:
    """What near-copies share: letters and digits in lower case, without articles or a plural's s; placeholders as %."""
    words = re.findall(r"[a-z0-9]+|%", PLACEHOLDER.sub("%", english).lower())
    return "".join(re.sub(r"(?<=\w{3})s$", "", word) for word in words if word not in ("a", "an", "the"))


def split_of(english: str) -> str:
    """The split of an English text, by the hash of its normalized form: of 20, 2 are for the test, 1 for validation."""
    part = int(hashlib.sha256(normalized(english).encode()).hexdigest(), 16) % 20
    return "test" if part < 2 else "validation" if part == 2 else "train"


def messages(package: str) -> list[tuple[str, str]]:
    """All messages of a package as (English, Chinese), a plural as its last form, in the order of its files.

    Raises: ValueError for an unknown package or altered files; SourceError if the package or a file is missing.
    """
    if package not in PACKAGES:
        raise ValueError(f"package: expected one of {list(PACKAGES)}, got {package!r}")
    n_messages, expected = PACKAGES[package]
    try:
        listed = importlib.metadata.distribution(package).files or ()
    except importlib.metadata.PackageNotFoundError:
        listed = ()
    names = sorted(str(name) for name in listed if CATALOG.fullmatch(name.as_posix()))
    paths = [sources.packaged_file(package, name) for name in names or ["LC_MESSAGES/*.mo"]]
    digest = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        digest.update(name.encode() + b"\0" + path.read_bytes())
    if digest.hexdigest() != expected:
        raise ValueError(
            f"{package}: expected translation files with SHA-256 {expected[:16]}…, got {digest.hexdigest()[:16]}…; "
            f"they are altered or of another version; install the version that the course names again"
        )
    found = []
    for path in paths:
        with open(path, "rb") as file:
            found += [(_last(message.id), _last(message.string)) for message in read_mo(file) if message.id]
    if len(found) != n_messages:
        raise ValueError(f"{package}: expected {n_messages} messages, got {len(found)}; its files are incomplete")
    return found


def _last(form: str | tuple[str, ...] | list[str]) -> str:
    """A message, or the last form of one with plurals (Chinese has a single form)."""
    return form if isinstance(form, str) else form[-1]


@functools.cache
def _all_pairs() -> dict[str, tuple[Pair, ...]]:
    """The pairs of every split; whoever translated nothing, or wrote more than a line, is left out."""
    rows: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    seen, seen_keys = set(), set()
    for package in PACKAGES:
        for english, chinese in messages(package):
            english, chinese = " ".join(english.split()), " ".join(chinese.split())
            fits = len(english) <= MOST_ENGLISH and len(chinese) <= MOST_CHINESE
            key = normalized(english)
            if not fits or not CHINESE.search(chinese) or not re.search("[a-z]", key) or (english, chinese) in seen:
                continue
            split = split_of(english)
            if split != "train" and key in seen_keys:
                continue  # a held-out text is asked for once
            seen.add((english, chinese))
            seen_keys.add(key)
            rows[split].append(Pair(english, chinese, package))
    return {split: tuple(found) for split, found in rows.items()}


def pairs(split: str, source: str = "interface") -> tuple[Pair, ...]:
    """The pairs of a split: "train", "validation" or "test".

    Different translations of one text are kept in the training split; of held-out texts that are the same but for case,
    punctuation or a plural, the first is kept. With source "wmt19", the news of WMT 2019 from the hub instead
    (200,000 pairs of its training split, its validation split in two halves), or from the hub's local cache.
    Raises: ValueError for an unknown split or source, or altered files; SourceError if no source has them.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    if source == "interface":
        return _all_pairs()[split]
    if source != "wmt19":
        raise ValueError(f"source: expected 'interface' or 'wmt19', got {source!r}")
    part = {"train": "train[:200000]", "validation": "validation[:50%]", "test": "validation[50%:]"}[split]
    rows = hub.rows("wmt/wmt19", "zh-en", part)["translation"]
    return tuple(Pair(row["en"], row["zh"], "wmt19") for row in rows)
