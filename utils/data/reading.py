"""Questions to passages by one name: made by rule, on the course's own text, or SQuAD 2.0 where the hub has it."""

import json
import random

import datasets

from utils import environment
from utils.data import course_text
from utils.data.sources import SourceError
from utils.data.span_questions import SpanQuestion, span_questions

SOURCES = ("made", "course", "squad")
SQUAD = "rajpurkar/squad_v2"  # CC BY-SA 4.0
MOST_CHARACTERS = 800  # a longer passage would not fit beside its question into the reader's 256 tokens


def reading_questions(source: str, n: int, split: str, seed: int = 0) -> list[SpanQuestion]:
    """n questions of a split, the same for the same seed: "made" by rule, or from "squad" (passages up to 800 letters).

    "course": 24 questions written by hand to single passages of the chapters, for "test" alone. SQuAD publishes no test
    set: "test" is its validation set, "validation" a part of its training set that "train" does not have.
    Raises: ValueError for an unknown source or split, n below 1, or fewer than n questions; SourceError if neither the
    cache nor the hub has SQuAD.
    """
    if source not in SOURCES:
        raise ValueError(f"reading_questions: expected a source of {SOURCES}, got {source!r}")
    if source == "made":
        return span_questions(n, split, seed)
    if split not in ("train", "validation", "test") or n < 1:
        raise ValueError(f"reading_questions: expected n of at least 1 and a known split, got n={n}, {split!r}")
    if source == "course":
        questions = _from_course() if split == "test" else []
    else:
        questions = [q for q in map(_from_squad, _squad(split)) if len(q.passage) <= MOST_CHARACTERS]
    if len(questions) < n:
        raise ValueError(f"reading_questions: expected at most {len(questions)} questions of {split}, got n={n}")
    return random.Random(f"{split} {seed}").sample(questions, n)


def _from_course() -> list[SpanQuestion]:
    """The questions to single passages. Raises: ValueError if one does not fit the chapters any more."""
    passages = {p.cell: p for p in course_text.course_passages(0, 15)}
    found = []
    for row in json.loads(course_text.QUESTIONS.read_text(encoding="utf-8"))["reading"]:
        passage, answer = passages.get(row["cell"]), row["answer"]
        if passage is None or answer and passage.text.count(answer) != 1:
            raise ValueError(f"{row['cell']}: expected a passage with {answer!r} once, found none; mend the question")
        start = passage.text.index(answer) if answer else -1
        found.append(SpanQuestion(passage.text, row["question"], answer, start, f"course: {row['cell']}"))
    return found


def _squad(split: str) -> datasets.Dataset:
    """The rows of a split. Raises: SourceError if they cannot be had."""
    options = datasets.DownloadConfig(local_files_only=not environment.online())
    before = datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = before or not environment.online()
        name = "validation" if split == "test" else "train"
        rows = datasets.load_dataset(SQUAD, split=name, download_config=options)
    except (OSError, ValueError, ConnectionError) as error:
        raise SourceError(
            f"looked for SQuAD 2.0 ({SQUAD}) in the local cache and on the hub "
            f"({'reachable' if environment.online() else 'offline'}): neither has it. Go online and unset "
            f"HF_HUB_OFFLINE, or take the source 'made'"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    if split == "test":
        return rows
    # Questions on one article stay together: every tenth article is for validation.
    titles = sorted(set(rows["title"]))
    kept = {title for i, title in enumerate(titles) if (i % 10 == 9) == (split == "validation")}
    return rows.select([i for i, title in enumerate(rows["title"]) if title in kept])


def _from_squad(row: dict) -> SpanQuestion:
    """A row of SQuAD; of several answers the first. Raises: ValueError if the answer does not stand where it says."""
    texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
    answer, start = (texts[0], int(starts[0])) if texts else ("", -1)
    if answer and row["context"][start : start + len(answer)] != answer:
        raise ValueError(f"SQuAD: expected the answer {answer!r} at character {start}, found other text; load it again")
    return SpanQuestion(row["context"], row["question"].strip(), answer, start, f"squad: {row['title']}")
