"""What classifiers make of the learner's own review: each one's probability, and what each word adds to it."""

from collections.abc import Callable

import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

MOST_WORDS = 40


class SentimentExplorer(Explorer):
    """The widget; `explore_sentiment` makes it."""

    _esm = source("sentiment")
    _css = Explorer._css + (FOLDER / "sentiment.css").read_text(encoding="utf-8")
    # The page's question: the text, and the numbers of the words that are left out of it.
    query = traitlets.Dict().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    words = traitlets.List().tag(sync=True)
    models = traitlets.List().tag(sync=True)

    def __init__(self, compute: Callable, text: str, classes: tuple[str, str]) -> None:
        self._compute = compute
        super().__init__(query={"text": text, "dropped": []}, classes=list(classes))
        self._recompute()
        self.observe(self._recompute, "query")

    def _recompute(self, _=None) -> None:
        self.answer(self._read)

    def _read(self) -> dict:
        words = self.query["text"].split()
        kept = [i for i in range(len(words)) if i not in self.query["dropped"]]
        if not kept:
            raise ValueError("Type a review, or put a word back: there is nothing to read.")
        if len(words) > MOST_WORDS:
            raise ValueError(f"Expected at most {MOST_WORDS} words, got {len(words)}; shorten the review.")
        texts = [" ".join(words[i] for i in kept if i != out) for out in [None, *kept]]
        models = []
        for name, probs in self._compute(texts).items():
            probs = [float(prob) for prob in probs]
            if len(probs) != len(texts) or not all(0 <= prob <= 1 for prob in probs):
                raise ValueError(f"Expected a probability for each of {len(texts)} texts from {name}, got {probs[:4]}.")
            adds = dict(zip(kept, (probs[0] - prob for prob in probs[1:]), strict=True))
            models.append({"name": name, "prob": probs[0], "adds": [adds.get(i, 0.0) for i in range(len(words))]})
        return {"words": words, "models": models}

    def says(self) -> str:
        found = "; ".join(f"{model['name']}: {100 * model['prob']:.1f} % {self.classes[1]}" for model in self.models)
        return f"What each model makes of “{self.query['text']}”. {found}"

    def still(self) -> str:
        return still.bars(
            [model["name"] for model in self.models],
            [model["prob"] for model in self.models],
            f"Probability of {self.classes[1]} by model",
        )


def explore_sentiment(
    compute: Callable, text: str, classes: tuple[str, str] = ("negative", "positive")
) -> SentimentExplorer:
    """Explore a decision between two classes: type a text, see each model's probability, and press a word to drop it.

    `compute(texts)` returns {model name: probability of the second class for each text}. A word's color is what
    leaving it out changes. At most 40 words. ValueErrors of `compute` are shown in the widget.
    """
    return SentimentExplorer(compute, text, classes)
