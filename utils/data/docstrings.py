"""Descriptions and their one-line summaries, from the docstrings of five installed libraries.

A docstring begins with one line that says what the thing does; a description follows. Its author wrote both, so the
description is a document and the line its summary. The files of torch and transformers (BSD, 3 clauses; Apache 2.0),
NumPy, pandas and scikit-learn (BSD, 3 clauses) are parsed, never imported; their tests are left out. What is found
depends on the installed versions; on which side of the split a pair stands does not: the hash of its summary decides.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from utils import environment
from utils.data import hub
from utils.data.corpora import keep
from utils.data.sources import SourceError

SPLITS = ("train", "validation", "test")
# Distribution, its folder, and the parts of it that hold no documentation for readers, or the same a hundred times.
LIBRARIES = {
    "torch": ("torch", ("testing", "_inductor", "_vendor", "_dynamo")),
    "numpy": ("numpy", ()),
    "pandas": ("pandas", ()),
    "transformers": ("transformers", ("models",)),
    "scikit-learn": ("sklearn", ("externals",)),
}
SUMMARY_WORDS, DESCRIPTION_WORDS = (3, 20), (12, 400)
SECTION = re.compile(
    r"(Args|Arguments?|Parameters?|Returns?|Raises|Yields|Examples?|Notes?|See Also|References|Attributes|Shape|Inputs?"
    r"|Outputs?|Usage|Warnings?|Keyword[\w ]*|Methods)\s*(::?)?\s*(\n|$)|\.\. |>>>|:param|:class|- |\* |\d\. |\|"
)


class Pair(NamedTuple):
    """A description, its summary in one line, and the library and the name of what they are about."""

    description: str
    summary: str
    library: str
    name: str


def versions() -> dict[str, str]:
    """The installed version of each library.

    Raises: SourceError for one that is not installed.
    """
    try:
        return {library: importlib.metadata.version(library) for library in LIBRARIES}
    except importlib.metadata.PackageNotFoundError as missing:
        raise SourceError(
            f"looked for the source files of {missing.name!r} in the installed packages, found none; "
            f"install it: pip install {missing.name}"
        ) from None


def split_of(summary: str) -> str:
    """The split of a summary, by the hash of its letters: of 20, 2 are for the test, 1 for validation, 17 to train."""
    letters = re.sub(r"[^a-z]", "", summary.lower())
    part = int(hashlib.sha256(letters.encode()).hexdigest(), 16) % 20
    return "test" if part < 2 else "validation" if part == 2 else "train"


def parted(docstring: str) -> tuple[str, str] | None:
    """The description and the summary of a docstring; None where it does not have both, of fitting lengths.

    The description ends where a section such as "Parameters", a list or code begins.
    """
    first, *others = re.split(r"\n\s*\n", docstring.strip())
    summary = plain(first)
    prose = []
    for paragraph in others:
        if SECTION.match(paragraph) or paragraph.startswith(" ") or re.search(r"\n\s*(-{3,}|={3,})", paragraph):
            break
        prose.append(plain(paragraph))
    description = " ".join(prose)
    fits = [
        low <= len(text.split()) <= high
        for text, (low, high) in ((summary, SUMMARY_WORDS), (description, DESCRIPTION_WORDS))
    ]
    return (description, summary) if all(fits) and re.match("[A-Z]", summary) else None


def plain(text: str) -> str:
    """A paragraph as one line, without the marks of reStructuredText: :func:`~torch.add` becomes torch.add."""
    text = re.sub(r":[\w:]+:`~?\.?([^`<]+?)(?: <[^`>]*>)?`", r"\1", text)
    return " ".join(re.sub(r"`+|\*\*", "", text).split())


def docstrings_of(source: str) -> Iterator[tuple[str, str]]:
    """Names and docstrings of all functions and classes of a Python source.

    Raises: SyntaxError for what is no Python of this version.
    """
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if docstring := ast.get_docstring(node):
                yield node.name, docstring
        # Statements alone: no function or class with a docstring stands inside an expression.
        waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.excepthandler))]


def of_library(library: str) -> list[Pair]:
    """The pairs of a library, in the order of its files; a file that cannot be read as Python is passed over.

    Raises: SourceError if the library's folder is not there.
    """
    folder, left_out = LIBRARIES[library]
    root = Path(str(importlib.metadata.distribution(library).locate_file(folder)))
    if not root.is_dir():
        raise SourceError(f"looked for the source files of {library!r} in {root}, found nothing; install it again")
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if parts[0] in left_out or "tests" in parts:
            continue
        try:
            text = path.read_text(encoding="utf-8")
            named = list(docstrings_of(text)) if '"""' in text else []
        except (SyntaxError, UnicodeDecodeError, OSError, RecursionError):
            continue
        found += [Pair(*both, library, name) for name, docstring in named if (both := parted(docstring))]
    return found


@functools.cache
def _all_pairs() -> dict[str, tuple[Pair, ...]]:
    """The pairs of every split; reading 1,500 files takes half a minute, so they are kept in the cache folder."""
    key = hashlib.sha256(json.dumps([versions(), Path(__file__).read_text(encoding="utf-8")]).encode()).hexdigest()
    path = environment.cache_folder() / f"docstrings-{key[:16]}.json"
    try:
        found = [Pair(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # not there yet, or half a file of an interrupted process
        found = [pair for library in LIBRARIES for pair in of_library(library)]
        keep(path, json.dumps(found))
    rows: dict[str, dict[str, Pair]] = {split: {} for split in SPLITS}
    descriptions: set[str] = set()
    for pair in found:
        if pair.description not in descriptions:
            descriptions.add(pair.description)
            rows[split_of(pair.summary)].setdefault(pair.summary, pair)
    return {split: tuple(pairs.values()) for split, pairs in rows.items()}


def pairs(split: str, source: str = "docstrings") -> tuple[Pair, ...]:
    """The pairs of a split: "train", "validation" or "test"; each summary and each description once.

    With source "cnn_dailymail", the news and their highlights from the hub instead, or from its local cache.
    Raises: ValueError for an unknown split or source; SourceError if no source has them.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    if source == "docstrings":
        return _all_pairs()[split]
    if source != "cnn_dailymail":
        raise ValueError(f"source: expected 'docstrings' or 'cnn_dailymail', got {source!r}")
    rows = hub.rows("abisee/cnn_dailymail", "3.0.0", split)
    return tuple(Pair(row["article"], row["highlights"], "cnn_dailymail", row["id"]) for row in rows)
