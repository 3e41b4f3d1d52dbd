"""Properties for lab 14's capstone: two sentiment models on real held-out reviews, compared and calibrated."""

import functools

import numpy as np
import torch
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.evaluation_calibration import best_temperature, binned_error
from utils.checks.evaluation_tests import resampled, scipy_interval
from utils.checks.properties import are_results, is_equal, is_tensor
from utils.data import corpora
from utils.models.heads import predict_probs
from utils.models.sentiment import load_sentiment

N_REVIEWS, N_CALIBRATION, N_FEW = 900, 350, 25
N_BINS, TARGET = 5, 0.1  # of the calibration error, on the test reviews
MAX_LENGTH, N_RESAMPLES = 40, 1000
CASES = ("the encoder is a", "the encoder is b", "few reviews")


@functools.cache
def models() -> dict[str, Tensor]:
    """Logits (N, 2) of two classifiers for held-out reviews of Rotten Tomatoes, and the reviews' `targets` (N,).

    `encoder` is the packaged encoder with the course's sentiment adapter, `words` a naive Bayes classifier that counts
    words. Both learned from the training split.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    train, held_out = corpora.reviews("rotten_tomatoes", "train"), corpora.reviews("rotten_tomatoes", "test")
    chosen = np.random.default_rng(0).permutation(len(held_out))[:N_REVIEWS]
    texts, targets = held_out.select(chosen)["text"][:], torch.tensor(held_out.select(chosen)["label"][:])
    vectorizer = CountVectorizer(ngram_range=(1, 2))
    bayes = MultinomialNB().fit(vectorizer.fit_transform(train["text"][:]), train["label"][:])
    words = torch.tensor(bayes.predict_log_proba(vectorizer.transform(texts))).float()
    model, tokenizer = load_sentiment()
    probs = predict_probs(model, tokenizer, texts, MAX_LENGTH)
    return {"encoder": probs.log().float(), "words": words, "targets": targets}


def split(draw) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """Reviews to calibrate on and reviews to test on: logits `a` and `b` (N, 2) and `targets`; and which case it is."""
    case, whole = CASES[draw.seed % len(CASES)], models()
    names = ("words", "encoder") if case == CASES[1] else ("encoder", "words")
    while True:
        order = torch.randperm(len(whole["targets"]), generator=draw.generator)
        first, second = (
            {name: whole[key][rows] for name, key in zip(("a", "b", "targets"), (*names, "targets"), strict=True)}
            for rows in (order[:N_CALIBRATION], order[N_CALIBRATION:])
        )
        if case == CASES[2]:
            return first, {name: one[:N_FEW] for name, one in second.items()}, case
        differences = correct(second, "a").double() - correct(second, "b").double()
        if abs(differences.mean()) > 2.2 * differences.std() / len(differences) ** 0.5:  # else hardly decided
            return first, second, case


def correct(test: dict[str, Tensor], name: str) -> Tensor:
    """Whether a model's most likely class is the target (N,)."""
    return test[name].argmax(dim=1) == test["targets"]


def _compared(answer, draw):
    """The three results, the splits, and the row numbers that the function was given."""
    calibration, test, case = split(draw)
    rows = resampled(len(test["targets"]), N_RESAMPLES, draw.seed)
    better, *probs = are_results(answer(calibration, test, rows), 3, "better, probs_a, probs_b")
    shape = tuple(test["a"].shape)
    for name, one in zip("ab", probs, strict=True):
        is_tensor(one, shape, name=f"`probs_{name}`", letters="(N, 2)")
    return better, probs, calibration, test, case


def compare_shapes(answer, draw):
    """Three results; probabilities for each test review."""
    _compared(answer, draw)


def compare_verdict(answer, draw):
    """Which model is better follows from SciPy's paired interval."""
    better, _, _, test, case = _compared(answer, draw)
    low, high = scipy_interval(correct(test, "a"), correct(test, "b"), N_RESAMPLES, draw.seed)
    expected = "a" if low > 0 else "b" if high < 0 else "undecided"
    if not isinstance(better, str) or better != expected:
        raise NotYet(
            f"The verdict on {len(test['targets'])} reviews is wrong.",
            {"expected": expected, "got": describe(better), "interval of a minus b": f"[{low:.3f}, {high:.3f}]"},
            "A model is better when the whole 95 % interval lies on its side of 0. If 0 is inside, nobody knows.",
        )


def compare_predictions(answer, draw):
    """Each model's probabilities come from one temperature: the one that fits the calibration reviews."""
    _, probs, calibration, test, _ = _compared(answer, draw)
    for name, got in zip("ab", probs, strict=True):
        best = best_temperature(calibration[name], calibration["targets"])
        leaked = best_temperature(test[name], test["targets"])
        is_equal(
            got,
            (test[name] / best).softmax(dim=1),
            tolerance=5e-3,
            problem=f"These are not the probabilities of model {name} at its best temperature.",
            hint="Fit a temperature for each model on the calibration reviews; divide the test logits by it; softmax.",
            slips={
                "They are not calibrated: the temperature is 1.": test[name].softmax(dim=1),
                "The temperature was fitted on the test reviews: that is looking at the answers.": (
                    test[name] / leaked
                ).softmax(dim=1),
                "The logits are multiplied by the temperature.": (test[name] * best).softmax(dim=1),
            },
        )


def compare_target(answer, draw):
    """The calibration error on the test reviews reaches the target."""
    _, probs, _, test, case = _compared(answer, draw)
    if case == CASES[2]:
        return None  # a handful of reviews says nothing about calibration
    notes = []
    for name, got in zip("ab", probs, strict=True):
        before, after = (
            binned_error(one.double().max(dim=1).values, correct(test, name), N_BINS)
            for one in (test[name].softmax(dim=1), got)
        )
        if after > TARGET:
            raise NotYet(
                f"Model {name} is not calibrated well enough.",
                {"expected": f"an error of at most {TARGET}", "got": f"{after:.3f} (before scaling {before:.3f})"},
                "Is the temperature the best one on the calibration reviews?",
            )
        notes.append(f"{name} from {before:.3f} to {after:.3f}")
    return f"Calibration error on the test reviews: {', '.join(notes)} (target {TARGET})."
