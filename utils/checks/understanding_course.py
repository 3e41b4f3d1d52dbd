"""Properties for lab 16's capstone: a search in the course's own chapters, judged by learners' questions."""

import functools

import torch

from utils.checks.calls import NotYet
from utils.checks.properties import is_finite, is_tensor
from utils.data.batches import pad
from utils.data.course_text import course_passages, course_questions
from utils.metrics.ranking import first_ranks, reciprocal_ranks
from utils.models.heads import encode_texts
from utils.models.pretrained import load_model
from utils.text.bm25 import words

FIRST, LAST = 5, 8  # chapters
TARGET, FLOOR = 0.66, 0.6
MAX_LENGTH = 256


@torch.inference_mode()
def _hidden(encoder, tokenizer, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (N, T, D) of texts, zeros in the padding, and the mask (N, T)."""
    sequences = encode_texts(tokenizer, texts, MAX_LENGTH)
    longest = max(map(len, sequences))
    hidden = torch.zeros(len(texts), longest, encoder.config.d_model)
    mask = torch.arange(longest)[None] < torch.tensor(list(map(len, sequences)))[:, None]
    order = sorted(range(len(texts)), key=lambda i: len(sequences[i]))
    for at in range(0, len(order), 16):
        rows = order[at : at + 16]
        ids, real = pad([sequences[i] for i in rows], tokenizer.token_to_id("[PAD]"))
        hidden[rows, : ids.shape[1]] = encoder.encode(ids, real).float()
    return hidden, mask


@functools.cache
def library() -> tuple[dict, dict, list[list[int]], list[str]]:
    """Questions and passages of chapters 05 to 08, the relevant sections of each question, and all headings.

    Both are dictionaries: `words` (lists), `hidden` (N, T, D), `mask` (N, T); the passages also have `sections` (N,).
    """
    encoder, tokenizer = load_model("all-minilm-l6-v2")
    found = course_passages(FIRST, LAST)
    names = list(dict.fromkeys(p.section for p in found))
    headings = list({p.section: p.heading for p in found}.values())
    asked = [q for part in ("questions", "development") for q in course_questions(part)]
    asked = [q for q in asked if any(section in names for section in q.sections)]
    relevant = [[names.index(section) for section in q.sections if section in names] for q in asked]
    parts = []
    for texts in ([q.text for q in asked], [p.titled for p in found]):
        hidden, mask = _hidden(encoder, tokenizer, texts)
        parts.append({"words": [words(text) for text in texts], "hidden": hidden, "mask": mask})
    parts[1]["sections"] = torch.tensor([names.index(p.section) for p in found])
    return parts[0], parts[1], relevant, headings


def _shuffled(draw) -> tuple[dict, dict, list[list[int]]]:
    """The library with passages, questions and section numbers in random order."""
    questions, passages, relevant, headings = library()
    order = torch.randperm(len(passages["words"]), generator=draw.generator)
    asked = torch.randperm(len(questions["words"]), generator=draw.generator)
    numbers = torch.randperm(len(headings), generator=draw.generator)
    return (
        {**_rows(questions, asked)},
        {**_rows(passages, order), "sections": numbers[passages["sections"][order]]},
        [[int(numbers[section]) for section in relevant[i]] for i in asked.tolist()],
    )


def _rows(part: dict, order: torch.Tensor) -> dict:
    return {
        "words": [part["words"][i] for i in order.tolist()],
        "hidden": part["hidden"][order],
        "mask": part["mask"][order],
    }


def _searched(answer, draw) -> tuple[torch.Tensor, list[list[int]]]:
    questions, passages, relevant = _shuffled(draw)
    shape = (len(questions["words"]), int(passages["sections"].max()) + 1)
    got = is_tensor(
        answer(questions, passages), shape, letters="(Q, S)", hint="A score for each question and each *section*."
    )
    is_finite(got, problem="A score is not finite.", hint="Is a deviation or a length 0 somewhere?")
    return got.double(), relevant


def search_shapes(answer, draw):
    """A finite score for each question and section."""
    _searched(answer, draw)


def _reached(answer, draw, target: float, hint: str) -> str:
    scores, relevant = _searched(answer, draw)
    found = float(reciprocal_ranks(first_ranks(scores.numpy(), relevant)).mean())
    if found < target:
        raise NotYet(
            f"The search finds too little: MRR@10 is {found:.3f}.",
            {"expected": f"at least {target}", "got": f"{found:.3f}"},
            hint,
        )
    return f"MRR@10 {found:.3f} over {len(relevant)} questions and {scores.shape[1]} sections (target {target})."


def search_finds(answer, draw):
    """Better than words alone."""
    return _reached(
        answer, draw, FLOOR, "A section is as good as its best passage in meaning: take the maximum, not the mean."
    )


def search_target(answer, draw):
    """As good as words and meaning together."""
    return _reached(
        answer,
        draw,
        TARGET,
        "Take each section's best passage, and words and meaning together: bring the scores of either kind to mean 0 "
        "and deviation 1 for each question before you add them.",
    )


def as_question(text: str) -> dict:
    """A question in the form of the library's questions. Raises: ValueError for one without a letter or digit."""
    if not words(text):
        raise ValueError("expected a question with at least one letter or digit, got none; type one")
    encoder, tokenizer = load_model("all-minilm-l6-v2")
    hidden, mask = _hidden(encoder, tokenizer, [text])
    return {"words": [words(text)], "hidden": hidden, "mask": mask}
