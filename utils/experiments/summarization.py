"""One-line summaries of docstrings: the first words, TextRank, the nearest summary, and a pointer-generator."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Tokenizer

from utils.data import docstrings
from utils.data.docstrings import Pair
from utils.experiments import seq2seq
from utils.experiments.seq2seq import BEGIN_ID, END_ID, PAD_ID, UNKNOWN_ID, Averaged, Recipe
from utils.models.pointer import PointerGenerator, greedy
from utils.models.pretrained import load_model
from utils.text.interface_text import detokenized, train_tokenizer
from utils.text.textrank import textrank
from utils.training.loop import Record

NAME = "docstring-summaries"
RECIPE = Recipe(vocab_size=4000, dropout=0.2, epochs=10, learning_rate=2e-3, decay=0.995)
READ_WORDS, MOST_SOURCE, MOST_TARGET = 40, 120, 24
LEAD_WORDS = 10  # about the length of a summary
KNOWN = 0.4  # cosine from which the nearest document's summary is better than the network's; by the validation pairs
MARKS = ((0.7, "="), (0.5, "+"), (0.3, "*"), (-1.0, ";"))  # says how similar the nearest document is, at least
BANNED = (PAD_ID, BEGIN_ID, UNKNOWN_ID)


def title(name: str) -> str:
    """The name of a function or class as words: from_numpy becomes "from numpy", LayerNorm "Layer Norm"."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)) or name


def document(pair: Pair) -> str:
    """What every system reads: the name in words, and the description."""
    return f"{title(pair.name)}: {pair.description}"


def lead(pair: Pair, n_words: int = LEAD_WORDS) -> str:
    """The first words of the document, its title among them."""
    return " ".join(document(pair).split()[:n_words])


def ranked(pair: Pair) -> str:
    """The title, and the description's best sentence by TextRank, cut to the same number of words."""
    name = title(pair.name)
    return f"{name}: {textrank(pair.description, max(1, LEAD_WORDS - len(name.split())))}"


class Nearest:
    """Finds the training document that shares most words, rare ones counting more (cosine of TF-IDF)."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self.vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
        self.vectors = self.vectorizer.fit_transform([document(pair) for pair in pairs])

    def find(self, pairs: Sequence[Pair], themselves: bool = False) -> list[tuple[str, float]]:
        """The summary of the nearest document to each, and the cosine; with `themselves`, of the nearest but itself."""
        found = []
        for i in range(0, len(pairs), 500):
            rows = pairs[i : i + 500]
            similar = (self.vectorizer.transform([document(pair) for pair in rows]) @ self.vectors.T).toarray()
            if themselves:
                similar[np.arange(len(rows)), np.arange(i, i + len(rows))] = -1
            best = similar.argmax(axis=1)
            found += [(self.pairs[j].summary, float(row[j])) for row, j in zip(similar, best, strict=True)]
        return found

    def summaries(self, pairs: Sequence[Pair]) -> list[str]:
        """The summary of the nearest document to each."""
        return [summary for summary, _ in self.find(pairs)]


def source(pair: Pair, near: str, cosine: float) -> str:
    """What the network reads: the summary of the nearest document, how near it is, and the document's first words."""
    mark = next(mark for least, mark in MARKS if cosine >= least)
    return f"{near} {mark} {' '.join(document(pair).split()[:READ_WORDS])}"


class Summarizer:
    """A trained model with its tokenizer and the documents it knows."""

    def __init__(self, model: PointerGenerator, tokenizer: Tokenizer, nearest: Nearest) -> None:
        self.model, self.tokenizer, self.nearest = model.eval(), tokenizer, nearest

    @torch.inference_mode()
    def summarize(self, pairs: Sequence[Pair]) -> list[str]:
        """Summaries by greedy search."""
        device = next(self.model.parameters()).device
        texts = [source(pair, *near) for pair, near in zip(pairs, self.nearest.find(pairs), strict=True)]
        ids = seq2seq.ids_of(self.tokenizer, texts, MOST_SOURCE)
        found: list[list[int]] = []
        for i in range(0, len(ids), 64):
            batch = seq2seq.batch_of(ids[i : i + 64], [[]] * len(ids[i : i + 64]))
            given = self.model.given(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            found += greedy(given, len(batch["input_ids"]), BEGIN_ID, END_ID, MOST_TARGET, BANNED)
        texts = [detokenized(self.tokenizer.id_to_token(i) for i in row) for row in found]
        return [text[:1].upper() + text[1:] for text in texts]

    def look_up_or_write(self, pairs: Sequence[Pair], written: Sequence[str] | None = None) -> list[str]:
        """The nearest document's summary where that document is nearly the same, else the network's.

        written: the network's summaries, if they are there already.
        """
        found = zip(self.nearest.find(pairs), self.summarize(pairs) if written is None else written, strict=True)
        return [near if cosine >= KNOWN else own for (near, cosine), own in found]


def prepare() -> tuple[Nearest, list[tuple[str, str]], Tokenizer]:
    """The documents known, the training rows (source, summary), and a tokenizer."""
    pairs = docstrings.pairs("train")
    nearest = Nearest(pairs)
    near = nearest.find(pairs, themselves=True)
    rows = [(source(pair, *other), pair.summary) for pair, other in zip(pairs, near, strict=True)]
    texts = (text for pair in pairs for text in (document(pair), pair.summary))
    return nearest, rows, train_tokenizer(texts, RECIPE.vocab_size)


def train(
    model: PointerGenerator,
    tokenizer: Tokenizer,
    rows: Sequence[tuple[str, str]],
    recipe: Recipe = RECIPE,
    max_steps: int | None = None,
    average: Averaged | None = None,
) -> Iterator[Record]:
    """Train a summarizer; yields the loop's records."""
    sources = seq2seq.ids_of(tokenizer, [read for read, _ in rows], MOST_SOURCE)
    targets = [ids[:-1] for ids in seq2seq.ids_of(tokenizer, [summary for _, summary in rows], MOST_TARGET)]
    return seq2seq.train(model, sources, targets, recipe, max_steps, average)


def load_summarizer(folder: Path | None = None) -> Summarizer:
    """The shipped summarizer.

    Raises: SourceError if its weights or the libraries are not here; WeightsError if its files do not belong together.
    """
    model, tokenizer = load_model(folder or NAME)
    return Summarizer(model, tokenizer, Nearest(docstrings.pairs("train")))
