"""A conversation with several answerers at once: what each says to the learner's message, side by side."""

from collections.abc import Callable, Sequence

import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

MOST_EXCHANGES = 20


class ChatExplorer(Explorer):
    """The widget; `explore_chat` makes it."""

    _esm = source("chat")
    _css = Explorer._css + (FOLDER / "chat.css").read_text(encoding="utf-8")
    # The page's question: a message, or None to start over; the number makes a repeated message a new question.
    query = traitlets.Dict().tag(sync=True)
    examples = traitlets.List().tag(sync=True)
    limit = traitlets.Int().tag(sync=True)
    # What was said so far: {"message": …, "answers": [[name, answer, note], …]}.
    exchanges = traitlets.List().tag(sync=True)

    def __init__(self, compute: Callable, message: str, examples: Sequence[str], limit: int) -> None:
        self._compute = compute
        super().__init__(query={"message": message, "number": 0}, examples=list(examples), limit=limit)
        self._reply()
        self.observe(self._reply, "query")

    def _reply(self, _=None) -> None:
        self.answer(self._answers)

    def _answers(self) -> dict:
        message = self.query.get("message")
        if message is None:
            return {"exchanges": []}
        if len(message) > self.limit:
            raise ValueError(f"Expected at most {self.limit} characters, got {len(message)}: shorten the message.")
        turns = [said for one in self.exchanges for said in (one["message"], one["answers"][-1][1])]
        answers = [[str(part) for part in row] for row in self._compute([*turns, message])]
        if not answers or any(len(row) != 3 for row in answers):
            raise ValueError(f"Expected at least one answer as (name, answer, note), got {answers[:2]}.")
        return {"exchanges": [*self.exchanges, {"message": message, "answers": answers}][-MOST_EXCHANGES:]}

    def says(self) -> str:
        if not self.exchanges:
            return f"An empty conversation. {self.error}".strip()
        last = self.exchanges[-1]
        answers = "; ".join(f"{name}: “{answer}”" for name, answer, _ in last["answers"])
        return f"To “{last['message']}” answer: {answers}"

    def still(self) -> str:
        names = [name for name, _, _ in self.exchanges[-1]["answers"]] if self.exchanges else []
        rows = [[one["message"], *(answer for _, answer, _ in one["answers"])] for one in self.exchanges]
        return still.table(["you", *names], rows)


def explore_chat(
    compute: Callable, message: str, examples: Sequence[str] = (), limit: int = 400
) -> ChatExplorer:
    """Explore a conversation: type a message, or press an example, and compare the answers of several systems.

    `compute(turns)` gets all that was said, the learner's messages and the last system's answers in turn, the new
    message at the end; it returns a list of (name, answer, note), always of the same systems. `message` is the first
    one; `limit` the characters of the longest message. ValueErrors of `compute` are shown in the widget, and the
    conversation stays as it was.
    """
    return ChatExplorer(compute, message, examples, limit)
