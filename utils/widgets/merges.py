"""Byte-pair encoding step by step: the merges that turn the learner's own sentence from bytes into tokens."""

import traitlets

from utils.text.bpe import BPE, pre_tokenize, to_letters
from utils.text.merges import apply_merges
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

MOST_LETTERS = 120  # bytes of a sentence


class MergesExplorer(Explorer):
    """The widget; `explore_merges` makes it."""

    _esm = source("merges")
    _css = Explorer._css + (FOLDER / "merges.css").read_text(encoding="utf-8")
    text = traitlets.Unicode().tag(sync=True)
    steps = traitlets.List().tag(sync=True)

    def __init__(self, tokenizer: BPE, text: str) -> None:
        self._tokenizer = tokenizer
        super().__init__(text=text)
        self._recompute()
        self.observe(self._recompute, "text")

    def _recompute(self, _=None) -> None:
        self.answer(lambda: {"steps": merge_steps(self._tokenizer, self.text)})

    def says(self) -> str:
        first, last = len(self.steps[0]["tokens"]), len(self.steps[-1]["tokens"])
        return f"“{self.text}”: {first} bytes become {last} tokens in {len(self.steps) - 1} merges."

    def still(self) -> str:
        shown = [step for step in (self.steps[0], self.steps[-1]) if self.steps]
        return still.table(("tokens",), [(" | ".join(token for token, _ in step["tokens"]),) for step in shown])


def merge_steps(tokenizer: BPE, text: str) -> list[dict]:
    """The sentence after each merge, in the order in which the merges were learned; the first entry is its bytes.

    An entry has `tokens`, each with the number of its pre-token, and of the merge that made it `pair`, `rank` (from 1)
    and `count`, how often the pair stood in the training text (0 if that is not known).
    Raises: ValueError for no text, or more than 120 bytes of it.
    """
    if not text.strip():
        raise ValueError("Type a sentence: there is nothing to merge.")
    pieces = [[tokenizer.vocab[letter] for letter in to_letters(piece)] for piece in pre_tokenize(text)]
    length = sum(map(len, pieces))
    if length > MOST_LETTERS:
        raise ValueError(f"Expected at most {MOST_LETTERS} bytes, got {length}; shorten the sentence.")

    def entry(pieces: list[list[int]], **made: object) -> dict:
        tokens = [[tokenizer.tokens[i], number] for number, piece in enumerate(pieces) for i in piece]
        return {"tokens": tokens, **made}

    steps = [entry(pieces, pair=None, rank=0, count=0)]
    for pair, after in apply_merges(pieces, tokenizer.ranks):
        rank = tokenizer.ranks[pair][0]
        count = tokenizer.history[rank].count if tokenizer.history else 0
        steps.append(entry(after, pair=[tokenizer.tokens[i] for i in pair], rank=rank + 1, count=count))
    return steps


def explore_merges(tokenizer: BPE, text: str) -> MergesExplorer:
    """Explore how a trained BPE encodes a sentence, one merge at a time, forward and back.

    At most 120 bytes; beyond that, and for an empty sentence, the widget says so.
    """
    return MergesExplorer(tokenizer, text)
