"""Where a reader sees the answer to the learner's question: start and end of a span, token by token, or none."""

from collections.abc import Callable

import traitlets

from utils.models import spans
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

CANDIDATES = 5


class AnswersExplorer(Explorer):
    """The widget; `explore_answers` makes it."""

    _esm = source("answers")
    _css = Explorer._css + (FOLDER / "answers.css").read_text(encoding="utf-8")
    # The page's question: the question and the passage as typed.
    query = traitlets.Dict().tag(sync=True)
    # The passage's tokens: their text, whether a space stands before, and how likely the answer starts and ends there.
    tokens = traitlets.List().tag(sync=True)
    # The likeliest spans: text, first and last token (numbers in `tokens`), probability.
    candidates = traitlets.List().tag(sync=True)
    none = traitlets.Float(0.0).tag(sync=True)
    # How far the best span's score lies above that of no answer.
    lead = traitlets.Float(0.0).tag(sync=True)

    def __init__(self, compute: Callable, question: str, passage: str) -> None:
        self._compute = compute
        super().__init__(query={"question": question, "passage": passage})
        self._recompute()
        self.observe(self._recompute, "query")

    def _recompute(self, _=None) -> None:
        self.answer(self._read)

    def _read(self) -> dict:
        pair, reading = self._compute(self.query["question"], self.query["passage"])
        places = [t for t, inside in enumerate(pair.in_passage.tolist()) if inside]
        numbers = {t: i for i, t in enumerate(places)}
        probs = spans.end_probs(pair, reading.logits)
        best, none = spans.likely_spans(pair, reading.logits, CANDIDATES)
        ends = [0, *(pair.offsets[t][1] for t in places)]
        return {
            "tokens": [
                [pair.passage[slice(*pair.offsets[t])], pair.offsets[t][0] > ends[i], *map(float, probs[t])]
                for i, t in enumerate(places)
            ],
            "candidates": [
                [pair.passage[pair.offsets[a][0] : pair.offsets[b][1]], numbers[a], numbers[b], p] for a, b, p in best
            ],
            "none": none,
            "lead": reading.score - reading.null_score,
        }

    def says(self) -> str:
        if not self.candidates:
            return f"Nothing could be read: {self.error}"
        found = f"“{self.candidates[0][0]}” ({100 * self.candidates[0][3]:.0f} %)"
        return f"“{self.query['question']}” The likeliest span: {found}; no answer: {100 * self.none:.0f} %."

    def still(self) -> str:
        labels = ["no answer", *(text for text, *_ in self.candidates)]
        return still.bars(labels, [self.none, *(p for *_, p in self.candidates)], "Probability of each span")


def explore_answers(compute: Callable, question: str, passage: str) -> AnswersExplorer:
    """Explore extractive question answering: type a question and a passage, see every start, end and span scored.

    `compute(question, passage)` returns the `Pair` and the `Reading` of `utils.models.spans`. Its ValueErrors (an empty
    text, another script, too many tokens) are shown in the widget. How sure the reader must be before it answers is
    chosen in the browser alone.
    """
    return AnswersExplorer(compute, question, passage)
