"""A model pruned and rounded by sliders: its accuracy, its bytes, its answer, and the weights on their grid."""

from collections.abc import Callable, Mapping, Sequence

import traitlets

from utils.metrics.intervals import wilson
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

BITS = (32, 8, 7, 6, 5, 4, 3, 2)
MOST_SPARSITY = 0.95


class CompressionExplorer(Explorer):
    """The widget; `explore_compression` makes it."""

    _esm = source("compression")
    _css = Explorer._css + (FOLDER / "compression.css").read_text(encoding="utf-8")
    # The page's question: a text, a sparsity, a number of bits and the name of a matrix.
    query = traitlets.Dict().tag(sync=True)
    matrices = traitlets.List().tag(sync=True)
    curves = traitlets.List().tag(sync=True)  # of {bits, points: [[sparsity, accuracy], ...]}
    found = traitlets.Dict().tag(sync=True)

    def __init__(self, compute: Callable, text: str, matrices: Sequence[str], curves: Mapping) -> None:
        self._compute = compute
        lines = [{"bits": bits, "points": [list(point) for point in points]} for bits, points in curves.items()]
        query = {"text": text, "sparsity": 0.3, "bits": 4, "matrix": matrices[0]}
        super().__init__(query=query, matrices=list(matrices), curves=lines)
        self._recompute()
        self.observe(self._recompute, "query")

    def _recompute(self, _=None) -> None:
        self.answer(self._read)

    def _read(self) -> dict:
        asked = self.query
        sparsity, bits = round(float(asked["sparsity"]), 4), int(asked["bits"])
        if not 0 <= sparsity <= MOST_SPARSITY or bits not in BITS or asked["matrix"] not in self.matrices:
            raise ValueError(f"Expected a sparsity from 0 to {MOST_SPARSITY}, bits of {BITS}, and a known matrix.")
        found = self._compute(asked["text"], sparsity, bits, asked["matrix"])
        interval = wilson(found["n_correct"], found["n"])
        return {"found": {**found, "accuracy": [interval.estimate, interval.low, interval.high],
                          "sparsity": sparsity, "bits": bits}}

    def says(self) -> str:
        if not self.found:
            return "Nothing was computed yet."
        found, rounded = self.found, "no rounding" if self.found["bits"] == 32 else f"{self.found['bits']} bits"
        estimate, low, high = found["accuracy"]
        return (f"{found['sparsity']:.0%} of the weights pruned, {rounded}: {found['n_correct']} of {found['n']} "
                f"reviews right ({estimate:.2f} [{low:.2f}, {high:.2f}]), {found['megabytes']:.1f} MB. P(positive) "
                f"of the text: {found['before']:.2f} before, {found['after']:.2f} after.")

    def still(self) -> str:
        rows = {f"{line['bits']} bits": tuple(zip(*line["points"], strict=True)) for line in self.curves}
        return still.curves(rows, "Accuracy on held-out reviews against sparsity, a line for each number of bits")


def explore_compression(
    compute: Callable, text: str, matrices: Sequence[str], curves: Mapping[int, Sequence[tuple[float, float]]]
) -> CompressionExplorer:
    """Explore a model as it is pruned and rounded: accuracy, bytes, one text's answer, and a matrix's weights.

    `compute(text, sparsity, bits, matrix)` returns before, after (probabilities of the second class), n_correct, n,
    megabytes, kept and pruned (counts by bin). `curves`: accuracies measured before, by bits, as (sparsity, accuracy).
    Raises: ValueError without a matrix.
    """
    if not matrices:
        raise ValueError("explore_compression: expected at least one matrix to show, got none")
    return CompressionExplorer(compute, text, matrices, curves)
