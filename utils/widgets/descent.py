"""Paths of optimizers over surfaces of two variables."""

import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

OPTIMIZERS = ("gradient descent", "momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam", "AdamW")
SURFACES = ("ravine", "banana", "saddle", "four valleys", "plateau")


class DescentExplorer(Explorer):
    """The widget; `explore_descent` makes it. All arithmetic is in the browser, and equal to torch's optimizers."""

    _esm = source("descent")
    _css = Explorer._css + (FOLDER / "descent.css").read_text(encoding="utf-8")
    surface = traitlets.Unicode().tag(sync=True)
    shown = traitlets.List().tag(sync=True)

    def says(self) -> str:
        return f"Paths of {', '.join(self.shown)} over the surface “{self.surface}”, each with its learning rate."

    def still(self) -> str:
        rows = [(name, "yes" if name in self.shown else "no") for name in OPTIMIZERS]
        return still.table(("optimizer", "shown"), rows)


def explore_descent(
    surface: str = "ravine", shown: tuple[str, ...] = ("gradient descent", "momentum", "Adam")
) -> DescentExplorer:
    """Explore how optimizers move over a surface: choose it, the start, the learning rates, momentum, and noise.

    Raises: ValueError for a surface or optimizer that is not known.
    """
    if surface not in SURFACES:
        raise ValueError(f"surface: expected one of {SURFACES}, got {surface!r}")
    unknown = [name for name in shown if name not in OPTIMIZERS]
    if unknown:
        raise ValueError(f"shown: expected some of {OPTIMIZERS}, got {unknown}")
    return DescentExplorer(surface=surface, shown=list(shown))
