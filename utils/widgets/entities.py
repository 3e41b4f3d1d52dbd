"""Names in the learner's own text: what a tagger marks, and how sure it is of each character."""

import html
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import traitlets

from utils.metrics import entities
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, packed, source


class EntitiesExplorer(Explorer):
    """The widget; `explore_entities` makes it."""

    _esm = source("entities")
    _css = Explorer._css + (FOLDER / "entities.css").read_text(encoding="utf-8")
    text = traitlets.Unicode().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    kinds = traitlets.Dict().tag(sync=True)
    # What the answer is about: the characters, the spans over them, and the probabilities (T, L) of their labels.
    characters = traitlets.List().tag(sync=True)
    spans = traitlets.List().tag(sync=True)
    probs = traitlets.Bytes().tag(sync=True)

    def __init__(self, compute: Callable, text: str, labels: Sequence[str], kinds: Mapping[str, str]) -> None:
        self._compute = compute
        super().__init__(text=text, labels=list(labels), kinds=dict(kinds))
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(self._read)

    def _read(self) -> dict:
        found, probs = self._compute(self.text)
        probs = np.asarray(probs, dtype=np.float64)
        expected = (len(self.text), len(self.labels))
        if probs.shape != expected or len(found) != len(self.text) or not np.allclose(probs.sum(axis=1), 1, atol=1e-3):
            raise ValueError(f"Expected a label and {expected[1]} probabilities for each of {expected[0]} characters.")
        return {
            "characters": list(self.text),
            "spans": [list(span) for span in entities.spans(found)],
            "probs": packed(probs),
        }

    def says(self) -> str:
        names = [f"{''.join(self.characters[a:b])} ({self.kinds.get(kind, kind)})" for a, b, kind in self.spans]
        return f"Names in “{''.join(self.characters)}”: {', '.join(names) or 'none'}."

    def still(self) -> str:
        pieces, at = [], 0
        for a, b, kind in self.spans:
            color = still.COLORS[list(self.kinds).index(kind) % len(still.COLORS)]
            pieces.append(html.escape("".join(self.characters[at:a])))
            name = html.escape("".join(self.characters[a:b]))
            pieces.append(f'<b style="border-bottom:3px solid {color}">{name}</b><sub>{html.escape(kind)}</sub>')
            at = b
        return f"<p>{''.join(pieces)}{html.escape(''.join(self.characters[at:]))}</p>"


def explore_entities(compute: Callable, text: str, labels: Sequence[str], kinds: Mapping[str, str]) -> EntitiesExplorer:
    """Explore what a tagger marks in a typed text: press a character to see the probabilities of its labels.

    `compute(text)` returns a BIO label for each character, and their probabilities (T, L), in the order of `labels`.
    `kinds` says in words what each kind of entity is. ValueErrors of `compute` are shown in the widget.
    """
    return EntitiesExplorer(compute, text, labels, kinds)
