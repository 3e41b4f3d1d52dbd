"""A baseline for reading: answer with the words of the sentence that shares most words with the question.

It knows which kind of answer a question word wants (a number, a name), and nothing of meaning.
"""

import re

from utils.text.bm25 import words

STOP = frozenset(
    "a an and are as at be by did do does for from had has have how in into is it its many much of on one or out since "
    "the this to was were what when where which who whom whose with year".split()
)
NUMBER = re.compile(r"\b\d[\d,]*(?: (?:meters|[A-Z][a-z]+))?")
NAME = re.compile(r"\b[A-Z][\w-]*(?: (?:and |of )?[A-Z][\w-]*)*")
WANTS_NUMBER = re.compile(r"\b(when|which year|what year|which day|what day|how (many|high|tall|much|far|large))\b")
WANTS_NAME = re.compile(r"\b(who|whom|whose|where|which (town|place|organization)|what (town|place)|which place)\b")


def overlap_answer(question: str, passage: str, least_share: float = 0.5) -> str:
    """A span of the passage, or "" if no sentence shares at least `least_share` of the question's content words.

    A sentence's words count, and those of the one before by half, since a pronoun may stand for a name there. In the
    best sentence it takes the first number or name that is not in the question, by the question's kind; else the
    longest run of words that the question does not hold.
    """
    wanted = set(words(question)) - STOP
    parts = re.split(r"(?<=[.!?])\s+", passage.strip())
    shared = [len(wanted & set(words(part))) / max(1, len(wanted)) for part in parts]
    scores = [share + (0.5 * shared[i - 1] if i else 0) for i, share in enumerate(shared)]
    best = max(range(len(parts)), key=lambda i: scores[i])
    if scores[best] < least_share:
        return ""
    lowered = question.lower()
    for wants, pattern in ((WANTS_NUMBER, NUMBER), (WANTS_NAME, NAME)):
        if wants.search(lowered):
            return next((f for f in pattern.findall(parts[best]) if f.lower() not in lowered and fits(f)), "")
    return _longest_run(parts[best], set(words(question)))


def fits(name: str) -> bool:
    """Whether a run of capitalized words may be a name: a lone word that only begins a sentence is none."""
    return name.lower() not in STOP | {"she", "he", "her", "his", "last", "born", "by", "behind", "nowadays"}


def _longest_run(sentence: str, known: set[str]) -> str:
    """The longest run of words of a sentence that are neither in `known` nor function words at its ends."""
    runs, run = [], []
    for found in [*re.finditer(r"[^\W_]+", sentence), None]:
        if found is not None and found[0].lower() not in known:
            run.append(found)
            continue
        while run and run[0][0].lower() in STOP:
            run.pop(0)
        while run and run[-1][0].lower() in STOP:
            run.pop()
        if run:
            runs.append(sentence[run[0].start() : run[-1].end()])
        run = []
    return max(runs, key=len, default="")
