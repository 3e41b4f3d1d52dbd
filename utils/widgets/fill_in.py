"""A masked language model's guesses for each blank of the learner's own sentence."""

from collections.abc import Callable

import traitlets

from utils.widgets import still
from utils.widgets.base import Explorer, source

CANDIDATES = 10


class FillInExplorer(Explorer):
    """The widget; `explore_fill_in` makes it."""

    _esm = source("fill_in")
    text = traitlets.Unicode().tag(sync=True)
    mask = traitlets.Unicode().tag(sync=True)
    candidates = traitlets.List().tag(sync=True)

    def __init__(self, compute: Callable, text: str, mask: str):
        self._compute = compute
        super().__init__(text=text, mask=mask)
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(self._fill)

    def _fill(self) -> dict:
        blanks = self.text.count(self.mask)
        if not blanks:
            return {"candidates": []}
        guesses = self._compute(self.text)
        if len(guesses) != blanks:
            raise ValueError(f"Expected one list of guesses for each of {blanks} masks, got {len(guesses)}.")
        best = [list(some)[:CANDIDATES] for some in guesses]
        return {"candidates": [[[str(token), float(share)] for token, share in some] for some in best]}

    def says(self) -> str:
        guesses = "; ".join(f"mask {i}: " + ", ".join(f"{token} {100 * share:.1f} %" for token, share in some[:3])
                            for i, some in enumerate(self.candidates, 1))
        return f"The model's guesses for “{self.text}”. {guesses}"

    def still(self) -> str:
        return "".join(still.bars([token for token, _ in some], [share for _, share in some], f"Guesses for mask {i}")
                       for i, some in enumerate(self.candidates, 1))


def explore_fill_in(compute: Callable, text: str, mask: str = "[MASK]") -> FillInExplorer:
    """Explore what a masked language model puts in the blanks: click a word to mask it, a guess to fill it in.

    `compute(text)` gets a text with at least one `mask` and returns a list for each mask, in order: (token,
    probability) pairs, the likeliest first, of which ten are shown. Its ValueErrors are shown in the widget.
    """
    return FillInExplorer(compute, text, mask)
