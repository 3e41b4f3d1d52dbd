"""The threshold explorer: its counts, measures, curves and areas equal scikit-learn's, at every share of positives."""

import numpy as np
import pytest
import sklearn.metrics

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, threshold


def drawn(seed, n):
    generator = np.random.default_rng(seed)
    targets = np.append(generator.integers(2, size=n - 2), [0, 1])
    scores = np.round(generator.beta(1 + targets, 2 - targets), 2)  # rounded: several examples share a score
    return targets, scores


@needs_node
@pytest.mark.parametrize("seed, n", [(0, 2), (1, 37), (2, 501)])
def test_counts_and_measures_equal_scikit_learn(seed, n, tmp_path):
    targets, scores = drawn(seed, n)
    cuts = [0.01, 0.3, float(scores[0]), 0.5, 0.77, 0.99]
    code = """return data.cuts.map((t) => { const counts = countsAt(data.targets, data.scores, t);
        return { counts, own: measures(counts), rare: measures(atShare(counts, 0.03)) }; });"""
    found = run_js("threshold", code, {"targets": targets.tolist(), "scores": scores.tolist(), "cuts": cuts}, tmp_path)
    rare = np.where(targets == 1, 0.03 / targets.sum(), 0.97 / (targets == 0).sum())
    for cut, row in zip(cuts, found, strict=True):
        predictions = (scores >= cut).astype(int)
        tn, fp, fn, tp = sklearn.metrics.confusion_matrix(targets, predictions, labels=[0, 1]).ravel().tolist()
        assert row["counts"] == [tp, fp, fn, tn]
        for name, weights in (("own", None), ("rare", rare)):
            precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
                targets, predictions, average="binary", sample_weight=weights, zero_division=0
            )
            accuracy = sklearn.metrics.accuracy_score(targets, predictions, sample_weight=weights)
            expected = {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}
            assert {key: row[name][key] for key in expected} == pytest.approx(expected, abs=1e-12)


@needs_node
@pytest.mark.parametrize("seed, n", [(3, 2), (4, 41), (5, 400)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_curves_and_areas_equal_scikit_learn(seed, n, share, tmp_path):
    targets, scores = drawn(seed, n)
    code = "return curves(everyThreshold(data.targets, data.scores), data.share);"
    data = {"targets": targets.tolist(), "scores": scores.tolist(), "share": share}
    found = run_js("threshold", code, data, tmp_path)
    weights = np.where(targets == 1, share / targets.sum(), (1 - share) / (targets == 0).sum())
    fpr, tpr, _ = sklearn.metrics.roc_curve(targets, scores, drop_intermediate=False, sample_weight=weights)
    np.testing.assert_allclose(found["roc"], np.stack([fpr, tpr], axis=1), atol=1e-12)
    assert found["area"] == pytest.approx(sklearn.metrics.roc_auc_score(targets, scores), abs=1e-12)
    precision, recall, _ = sklearn.metrics.precision_recall_curve(targets, scores, sample_weight=weights)
    # scikit-learn goes from the lowest threshold up and adds the point (recall 0, precision 1).
    np.testing.assert_allclose(found["pr"][::-1], np.stack([recall, precision], axis=1)[:-1], atol=1e-12)
    average = sklearn.metrics.average_precision_score(targets, scores, sample_weight=weights)
    assert found["average"] == pytest.approx(average, abs=1e-12)


def test_says_what_it_shows():
    explorer = threshold.explore_threshold([0, 1, 1, 0, 1], [0.1, 0.9, 0.4, 0.6, 0.5], ("dull", "<good>"))
    assert "5 examples, called <good> from a score of 0.5 on: precision 0.667, recall 0.667" in explorer.says()
    assert "&lt;good&gt;" in explorer.still() and "<good>" not in explorer.still()
    assert explorer._esm == base.source("threshold")
    for forbidden in ("https:", "import(", "window.", "globalThis", "innerHTML", "document.querySelector"):
        assert forbidden not in explorer._esm


@pytest.mark.parametrize(
    "targets, scores, match",
    [
        ([], [], "at least one"),
        ([0, 1], [0.5], "as many scores as targets"),
        ([1, 1], [0.5, 0.6], "some of each"),
        ([0, 2], [0.5, 0.6], "must be 0 and 1"),
        ([0, 1], [0.5, 1.6], "take probabilities"),
        ([0, 1], [0.5, np.nan], "must lie in"),
    ],
)
def test_bad_input_gets_one_clear_error(targets, scores, match):
    with pytest.raises(ValueError, match=match):
        threshold.explore_threshold(targets, scores)
