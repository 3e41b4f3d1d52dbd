"""Properties for lab 18: prefix beam search beside all sequences there are, and the capstone on synthesized speech."""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.speech_paths import is_labels, labels_of, same_labels
from utils.data import audio, digit_strings, phone_numbers, recordings
from utils.metrics.error_rate import align
from utils.models.ctc_search import ngram_language
from utils.models.recognizer import BLANK, load_recognizer
from utils.text.ngrams import KneserNey

N_RECORDINGS, SPLIT, SEED, DECIBELS = 24, "test", 180, -3.0
N_TEXTS, ORDER = 20_000, 6
GOOD, TARGET = 0.4, 0.2
SECONDS = 30.0
_RESULTS: dict = {}


def _every(log_probs: Tensor) -> tuple[list[list[int]], Tensor]:
    """All label sequences that fit, and their log-probabilities by F.ctc_loss; the blank is the last class."""
    T, C = log_probs.shape
    sequences = [list(one) for n in range(T + 1) for one in itertools.product(range(C - 1), repeat=n)]
    padded = torch.zeros(len(sequences), T, dtype=torch.long)
    for row, one in enumerate(sequences):
        padded[row, : len(one)] = torch.tensor(one, dtype=torch.long)
    lengths = torch.tensor([len(one) for one in sequences])
    losses = F.ctc_loss(
        log_probs[:, None].expand(T, len(sequences), C),
        padded,
        torch.full_like(lengths, T),
        lengths,
        blank=C - 1,
        reduction="none",
    )
    return sequences, -losses


def silent(labels) -> Tensor:
    """A language model without an opinion, for C = 4."""
    return torch.zeros(4, dtype=torch.float64)


def _language(seed: int, C: int) -> Callable:
    """A random language model: after each prefix, log-probabilities of the labels and, last, of the end."""

    def language(labels) -> Tensor:
        number = functools.reduce(lambda a, b: (31 * a + b + 1) % 1_000_003, labels, seed)
        return (1.5 * torch.randn(C, generator=torch.Generator().manual_seed(number), dtype=torch.float64)).log_softmax(
            -1
        )

    return language


def _knowledge(language: Callable, labels: list[int], end: bool = True) -> float:
    """ln p(labels) under a language model, and with `end` of ending there."""
    total = sum(language(tuple(labels[:i]))[label].item() for i, label in enumerate(labels))
    return total + (language(tuple(labels))[-1].item() if end else 0.0)


def _clear(draw, accept: Callable) -> tuple[Tensor, list[list[int]], Tensor]:
    """Random frames (4, 4) for which `accept(log_probs, sequences, totals)` holds, so that slips can be told apart."""
    while True:
        log_probs = (0.8 * draw.normal(4, 4, dtype=torch.float64)).log_softmax(-1)
        sequences, totals = _every(log_probs)
        if accept(log_probs, sequences, totals):
            return log_probs, sequences, totals


def beam_reads(answer, draw):
    """In clear frames, a narrow beam reads what is written, doubles included."""
    runs = [0, 3, 0, 1, 3, 2, 2, 3, 2, 3]
    path = [label for label in runs for _ in range(draw.number(2, 4))]
    log_probs = (6 * F.one_hot(torch.tensor(path), 4).double()).log_softmax(-1)
    same_labels(
        is_labels(answer(log_probs, 4, silent, 0.0)),
        labels_of(path, 3),
        problem=f"In {len(path)} clear frames, a beam of width 4 reads something else.",
        hint="The last label again lengthens no prefix, unless a blank came between: keep two sums for each prefix.",
        slips={
            "The two equal labels with a blank between became one.": [
                label for label, _ in itertools.groupby(labels_of(path, 3))
            ],
            "Equal neighbors were not merged.": [label for label in path if label != 3],
        },
    )


def beam_best(answer, draw):
    """A beam that drops nothing finds the likeliest sequence, where greedy does not."""

    def accept(log_probs, sequences, totals):
        greedy = labels_of(log_probs.argmax(-1).tolist(), 3)
        best = totals.topk(2).values
        return sequences[int(totals.argmax())] != greedy and best[0] - best[1] > 1e-3

    log_probs, sequences, totals = _clear(draw, accept)
    same_labels(
        is_labels(answer(log_probs, 1000, silent, 0.0)),
        sequences[int(totals.argmax())],
        problem="With a width of 1,000 nothing is dropped, and still the likeliest sequence was not found.",
        hint="Paths that lead to the same labels are added up, in log space, in every frame.",
        slips={
            "These are the labels of the likeliest path: add up the paths of a prefix.": labels_of(
                log_probs.argmax(-1).tolist(), 3
            )
        },
    )


