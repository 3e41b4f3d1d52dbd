"""Temperature, top-k, top-p, min-p and the repetition penalty at work on the next token's probabilities."""

from collections.abc import Callable, Sequence

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import Explorer, packed, source


class SamplingExplorer(Explorer):
    """The widget; `explore_sampling` makes it."""

    _esm = source("sampling")
    text = traitlets.Unicode().tag(sync=True)
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    logits = traitlets.Bytes().tag(sync=True)
    # The ids of the text's tokens, for the repetition penalty; None where `compute` does not tell them.
    seen = traitlets.List(traitlets.Int(), allow_none=True, default_value=None).tag(sync=True)
    # The page's wish to append a token: its id and a count, so that the same token can be drawn twice running.
    drawn = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, compute: Callable, text: str, tokens: Sequence[str]):
        self._compute = compute
        super().__init__(text=text, tokens=[str(token) for token in tokens])
        self._recompute()
        self.observe(self._recompute, "text")
        self.observe(self._append, "drawn")

    def _recompute(self, _=None) -> None:
        self.answer(self._predict)

    def _predict(self) -> dict:
        found = self._compute(self.text)
        found, seen = found if isinstance(found, tuple) else (found, None)
        logits = np.frombuffer(packed(found), "<f4")
        if len(logits) != len(self.tokens):
            raise ValueError(f"Expected one logit for each of {len(self.tokens)} tokens, got {len(logits)}.")
        if np.isnan(logits).any() or not np.isfinite(logits).any():
            raise ValueError("Expected logits that are numbers, got NaN or nothing finite: check the model.")
        return {"logits": logits.tobytes(), "seen": None if seen is None else [int(token) for token in seen]}

    def _append(self, change: dict) -> None:
        if change["new"]:
            self.text += self.tokens[change["new"][0]]

    def _likeliest(self, count: int) -> list[tuple[str, float]]:
        logits = np.frombuffer(self.logits, "<f4").astype(np.float64)
        if not len(logits):
            return []
        probs = np.exp(logits - logits.max())
        probs /= probs.sum()
        return [(self.tokens[i], float(probs[i])) for i in np.argsort(-probs, kind="stable")[:count]]

    def says(self) -> str:
        first = ", ".join(f"“{still.word(token)}” {100 * share:.1f} %" for token, share in self._likeliest(3))
        return f"The likeliest next tokens after “{self.text}” at temperature 1: {first}."

    def still(self) -> str:
        best = self._likeliest(12)
        return still.bars([token for token, _ in best], [share for _, share in best], self.says())


def explore_sampling(compute: Callable, text: str, tokens: Sequence[str]) -> SamplingExplorer:
    """Explore how temperature, top-k, top-p and min-p reshape the next token's distribution, and draw from it.

    `compute(text)` returns the next token's logits, (V,), or these and the ids of the text's tokens: then there is a
    slider for the repetition penalty, too. `tokens` are the V tokens as text. It runs again when the text changes or a
    token is drawn; its ValueErrors are shown in the widget. The order is that of generation: repetition penalty,
    temperature, top-k, top-p (the fewest tokens whose share of what top-k left reaches p, and at least one), min-p.
    """
    return SamplingExplorer(compute, text, tokens)
