"""A classifier's threshold: the confusion matrix there, and the curves that all thresholds draw."""

import numpy as np
import traitlets

from utils.metrics.classification import confusion_matrix, precision_recall_f1
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source


class ThresholdExplorer(Explorer):
    """The widget; `explore_threshold` makes it. All counting is in the browser, and equal to scikit-learn's."""

    _esm = source("threshold")
    _css = Explorer._css + (FOLDER / "threshold.css").read_text(encoding="utf-8")
    targets = traitlets.List().tag(sync=True)
    scores = traitlets.List().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    threshold = traitlets.Float(0.5).tag(sync=True)

    def _at_threshold(self) -> tuple[np.ndarray, str]:
        predictions = np.array(self.scores) >= self.threshold
        found = precision_recall_f1(self.targets, predictions)
        words = f"precision {found.precision:.3f}, recall {found.recall:.3f}, F1 {found.f1:.3f}"
        return confusion_matrix(self.targets, predictions, 2), words

    def says(self) -> str:
        return (
            f"{len(self.targets)} examples, called {self.classes[1]} from a score of {self.threshold:g} on: "
            f"{self._at_threshold()[1]}."
        )

    def still(self) -> str:
        matrix = self._at_threshold()[0]
        rows = [(f"is {name}", *map(str, row)) for name, row in zip(self.classes, matrix.tolist(), strict=True)]
        return still.table(("", *(f"called {name}" for name in self.classes)), rows)


def explore_threshold(targets, scores, classes: tuple[str, str] = ("negative", "positive")) -> ThresholdExplorer:
    """Explore where to cut a classifier's scores: move the threshold and the share of positives, watch what follows.

    targets: (N,) of 0 and 1. scores: (N,) from 0 to 1, the probability of the second class; it is called from the
    threshold on.
    Raises: ValueError for unequal lengths, scores outside [0, 1], or only one class among the targets.
    """
    targets, scores = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    if targets.ndim != 1 or targets.shape != scores.shape or targets.size == 0:
        raise ValueError(f"expected as many scores as targets, at least one, got {scores.shape} and {targets.shape}")
    if set(np.unique(targets).tolist()) != {0, 1}:
        raise ValueError(f"targets must be 0 and 1, with some of each, got {np.unique(targets)[:5].tolist()}")
    if not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError(f"scores must lie in [0, 1], got {scores.min()} to {scores.max()}: take probabilities")
    return ThresholdExplorer(targets=targets.astype(int).tolist(), scores=scores.tolist(), classes=list(classes))