def beam_language(answer, draw):
    """With a language model, the best sum of both, the end included."""
    language, weight = _language(draw.number(1, 10_000), 4), (0.4, 0.5, 1.8, 2.2)[draw.number(0, 3)]
    sequences, _ = _every(torch.zeros(4, 4).log_softmax(-1))
    known, endless = (
        torch.tensor([_knowledge(language, one, end) for one in sequences], dtype=torch.float64)
        for end in (True, False)
    )

    def picks(totals):
        scores = (totals + weight * known, totals, totals + weight * endless, totals + known)
        return [int(one.argmax()) for one in scores]

    def accept(log_probs, sequences, totals):
        best = (totals + weight * known).topk(2).values
        return best[0] - best[1] > 1e-3 and len(set(picks(totals))) == 4  # so that slips can be told apart

    log_probs, sequences, totals = _clear(draw, accept)
    right, deaf, endless_one, unweighted = (sequences[one] for one in picks(totals))
    same_labels(
        is_labels(answer(log_probs, 1000, language, weight)),
        right,
        problem="The sequence found does not have the best score ln p(labels | sound) + weight * ln p(labels).",
        hint="Each new label adds weight * language(prefix)[label], once, not once a frame.",
        slips={
            "The language model has no effect.": deaf,
            "The end was forgotten: add weight * language(labels)[-1] at last.": endless_one,
            "The weight has no effect.": unweighted,
        },
    )


# Capstone: from samples to digits


@functools.cache
def _recognizer():
    return load_recognizer("digits-recognizer")


def recognizer(features: Tensor) -> Tensor:
    """The shipped recognizer: features (T, 40) to log-probabilities (P, 11). Raises ValueError for another shape."""
    if not isinstance(features, Tensor) or features.dim() != 2 or features.shape[1] != audio.N_MELS:
        raise ValueError(f"expected features of shape (T, {audio.N_MELS}), got {describe(features)}")
    with torch.inference_mode():
        return _recognizer()(features.float()[None])[0][0].clone()


@functools.cache
def _language_model() -> Callable:
    texts = [[*number, phone_numbers.END] for number in phone_numbers.phone_numbers(N_TEXTS, 1)]
    return ngram_language(KneserNey(ORDER, phone_numbers.END + 1).fit(texts))


def language(labels) -> Tensor:
    """The 6-gram of phone numbers: log-probabilities (11,) of each next digit and, last, of the end."""
    return torch.from_numpy(_language_model()(tuple(int(label) for label in labels)))


@functools.cache
def _recordings() -> list[digit_strings.Spoken]:
    numbers = phone_numbers.phone_numbers(N_RECORDINGS, SEED)
    spoken = digit_strings.draw_spoken(N_RECORDINGS, SEED, SPLIT, strings=numbers)
    noisy = [
        digit_strings.add_noise(one.samples, DECIBELS, np.random.default_rng([SEED, i])) for i, one in enumerate(spoken)
    ]
    return [
        digit_strings.Spoken(one.digits, one.utterance, samples) for one, samples in zip(spoken, noisy, strict=True)
    ]


def recording(number: int) -> tuple[Tensor, list[int]]:
    """A noisy recording of a phone number: samples (N,) at 16 kHz, and its digits. Numbers from 0 to 23."""
    one = _recordings()[number]
    return torch.from_numpy(one.samples), list(one.digits)


def wav(number: int) -> bytes:
    """The same recording as a WAV file."""
    samples = _recordings()[number].samples
    return recordings.wav_bytes(samples / np.abs(samples).max(), recordings.SAMPLE_RATE)


def _error_rate(answer) -> float:
    """The word error rate of the student's function over all recordings."""
    if answer not in _RESULTS:
        answer.seconds = SECONDS
        wrong = words = 0
        for number in range(N_RECORDINGS):
            samples, digits = recording(number)
            found = is_labels(answer(samples, recognizer, language), "the digits")
            if any(not 0 <= one < BLANK for one in found):
                raise NotYet(
                    "A result is no digit.",
                    {"expected": "whole numbers from 0 to 9", "got": str(found)},
                    "The blank, 10, is no label.",
                )
            wrong += align(tuple(digits), tuple(found)).distance
            words += len(digits)
        _RESULTS[answer] = wrong / words
    return _RESULTS[answer]


def transcribe_digits(answer, draw):
    """A list of digits."""
    samples, _ = recording(draw.number(0, N_RECORDINGS - 1))
    is_labels(answer(samples, recognizer, language), "the digits")


def _at_most(answer, limit: float, hint: str) -> str:
    rate = _error_rate(answer)
    if rate > limit:
        raise NotYet(
            f"The word error rate over {N_RECORDINGS} phone numbers is too high.",
            {"expected": f"at most {limit:.0%}", "got": f"{rate:.1%}"},
            hint,
        )
    return f"Word error rate {rate:.1%} (target {TARGET:.0%})."


def transcribe_good(answer, draw):
    """Much better than saying nothing."""
    return _at_most(
        answer, GOOD, "Are the features those of the recipe? Compare with utils.data.audio.features(samples)."
    )


def transcribe_target(answer, draw):
    """The target."""
    return _at_most(
        answer, TARGET, "Greedy decoding does not get there: use the beam with the language model, and try weights."
    )
