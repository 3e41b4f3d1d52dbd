"""Retrieve, then answer: a passage of the course, its best sentence, and what a passage is worth to a GPT.

The right answer is a sentence of a section that answers the question, the one nearest to it in meaning.
"""

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from utils.data import course_text
from utils.experiments.fine_tuning import ENCODER
from utils.experiments.tuned_gpt import SEPARATOR, as_numbers, bits, nats
from utils.metrics import intervals, ranking
from utils.models.pretrained import load_model
from utils.models.retrieval import METHODS, ask_course, closest_sentence, course_index

LAST_CHAPTER = 15  # the questions are about chapters 1 to 15
PASSAGE_TOKENS, ANSWER_TOKENS = 320, 80
MIN_WORDS = 6  # a shorter sentence is no answer
SEED = 21


@dataclass(frozen=True)
class Retrieved:
    """What was found for a question: the passage and its best sentence; and the right sentence with its passage."""

    question: str
    passage: str
    sentence: str
    right_passage: str
    right_sentence: str
    hit: bool  # the section found is one that answers


class CourseSearch:
    """The sections of some chapters, by default those that the questions are about, searched by words and meaning.

    Raises: SourceError if the chapters or the encoder are not here.
    """

    def __init__(self, first: int = 1, last: int = LAST_CHAPTER) -> None:
        self.passages = course_text.course_passages(first, last)
        self.index = course_index(self.passages, *load_model(ENCODER), course_text.expected_questions())

    def best_sentence(self, question: str, text: str) -> str:
        """The sentence of a passage that is nearest to a question in meaning, short ones left out."""
        parts = course_text.sentences(text)
        parts = [part for part in parts if len(part.split()) >= MIN_WORDS] or list(parts)
        return parts[closest_sentence(self.index, question, parts)[0]]

    def answer(self, question: str) -> tuple[course_text.Passage, str]:
        """The best section's best passage, and its best sentence.

        Raises: ValueError for a question without a letter or digit, or of more than 300 characters.
        """
        passage = ask_course(self.index, self.passages, question, 1)[0].passage
        return passage, self.best_sentence(question, passage.text)

    def relevant(self, question: course_text.Question) -> list[course_text.Passage]:
        """The passages of the sections that answer a question."""
        return [passage for passage in self.passages if passage.section in question.sections]


def find(search: CourseSearch, questions: list[course_text.Question]) -> list[Retrieved]:
    """What is found for each question, and what would have been right."""
    found = []
    for one in questions:
        passage, sentence = search.answer(one.text)
        relevant = search.relevant(one)
        best = [search.best_sentence(one.text, right.text) for right in relevant]
        nearest, _ = closest_sentence(search.index, one.text, best)
        hit = passage.section in one.sections
        found.append(Retrieved(one.text, passage.text, sentence, relevant[nearest].text, best[nearest], hit))
    return found


def answer_nats(
    model: nn.Module, tokenizer: Tokenizer, passages: list[str], questions: list[str], answers: list[str]
) -> np.ndarray:
    """-log p (N,) of each answer, in nats, behind a passage (or "") and a question."""
    separator = tokenizer.token_to_id(SEPARATOR)
    fronts = [
        [separator, *tokenizer.encode(passage).ids[:PASSAGE_TOKENS], *tokenizer.encode(f"\n{question}\n").ids]
        for passage, question in zip(passages, questions, strict=True)
    ]
    return nats(model, fronts, [tokenizer.encode(answer).ids[:ANSWER_TOKENS] for answer in answers])


def read_answers(
    model: nn.Module, tokenizer: Tokenizer, found: list[Retrieved], seed: int = SEED
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the right sentence costs with different passages in front, in nats (N,) by name; its bytes (N,)."""
    shift = int(np.random.default_rng(seed).integers(1, len(found)))
    passages = {
        "no passage": [""] * len(found),
        "another question's passage": [one.right_passage for one in found[shift:] + found[:shift]],
        "retrieved passage": [one.passage for one in found],
        "right passage without the sentence": [one.right_passage.replace(one.right_sentence, " ") for one in found],
        "right passage": [one.right_passage for one in found],
    }
    answers, questions = [one.right_sentence for one in found], [one.question for one in found]
    costs = {name: answer_nats(model, tokenizer, some, questions, answers) for name, some in passages.items()}
    cut = [tokenizer.decode(tokenizer.encode(text).ids[:ANSWER_TOKENS]) for text in answers]
    return costs, np.array([len(text.encode()) for text in cut])


def measure(model: nn.Module, tokenizer: Tokenizer) -> dict:
    """Where the right section stands by each method, whether the best sentence is from it, and what passages save."""
    search, questions = CourseSearch(), course_text.course_questions()
    relevant = [[search.index.names.index(name) for name in one.sections] for one in questions]
    asked = [one.text for one in questions]
    ranks = {method: ranking.first_ranks(search.index.scores(asked, method), relevant) for method in METHODS}
    found = find(search, questions)
    costs, n_bytes = read_answers(model, tokenizer, found)
    none = costs["no passage"]
    return {
        "n_questions": len(questions),
        "n_sections": len(search.index.names),
        "reciprocal_ranks": {
            method: as_numbers(intervals.bootstrap_mean(ranking.reciprocal_ranks(row))) for method, row in ranks.items()
        },
        "first_section_right": {
            method: as_numbers(intervals.wilson(int((row == 1).sum()), len(row))) for method, row in ranks.items()
        },
        "same_sentence": as_numbers(
            intervals.wilson(sum(one.sentence == one.right_sentence for one in found), len(found))
        ),
        "bits_per_byte": {name: as_numbers(bits(row, n_bytes)) for name, row in costs.items()},
        "more_than_no_passage": {name: as_numbers(bits(row, n_bytes, none)) for name, row in costs.items()},
        "retrieved_against_another": as_numbers(
            bits(costs["retrieved passage"], n_bytes, costs["another question's passage"])
        ),
    }
