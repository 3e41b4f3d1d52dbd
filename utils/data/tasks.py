"""The tasks of the evaluation panel: real reviews, with answers known by construction or from the reviewer's stars.

A labelled task asks for a class of one text or two. A choice asks which of two texts is real, given a context or none.
No person judged the constructed ones: a few swapped words still read well, a few foreign sequels fit.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from utils.data import corpora

SENTENCE_WORDS = range(8, 31)
PLAIN_WORD = re.compile(r"[a-z]{4,}")
NEAR_RANKS = 10
PASSAGE_WORDS = 40


@dataclass(frozen=True)
class Labelled:
    """texts: one column (N,), or two for pairs. labels: (N,) of 0 and 1."""

    texts: tuple[list[str], ...]
    labels: np.ndarray


@dataclass(frozen=True)
class Choice:
    """options: N pairs, one of each is real; answers: (N,) says which. contexts: what stands before it, or ""."""

    contexts: list[str]
    options: list[tuple[str, str]]
    answers: np.ndarray


def sentences(text: str) -> list[str]:
    """The sentences of a text: cut behind . ! or ? where white space and a capital or a quotation mark follow."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z\"'“])", text)


def fits(sentence: str) -> bool:
    """Whether a sentence is of the length the tasks take: 8 to 30 words."""
    return len(sentence.split()) in SENTENCE_WORDS


def swap_neighbors(sentence: str, random: np.random.Generator) -> str | None:
    """The sentence with two neighboring plain words swapped, neither the first; None where there are none."""
    words = sentence.split()
    plain = [bool(re.fullmatch("[a-z]+", word)) for word in words]
    places = [i for i in range(1, len(words) - 1) if plain[i] and plain[i + 1] and words[i] != words[i + 1]]
    if not places:
        return None
    i = int(random.choice(places))
    words[i], words[i + 1] = words[i + 1], words[i]
    return " ".join(words)


def make_labelled(name: str, split: str, n: int, seed: int) -> Labelled:
    """The first `n` examples of a labelled task on a split of the reviews, in an order of the seed's.

    Raises: ValueError for an unknown task, n below 2, or more examples than the split has.
    """
    random = _random(name, LABELLED, split, n, seed)
    return LABELLED[name](split, n, random)


def make_choices(name: str, split: str, n: int, seed: int) -> Choice:
    """The first `n` choices of a task on a split of the reviews; which option is the real one, a coin decides.

    Raises: ValueError as `make_labelled`.
    """
    random = _random(name, CHOICES, split, n, seed)
    rows = _take(CHOICES[name](split, random), n)
    answers = random.integers(2, size=n)
    options = [(foil, real) if answer else (real, foil) for (_, real, foil), answer in zip(rows, answers, strict=True)]
    return Choice([context for context, _, _ in rows], options, answers)


def _random(name: str, known: dict, split: str, n: int, seed: int) -> np.random.Generator:
    if name not in known:
        raise ValueError(f"task: expected one of {list(known)}, got {name!r}")
    if n < 2:
        raise ValueError(f"task: expected at least 2 examples, got {n}")
    return np.random.default_rng([seed, corpora.SPLITS.index(split), list(known).index(name)])


def _take(rows: Iterator, n: int) -> list:
    found = [row for row, _ in zip(rows, range(n), strict=False)]
    if len(found) < n:
        raise ValueError(f"task: expected at most {len(found)} examples of this split, got {n}")
    return found


@functools.lru_cache(maxsize=2)
def _columns(source: str, split: str) -> tuple[list[str], list[int]]:
    """Texts and labels of a split; several tasks in a row ask for the same."""
    data = corpora.reviews(source, split)
    return data["text"][:], data["label"][:]


def _reviews(split: str, random: np.random.Generator) -> list[tuple[str, int]]:
    """The long reviews in random order: texts and labels."""
    texts, labels = _columns("imdb", split)
    return [(texts[row], labels[row]) for row in random.permutation(len(texts))]


def _sentiment(source: str) -> Callable:
    def make(split: str, n: int, random: np.random.Generator) -> Labelled:
        texts, labels = _columns(source, split)
        rows = _take(iter(random.permutation(len(texts))), n)
        return Labelled(([texts[row] for row in rows],), np.array([labels[row] for row in rows]))

    return make


