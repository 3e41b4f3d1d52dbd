"""Entity spans and F1 against a search of all spans; legal labels against all sequences; values of seqeval's docs."""

import itertools

import numpy as np
import pytest

from utils.metrics import entities

LABELS = ("O", "B-a", "I-a", "B-b", "I-b")


def all_spans(labels):
    """Every stretch that begins with B-x, goes on with I-x, and cannot be made longer."""
    found = set()
    for kind in "ab":
        for start, end in itertools.combinations(range(len(labels) + 1), 2):
            inside = labels[start] == f"B-{kind}" and all(label == f"I-{kind}" for label in labels[start + 1 : end])
            if inside and (end == len(labels) or labels[end] != f"I-{kind}"):
                found.add((start, end, kind))
    return found


def test_spans_are_those_of_a_search():
    random = np.random.default_rng(0)
    for _ in range(500):
        labels = random.choice(LABELS, random.integers(1, 9)).tolist()
        assert set(entities.spans(labels)) == all_spans(labels), labels
        assert entities.spans(labels) == sorted(entities.spans(labels))


def test_an_inside_without_a_beginning_is_no_entity():
    assert entities.spans(["I-a", "I-a", "O", "B-a", "I-b"]) == [(3, 4, "a")]
    assert entities.spans([]) == []


def test_f1_is_that_of_seqevals_example():
    # The example of seqeval's README: one of two entities is right, and F1 is 0.50.
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    counts = entities.span_counts(true, found)
    assert counts.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert entities.entity_f1(counts) == (0.5, 0.5, 0.5)


def test_f1_is_the_harmonic_mean_and_zero_without_entities():
    random = np.random.default_rng(1)
    true = [random.choice(LABELS, 12).tolist() for _ in range(40)]
    found = [random.choice(LABELS, 12).tolist() for _ in range(40)]
    precision, recall, f1 = entities.entity_f1(entities.span_counts(true, found))
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert entities.entity_f1(entities.span_counts([["O"]], [["O"]])) == (0, 0, 0)


def test_intervals_hold_the_estimate_and_a_difference_of_nothing_is_zero():
    random = np.random.default_rng(2)
    right = random.integers(0, 3, 80)
    a = np.stack([right, right + random.integers(0, 2, 80), right + random.integers(0, 2, 80)], axis=1)
    interval = entities.f1_interval(a, n_resamples=500)
    assert interval.estimate == pytest.approx(entities.entity_f1(a).f1) and interval.low < interval.high
    same = entities.f1_difference(a, a, n_resamples=500)
    assert same.low == same.estimate == same.high == 0
    b = a.copy()
    b[:, 0] = 0
    assert entities.f1_difference(a, b, n_resamples=500).estimate == pytest.approx(entities.entity_f1(a).f1)


@pytest.mark.parametrize(
    "targets, predictions, what",
    [
        ([["O"]], [["O", "O"]], "sequence 0: expected 1 labels, got 2"),
        ([["O"]], [], "as many predictions as targets"),
        ([["X"]], [["O"]], "labels must be O, B-kind or I-kind, got 'X' at position 0"),
        ([["B-"]], [["O"]], "got 'B-'"),
    ],
)
def test_what_does_not_fit_is_said(targets, predictions, what):
    with pytest.raises(ValueError, match=what):
        entities.span_counts(targets, predictions)


def legal(sequence):
    return all(
        not label.startswith("I-") or (i and sequence[i - 1][2:] == label[2:]) for i, label in enumerate(sequence)
    )


@pytest.mark.parametrize("length", [1, 2, 5])
def test_legal_labels_are_the_best_of_all_legal_sequences(length):
    random = np.random.default_rng(length)
    for _ in range(20):
        scores = np.log(random.dirichlet(np.ones(len(LABELS)), length))
        best = max(
            (ids for ids in itertools.product(range(len(LABELS)), repeat=length) if legal([LABELS[i] for i in ids])),
            key=lambda ids: scores[np.arange(length), ids].sum(),
        )
        assert entities.legal_labels(scores, LABELS) == [LABELS[i] for i in best]


@pytest.mark.parametrize("shape", [(0, 5), (3, 4), (5,)])
def test_legal_labels_want_a_row_a_position(shape):
    with pytest.raises(ValueError, match=r"must have the shape \(T, 5\)"):
        entities.legal_labels(np.zeros(shape), LABELS)
