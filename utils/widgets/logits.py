"""Logits of a few classes, their probabilities, a loss and its gradient."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

LIMIT = 8.0  # of a slider, on both sides of 0
MOST_CLASSES = 6


class LogitsExplorer(Explorer):
    """The widget; `explore_logits` makes it. All arithmetic is in the browser, and equal to torch's."""

    _esm = source("logits")
    _css = Explorer._css + (FOLDER / "logits.css").read_text(encoding="utf-8")
    classes = traitlets.List().tag(sync=True)
    logits = traitlets.List().tag(sync=True)
    target = traitlets.Int().tag(sync=True)
    limit = traitlets.Float(LIMIT).tag(sync=True)

    def says(self) -> str:
        loss = F.cross_entropy(torch.tensor(self.logits), torch.tensor(self.target)).item()
        return f"Logits, probabilities and gradient of {len(self.classes)} classes; cross-entropy {loss:.3f} nats."

    def still(self) -> str:
        probs = torch.tensor(self.logits).softmax(-1).tolist()
        return still.bars(self.classes, probs, f"Probabilities; the correct class is {self.classes[self.target]}")


def explore_logits(classes: Sequence[str], logits: Sequence[float], target: int = 0) -> LogitsExplorer:
    """Explore how logits become probabilities, a loss and a gradient: move them, choose the loss, step downhill.

    Shapes: `classes` and `logits` (K,) with K from 2 to 6; `target` is the number of the correct class.
    Raises: ValueError for other lengths, logits beyond -8 to 8, or a target that is no class.
    """
    classes, logits = list(classes), [float(logit) for logit in logits]
    if not 2 <= len(classes) <= MOST_CLASSES or len(logits) != len(classes):
        raise ValueError(f"logits: expected 2 to {MOST_CLASSES} classes, a logit for each, got {len(classes)} classes "
                         f"and {len(logits)} logits")
    if not all(abs(logit) <= LIMIT for logit in logits):
        raise ValueError(f"logits: expected values from {-LIMIT:g} to {LIMIT:g}, got {logits}")
    if target not in range(len(classes)):
        raise ValueError(f"target: expected the number of a class, 0 to {len(classes) - 1}, got {target}")
    return LogitsExplorer(classes=classes, logits=logits, target=target)