def _balanced(rows: list, random: np.random.Generator) -> Labelled:
    """Rows (texts if true, texts if false) as examples, half of them true."""
    labels = random.permutation(np.arange(len(rows)) % 2)
    texts = [true if label else false for (true, false), label in zip(rows, labels, strict=True)]
    return Labelled(tuple(list(column) for column in zip(*texts, strict=True)), labels)


def _swapped(split: str, random: np.random.Generator) -> Iterator[tuple[str, str]]:
    """A sentence of each review, and the same with two neighbors swapped."""
    for text, _ in _reviews(split, random):
        for sentence in random.permutation([s for s in sentences(text) if fits(s)]).tolist():
            if corrupted := swap_neighbors(sentence, random):
                yield " ".join(sentence.split()), corrupted
                break


def _neighbors(split: str, random: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Two sentences of each review that follow one another there."""
    for text, _ in _reviews(split, random):
        parts = sentences(text)
        places = [i for i in range(len(parts) - 1) if fits(parts[i]) and fits(parts[i + 1])]
        if places:
            i = int(random.choice(places))
            yield parts[i], parts[i + 1]


def _word_order(split: str, n: int, random: np.random.Generator) -> Labelled:
    """A sentence of each review; in half of them the words between the first and the last are shuffled."""

    def rows() -> Iterator:
        for text, _ in _reviews(split, random):
            fitting = [s.split() for s in sentences(text) if fits(s)]
            if fitting:
                first, *middle, last = fitting[int(random.integers(len(fitting)))]
                yield (" ".join([first, *middle, last]),), (" ".join([first, *random.permutation(middle), last]),)

    return _balanced(_take(rows(), n), random)


def _sentence_order(split: str, n: int, random: np.random.Generator) -> Labelled:
    return _balanced([((a, b), (b, a)) for a, b in _take(_neighbors(split, random), n)], random)


def _same_review(split: str, n: int, random: np.random.Generator) -> Labelled:
    """The beginning of a review and its end; in half of them the end of another review of the same label."""

    def rows() -> Iterator:
        ends: dict[int, str] = {}
        for text, label in _reviews(split, random):
            words = text.split()
            if len(words) >= 3 * PASSAGE_WORDS:
                begin, end = (" ".join(part) for part in (words[:PASSAGE_WORDS], words[-PASSAGE_WORDS:]))
                if label in ends:
                    yield (begin, end), (begin, ends[label])
                ends[label] = end

    return _balanced(_take(rows(), n), random)


def _right_word(split: str, random: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    """A sentence of each review, and the same with a word replaced by another that is about as frequent."""
    reviews = _reviews(split, random)
    counts = Counter(word for text, _ in reviews for word in text.split() if PLAIN_WORD.fullmatch(word))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    ranks = {word: rank for rank, word in enumerate(ranked)}
    for text, _ in reviews:
        fitting = [s.split() for s in sentences(text) if fits(s)]
        places = [(words, i) for words in fitting for i in range(3, len(words)) if words[i] in ranks]
        if places:
            words, i = places[int(random.integers(len(places)))]
            rank = ranks[words[i]]
            near = [r for r in range(rank - NEAR_RANKS, rank + NEAR_RANKS + 1) if r != rank and 0 <= r < len(ranked)]
            foil = ranked[int(random.choice(near))]
            yield "", " ".join(words), " ".join([*words[:i], foil, *words[i + 1 :]])


def _right_order(split: str, random: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    return (("", real, wrong) for real, wrong in _swapped(split, random))


def _right_sequel(split: str, random: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    """A sentence, the one that follows it, and one that follows a sentence of another review."""
    foreign = None
    for first, second in _neighbors(split, random):
        if foreign:
            yield first, second, foreign
        foreign = second


LABELLED: dict[str, Callable] = {
    "sentiment, short": _sentiment("rotten_tomatoes"),
    "sentiment, long": _sentiment("imdb"),
    "word order": _word_order,
    "sentence order": _sentence_order,
    "same review": _same_review,
}
CHOICES: dict[str, Callable] = {
    "right word": _right_word,
    "right word order": _right_order,
    "right sequel": _right_sequel,
}
