"""Search: which of many texts answers a question, by shared words, by meaning, or by both."""

from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from utils.metrics.ranking import fuse_ranks
from utils.models.heads import sentence_embeddings
from utils.models.transformer import BERT
from utils.text.bm25 import BM25, words

METHODS = ("words", "meaning", "both")
MOST_TOKENS = 128


class TextIndex:
    """N texts, ready to be searched: BM25 over their words, one vector of length 1 each, or the ranks of both joined.

    A text beyond `max_length` tokens is embedded by its beginning; BM25 reads all of it.
    Raises: ValueError for no texts.
    Source: Robertson and Zaragoza 2009 (BM25); Reimers and Gurevych 2019 (vectors); Cormack et al. 2009 (both).
    """

    def __init__(
        self, texts: Sequence[str], encoder: BERT, tokenizer: Tokenizer, max_length: int = MOST_TOKENS
    ) -> None:
        if not texts:
            raise ValueError("TextIndex: expected at least one text, got none")
        self.texts, self.encoder, self.tokenizer, self.max_length = list(texts), encoder, tokenizer, max_length
        self.bm25 = BM25([words(text) for text in texts])
        self.vectors = self.embed(self.texts)  # (N, D)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of length 1. Shapes: (len(texts), D)."""
        return sentence_embeddings(self.encoder, self.tokenizer, list(texts), self.max_length)

    def scores(self, queries: Sequence[str], method: str = "meaning") -> np.ndarray:
        """Scores of all texts for each query, higher is better. Shapes: (Q, N).

        Raises: ValueError for an unknown method, or a query without a letter or digit.
        """
        if method not in METHODS:
            raise ValueError(f"search: expected a method of {METHODS}, got {method!r}")
        for query in queries:
            if not words(query):
                raise ValueError(f"search: expected a question with at least one letter or digit, got {query!r}")
        if method == "both":
            return fuse_ranks(self.scores(queries, "words"), self.scores(queries, "meaning"))
        if method == "words":
            return np.stack([self.bm25.scores(words(query)) for query in queries])
        return (self.embed(queries) @ self.vectors.T).double().numpy()

    def search(self, query: str, k: int = 5, method: str = "meaning") -> list[tuple[int, float]]:
        """The k best texts for a query: (number, score), best first; texts that share no word are no find by words."""
        scores = self.scores([query], method)[0]
        best = np.argsort(-scores, kind="stable")[:k]
        return [(int(i), float(scores[i])) for i in best if method != "words" or scores[i] > 0]


def best_of_groups(scores, groups: Sequence) -> tuple[np.ndarray, list]:
    """The best score within each group of texts, and the groups in order of their first text.

    Shapes: scores (..., N), groups N names -> (..., G), G names.
    Raises: ValueError unless there is a name for each text.
    """
    scores = np.asarray(scores)
    if scores.shape[-1] != len(groups):
        raise ValueError(f"expected a group for each of {scores.shape[-1]} texts, got {len(groups)}")
    names = list(dict.fromkeys(groups))
    members = [np.array([i for i, group in enumerate(groups) if group == name]) for name in names]
    return np.stack([scores[..., rows].max(axis=-1) for rows in members], axis=-1), names


def closest_sentence(index: TextIndex, query: str, sentences: Sequence[str]) -> tuple[int, Tensor]:
    """The sentence nearest in meaning to a query, and the cosine of each. Shapes: (len(sentences),)."""
    with torch.inference_mode():
        cosines = index.embed(sentences) @ index.embed([query])[0]
    return int(cosines.argmax()), cosines
