"""The next word by counting: its distribution under several models and orders, after the learner's own words."""

from collections.abc import Callable, Sequence

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

SHOWN = 16


class NGramsExplorer(Explorer):
    """The widget; `explore_ngrams` makes it."""

    _esm = source("ngrams")
    _css = Explorer._css + (FOLDER / "ngrams.css").read_text(encoding="utf-8")
    # The page's question: text, name of the model, order.
    query = traitlets.Dict().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    orders = traitlets.List().tag(sync=True)
    found = traitlets.Dict().tag(sync=True)

    def __init__(self, compute: Callable, names: Sequence[str], orders: Sequence[int], text: str) -> None:
        self._compute = compute
        query = {"text": text, "name": names[-1], "order": orders[-1]}
        super().__init__(query=query, names=list(names), orders=list(orders))
        self._recompute()
        self.observe(self._recompute, "query")

    def _recompute(self, _=None) -> None:
        self.answer(self._read)

    def _read(self) -> dict:
        query = self.query
        if query["name"] not in self.names or query["order"] not in self.orders:
            raise ValueError(f"Expected a model of {self.names} and an order of {self.orders}, got {query}.")
        words, probs, context, seen = self._compute(query["text"], query["name"], query["order"])
        probs = np.asarray(probs, dtype=float)
        if probs.ndim != 1 or len(probs) != len(words) or not np.isclose(probs.sum(), 1, atol=1e-6):
            raise ValueError(f"Expected {len(words)} probabilities that sum to 1, got a sum of {probs.sum():.4f}.")
        best = np.argsort(-probs, kind="stable")[:SHOWN]
        nonzero = probs[probs > 0]
        return {
            "found": {
                "bars": [[words[i], float(probs[i])] for i in best],
                "context": list(context),
                "seen": int(seen),
                "entropy": float(-(nonzero * np.log(nonzero)).sum()),
                "zeros": int((probs == 0).sum()),
                "size": len(words),
            }
        }

    def says(self) -> str:
        word, prob = self.found["bars"][0]
        name, order = self.query["name"], self.query["order"]
        return f"After “{self.query['text']}”, {name} of order {order}: “{word}” {prob:.1%}."

    def still(self) -> str:
        words, probs = zip(*self.found["bars"], strict=True)
        return still.bars(words, probs, f"Next word after {self.query['text']}")


def explore_ngrams(compute: Callable, names: Sequence[str], orders: Sequence[int], text: str) -> NGramsExplorer:
    """Explore what comes next by counting: type words, choose a model and an order, see the distribution.

    `compute(text, name, order)` returns all words (V), their probabilities (V,), the context that the model looks at
    (a list of words), and how often that context was seen. ValueErrors of `compute` are shown in the widget.
    Raises: ValueError without a name or an order.
    """
    if not names or not orders:
        raise ValueError(f"explore_ngrams: expected at least one model and one order, got {names} and {orders}")
    return NGramsExplorer(compute, names, orders, text)
