"""A translation of the learner's own text, and what each of its tokens looked at in the source."""

from collections.abc import Callable, Sequence

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, packed, source

MAX_TOKENS = 120


class AlignmentExplorer(Explorer):
    """The widget; `explore_alignment` makes it."""

    _esm = source("alignment")
    _css = Explorer._css + (FOLDER / "alignment.css").read_text(encoding="utf-8")
    text = traitlets.Unicode().tag(sync=True)
    translation = traitlets.Unicode().tag(sync=True)
    part_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    source_tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # For each source token, which part of the source it belongs to.
    parts = traitlets.List(traitlets.Int()).tag(sync=True)
    target_tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # (H, T, S), row by row.
    weights = traitlets.Bytes().tag(sync=True)
    n_heads = traitlets.Int(0).tag(sync=True)

    def __init__(self, compute: Callable, text: str, part_names: Sequence[str]) -> None:
        self._compute = compute
        self._mean = np.zeros((1, 1))
        super().__init__(text=text, part_names=list(part_names))
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(self._translate)

    def _translate(self) -> dict:
        translation, source_parts, target_tokens, weights = self._compute(self.text)
        tokens = [str(token) for part in source_parts for token in part]
        shape, expected = tuple(weights.shape), (len(target_tokens), len(tokens))
        if len(source_parts) > len(self.part_names):
            raise ValueError(f"Expected at most {len(self.part_names)} parts of a source, got {len(source_parts)}.")
        if max(expected) > MAX_TOKENS:
            raise ValueError(f"Expected at most {MAX_TOKENS} tokens, got {max(expected)}: shorten the text.")
        if len(shape) != 3 or shape[1:] != expected:
            raise ValueError(f"Expected weights of shape (heads, {expected[0]}, {expected[1]}), got {shape}.")
        data = packed(weights)
        self._mean = np.frombuffer(data, "<f4").reshape(shape).mean(0)
        return {
            "translation": translation,
            "source_tokens": tokens,
            "parts": [i for i, part in enumerate(source_parts) for _ in part],
            "target_tokens": [str(token) for token in target_tokens],
            "weights": data,
            "n_heads": shape[0],
        }

    def says(self) -> str:
        if not self.target_tokens:
            return f"Nothing could be translated for “{self.text}”: {self.error}"
        return f"“{self.text}” is translated as “{self.translation}”; weights are the mean of {self.n_heads} heads."

    def still(self) -> str:
        if not self.target_tokens:
            return ""
        best = self._mean.argmax(axis=1)
        rows = [
            (still.word(token), still.word(self.source_tokens[s]), f"{self._mean[t, s]:.2f}")
            for t, (token, s) in enumerate(zip(self.target_tokens, best, strict=True))
        ]
        return still.table(("written", "looked at most", "weight"), rows)


def explore_alignment(
    compute: Callable, text: str, part_names: Sequence[str] = ("draft", "English", "nearest pair")
) -> AlignmentExplorer:
    """Explore what a translation looked at, for any text of the learner's.

    `compute(text)` returns (translation, source_parts, target_tokens, weights): the text to show; the source's tokens
    in lists, one a part; the T target tokens; and an array or tensor (H, T, S) of cross-attention over all source
    tokens. It runs again when the text changes; its ValueErrors are shown in the widget. Head and token are chosen in
    the browser alone.
    """
    return AlignmentExplorer(compute, text, part_names)
