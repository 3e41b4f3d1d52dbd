"""From text to next token: every tensor on the way through a causal model, for the learner's own text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, packed, source

MAX_TOKENS = 20
GUESSES = 5
ENDS = ("token", "position", "last_norm")
ATTENTION = ("norm_1", "query", "key", "value", "scores", "weights", "mixed", "attention", "middle")
LAYERS = (*ATTENTION, "norm_2", "hidden", "feed_forward")
NAMES = (*ENDS, *LAYERS, "stream", "lens")


def as_array(values: Any) -> np.ndarray:
    """A tensor or array of any precision and device as a NumPy array of float32."""
    return values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values, dtype=np.float32)


def shapes_of(steps: dict[str, np.ndarray], n_tokens: int) -> dict[str, tuple]:
    """The shape that each tensor must have, given the stream's, the weights' and the hidden layer's own sizes."""
    n_layers, T, d_model = steps["stream"].shape[0] - 1, n_tokens, steps["stream"].shape[-1]
    expected = {name: (T, d_model) for name in ENDS} | {name: (n_layers, T, d_model) for name in LAYERS}
    pairs = (n_layers, *steps["weights"].shape[1:2], T, T)
    return expected | {
        "scores": pairs,
        "weights": pairs,
        "hidden": (n_layers, T, *steps["hidden"].shape[2:3]),
        "stream": (n_layers + 1, T, d_model),
        "lens": (n_layers + 1, T, *steps["lens"].shape[2:3]),
    }


class ForwardPassExplorer(Explorer):
    """The widget; `explore_forward_pass` makes it."""

    _esm = source("forward_pass")
    _css = Explorer._css + (FOLDER / "forward_pass.css").read_text(encoding="utf-8")
    text = traitlets.Unicode().tag(sync=True)
    vocabulary = traitlets.List().tag(sync=True)
    tokens = traitlets.List().tag(sync=True)
    # Where each tensor begins in `values` (16-bit floats, row by row), and its shape.
    places = traitlets.Dict().tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)
    logits = traitlets.Bytes().tag(sync=True)
    # By depth and token, the likeliest next tokens there: [token's number, probability].
    guesses = traitlets.List().tag(sync=True)

    def __init__(self, compute: Callable, text: str, vocabulary: Sequence[str]) -> None:
        self._compute = compute
        super().__init__(text=text, vocabulary=[str(token) for token in vocabulary])
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(self._run)

    def _run(self) -> dict:
        tokens, steps = self._compute(self.text)
        if len(tokens) > MAX_TOKENS:
            raise ValueError(f"Expected at most {MAX_TOKENS} tokens, got {len(tokens)}: shorten the text.")
        if set(steps) != set(NAMES):
            raise ValueError(f"Expected tensors named {', '.join(NAMES)}, got {', '.join(steps)}.")
        steps = {name: as_array(steps[name]) for name in NAMES}
        wrong = [
            f"{name} of shape {steps[name].shape} instead of {shape}"
            for name, shape in shapes_of(steps, len(tokens)).items()
            if steps[name].shape != shape
        ]
        lens = steps.pop("lens")
        if wrong or lens.shape[-1] != len(self.vocabulary):
            wrong = wrong or [f"lens over {lens.shape[-1]} tokens instead of {len(self.vocabulary)}"]
            raise ValueError(f"Expected tensors of one forward pass, got {'; '.join(wrong)}.")
        starts = np.cumsum([0] + [array.size for array in steps.values()])
        places = zip(steps.items(), starts, strict=False)
        return {
            "tokens": [str(token) for token in tokens],
            "places": {name: [int(start), *array.shape] for (name, array), start in places},
            "values": np.concatenate([array.ravel() for array in steps.values()]).astype("<f2").tobytes(),
            "logits": packed(lens[-1]),
            "guesses": best_guesses(lens),
        }

    def says(self) -> str:
        if not self.guesses:
            return f"Nothing could be computed for “{self.text}”: {self.error}"
        found = [f"“{still.word(self.vocabulary[i])}” {100 * p:.1f} %" for i, p in self.guesses[-1][-1][:3]]
        depth = len(self.guesses) - 1
        return f"From “{self.text}” through {depth} layers to the likeliest next tokens: {', '.join(found)}."

    def still(self) -> str:
        rows = [
            (f"after layer {depth}" if depth else "before the first layer",)
            + tuple(f"{still.word(self.vocabulary[i])} {100 * p:.1f} %" for i, p in guess[-1])
            for depth, guess in enumerate(self.guesses)
        ]
        return still.table(("the last token's stream", *("guess",) * GUESSES), rows)


def best_guesses(lens: np.ndarray) -> list:
    """The likeliest tokens by depth and position as [number, probability]. Shapes: logits (L + 1, T, V)."""
    probs = np.exp(lens - lens.max(axis=-1, keepdims=True))
    probs /= probs.sum(axis=-1, keepdims=True)
    n_best = min(GUESSES, lens.shape[-1])
    best = np.argpartition(-lens, n_best - 1, axis=-1)[..., :n_best]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(lens, best, -1), -1, kind="stable"), -1)
    shares = np.take_along_axis(probs, best, -1)
    return [
        [[[int(i), float(p)] for i, p in zip(*pair, strict=True)] for pair in zip(*depth, strict=True)]
        for depth in zip(best, shares, strict=True)
    ]


def explore_forward_pass(compute: Callable, text: str, vocabulary: Sequence[str]) -> ForwardPassExplorer:
    """Explore every tensor on the way from a text of at most 20 tokens to the next one.

    `compute(text)` returns the T tokens as strings, and a dictionary of tensors or arrays of a model with L layers:
    `token`, `position` and `last_norm` (T, D); by layer `norm_1`, `query`, `key`, `value`, `mixed` (the heads' outputs
    side by side), `attention` (what it adds), `middle` (the stream after it), `norm_2`, `feed_forward` (what it adds)
    (L, T, D), `scores` and `weights` (L, H, T, T), `hidden` (L, T, F); `stream` (L + 1, T, D), before the first layer
    and after each; and `lens` (L + 1, T, V), the logits that each of these would give, the last ones being the model's
    own. `vocabulary` are the V tokens as text.
    It runs again whenever the learner changes the text; its ValueErrors are shown in the widget. Token, layer and head
    are chosen in the browser alone.
    """
    return ForwardPassExplorer(compute, text, vocabulary)
