"""What a search finds for the learner's question: passages, their best sentence, and the words they share."""

from collections.abc import Callable, Sequence

import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source


class SearchExplorer(Explorer):
    """The widget; `explore_search` makes it."""

    _esm = source("search")
    _css = Explorer._css + (FOLDER / "search.css").read_text(encoding="utf-8")
    # The page's question: the text, and the way to search.
    query = traitlets.Dict().tag(sync=True)
    methods = traitlets.List().tag(sync=True)
    # What was found, best first: where, score, sentences, number of the best sentence, words shared with the question.
    found = traitlets.List().tag(sync=True)

    def __init__(self, compute: Callable, text: str, methods: Sequence[str]) -> None:
        self._compute = compute
        super().__init__(query={"text": text, "method": methods[0]}, methods=list(methods))
        self._recompute()
        self.observe(self._recompute, "query")

    def _recompute(self, _=None) -> None:
        self.answer(self._search)

    def _search(self) -> dict:
        if self.query["method"] not in self.methods:
            raise ValueError(f"Expected one of {', '.join(self.methods)}, got {self.query['method']!r}.")
        found = self._compute(self.query["text"], self.query["method"])
        return {
            "found": [
                {
                    "where": one.where,
                    "score": float(one.score),
                    "sentences": list(one.sentences),
                    "best": int(one.best),
                    "words": sorted(one.words),
                }
                for one in found
            ]
        }

    def says(self) -> str:
        first = f" First: {self.found[0]['where']}." if self.found else ""
        return f"“{self.query['text']}”, searched by {self.query['method']}: {len(self.found)} passages found.{first}"

    def still(self) -> str:
        rows = [(one["where"], f"{one['score']:.3f}", one["sentences"][one["best"]]) for one in self.found]
        return still.table(("where", "score", "best sentence"), rows)


def explore_search(compute: Callable, text: str, methods: Sequence[str]) -> SearchExplorer:
    """Explore a search: type a question, choose how to search, open what was found.

    `compute(text, method)` returns what was found, best first, with the fields of `utils.models.retrieval.Found`:
    where, score, sentences, best (a sentence's number) and words (shared with the question). Its ValueErrors are shown
    in the widget.
    """
    return SearchExplorer(compute, text, methods)
