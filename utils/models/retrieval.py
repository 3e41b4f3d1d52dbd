"""Search: which of many texts answers a question, by shared words, by meaning, or by both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from utils.data.course_text import Passage, sentences
from utils.models.heads import sentence_embeddings
from utils.models.transformer import BERT
from utils.text.bm25 import BM25, words

METHODS = ("words", "meaning", "both")
MOST_TOKENS, MOST_CHARACTERS = 256, 300
# Both chosen on the development questions: the weight of meaning beside words, and how many of a group's texts count.
MEANING_WEIGHT, N_BEST = 1.5, 2


class TextIndex:
    """N texts, ready to be searched: BM25 over their words, one vector of length 1 each, or both joined.

    groups: N names, such as the section that each text belongs to; what is found is then one of G groups. Its words
    are those of all its texts, its score by meaning the mean of its two nearest texts (of a single one, that one).
    "both" adds the two, each standardized over the groups, meaning with a weight. A text beyond `max_length` tokens is
    embedded by its beginning alone.
    Raises: ValueError for no texts, or another number of groups than of texts.
    Source: Robertson and Zaragoza 2009 (BM25); Reimers and Gurevych 2019 (vectors).
    """

    def __init__(
        self,
        texts: Sequence[str],
        encoder: BERT,
        tokenizer: Tokenizer,
        max_length: int = MOST_TOKENS,
        groups: Sequence | None = None,
    ) -> None:
        if not texts:
            raise ValueError("TextIndex: expected at least one text, got none")
        self.texts, self.encoder, self.tokenizer, self.max_length = list(texts), encoder, tokenizer, max_length
        self.groups = list(range(len(texts))) if groups is None else list(groups)
        if len(self.groups) != len(texts):
            raise ValueError(f"TextIndex: expected a group for each of {len(texts)} texts, got {len(self.groups)}")
        self.names = list(dict.fromkeys(self.groups))  # G names
        together: dict = {name: [] for name in self.names}
        for name, text in zip(self.groups, texts, strict=True):
            together[name] += words(text)
        self.bm25 = BM25(list(together.values()))
        self.vectors = self.embed(self.texts)  # (N, D)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of length 1. Shapes: (len(texts), D)."""
        # Few at a time: a block of long passages takes hundreds of megabytes.
        return sentence_embeddings(self.encoder, self.tokenizer, list(texts), self.max_length, batch_size=4)

    def cosines(self, queries: Sequence[str]) -> np.ndarray:
        """How near each text is to each query in meaning. Shapes: (Q, N)."""
        return (self.embed(queries) @ self.vectors.T).double().numpy()

    def scores(self, queries: Sequence[str], method: str = "meaning") -> np.ndarray:
        """Scores of all groups for each query, higher is better. Shapes: (Q, G).

        Raises: ValueError for an unknown method, or a query without a letter or digit.
        """
        if method not in METHODS:
            raise ValueError(f"search: expected a method of {METHODS}, got {method!r}")
        for query in queries:
            if not words(query):
                raise ValueError(f"search: expected a question with at least one letter or digit, got {query!r}")
        if method == "both":
            by_words, by_meaning = (standardized(self.scores(queries, part)) for part in ("words", "meaning"))
            return by_words + MEANING_WEIGHT * by_meaning
        if method == "words":
            return np.stack([self.bm25.scores(words(query)) for query in queries])
        return best_of_groups(self.cosines(queries), self.groups)[0]

    def search(self, query: str, k: int = 5, method: str = "meaning") -> list[tuple[int, float]]:
        """The k best groups for a query: (number, score), best first; a group that shares no word is none by words."""
        scores = self.scores([query], method)[0]
        best = np.argsort(-scores, kind="stable")[:k]
        return [(int(i), float(scores[i])) for i in best if method != "words" or scores[i] > 0]


def standardized(scores: np.ndarray) -> np.ndarray:
    """Each row with mean 0 and deviation 1; a row of equal scores becomes 0. Shapes: (Q, G)."""
    deviation = scores.std(axis=-1, keepdims=True)
    return (scores - scores.mean(axis=-1, keepdims=True)) / np.where(deviation > 0, deviation, 1)


def best_of_groups(scores, groups: Sequence, n: int = N_BEST) -> tuple[np.ndarray, list]:
    """The mean of the n best scores within each group of texts, and the groups in order of their first text.

    Shapes: scores (..., N), groups N names -> (..., G), G names. A group of fewer than n texts counts those it has.
    Raises: ValueError unless there is a name for each text.
    """
    scores = np.asarray(scores)
    if scores.shape[-1] != len(groups):
        raise ValueError(f"expected a group for each of {scores.shape[-1]} texts, got {len(groups)}")
    names = list(dict.fromkeys(groups))
    members = [np.array([i for i, group in enumerate(groups) if group == name]) for name in names]
    return np.stack([np.sort(scores[..., rows], axis=-1)[..., -n:].mean(axis=-1) for rows in members], axis=-1), names


def closest_sentence(index: TextIndex, query: str, candidates: Sequence[str]) -> tuple[int, Tensor]:
    """The sentence nearest in meaning to a query, and the cosine of each. Shapes: (len(candidates),)."""
    with torch.inference_mode():
        cosines = index.embed(candidates) @ index.embed([query])[0]
    return int(cosines.argmax()), cosines


@dataclass(frozen=True)
class Found:
    """A passage that was found: where it stands, its score, its sentences, the best of them, and the shared words."""

    passage: Passage
    where: str
    score: float
    sentences: list[str]
    best: int
    words: set[str]


def course_index(
    passages: Sequence[Passage],
    encoder: BERT,
    tokenizer: Tokenizer,
    expected: Mapping[str, Sequence[str]] | None = None,
) -> TextIndex:
    """An index of the course's sections: each passage behind its chapter's title and heading.

    `expected`: questions by section, indexed behind all passages as further texts of their section; those of sections
    without a passage are left out.
    Source: Nogueira et al. 2019 (documents expanded by questions; theirs were predicted by a model).
    """
    sections = [passage.section for passage in passages]
    known = set(sections)
    added = [(name, text) for name, some in (expected or {}).items() if name in known for text in some]
    texts = [passage.titled for passage in passages] + [text for _, text in added]
    return TextIndex(texts, encoder, tokenizer, groups=sections + [name for name, _ in added])


def ask_course(
    index: TextIndex, passages: Sequence[Passage], query: str, k: int = 5, method: str = "both"
) -> list[Found]:
    """The k best sections for a question, best first, each by its passage nearest in meaning; `index` is theirs.

    Raises: ValueError for a question without a letter or digit, one of more than 300 characters, or another method.
    """
    if len(query) > MOST_CHARACTERS:
        raise ValueError(f"expected a question of at most {MOST_CHARACTERS} characters, got {len(query)}; shorten it")
    results = index.search(query, k, method)
    cosines = index.cosines([query])[0]
    found = []
    for number, score in results:
        rows = [i for i in range(len(passages)) if index.groups[i] == index.names[number]]
        passage = passages[max(rows, key=lambda i: cosines[i])]
        parts = sentences(passage.text)
        best, _ = closest_sentence(index, query, parts)
        shared = {w for w in set(words(query)) & set(words(passage.text)) if index.bm25.idf.get(w, 0) > 1}
        where = f"{passage.title} › {passage.heading}"
        found.append(Found(passage, where, score, parts, best, shared))
    return found
