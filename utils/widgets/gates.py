"""An LSTM's gates and cell while it reads the learner's own sentence, word by word."""

from collections.abc import Callable

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, packed, source

PARTS = ("input", "forget", "candidate", "output", "cell", "hidden")
MOST_WORDS = 40


class GatesExplorer(Explorer):
    """The widget; `explore_gates` makes it."""

    _esm = source("gates")
    _css = Explorer._css + (FOLDER / "gates.css").read_text(encoding="utf-8")
    text = traitlets.Unicode().tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    known = traitlets.List(traitlets.Bool()).tag(sync=True)
    says_so_far = traitlets.List(traitlets.Float()).tag(sync=True)
    # All of PARTS, (6, T, D), in one array.
    values = traitlets.Bytes().tag(sync=True)
    d_hidden = traitlets.Int(0).tag(sync=True)
    outcome = traitlets.Unicode().tag(sync=True)

    def __init__(self, compute: Callable, text: str, outcome: str) -> None:
        self._compute = compute
        super().__init__(text=text, outcome=outcome)
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(self._read)

    def _read(self) -> dict:
        if not self.text.strip():
            raise ValueError("Expected a sentence, got an empty text: type a few words.")
        words, known, trace, probs = self._compute(self.text)
        if not 1 <= len(words) <= MOST_WORDS:
            raise ValueError(f"Expected 1 to {MOST_WORDS} words, got {len(words)}; shorten the sentence.")
        missing = [part for part in PARTS if part not in trace]
        if missing:
            raise ValueError(f"Expected the parts {', '.join(PARTS)}; missing are {', '.join(missing)}.")
        values = [np.asarray(trace[part], dtype=np.float32) for part in PARTS]
        shapes = {value.shape for value in values}
        if len(shapes) != 1 or len(values[0].shape) != 2 or len(values[0]) != len(words):
            raise ValueError(f"Expected each part of shape ({len(words)}, d_hidden), one row a word, got {shapes}.")
        if len(known) != len(words) or len(probs) != len(words):
            raise ValueError(
                f"Expected {len(words)} entries, one a word, got {len(known)} known and {len(probs)} probs."
            )
        return {
            "words": [str(word) for word in words],
            "known": [bool(each) for each in known],
            "says_so_far": [float(prob) for prob in probs],
            "values": packed(np.stack(values)),
            "d_hidden": values[0].shape[1],
        }

    def says(self) -> str:
        if not self.words:
            return "An LSTM's gates, word by word."
        return (
            f"An LSTM with {self.d_hidden} units reads “{self.text}”. "
            f"After the last word it says {100 * self.says_so_far[-1]:.1f} % {self.outcome}."
        )

    def still(self) -> str:
        steps = range(1, len(self.words) + 1)
        return still.curves({f"{self.outcome} so far": (list(steps), list(self.says_so_far))}, self.says())


def explore_gates(compute: Callable, text: str, outcome: str = "positive") -> GatesExplorer:
    """Explore an LSTM's gates and cell over a sentence: step through its words, choose a unit, edit the text.

    `compute(text)` returns (words, known, trace, probs): T strings; T booleans, whether the model knows the word; a
    mapping of the names in `PARTS` to tensors or arrays (T, D), the LSTM having begun with a cell of zeros; and T
    probabilities of `outcome`, read off after each word. At most 40 words. ValueErrors of `compute` are shown.
    """
    return GatesExplorer(compute, text, outcome)
