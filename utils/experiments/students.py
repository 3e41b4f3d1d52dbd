"""Students of the sentiment model, a quarter of its size: taught by labels, by its probabilities, on unlabeled text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora
from utils.experiments.fine_tuning import (
    BATCH_SIZE,
    MAX_LENGTH,
    Reviews,
    grouped_batches,
    linear_schedule,
    load_start,
    tokenized_reviews,
)
from utils.models.heads import SequenceClassifier, encode_texts, predict_probs
from utils.training.distillation import distillation, take_layers, with_teacher
from utils.training.loop import Record, Trainer

KINDS = ("hard labels", "teacher", "teacher, unlabeled text")
LAYERS = range(4)  # of reviews-bert's six
TEMPERATURE, SOFT_SHARE = 2.0, 0.9
LEARNING_RATE, STEPS = 3e-4, 160
SENTENCE_WORDS = (8, 40)


@dataclass(frozen=True)
class Lessons:
    """What students learn from: tokenized texts, labels, and the teacher's logits.

    Shapes: labels (N,), teacher_logits (N, C).
    """

    sequences: list[list[int]]
    labels: Tensor
    teacher_logits: Tensor


def new_student(seed: int) -> tuple[SequenceClassifier, Tokenizer]:
    """The first layers of our own encoder `reviews-bert`, a new head, and its tokenizer.

    Not layers of the teacher: half of its numbers are its vocabulary of 30,522 words, more than a student may have.
    """
    environment.seed_everything(seed)
    encoder, tokenizer = load_start("reviews-bert")
    return SequenceClassifier(take_layers(encoder, LAYERS)), tokenizer


def logits_of(model: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """A model's log-probabilities of texts, which are logits, too. Shapes: (N, C)."""
    here = environment.budget()
    with torch.autocast(here.device.type, dtype=torch.bfloat16, enabled=here.precision == "bf16"):
        return predict_probs(model, tokenizer, texts, MAX_LENGTH).clamp(min=1e-9).log()


def unlabeled_sentences(n: int, seed: int = 0) -> list[str]:
    """Sentences of IMDB's training reviews, their labels not looked at, drawn at random."""
    texts = corpora.reviews("imdb", "train")["text"][:]
    sentences = [
        sentence
        for text in texts
        for sentence in re.split(r"(?<=[.!?])\s+", text.replace("\n", " "))
        if SENTENCE_WORDS[0] <= sentence.count(" ") + 1 <= SENTENCE_WORDS[1]
    ]
    return [sentences[i] for i in np.random.default_rng(seed).choice(len(sentences), n, replace=False)]


def lessons_from(
    teacher: nn.Module, teacher_tokenizer: Tokenizer, tokenizer: Tokenizer, texts: list[str], labels=None
) -> Lessons:
    """What a teacher makes of texts. Where they have no labels, its decisions stand for them."""
    logits = logits_of(teacher, teacher_tokenizer, texts)
    labels = logits.argmax(dim=-1) if labels is None else torch.tensor(labels)
    return Lessons(encode_texts(tokenizer, texts, MAX_LENGTH), labels, logits)


def train_student(
    student: nn.Module,
    tokenizer: Tokenizer,
    lessons: Lessons,
    seed: int,
    steps: int = STEPS,
    soft_share: float = SOFT_SHARE,
) -> Iterator[Record]:
    """Train a student; yields the loop's records. A `soft_share` of 0 is training on hard labels."""
    config = linear_schedule(steps, LEARNING_RATE, warmup_steps=steps // 10)
    rows = list(range(len(lessons.sequences)))
    source = grouped_batches(lessons.sequences, rows, tokenizer.token_to_id("[PAD]"), BATCH_SIZE, seed)
    trainer = Trainer(student, distillation(TEMPERATURE, soft_share), config)
    return trainer.fit(with_teacher(source, lessons.labels, lessons.teacher_logits))


def compare_students(
    teacher: nn.Module, teacher_tokenizer: Tokenizer, seeds: tuple[int, ...], test: Reviews
) -> Iterator[tuple[str, int, nn.Module, Tokenizer, Tensor]]:
    """Train every kind of student with every seed; yields kind, seed, student, tokenizer, and log-probs (N, C)."""
    tokenizer = new_student(0)[1]
    reviews = tokenized_reviews("rotten_tomatoes", "train", teacher_tokenizer)
    labeled = lessons_from(teacher, teacher_tokenizer, tokenizer, reviews.texts, reviews.labels)
    sentences = unlabeled_sentences(len(reviews.texts))
    unlabeled = lessons_from(teacher, teacher_tokenizer, tokenizer, sentences)
    for seed in seeds:
        for kind in KINDS:
            student, _ = new_student(seed)
            lessons = unlabeled if kind == KINDS[2] else labeled
            share = 0.0 if kind == KINDS[0] else SOFT_SHARE
            for _ in tqdm(train_student(student, tokenizer, lessons, seed, STEPS, share), total=STEPS, desc=kind):
                pass
            student.eval()
            yield kind, seed, student, tokenizer, logits_of(student, tokenizer, test.texts)
