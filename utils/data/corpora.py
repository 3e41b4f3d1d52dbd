"""The course's one split of its reviews, shared by pre-training, fine-tuning and every evaluation.

Reviews that repeat are kept once. Held-out reviews are chosen by the hash of their text, so that the choice depends
neither on the file's order nor on the machine; training reviews that share a 13-word passage with a held-out one are
dropped.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import datasets

from utils import environment
from utils.data import sources

HELD_OUT = {"imdb": {"test": 2_500, "validation": 500}, "rotten_tomatoes": {"test": 1_000, "validation": 500}}
SPLITS = ("train", "validation", "test")
SHINGLE_WORDS = 13


def clean(text: str) -> str:
    """A review's text with the line breaks of its web page as newlines."""
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"\s*<br ?/?>\s*", "\n", text)).strip()


def fingerprint(text: str) -> str:
    """Hash of the letters and digits of a text: equal for copies that differ in case, space or punctuation."""
    return hashlib.sha256(re.sub(r"[^a-z0-9]+", "", clean(text).lower()).encode()).hexdigest()


def shingles(text: str, n: int = SHINGLE_WORDS) -> set[tuple[str, ...]]:
    """All runs of `n` words of a text, lower-cased."""
    words = re.findall(r"[a-z0-9]+", clean(text).lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def split_rows(texts: list[str], held_out: dict[str, int]) -> dict[str, list[int]]:
    """Row numbers of each split: the smallest hashes are held out, near-copies of those leave the training split.

    Raises: ValueError if too few different texts are given.
    """
    first_row: dict[str, int] = {}
    for row, text in enumerate(texts):
        first_row.setdefault(fingerprint(text), row)
    if len(first_row) <= sum(held_out.values()):
        raise ValueError(f"split: expected more than {sum(held_out.values())} different texts, got {len(first_row)}")
    ordered = [first_row[key] for key in sorted(first_row)]
    rows, start = {}, 0
    for name, size in held_out.items():
        rows[name] = sorted(ordered[start : start + size])
        start += size
    held = set().union(*(shingles(texts[row]) for name in held_out for row in rows[name]))
    rows["train"] = sorted(row for row in ordered[start:] if held.isdisjoint(shingles(texts[row])))
    return rows


def _rows(name: str, texts: list[str]) -> dict[str, list[int]]:
    """The split of a data set; kept in the cache folder, because the search for shared passages takes seconds."""
    # Row numbers hold for one order of the rows, and the hub's copy may come in another than the package's.
    content = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    key = hashlib.sha256(json.dumps([content, HELD_OUT[name], SHINGLE_WORDS]).encode()).hexdigest()[:16]
    path = environment.cache_folder() / f"split-{name}-{key}.json"
    if path.is_file():
        try:
            return json.loads(path.read_text())
        except ValueError:
            pass  # a half-written file of an interrupted process: made again below
    rows = split_rows(texts, HELD_OUT[name])
    keep(path, json.dumps(rows))
    return rows


def keep(path: Path, text: str) -> None:
    """Write a cache file whole or not at all: a cache that cannot be written costs time, not the result."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.write_text(text)
        aside.replace(path)
    except OSError:
        pass


def reviews(name: str, split: str) -> datasets.Dataset:
    """One split of a review data set: columns `text`, `label` (0 negative, 1 positive) and `row` (in the source).

    Raises: ValueError for an unknown data set or split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}")
    data = sources.load_reviews(name)
    rows = _rows(name, data["text"][:])[split]
    chosen = data.select(rows)
    return datasets.Dataset.from_dict(
        {"text": [clean(text) for text in chosen["text"]], "label": chosen["label"][:], "row": rows}
    )


def documents_from_file(path: str | Path) -> list[str]:
    """The learner's own text as documents: a text file, split at blank lines.

    Raises: ValueError if the file is missing, not UTF-8 text, or has no text in it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"own text: expected a text file, found nothing at {path}") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"own text: expected UTF-8 text in {path}, got other bytes at position {error.start}; "
            f"save the file as UTF-8"
        ) from None
    except OSError as error:
        raise ValueError(f"own text: expected a text file at {path} that can be read, got: {error.strerror}") from None
    documents = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not documents:
        raise ValueError(f"own text: expected some text in {path}, got an empty file")
    return documents


def labelled_texts_from_csv(
    path: str | Path, text_column: str = "text", label_column: str = "label"
) -> datasets.Dataset:
    """The learner's own labelled texts: a CSV with a text and a label column (0, 1, …).

    Raises: ValueError if a column is missing, a label is no whole number from 0, or no rows are there.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.EmptyDataError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ValueError(f"own CSV: expected a readable CSV file at {path}, got: {error}") from None
    missing = [column for column in (text_column, label_column) if column not in table.columns]
    if missing:
        raise ValueError(
            f"own CSV: expected the columns {text_column!r} and {label_column!r}, missing {missing}; "
            f"the file has {list(table.columns)}; rename them or pass text_column= and label_column="
        )
    table = table.dropna(subset=[text_column, label_column])
    labels = pd.to_numeric(table[label_column], errors="coerce").astype(float)
    if len(table) == 0 or labels.isna().any() or (labels < 0).any() or (labels % 1 != 0).any():
        raise ValueError(
            f"own CSV: expected at least one row and labels 0, 1, … in {label_column!r}, "
            f"got {len(table)} rows and labels such as {table[label_column].unique()[:5].tolist()}"
        )
    return datasets.Dataset.from_dict(
        {"text": [clean(str(text)) for text in table[text_column]], "label": labels.astype(int).tolist()}
    )
