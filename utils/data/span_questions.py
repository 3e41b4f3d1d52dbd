"""Questions whose answer is a span of a passage, made by rule: people, buildings, novels, companies and festivals.

Each passage tells of two subjects of one kind, so that knowing what kind of answer is wanted is not enough: the
question asks about one of them. A third of the questions has no answer in the passage; mostly the other subject's value
is there.
The world is invented. Wordings, names and values of the test were never seen in training: training and test share no
template, no question's wording, no name and no value (years and numbers belong to a split by their remainder).
"""

import functools
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.data.sources import SourceError

TEMPLATES = Path(__file__).parent.parent / "assets" / "span_templates.json"
SPLITS = ("train", "validation", "test")
UNANSWERABLE, ELSEWHERE = 1 / 3, 0.8  # how often there is no answer, and how often the other subject then has one
FILLER = 0.5


@dataclass(frozen=True)
class SpanQuestion:
    """A passage, a question, and its answer: passage[start : start + len(answer)], or "" and -1 if there is none.

    kind: the relation that is asked for, as in "person: birthplace".
    """

    passage: str
    question: str
    answer: str
    start: int
    kind: str

    @property
    def answerable(self) -> bool:
        """Whether the passage holds the answer."""
        return self.start >= 0


@functools.cache
def _templates() -> dict:
    """The wordings, names and values. Raises: SourceError if the file is missing; ValueError if it is damaged."""
    if not TEMPLATES.is_file():
        raise SourceError(f"looked for {TEMPLATES.name} in {TEMPLATES.parent}, found nothing; reinstall the course")
    try:
        templates = json.loads(TEMPLATES.read_text(encoding="utf-8"))
        return {name: templates[name] for name in ("domains", "fillers", "values")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{TEMPLATES}: expected wordings and values, got {error!r}; reinstall the course") from error


def span_questions(n: int, split: str, seed: int = 0) -> list[SpanQuestion]:
    """n questions of a split, the same for the same seed; "validation" has training's wordings and values of its own.

    Raises: ValueError for an unknown split or n below 1; SourceError if the templates are missing.
    """
    if split not in SPLITS or n < 1:
        raise ValueError(f"span_questions: expected n of at least 1 and a split of {SPLITS}, got n={n}, {split!r}")
    draw = random.Random(f"{split} {seed}")
    return [_question(draw, split) for _ in range(n)]


def _question(draw: random.Random, split: str) -> SpanQuestion:
    """One question about one of two subjects of a kind."""
    domain = draw.choice(sorted(_templates()["domains"]))
    relations = sorted(_templates()["domains"][domain])
    asked = draw.choice(relations)
    answerable = draw.random() >= UNANSWERABLE
    others = [relation for relation in relations if relation != asked]
    own = draw.sample(others, 2) + ([asked] if answerable else [])
    foreign = draw.sample(others, 1) + ([asked] if draw.random() < ELSEWHERE else draw.sample(others, 1))
    name, rival = _two(draw, lambda: _name(draw, domain, split))
    mine, answers = _story(draw, domain, split, name, own)
    theirs, _ = _story(draw, domain, split, rival, list(dict.fromkeys(foreign)), taken=set(answers.values()))
    stories = [mine, theirs]
    if draw.random() < FILLER:
        stories[draw.randrange(2)].append(draw.choice(_templates()["fillers"]["test" if split == "test" else "train"]))
    draw.shuffle(stories)
    passage = " ".join(sentence for story in stories for sentence in story)
    question = draw.choice(_wordings(domain, asked, split)["questions"]).replace("{n}", name)
    answer = answers.get(asked, "")
    return SpanQuestion(passage, question, answer, _place(passage, mine, answer), f"{domain}: {asked}")


def _place(passage: str, story: list[str], answer: str) -> int:
    """Where the answer stands within its subject's own sentences; -1 for none."""
    if not answer:
        return -1
    whole = re.compile(rf"(?<![\w,]){re.escape(answer)}(?!\w)")  # "30" is not in "1930"
    return whole.search(passage, passage.index(" ".join(story))).start()


def _wordings(domain: str, relation: str, split: str) -> dict[str, list[str]]:
    """Statements and questions; validation takes those of training."""
    return _templates()["domains"][domain][relation]["test" if split == "test" else "train"]


def _story(
    draw: random.Random, domain: str, split: str, name: str, relations: list[str], taken: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """A sentence for each relation, the name in the first, a pronoun mostly afterwards; and the values."""
    subject, own, obj = draw.choice((("she", "her", "her"), ("he", "his", "him"))) if domain == "person" else (
        "it", "its", "it")  # fmt: skip
    draw.shuffle(relations)
    told, values = [], {}
    for relation in relations:
        kind = _templates()["domains"][domain][relation]["values"]
        used = {*taken, *values.values()}
        value = next(v for v in iter(lambda: _value(draw, kind, split), None) if v not in used)  # noqa: B023
        statement = draw.choice(_wordings(domain, relation, split)["statements"])
        named = not told or draw.random() < 0.3
        who, whose, whom = (name, f"{name}'s", name) if named else (subject, own, obj)
        inner = own if "{S}" in statement else whose
        for sign, words in (
            ("{S}", who[0].upper() + who[1:]),
            ("{P}", whose[0].upper() + whose[1:]),
            ("{s}", who),
            ("{o}", whom),
            ("{p}", inner),
            ("{v}", value),
        ):
            statement = statement.replace(sign, words)
        told.append(statement)
        values[relation] = value
    return told, values


def _two(draw: random.Random, make) -> tuple[str, str]:
    """Two different values of a function."""
    first = make()
    return first, next(other for other in iter(make, None) if other != first)


def _name(draw: random.Random, domain: str, split: str) -> str:
    """The name of a subject, as it stands within a sentence."""
    values = _templates()["values"]
    if domain == "person":
        return _value(draw, "people", split)
    if domain in ("novel", "company"):
        return draw.choice(values[f"{domain}_names"][split])
    return f"the {draw.choice(values[f'{domain}_names'][split])} {draw.choice(values[f'{domain}_kinds'][split])}"


def _value(draw: random.Random, kind: str, split: str) -> str:
    """A value of a kind: from the split's list, or made, then the number's remainder by 5 says whose it is."""
    values = _templates()["values"]

    def number(low: int, high: int) -> int:
        allowed = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}[split]
        return draw.choice([n for n in range(low, high) if n % 5 in allowed])

    if kind == "people":
        return f"{draw.choice(values['first_names'][split])} {draw.choice(values['last_names'][split])}"
    if kind == "years":
        return str(number(1840, 2020))
    if kind == "heights":
        return f"{number(11, 190)} meters"
    if kind == "counts":
        return f"{10 * number(3, 990):,}"
    if kind == "dates":
        return f"{number(1, 29)} {draw.choice(values['months'][split])}"
    return draw.choice(values[kind][split])
