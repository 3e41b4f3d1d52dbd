"""Questions with answers that a chat model learns from: exchanges of chatterbot-corpus, and instructions on reviews.

A prompt is text: "You: …" for each of the learner's turns, "Bot: …" for each answer, and "Bot:" at its end. The answer
follows, and the separator ends it. Only the answer is learned: see `given` in `utils.data.packing`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from utils.data import corpora, dialogues

SEPARATOR = "<|endoftext|>"
TEST_SHARE = 0.2
MAX_ANSWER = 200  # characters; longer ones are lists and program code
WITHOUT = ("coding",)  # its answers are programs
REVIEW_WORDS = 40
JUDGE = (
    "Is this review positive or negative? {text}",
    "{text} Did the reviewer like the film?",
    "What does this reviewer think of the film? {text}",
    "Good or bad? {text}",
)
WRITE = ("Write a {word} review.", "Please write a {word} review of a film.", "A {word} review, please.")
VERDICTS = ("It is negative.", "It is positive.")
WORDS = ("negative", "positive")


@dataclass(frozen=True)
class Exchange:
    """What was said before, a question, and its answer; the topic, or the kind of instruction."""

    topic: str
    question: str
    answer: str
    before: tuple[str, ...] = ()


def normal(text: str) -> str:
    """Letters and digits of a text, lower-cased, words apart: equal for copies that differ in marks or case."""
    return " ".join(re.findall(r"\w+", text.lower()))


def held_out(question: str) -> bool:
    """Whether a question belongs to the test split: its hash decides, so all its copies go the same way."""
    digest = hashlib.sha256(normal(question).encode()).digest()
    return int.from_bytes(digest[:4], "big") < TEST_SHARE * 2**32


def exchanges(split: str) -> list[Exchange]:
    """English question and answer pairs of the corpus, each once, in the corpus's order; "train" or "test".

    Every turn answers the one before it. A test question, in whatever spelling, is no training question, nor among the
    up to two turns `before` one. Programs, answers above 200 characters and turns without a letter are left out.
    Raises: ValueError for another split; what `dialogues.load_dialogues` raises.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split: expected 'train' or 'test', got {split!r}")
    found, seen = [], set()
    for one in dialogues.load_dialogues("english"):
        for i, (question, answer) in enumerate(zip(one.turns, one.turns[1:], strict=False)):
            key = (normal(question), normal(answer))
            usable = all(key) and len(answer) <= MAX_ANSWER and one.topic not in WITHOUT
            if not usable or key in seen or held_out(question) != (split == "test"):
                continue
            seen.add(key)
            before = one.turns[max(0, i - 2) : i]
            before = () if len(before) < 2 or any(held_out(turn) for turn in before) else before
            found.append(Exchange(one.topic, question, answer, before if split == "train" else ()))
    return found


def instructions(split: str, n: int, seed: int = 0, wording: int | None = None) -> list[Exchange]:
    """Instructions made of real reviews: judge one, or write one; the reviewer's verdict is the answer's.

    Half of the training instructions ask to judge a short review, half to write the beginning of a long one. The first
    wording of each is kept for tests. Test instructions only ask to judge. wording: this one alone.
    Raises: ValueError for n below 2, or more than there are reviews.
    """
    random = np.random.default_rng([seed, corpora.SPLITS.index(split), 7])
    short, long = corpora.reviews("rotten_tomatoes", split), corpora.reviews("imdb", split)
    n_judged = n if split == "test" else n // 2
    if n < 2 or n_judged > len(short):
        raise ValueError(f"instructions: expected from 2 to {len(short)} judged reviews, got {n_judged}")
    found = []
    for row in random.permutation(len(short))[:n_judged]:
        which = int(random.integers(1, len(JUDGE))) if wording is None else wording
        question = JUDGE[which].format(text=short[int(row)]["text"])
        found.append(Exchange("judge", question, VERDICTS[short[int(row)]["label"]]))
    for row in random.permutation(len(long))[: n - n_judged]:
        which = int(random.integers(1, len(WRITE))) if wording is None else wording
        answer = " ".join(long[int(row)]["text"].split()[:REVIEW_WORDS])
        found.append(Exchange("write", WRITE[which].format(word=WORDS[long[int(row)]["label"]]), answer))
    return found


def prompt_text(turns: Sequence[str]) -> str:
    """Turns as the model reads them, the last one the learner's; it ends where the answer begins."""
    n = len(turns)
    lines = [("You: " if (n - 1 - i) % 2 == 0 else "Bot: ") + " ".join(turn.split()) for i, turn in enumerate(turns)]
    return "\n".join([*lines, "Bot:"])


def prompt_ids(tokenizer: Tokenizer, turns: Sequence[str]) -> list[int]:
    """The separator and the prompt. Shapes: (T,)."""
    return [tokenizer.token_to_id(SEPARATOR), *tokenizer.encode(prompt_text(turns)).ids]


def answer_ids(tokenizer: Tokenizer, answer: str) -> list[int]:
    """The answer behind "Bot:", without the separator that ends it. Shapes: (T,)."""
    return tokenizer.encode(" " + " ".join(answer.split())).ids


def tokenized(
    tokenizer: Tokenizer, some: Sequence[Exchange], max_length: int
) -> tuple[list[list[int]], list[int]]:
    """Prompt, answer and separator of each exchange, and how many first tokens are the prompt.

    A long prompt loses its earlier turns, then its own middle; an answer is cut at the end, without a separator then.
    Raises: ValueError for a max_length below 16.
    """
    if max_length < 16:
        raise ValueError(f"conversations: expected max_length of at least 16, got {max_length}")
    stop, texts, given = tokenizer.token_to_id(SEPARATOR), [], []
    for one in some:
        answer = [*answer_ids(tokenizer, one.answer), stop][: max_length // 2]
        prompt = prompt_ids(tokenizer, [*one.before, one.question])
        if len(prompt) + len(answer) > max_length:
            prompt = shortened(prompt_ids(tokenizer, [one.question]), max_length - len(answer))
        texts.append(prompt + answer)
        given.append(len(prompt))
    return texts, given


def shortened(prompt: list[int], room: int, ending: int = 6) -> list[int]:
    """A prompt that fits: what is in front of its last few tokens is cut."""
    return prompt if len(prompt) <= room else prompt[: room - ending] + prompt[-ending:]
