"""The tree that a beam search grows, step by step: which beginnings it keeps, drops and finishes."""

from collections.abc import Callable, Iterable, Sequence

import traitlets

from utils.models.beam import FINISHED, KEPT, Candidate, length_normalized
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

MOST_BEAMS = 6


class BeamTreeExplorer(Explorer):
    """The widget; `explore_beam_tree` makes it. The search is Python's; the ranking by score is done in the browser."""

    _esm = source("beam_tree")
    _css = Explorer._css + (FOLDER / "beam_tree.css").read_text(encoding="utf-8")
    text = traitlets.Unicode().tag(sync=True)
    n_beams = traitlets.Int().tag(sync=True)
    most_beams = traitlets.Int(MOST_BEAMS).tag(sync=True)
    # One a candidate, step by step, best first: step, number of the node it continues (-1: the text), its last token as
    # text, log-probability of all its tokens, fate.
    nodes = traitlets.List(traitlets.List()).tag(sync=True)

    def __init__(self, grow: Callable, text: str, tokens: Sequence[str], n_beams: int):
        self._grow, self._tokens = grow, tokens
        super().__init__(text=text, n_beams=n_beams)
        self._recompute()
        self.observe(self._recompute, ["text", "n_beams"])

    def _recompute(self, _=None) -> None:
        self.answer(self._tree)

    def _tree(self) -> dict:
        nodes, beams = [], [-1]
        for step, candidates in enumerate(self._grow(self.text, self.n_beams), start=1):
            first = len(nodes)
            nodes += [[step, beams[one.parent], str(self._tokens[one.tokens[-1]]), one.log_prob, one.fate]
                      for one in candidates]  # fmt: skip
            beams = [first + i for i, one in enumerate(candidates) if one.fate == KEPT]
        if not nodes:
            raise ValueError("Expected at least one step of the search, got none: check what grows the tree.")
        return {"nodes": nodes}

    def _words(self, node: list) -> str:
        return ("" if node[1] < 0 else self._words(self.nodes[node[1]])) + node[2]

    def _ranked(self, length_penalty: float = 1.0) -> list[tuple[float, str]]:
        """Scores and texts of all that is finished or still kept at the last step, best first."""
        last = max((node[0] for node in self.nodes), default=0)
        found = [
            (length_normalized(node[3], node[0], length_penalty), self._words(node))
            for node in self.nodes
            if node[4] == FINISHED or (node[4] == KEPT and node[0] == last)
        ]
        return sorted(found, key=lambda one: -one[0])

    def says(self) -> str:
        score, words = self._ranked()[0] if self._ranked() else (0.0, "")
        return (
            f"Beam search with {self.n_beams} beams continues “{self.text}”: the best mean log-probability, "
            f"{score:.2f} nats a token, has “{still.word(words)}”."
        )

    def still(self) -> str:
        return still.table(("score", "continuation"), [(f"{score:.3f}", words) for score, words in self._ranked()])


def explore_beam_tree(
    grow: Callable[[str, int], Iterable[list[Candidate]]], text: str, tokens: Sequence[str], n_beams: int = 3
) -> BeamTreeExplorer:
    """Explore a beam search: grow its tree step by step, with any text, beam width and length penalty.

    `grow(text, n_beams)` gives the steps of `beam_steps`; `tokens` are the V tokens as text. It runs again when the
    text or the width changes; its ValueErrors are shown in the widget.
    Raises: ValueError for a width that the slider does not have.
    """
    if not 1 <= n_beams <= MOST_BEAMS:
        raise ValueError(f"n_beams: expected from 1 to {MOST_BEAMS}, got {n_beams}")
    return BeamTreeExplorer(grow, text, tokens, n_beams)
