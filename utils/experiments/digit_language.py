"""What a language model adds to a recognizer: phone numbers and random digits, with and without it, and it alone."""

from collections.abc import Sequence

import numpy as np
import torch

from utils.data import digit_strings, phone_numbers
from utils.experiments import digits
from utils.metrics import intervals
from utils.models.ctc_search import NextLabel, beam_search, greedy, ngram_language
from utils.models.recognizer import BLANK, Recognizer
from utils.text.ngrams import KneserNey, NGramModel

N_NUMBERS, TEXT_SEED, TEST_SEED, TUNE_SEED = 20_000, 1, 2, 3
ORDER, WIDTH, THRESHOLD = 6, 8, -7.0
DECIBELS = 0.0
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
KINDS = ("phone numbers", "random digits")


def number_model() -> NGramModel:
    """The course's Kneser-Ney model of phone numbers, from text alone."""
    texts = [[*number, phone_numbers.END] for number in phone_numbers.phone_numbers(N_NUMBERS, TEXT_SEED)]
    return KneserNey(ORDER, phone_numbers.END + 1).fit(texts)


def strings(kind: str, n: int, seed: int) -> list[tuple[int, ...]]:
    """`n` strings of 8 digits: phone numbers of the grammar, or random digits. Raises: ValueError for another kind."""
    if kind not in KINDS:
        raise ValueError(f"strings: expected one of {KINDS}, got {kind!r}")
    if kind == "phone numbers":
        return phone_numbers.phone_numbers(n, seed)
    rng = np.random.default_rng(seed)
    return [digit_strings.random_digits(rng, phone_numbers.LENGTH) for _ in range(n)]


def spoken_strings(kind: str, n: int, seed: int, split: str, decibels: float = DECIBELS) -> list[digit_strings.Spoken]:
    """The strings in a split's voices, in white noise `decibels` below the voice."""
    return digits.noisy(digit_strings.draw_spoken(n, seed, split, strings=strings(kind, n, seed)), decibels)


def searched(log_probs: Sequence[torch.Tensor], language: NextLabel | None = None, weight: float = 0.0) -> list:
    """The best labels of each recording by beam search."""
    return [
        beam_search(one, BLANK, WIDTH, language if weight else None, weight, threshold=THRESHOLD)[0].labels
        for one in log_probs
    ]


def tuned_weight(model: Recognizer, language: NextLabel, n: int, decibels: float = DECIBELS) -> tuple[float, dict]:
    """The weight with the fewest errors on validation voices, and the word error rate of each."""
    spoken = spoken_strings("phone numbers", n, TUNE_SEED, "validation", decibels)
    log_probs = digits.frame_log_probs(model, spoken)
    rates = {
        weight: float(digits.error_rate(spoken, digits.edits(spoken, searched(log_probs, language, weight))).estimate)
        for weight in WEIGHTS
    }
    return min(rates, key=rates.get), rates


def likeliest_number(language: NextLabel, width: int = 50) -> tuple[int, ...]:
    """What the language model alone would say, having heard nothing: its likeliest number of 8 digits."""
    beams = [((), 0.0)]
    for _ in range(phone_numbers.LENGTH):
        grown = [
            ((*prefix, digit), total + float(language(prefix)[digit]))
            for prefix, total in beams
            for digit in range(BLANK)
        ]
        beams = sorted(grown, key=lambda one: -one[1])[:width]
    return max(beams, key=lambda one: one[1] + float(language(one[0])[-1]))[0]


def compare(model: Recognizer, n: int, n_tune: int, decibels: float = DECIBELS) -> dict:
    """Word error rates with intervals on unheard voices in noise, with and without the language model, and paired.

    Keys: `weight`, `weights` (tuning), and for each kind `greedy`, `beam`, `with language model`,
    `language model alone`, and `difference` (with less without, over the same strings).
    """
    language = ngram_language(number_model())
    weight, rates = tuned_weight(model, language, n_tune, decibels)
    guess = likeliest_number(language)
    found: dict = {"weight": weight, "weights": {str(key): round(rate, 5) for key, rate in rates.items()}}
    for kind in KINDS:
        spoken = spoken_strings(kind, n, TEST_SEED, "test", decibels)
        log_probs = digits.frame_log_probs(model, spoken)
        answers = {
            "greedy": [greedy(one, BLANK) for one in log_probs],
            "beam": searched(log_probs),
            "with language model": searched(log_probs, language, weight),
            "language model alone": [guess] * n,
        }
        wrong = {name: digits.edits(spoken, answer) for name, answer in answers.items()}
        words = [len(one.digits) for one in spoken]
        found[kind] = {name: digits.error_rate(spoken, edits) for name, edits in wrong.items()}
        found[kind]["difference"] = intervals.paired_bootstrap_ratio(
            wrong["with language model"], wrong["beam"], words, n_resamples=4000
        )
    return found
