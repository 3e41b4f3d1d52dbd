"""Properties for lab 17's capstone: real held-out lines, and a choice between two translations of each."""

import functools
import weakref
from typing import NamedTuple

from utils.checks.calls import NotYet, describe
from utils.data import drafts, translation_pairs
from utils.metrics.overlap import bleu
from utils.text.interface_text import pieces

TARGET = 3.0  # BLEU above the dictionary

_RESULTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # one call serves all properties and draws


class Lines(NamedTuple):
    """Held-out lines: English, the dictionary's draft, the most similar training pair, and what people wrote."""

    english: list[str]
    drafts: list[str]
    near_english: list[str]
    near_chinese: list[str]
    references: list[str]


@functools.cache
def lines() -> Lines:
    """All validation and test pairs with what learned from the training pairs alone.

    Raises: SourceError if a package with translations is missing.
    """
    learned = drafts.Drafts(translation_pairs.pairs("train"))
    pairs = [*translation_pairs.pairs("validation"), *translation_pairs.pairs("test")]
    english = [pair.english for pair in pairs]
    near = learned.nearest(english)
    return Lines(english, [learned.translate_by_words(text) for text in english], [pair.english for pair in near],
                 [pair.chinese for pair in near], [pair.chinese for pair in pairs])  # fmt: skip


def score(texts: list[str]) -> float:
    """BLEU of translations of all lines, over Chinese characters."""
    return bleu(texts, lines().references, tokenize=pieces).score


@functools.cache
def _baselines() -> tuple[float, float]:
    return score(lines().drafts), score(lines().near_chinese)


def _chosen(answer) -> list[str]:
    """The student's translations of all lines."""
    if answer not in _RESULTS:
        given = lines()
        got = answer(given.english, given.drafts, given.near_english, given.near_chinese)
        if not isinstance(got, list) or len(got) != len(given.english) or not all(isinstance(one, str) for one in got):
            raise NotYet("This is not a text for each line.",
                         {"expected": f"a list of {len(given.english)} strings", "got": describe(got)},
                         "Go through the four lists together with `zip`, and append one text for each.")
        _RESULTS[answer] = got
    return _RESULTS[answer]


def choose_form(answer, draw):
    """A list of strings."""
    _chosen(answer)


def choose_better(answer, draw):
    """Above the dictionary."""
    _above(answer, 0.1, "Is the nearest pair taken only where its English is very similar? Print some choices.")


def choose_target(answer, draw):
    """Above the target."""
    found = _above(answer, TARGET, "Try several thresholds between 0.5 and 0.95. And mind the case of letters.")
    words, near = _baselines()
    return f"BLEU {found:.1f}; the dictionary alone {words:.1f}, the nearest pair alone {near:.1f}."


def _above(answer, margin: float, hint: str) -> float:
    found, (words, near) = score(_chosen(answer)), _baselines()
    if found < words + margin:
        slips = {words: "This is the dictionary alone.", near: "This is the nearest pair alone, similar or not."}
        hint = next((why for value, why in slips.items() if abs(found - value) < 0.05), hint)
        raise NotYet("The translations are not good enough.",
                     {"expected": f"BLEU of at least {words + margin:.1f} ({words:.1f} is the dictionary's)",
                      "got": f"{found:.1f}"}, hint)
    return found
