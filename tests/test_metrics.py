"""Metrics against scikit-learn and SciPy, and intervals by how often they hold the truth."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.calibration
import sklearn.metrics
import torch

from utils.metrics.classification import (
    accuracy,
    confusion_matrix,
    expected_calibration_error,
    fit_temperature,
    precision_recall_f1,
    reliability_bins,
)
from utils.metrics.intervals import (
    Interval,
    bootstrap,
    bootstrap_mean,
    holm,
    mcnemar_exact,
    paired_bootstrap_accuracy,
    paired_bootstrap_ratio,
    student_mean,
    wilson,
)
from utils.metrics.text import bits_per_byte, perplexity


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes, n", [(2, 1), (2, 37), (5, 8), (7, 203)])
def test_classification_equals_scikit_learn(seed, n_classes, n):
    generator = np.random.default_rng(seed)
    targets, predictions = generator.integers(n_classes, size=(2, n))
    assert accuracy(targets, predictions) == pytest.approx(sklearn.metrics.accuracy_score(targets, predictions))
    labels = range(n_classes)
    with warnings.catch_warnings():  # scikit-learn warns of a single label
        warnings.simplefilter("ignore")
        expected = sklearn.metrics.confusion_matrix(targets, predictions, labels=labels)
    np.testing.assert_array_equal(confusion_matrix(targets, predictions, n_classes), expected)
    for average in ("micro", "macro", None) + (("binary",) if n_classes == 2 else ()):
        expected = sklearn.metrics.precision_recall_fscore_support(
            targets, predictions, average=average, zero_division=0, labels=labels if average is None else None
        )
        scores = precision_recall_f1(targets, predictions, average, n_classes=n_classes if average is None else None)
        for ours, theirs in zip(scores, expected[:3], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_macro_over_given_classes_counts_those_that_never_occur():
    targets, predictions = [0, 1, 1], [0, 1, 0]
    expected = sklearn.metrics.f1_score(targets, predictions, average="macro", labels=range(4), zero_division=0)
    assert precision_recall_f1(targets, predictions, "macro", n_classes=4).f1 == pytest.approx(expected, abs=1e-12)


def test_binary_scores_by_hand():
    targets = [1] * 10 + [0] * 90
    predictions = [1] * 8 + [0] * 2 + [1] * 4 + [0] * 86
    assert accuracy(targets, predictions) == pytest.approx(0.94)
    scores = precision_recall_f1(targets, predictions)
    assert scores == pytest.approx((8 / 12, 8 / 10, 8 / 11))
    flipped = precision_recall_f1(targets, predictions, positive=0)
    assert flipped.recall == pytest.approx(86 / 90)
    assert precision_recall_f1([0, 0], [0, 0]) == (0, 0, 0)


@pytest.mark.parametrize("n_bins", [1, 7, 10])
def test_calibration_equals_scikit_learn_and_the_definition(n_bins):
    generator = np.random.default_rng(n_bins)
    confidences = np.concatenate([generator.random(300), np.linspace(0, 1, n_bins + 1)])  # on the edges too
    correct = generator.random(len(confidences)) < confidences**2
    bins = reliability_bins(confidences, correct, n_bins)
    rates, means = sklearn.calibration.calibration_curve(correct, confidences, n_bins=n_bins)
    np.testing.assert_allclose(bins.accuracy[bins.counts > 0], rates, atol=1e-12)
    np.testing.assert_allclose(bins.confidence[bins.counts > 0], means, atol=1e-12)
    assert bins.counts.sum() == len(confidences) and len(bins.edges) == n_bins + 1
    expected = 0.0
    for low, high in zip(bins.edges[:-1], bins.edges[1:], strict=True):
        inside = (confidences > low) & (confidences <= high) | ((confidences == 0) & (low == 0))
        expected += abs(correct[inside].sum() - confidences[inside].sum()) / len(confidences)
    assert expected_calibration_error(confidences, correct, n_bins) == pytest.approx(expected, abs=1e-12)


def test_an_empty_bin_is_nan_and_costs_nothing():
    bins = reliability_bins([0.95, 0.95], [True, False])
    assert np.isnan(bins.accuracy[0]) and bins.counts[9] == 2
    assert expected_calibration_error([0.95, 0.95], [True, False]) == pytest.approx(0.45)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_temperature_equals_newtons_method(n_classes):
    generator = np.random.default_rng(n_classes)
    logits = generator.normal(size=(431, n_classes))
    shares = scipy.special.softmax(logits, axis=1)
    targets = np.array([generator.choice(n_classes, p=row) for row in shares])
    found = fit_temperature(3 * logits, targets)  # the truth is about 3: the logits were blown up by it
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for _ in range(40):  # Newton's steps, both derivatives by autograd
        scaled = torch.from_numpy(3 * logits) / log_t.exp()
        loss = torch.nn.functional.cross_entropy(scaled, torch.from_numpy(targets))
        (slope,) = torch.autograd.grad(loss, log_t, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, log_t)
        log_t = (log_t - (slope / curvature.abs()).clamp(-0.3, 0.3)).detach().requires_grad_()
    assert abs(slope) < 1e-12
    assert found == pytest.approx(log_t.exp().item(), rel=1e-9)
    assert 2 < found < 4.5
    assert fit_temperature(logits + 7, targets) == pytest.approx(found / 3, rel=1e-6)


def test_temperature_at_its_ends():
    assert fit_temperature([[0.0, 1.0], [2.0, 0.0]], [1, 0]) == pytest.approx(0.01)  # all right: ever surer
    assert fit_temperature([[0.0, 1.0], [2.0, 0.0]], [0, 1]) == pytest.approx(100)  # all wrong: ever less sure
    assert 0.01 <= fit_temperature([[1.0, 1.0]], [0]) <= 100.001  # nothing to choose


def test_holm_equals_its_definition_step_by_step():
    generator = np.random.default_rng(0)
    for size in (1, 2, 5, 9):
        p_values = generator.random(size) ** 3
        for level in (0.01, 0.05, 0.2, 0.5):
            rejected = set()
            for step, i in enumerate(np.argsort(p_values)):  # stop at the first that is not small enough
                if p_values[i] > level / (size - step):
                    break
                rejected.add(int(i))
            assert set(np.flatnonzero(holm(p_values) <= level).tolist()) == rejected
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


def test_bootstrap_takes_any_statistic():
    values = np.random.default_rng(0).normal(size=57)
    median = bootstrap(lambda rows: np.median(values[rows], axis=-1), 57, n_resamples=5000)
    theirs = scipy.stats.bootstrap((values,), np.median, n_resamples=5000, method="percentile", rng=1)
    assert median.estimate == np.median(values)
    assert median.low == pytest.approx(theirs.confidence_interval.low, abs=0.1)
    assert median.high == pytest.approx(theirs.confidence_interval.high, abs=0.1)


def test_perplexity_and_bits_per_byte():
    assert perplexity(1000 * math.log(50), 1000) == pytest.approx(50, rel=1e-12)
    assert perplexity(0, 3) == 1
    assert perplexity(math.inf, 3) == math.inf == perplexity(1e6, 1)
    assert bits_per_byte(7 * math.log(256), 7) == pytest.approx(8, rel=1e-12)
    assert bits_per_byte(torch.tensor(2.0), 1) == pytest.approx(2 / math.log(2))


@pytest.mark.parametrize("successes, n", [(0, 1), (0, 17), (17, 17), (3, 40), (812, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_equals_scipy(successes, n, level):
    ours = wilson(successes, n, level=level)
    theirs = scipy.stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low <= ours.estimate == successes / n <= ours.high


@pytest.mark.parametrize("n", [2, 3, 11])
def test_student_equals_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    theirs = scipy.stats.t.interval(0.9, n - 1, values.mean(), scipy.stats.sem(values))
    ours = student_mean(values, level=0.9)
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


def test_mcnemar_equals_scipy():
    generator = np.random.default_rng(0)
    for n, rate in [(1, 0.5), (20, 0.5), (301, 0.8), (5000, 0.6)]:
        a, b = generator.random(n) < rate, generator.random(n) < 0.6
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        result = mcnemar_exact(a, b)
        assert (result.only_a, result.only_b) == (only_a, only_b)
        expected = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert result.p_value == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact([1, 0, 1], [1, 0, 1]).p_value == 1


def test_bootstrap_mean_equals_scipy_percentiles():
    values = np.random.default_rng(0).exponential(size=80)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile").confidence_interval
    ours = bootstrap_mean(values, n_resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx(
        tuple(theirs), abs=0.02
    )  # scipy's draw is unseeded; the noise is 0.003
    assert ours.estimate == pytest.approx(values.mean())


def test_bootstraps_repeat_with_a_seed_and_do_not_depend_on_the_chunks(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    first = bootstrap_mean(values, generator=3, n_resamples=500)
    assert first == bootstrap_mean(values, generator=np.random.default_rng(3), n_resamples=500)
    assert first != bootstrap_mean(values, generator=4, n_resamples=500)
    monkeypatch.setattr("utils.metrics.intervals._DRAWS_AT_ONCE", 70)
    assert first == bootstrap_mean(values, generator=3, n_resamples=500)


def coverage(draw, truth, n_trials=2000):
    """The share of intervals over fresh samples that hold the truth."""
    generator = np.random.default_rng(0)
    return np.mean([not draw(generator).excludes(truth) for _ in range(n_trials)])


def test_intervals_hold_the_truth_as_often_as_they_say():
    # 2,000 trials: the standard error of a coverage of 0.9 is 0.007, and a percentile bootstrap is a little short.
    options = {"level": 0.9, "n_resamples": 300}
    assert coverage(lambda g: student_mean(g.normal(2, 3, size=4), level=0.9), 2) == pytest.approx(0.9, abs=0.03)
    mean = coverage(lambda g: bootstrap_mean(g.normal(2, 3, size=60), generator=g, **options), 2)
    assert mean == pytest.approx(0.9, abs=0.03)

    def two_models(g):
        n_bytes = g.integers(50, 500, size=60)
        hardness = g.gamma(20, 1 / 20, size=60)  # shared by both models, and by all bytes of a document
        bits_a, bits_b = (n_bytes * hardness * rate * g.gamma(50, 1 / 50, size=60) for rate in (1.5, 1.6))
        return paired_bootstrap_ratio(bits_a, bits_b, n_bytes, generator=g, **options)

    assert coverage(two_models, -0.1) == pytest.approx(0.9, abs=0.03)

    def two_classifiers(g):
        u = g.random((2, 80))
        return paired_bootstrap_accuracy(u[0] < 0.8, (u[0] < 0.7) ^ (u[1] < 0.05), generator=g, **options)

    truth = 0.8 - (0.7 * 0.95 + 0.3 * 0.05)
    assert coverage(two_classifiers, truth) == pytest.approx(0.9, abs=0.03)


def test_wilson_holds_the_truth_on_average_over_proportions():
    intervals = [wilson(k, 60, level=0.9) for k in range(61)]
    covered = [
        sum(scipy.stats.binom.pmf(k, 60, p) for k, interval in enumerate(intervals) if not interval.excludes(p))
        for p in np.linspace(0.05, 0.95, 91)
    ]  # exact for each p; it swings with p, since the counts are whole numbers
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)


def test_pairing_narrows_the_interval():
    generator = np.random.default_rng(0)
    n_bytes = np.full(100, 1000)
    hardness = generator.gamma(10, 1 / 10, size=100)
    bits_a, bits_b = n_bytes * hardness * 1.5, n_bytes * hardness * 1.52
    paired = paired_bootstrap_ratio(bits_a, bits_b, n_bytes)
    assert paired.excludes(0.0) and paired.high < 0
    shuffled = paired_bootstrap_ratio(bits_a, generator.permutation(bits_b), n_bytes)
    assert not shuffled.excludes(0.0) and shuffled.high - shuffled.low > 10 * (paired.high - paired.low)
    own = paired_bootstrap_ratio(bits_a, bits_b, n_bytes, denominators_b=2 * n_bytes)
    assert own.estimate == pytest.approx(bits_a.sum() / 1e5 - bits_b.sum() / 2e5)


def test_interval_reads_well():
    interval = Interval(0.8119, 0.79, 0.8334, 0.95)
    assert str(interval) == f"{interval}" == "0.812 [0.790, 0.833]"
    assert f"{interval:.1%}" == "81.2% [79.0%, 83.3%]"
    assert interval.excludes(0.0) and not interval.excludes(0.8)


def test_lists_arrays_and_tensors_are_alike():
    targets, predictions = [0, 1, 1, 0, 1], [0, 1, 0, 0, 0]
    for kind in (np.array, torch.tensor):
        assert accuracy(kind(targets), kind(predictions)) == 0.6
        assert precision_recall_f1(kind(targets), kind(predictions)).recall == pytest.approx(1 / 3)
        assert mcnemar_exact(kind(targets), kind(predictions)) == mcnemar_exact(targets, predictions)
        assert bootstrap_mean(kind([0.5, 1.5])).estimate == 1
    assert accuracy([True, False], [True, True]) == 0.5


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: accuracy([], []), "at least one class number"),
        (lambda: accuracy([0, 1], [0]), "as many predictions as targets, got 1 and 2"),
        (lambda: accuracy([0.2], [1]), "take the argmax"),
        (lambda: accuracy([-100], [1]), "class numbers from 0 up, got -100"),
        (lambda: confusion_matrix([3], [0], 3), "from 0 to 2, got 3"),
        (lambda: precision_recall_f1([0, 2], [1, 0]), 'choose average "micro" or "macro"'),
        (lambda: precision_recall_f1([0], [1], "weighted"), "average must be"),
        (lambda: precision_recall_f1([0], [1], positive=2), "positive must be"),
        (lambda: reliability_bins([1.2], [True]), "after the softmax"),
        (lambda: reliability_bins([math.nan], [True]), "must lie in"),
        (lambda: reliability_bins([0.5], [2]), "True and False only"),
        (lambda: reliability_bins([], []), "two equal lengths"),
        (lambda: reliability_bins([0.5], [True], 0), "n_bins"),
        (lambda: perplexity(-3.0, 2), "sum of -log p"),
        (lambda: perplexity(math.nan, 2), "nats must be"),
        (lambda: perplexity(3.0, 0), "predicted tokens, got 0"),
        (lambda: bits_per_byte(3.0, 0), "predicted bytes, got 0"),
        (lambda: wilson(3, 2), "successes=3, n=2"),
        (lambda: wilson(0, 0), "n >= 1"),
        (lambda: wilson(1, 2, level=95), "level must lie"),
        (lambda: bootstrap_mean([]), "at least one number"),
        (lambda: bootstrap_mean([1, math.nan]), "must be finite"),
        (lambda: bootstrap_mean([1, 2], n_resamples=10), "at least 100"),
        (lambda: student_mean([1.0]), "at least two values"),
        (lambda: paired_bootstrap_ratio([1, 2], [1], [1, 2]), "equal lengths"),
        (lambda: paired_bootstrap_ratio([1, 2], [1, 2], [0, 0]), "not all 0"),
        (lambda: paired_bootstrap_ratio([1, 2], [1, 2], [-1, 2]), "at least 0"),
        (lambda: paired_bootstrap_accuracy([0.5], [1]), "True and False only"),
        (lambda: mcnemar_exact([1, 0], [1]), "equal lengths"),
        (lambda: bootstrap(np.mean, 0), "n must be at least 1"),
        (lambda: holm([0.2, 1.2]), "lie in"),
        (lambda: holm([]), "at least one number"),
        (lambda: fit_temperature([1.0, 2.0], [0, 1]), "shape \\(N, C\\)"),
        (lambda: fit_temperature([[1.0, math.inf]], [0]), "finite"),
        (lambda: fit_temperature([[1.0, 2.0]], [2]), "from 0 to 1, got 2"),
        (lambda: fit_temperature([[1.0, 2.0]], [0, 1]), "as many predictions"),
    ],
)
def test_bad_input_gets_one_clear_error(call, match):
    with pytest.raises(ValueError, match=match):
        call()
