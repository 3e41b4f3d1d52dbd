"""The loss curve that draws itself while a model trains."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import Explorer, packed, source

SECONDS_BETWEEN_UPDATES = 0.2
# More points than pixels cannot be seen, and every update sends them all.
MOST_POINTS = 1200


class LiveCurveView(Explorer):
    """The widget that a `LiveCurve` feeds."""

    _esm = source("live_curve")
    title = traitlets.Unicode().tag(sync=True)
    y_title = traitlets.Unicode().tag(sync=True)
    total_steps = traitlets.Int(0).tag(sync=True)
    references = traitlets.Dict().tag(sync=True)
    # Steps and losses one after the other, float32; a background run by name in the same form.
    points = traitlets.Bytes().tag(sync=True)
    background = traitlets.Dict().tag(sync=True)
    marks = traitlets.List().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    done = traitlets.Bool(False).tag(sync=True)

    def _runs(self) -> dict[str, np.ndarray]:
        runs = {"training": self.points, **self.background}
        return {name: np.frombuffer(data, "<f4").reshape(2, -1) for name, data in runs.items()}

    def says(self) -> str:
        steps, losses = self._runs()["training"]
        if not len(steps):
            return f"{self.title}: no step yet."
        last = f"; {self.marks[-1][2]} {self.marks[-1][1]:.3f}" if self.marks else ""
        return f"{self.title}: step {steps[-1]:.0f}, loss {losses[-1]:.3f} (it began at {losses[0]:.3f}){last}."

    def still(self) -> str:
        runs = self._runs()
        planned = max([self.total_steps, *runs["training"][0]])
        runs = {name: run[:, run[0] <= (planned or np.inf)] for name, run in runs.items()}
        steps = np.concatenate([run[0] for run in runs.values()])
        span = [steps.min(), steps.max()] if len(steps) else [0.0, 1.0]
        for label, value in self.references.items():
            runs[label] = np.array([span, [value, value]])
        for step, loss, label in self.marks:
            runs.setdefault(label, np.empty((2, 0)))
            runs[label] = np.append(runs[label], [[step], [loss]], axis=1)
        return still.curves(runs, self.says())


class LiveCurve:
    """A training run's loss as it falls; `live_curve` makes it.

    `add` and `mark` cost microseconds: the page is told at most five times a second, and once more by `close`. As a
    context manager it displays itself on entering, and closes on leaving, also when the run is interrupted.
    """

    def __init__(self, view: LiveCurveView):
        self._view = view
        self._steps: list[float] = []
        self._losses: list[float] = []
        self._marks: list[list] = []
        self._skipped = 0
        self._last: Any = None
        self._told = 0.0
        self._handle: Any = None

    def add(self, record: Any) -> None:
        """Add a training record: `step` and `loss`, and, where there, `learning_rate`, `grad_norm`,
        `tokens_per_second` and `skipped`. A skipped step is counted, not drawn."""
        self._last = record
        if getattr(record, "skipped", False):
            self._skipped += 1
        else:
            self._steps.append(float(record.step))
            self._losses.append(float(record.loss))
        self._tell_in_time()

    def mark(self, step: float, loss: float, label: str = "held out") -> None:
        """Add a point beside the curve, such as a held-out loss; points of one label are joined."""
        self._marks.append([float(step), float(loss), str(label)])
        self._tell_in_time()

    def close(self) -> None:
        """Show the last state; if this curve displayed itself, its saved still picture shows it too."""
        self._tell(done=True)
        if self._handle is not None:
            self._handle.update(self)

    def _tell_in_time(self) -> None:
        if time.monotonic() - self._told >= SECONDS_BETWEEN_UPDATES:
            self._tell()

    def _tell(self, done: bool = False) -> None:
        keep = thinned(len(self._steps))
        data = np.array([self._steps, self._losses], dtype=np.float32)[:, keep]
        facts = {"skipped": self._skipped}
        for name in ("step", "loss", "learning_rate", "grad_norm", "tokens_per_second"):
            value = getattr(self._last, name, None)
            if value is not None and np.isfinite(float(value)):
                facts[name] = float(value)
        self._view.answer(lambda: {"points": packed(data), "marks": list(self._marks), "facts": facts, "done": done})
        self._told = time.monotonic()

    def __enter__(self) -> "LiveCurve":
        from IPython.display import display

        self._handle = display(self, display_id=True)
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        return self._view._repr_mimebundle_(**kwargs)


def thinned(count: int) -> np.ndarray:
    """Which of `count` points to draw: all, or MOST_POINTS evenly spread ones with the first and the last."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.linspace(0, count - 1, MOST_POINTS).round().astype(int)


def live_curve(
    title: str = "Training",
    *,
    references: Mapping[str, float] | None = None,
    background: Mapping[str, tuple[Any, Any]] | None = None,
    total_steps: int | None = None,
    y_title: str = "loss (nats per token)",
) -> LiveCurve:
    """Make a loss curve to feed from a training loop: `with live_curve(...) as live:`, then `live.add(record)`.

    `references` maps a label to a loss: a dashed line. `background` maps a name to another run's (step, loss), each
    (N,). `total_steps` fixes the step axis from the start. Raises ValueError when a background's lengths differ.
    """
    runs = {}
    for name, (step, loss) in (background or {}).items():
        if len(step) != len(loss) or not len(step):
            raise ValueError(f"background: expected steps and losses of one length for {name!r}, got {len(step)} and "
                             f"{len(loss)}")
        runs[name] = packed(np.array([list(step), list(loss)], dtype=np.float64)[:, thinned(len(step))])
    return LiveCurve(LiveCurveView(
        title=title, y_title=y_title, total_steps=total_steps or 0, background=runs, points=b"",
        references={str(label): float(value) for label, value in (references or {}).items()}))
