"""Who says whether a text is positive: the course's encoder, and a linear model over words that knows nothing of it."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from utils import environment
from utils.data import corpora, tasks
from utils.models.heads import predict_probs
from utils.models.sentiment import load_sentiment

Judge = Callable[[Sequence[str]], np.ndarray]
MAX_LENGTH = 96
PASSAGE_WORDS = 45
MIN_PASSAGE_WORDS = 15


def encoder_judge() -> Judge:
    """P(positive) of each text (N,), by the shipped sentiment classifier.

    Raises: SourceError if the encoder is not installed.
    """
    model, tokenizer = load_sentiment()

    def judge(texts: Sequence[str]) -> np.ndarray:
        here = environment.budget()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=here.precision == "bf16"):
            return predict_probs(model, tokenizer, list(texts), MAX_LENGTH)[:, 1].numpy()

    return judge


def passage(text: str, random: np.random.Generator, n_words: int = PASSAGE_WORDS) -> str:
    """So many words of a review, from the beginning of a sentence that random numbers choose."""
    parts = tasks.sentences(text)
    counts = np.array([len(part.split()) for part in parts])
    behind = counts[::-1].cumsum()[::-1]
    starts = np.flatnonzero(behind >= MIN_PASSAGE_WORDS)
    start = int(random.choice(starts)) if len(starts) else 0
    return " ".join(" ".join(parts[start:]).split(" ")[:n_words])


def labelled_passages(split: str, n: int | None = None, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Passages of the long reviews of a split, one a review in random order, and the reviewers' verdicts (N,)."""
    data = corpora.reviews("imdb", split)
    random = np.random.default_rng([seed, corpora.SPLITS.index(split)])
    rows = random.permutation(len(data))[:n]
    texts, labels = data["text"][:], np.array(data["label"][:])
    return [passage(texts[row], random) for row in rows], labels[rows]


@functools.lru_cache(maxsize=1)
def word_judge(seed: int = 0) -> Judge:
    """P(positive) of each text (N,), by logistic regression over the TF-IDF of words and word pairs.

    It has learned from a passage of every training review, of about the length of what it judges.
    """
    texts, labels = labelled_passages("train", seed=seed)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True), LogisticRegression(C=3.0, max_iter=200)
    ).fit(texts, labels)
    return lambda texts: model.predict_proba(list(texts))[:, 1]
