"""Attention weights of the learner's own sentence, by layer, head and query token."""

from collections.abc import Callable

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import Explorer, packed, source

MAX_TOKENS = 48


class AttentionExplorer(Explorer):
    """The widget; `explore_attention` makes it."""

    _esm = source("attention")
    text = traitlets.Unicode().tag(sync=True)
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    n_layers = traitlets.Int(0).tag(sync=True)
    n_heads = traitlets.Int(0).tag(sync=True)

    def __init__(self, compute: Callable, text: str):
        self._compute = compute
        self._mean = np.zeros((1, 1))
        super().__init__(text=text)
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(self._attend)

    def _attend(self) -> dict:
        if not self.text.strip():
            raise ValueError("Expected a sentence, got an empty text: type a few words.")
        tokens, weights = self._compute(self.text)
        shape = tuple(weights.shape)
        if len(tokens) > MAX_TOKENS:
            raise ValueError(f"Expected at most {MAX_TOKENS} tokens, got {len(tokens)}: shorten the text.")
        if len(shape) != 4 or shape[2:] != (len(tokens), len(tokens)):
            raise ValueError(f"Expected weights of shape (n_layers, n_heads, {len(tokens)}, {len(tokens)}), one row "
                             f"and one column a token, got {shape}.")
        data = packed(weights)
        self._mean = np.frombuffer(data, "<f4").reshape(shape)[0].mean(0)
        return {"tokens": [str(token) for token in tokens], "weights": data, "n_layers": shape[0], "n_heads": shape[1]}

    def says(self) -> str:
        return (f"Attention weights of layer 1, mean over {self.n_heads} heads, for “{self.text}”: "
                "a row is a query token, a column the token it attends to.")

    def still(self) -> str:
        return still.grid(self._mean, self.tokens, self.says()) if self.tokens else ""


def explore_attention(compute: Callable, text: str) -> AttentionExplorer:
    """Explore the attention weights that `compute` gives for a text of at most 48 tokens.

    `compute(text)` returns (tokens, weights): T strings and an array or tensor (n_layers, n_heads, T, T), whose row t
    holds the weights of query t over the keys. It runs again whenever the learner changes the text; its ValueErrors are
    shown in the widget. Layer, head and query are chosen in the browser alone.
    """
    return AttentionExplorer(compute, text)
