"""The course's own text: all chapters' Markdown as passages, and questions with the sections that answer them.

A passage is one Markdown cell below a heading of level 2 or 3; its section is the cell with that heading. What only
lists or names (the title, the goals, quick questions, recap, references) is left out. Text: CC BY 4.0, as all chapters.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.data.sources import SourceError

ASSETS = Path(__file__).parent.parent / "assets"
QUESTIONS = ASSETS / "questions.json"  # to judge a search by
EXPECTED = ASSETS / "expected_questions.json"  # to be indexed beside a section's text
LEFT_OUT = ("Quick questions", "Recap", "References")
HEADING = re.compile(r"^(#{2,3}) +(.+)$", re.MULTILINE)
# What marks text up, and what is left of it; in this order.
RULES = (
    (re.compile(r"\[!\[[^]]*]\([^)]*\)]\([^)]*\)"), ""),  # badges
    (re.compile(r"\$\$.*?\$\$", re.DOTALL), " "),  # formulas on lines of their own: signs, no words
    (re.compile(r"!?\[([^]]*)]\([^)]*\)"), r"\1"),  # links
    (re.compile(r"</?(?:details|summary)>"), " "),
    (re.compile(r"^\|[-:| ]+\|$", re.MULTILINE), " "),  # the line below a table's head
    (re.compile(r"\\[a-zA-Z]+|[*`|{}$\\]|^#+ ", re.MULTILINE), " "),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Passage:
    """One Markdown cell of a chapter as plain text, and where it stands.

    section: the id of the cell with its heading; cell: its own id. chapter: the notebook's file name.
    """

    chapter: str
    title: str
    heading: str
    section: str
    cell: str
    text: str

    @property
    def titled(self) -> str:
        """The text behind the chapter's title and the heading, which say what it is about."""
        return f"{self.title}. {self.heading}. {self.text}"


@dataclass(frozen=True)
class Question:
    """A question to the course, and the ids of the sections (heading cells) that answer it."""

    text: str
    chapter: str
    sections: tuple[str, ...]


def plain(markdown: str) -> str:
    """Markdown as running text: links by their words, no formulas on lines of their own, no signs of markup."""
    for rule, left in RULES:
        markdown = rule.sub(left, markdown)
    return markdown.strip()


def chapters_folder() -> Path:
    """The folder with the chapters' notebooks: beside `utils`, else in the working directory or above it.

    Raises: SourceError if none of them has one, as after an installation without the repository.
    """
    here = Path.cwd()
    folders = [Path(__file__).resolve().parents[2] / "chapters", *(p / "chapters" for p in (here, *here.parents))]
    for folder in folders:
        if any(folder.glob("[0-9][0-9]_*.ipynb")):
            return folder
    raise SourceError(
        f"looked for the chapters (chapters/NN_name.ipynb) in {folders[0]} and around {here}, found none; they are no "
        f"part of the installed package: clone the course's repository and start Jupyter there"
    )


def course_passages(first: int = 0, last: int = 99, folder: Path | None = None) -> list[Passage]:
    """The passages of the chapters with numbers from `first` to `last`, in reading order.

    Raises: SourceError if there are no such chapters; ValueError for a notebook that cannot be read.
    """
    folder = folder or chapters_folder()
    paths = [p for p in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if first <= int(p.name[:2]) <= last]
    if not paths:
        raise SourceError(f"looked for chapters {first} to {last} in {folder}, found none; take numbers that exist")
    return [passage for path in paths for passage in _passages_of(path)]


def _passages_of(path: Path) -> list[Passage]:
    """The passages of one notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = [(c["id"], "".join(c["source"])) for c in cells if c["cell_type"] == "markdown"]
        title = next(plain(text.split("\n")[0]) for _, text in cells if text.startswith("# "))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError(
            f"{path}: expected a chapter's notebook with a title, got an unreadable one ({error!r}); check the file "
            f"out again from the repository"
        ) from error
    found, heading, section = [], None, ""
    for cell, text in cells:
        match = HEADING.search(text)
        if match:
            heading, section = plain(match[2]), cell
            text = text.replace(match[0], "", 1)
        if heading and heading not in LEFT_OUT and plain(text):
            found.append(Passage(path.name, title, heading, section, cell, plain(text)))
    return found


def course_questions(part: str = "questions") -> list[Question]:
    """Fifty questions that were written, with the sections that answer them, before any search was built or tried.

    part "development": 45 others, written later, by which a way to search may be chosen.

    Raises: SourceError if the file is missing; ValueError if it is damaged.
    """
    return _read(QUESTIONS, lambda whole: [
        Question(row["question"], row["answers"][0]["chapter"], tuple(a["cell"] for a in row["answers"]))
        for row in whole[part]
    ])  # fmt: skip


def expected_questions() -> dict[str, list[str]]:
    """Five questions for each section of the chapters 0 to 15, by the section's id: what a learner may ask of it.

    Their writers saw the sections, not the questions of `course_questions`.
    Raises: SourceError if the file is missing; ValueError if it is damaged.
    """
    return _read(EXPECTED, lambda whole: {section: list(some) for section, some in whole["sections"].items()})


def _read(path: Path, build: Callable):
    """What is built from a packaged JSON file, or one clear error."""
    if not path.is_file():
        raise SourceError(f"looked for {path.name} in {path.parent}, found nothing; reinstall the course")
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected questions and the cells that answer them, got {error!r}; reinstall the course"
        ) from error


def sentences(text: str) -> list[str]:
    """A passage's sentences: cut behind a period, question or exclamation mark before a capital."""
    return [part for part in re.split(r"(?:(?<=[.!?])|(?<=[.!?][)”\"]))\s+(?=[A-Z“\"(])", text) if part.strip()]
