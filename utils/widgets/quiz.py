"""Quick questions with one right answer each, marked as soon as an answer is chosen."""

import html

import traitlets

from utils.widgets.base import Explorer, source


class Quiz(Explorer):
    """The widget; `ask` makes it."""

    _esm = source("quiz")
    questions = traitlets.List().tag(sync=True)

    def says(self) -> str:
        return " ".join(f"Question {i}: {question['text']}" for i, question in enumerate(self.questions, 1))

    def still(self) -> str:
        items = "".join(
            f"<li>{html.escape(question['text'])}<ul>"
            + "".join(f"<li>{html.escape(option['text'])}</li>" for option in question["options"])
            + "</ul></li>"
            for question in self.questions
        )
        return f"<ol>{items}</ol>"


def ask(questions: dict[str, dict[str, str]]) -> Quiz:
    """Ask questions: {question: {option: what to say of it}}; the right option's remark begins with "Yes".

    Raises: ValueError for a question without exactly one right option among at least two.
    """
    entries = []
    for text, options in questions.items():
        right = [option for option, remark in options.items() if remark.startswith("Yes")]
        if len(options) < 2 or len(right) != 1:
            raise ValueError(f"question {text!r}: expected at least two options, one of them with a remark that begins "
                             f"with 'Yes', got {len(options)} options and {len(right)} right ones")
        entries.append({"text": text, "options": [{"text": option, "remark": remark, "right": option == right[0]}
                                                  for option, remark in options.items()]})
    return Quiz(questions=entries)
