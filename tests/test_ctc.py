"""CTC against brute force, F.ctc_loss and autograd; greedy and beam search against all sequences there are."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from utils.models import ctc, ctc_search
from utils.text.ngrams import AddK


def frames(T, C, seed=0, scale=2.0):
    """Log-probabilities (T, C), fp64."""
    logits = scale * torch.randn(T, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.log_softmax(dim=-1)


def all_paths(log_probs, blank):
    """Log-probability of every label sequence that some path collapses to, by adding up all C^T paths."""
    T, C = log_probs.shape
    table = log_probs.tolist()
    totals = {}
    for path in itertools.product(range(C), repeat=T):
        labels = tuple(ctc.collapse(path, blank))
        totals[labels] = totals.get(labels, 0.0) + math.exp(sum(table[t][c] for t, c in enumerate(path)))
    return {labels: math.log(p) for labels, p in totals.items()}


@pytest.mark.parametrize(
    ("path", "labels"),
    [([], []), ([3, 3], []), ([0, 0, 3, 0], [0, 0]), ([1, 1, 2, 2], [1, 2]), ([3, 1, 3, 1, 1, 3], [1, 1])],
)
def test_collapse(path, labels):
    assert ctc.collapse(path, 3) == labels


@pytest.mark.parametrize(("T", "C", "blank"), [(1, 2, 1), (5, 3, 2), (6, 3, 0), (4, 4, 1)])
def test_loss_is_the_sum_over_all_paths(T, C, blank):
    log_probs = frames(T, C, seed=T)
    totals = all_paths(log_probs, blank)
    assert math.isclose(sum(map(math.exp, totals.values())), 1, abs_tol=1e-12)
    for labels, log_prob in totals.items():
        assert math.isclose(ctc.lattice(log_probs, labels, blank).loss, -log_prob, abs_tol=1e-10)


@pytest.mark.parametrize(
    ("T", "labels"),
    [(11, (1, 2, 3)), (9, (2, 2, 2)), (5, (1, 1, 1)), (7, ()), (1, ()), (1, (4,)), (13, (0, 0, 1, 0)), (3, (1, 2, 3))],
)
@pytest.mark.parametrize("blank", [5, 6])
def test_loss_and_gradient_are_the_librarys(T, labels, blank):
    logits = torch.randn(T, 7, generator=torch.Generator().manual_seed(T), dtype=torch.float64, requires_grad=True)
    log_probs = logits.log_softmax(dim=-1)
    targets = torch.tensor([labels], dtype=torch.long).reshape(1, -1)
    loss = F.ctc_loss(
        log_probs[:, None], targets, torch.tensor([T]), torch.tensor([len(labels)]), blank=blank, reduction="sum"
    )
    (expected,) = torch.autograd.grad(loss, logits)
    found = ctc.lattice(log_probs.detach(), labels, blank)
    assert math.isclose(found.loss, loss.item(), abs_tol=1e-10)
    torch.testing.assert_close(ctc.gradient(log_probs.detach(), labels, blank), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.posterior.sum(dim=1), torch.ones(T, dtype=torch.float64), rtol=0, atol=1e-10)


def test_gradient_is_autograds_through_plain_probabilities():
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    labels, places = (0, 0, 2), [4, 0, 4, 0, 4, 2, 4]
    probs = logits.softmax(dim=-1)
    row = [probs[0, 4], probs[0, 0], *[torch.zeros((), dtype=torch.float64)] * 5]
    for t in range(1, 9):
        ways = [row[s] + (row[s - 1] if s else 0) + (row[3] if s == 5 else 0) for s in range(7)]  # only 2 may skip
        row = [way * probs[t, place] for way, place in zip(ways, places, strict=True)]
    (expected,) = torch.autograd.grad(-(row[-1] + row[-2]).log(), logits)
    found = ctc.gradient(logits.detach().log_softmax(dim=-1), labels, 4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("T", "labels"), [(2, (1, 2, 3)), (4, (1, 1, 1)), (1, (0, 0))])
def test_labels_that_do_not_fit(T, labels):
    log_probs = frames(T, 5)
    found = ctc.lattice(log_probs, labels, 4)
    assert found.loss == math.inf and not found.posterior.any()
    assert not ctc.gradient(log_probs, labels, 4).any()
    assert ctc.frames_needed(labels) > T
    with pytest.raises(ValueError, match="frames"):
        ctc.best_path(log_probs, labels, 4)


def test_long_and_sharp_frames_stay_finite():
    log_probs = frames(400, 11, scale=30.0).float()
    labels = [i % 10 for i in range(60)]
    found = ctc.lattice(log_probs, labels, 10)
    expected = F.ctc_loss(
        log_probs[:, None], torch.tensor([labels]), torch.tensor([400]), torch.tensor([60]), blank=10, reduction="sum"
    )
    assert math.isclose(found.loss, float(expected), rel_tol=1e-5)


@pytest.mark.parametrize("labels", [(), (1,), (1, 1), (0, 2, 2)])
def test_best_path_is_the_likeliest_that_collapses_to_the_labels(labels):
    log_probs = frames(6, 4, seed=3)
    found = ctc.best_path(log_probs, labels, 3)
    path = ctc.extended(labels, 3)[found]
    best = max(
        (path for path in itertools.product(range(4), repeat=6) if tuple(ctc.collapse(path, 3)) == labels),
        key=lambda path: sum(float(log_probs[t, c]) for t, c in enumerate(path)),
    )
    assert path.tolist() == list(best)


@pytest.mark.parametrize(
    ("log_probs", "labels", "blank", "words"),
    [
        (torch.zeros(3), (1,), 2, "shape"),
        (torch.zeros(0, 3), (1,), 2, "frame"),
        (torch.zeros(4, 3), (1,), 3, "blank"),
        (torch.zeros(4, 3), (2,), 2, "without the blank"),
        (torch.zeros(4, 3), (7,), 2, "labels"),
        (torch.zeros(4, 3, dtype=torch.long), (1,), 2, "log_probs"),
    ],
)
def test_bad_arguments(log_probs, labels, blank, words):
    with pytest.raises(ValueError, match=words):
        ctc.lattice(log_probs, labels, blank)


def test_greedy_takes_the_best_class_of_each_frame():
    log_probs = torch.eye(4)[[3, 1, 1, 3, 1, 2, 0, 0]].log_softmax(dim=-1)
    assert ctc_search.greedy(log_probs, 3) == [1, 1, 2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_best_sequence_of_all(seed):
    log_probs = frames(5, 4, seed, scale=1.0)
    totals = all_paths(log_probs, 3)
    found = ctc_search.beam_search(log_probs, 3, width=1000, threshold=-math.inf)
    assert len(found) == len(totals)
    for one in found:
        assert math.isclose(one.log_prob, totals[one.labels], abs_tol=1e-10)
    assert found[0].labels == max(totals, key=totals.get)


@pytest.mark.parametrize(("weight", "bonus"), [(0.7, 0.0), (1.3, 0.9)])
def test_a_language_model_changes_the_ranking_by_the_formula(weight, bonus):
    log_probs = frames(5, 4, 2, scale=1.0)
    model = AddK(2, 4, k=0.5).fit([[0, 1, 3], [1, 0, 1, 3], [2, 3], [0, 1, 3]])
    totals = all_paths(log_probs, 3)
    found = ctc_search.beam_search(log_probs, 3, 1000, ctc_search.ngram_language(model), weight, bonus, -math.inf)
    for one in found:
        language = float(model.log_probs([*one.labels, 3]).sum())
        assert math.isclose(one.language, language, abs_tol=1e-10)
        score = totals[one.labels] + weight * language + bonus * len(one.labels)
        assert math.isclose(one.score, score, abs_tol=1e-10)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_ngram_language_is_the_models_own(order):
    model = AddK(order, 4, k=0.1).fit([[0, 1, 2, 2, 3], [1, 1, 0, 3]])
    language = ctc_search.ngram_language(model)
    for prefix in ((), (0,), (0, 1), (2, 1, 1), (0, 1, 2, 2), (1, 1, 0, 2, 0)):
        np.testing.assert_allclose(language(prefix), np.log(model.next_distribution(list(prefix))), atol=1e-12)


def test_a_beam_of_one_and_bad_widths():
    log_probs = frames(20, 11, 4, scale=6.0)
    assert ctc_search.beam_search(log_probs, 10, 1)[0].log_prob <= ctc_search.beam_search(log_probs, 10, 50)[0].log_prob
    with pytest.raises(ValueError, match="width"):
        ctc_search.beam_search(log_probs, 10, 0)
    with pytest.raises(ValueError, match="last class"):
        ctc_search.beam_search(log_probs, 3)
