"""Properties for lab 15's capstone: a bag of words that learns film reviews from the course's sentiment model."""

import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_finite, is_tensor
from utils.data import corpora
from utils.metrics.intervals import wilson
from utils.models.heads import encode_texts, predict_probs
from utils.models.sentiment import load_sentiment

N_LESSONS, N_HELD_OUT, MAX_LENGTH = 1500, 400, 48
BATCH_SIZE, PASSES = 50, 8
SHARE = 0.25  # of the teacher's parameters
TARGET, LEARNED = 0.69, 0.60  # agreement: to reach, and what one decision for all reviews does not reach
SECONDS = 300.0

_RESULTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # one training serves all properties and draws


@dataclass(frozen=True)
class Read:
    """Reviews that the teacher has read. Shapes: labels (N,), teacher_logits (N, 2)."""

    texts: list[str]
    sequences: list[list[int]]
    labels: Tensor
    teacher_logits: Tensor


@dataclass(frozen=True)
class School:
    """The teacher's reading: lessons, held-out reviews, how many parameters it has, and how many tokens there are."""

    lessons: Read
    held_out: Read
    teacher_parameters: int
    vocab_size: int


def _read(teacher: nn.Module, tokenizer, split: str, n: int) -> Read:
    data = corpora.reviews("rotten_tomatoes", split)
    rows = [int(i * len(data) / n) for i in range(n)]  # reviews lie in the order of their labels
    texts, labels = ([data[column][:][row] for row in rows] for column in ("text", "label"))
    probs = predict_probs(teacher, tokenizer, texts, MAX_LENGTH)
    sequences = [ids[1:-1] for ids in encode_texts(tokenizer, texts, MAX_LENGTH)]
    return Read(texts, sequences, torch.tensor(labels), probs.clamp(min=1e-9).log())


@functools.cache
def school() -> School:
    """The sentiment model's logits of 1,500 training and 400 held-out reviews; tokens are numbered anew, from 1.

    Token 0 stands for all that no lesson has.
    """
    teacher, tokenizer = load_sentiment()
    found = [_read(teacher, tokenizer, "train", N_LESSONS), _read(teacher, tokenizer, "validation", N_HELD_OUT)]
    known = sorted({one for ids in found[0].sequences for one in ids})
    number = {old: new for new, old in enumerate(known, 1)}
    renamed = [Read(one.texts, [[number.get(old, 0) for old in ids] or [0] for ids in one.sequences], one.labels,
                    one.teacher_logits) for one in found]
    return School(*renamed, sum(parameter.numel() for parameter in teacher.parameters()), 1 + len(known))


def bags(sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """The tokens of some reviews end to end, and the place (B,) where each begins."""
    starts = torch.tensor([0, *map(len, sequences)]).cumsum(0)[:-1]
    return torch.tensor([one for ids in sequences for one in ids]), starts


class Lessons:
    """Mini-batches of reviews with the teacher's logits, in a new order each pass, for a limited number of passes."""

    def __init__(self, generator: torch.Generator):
        self.generator, self.passes = generator, 0

    def __len__(self) -> int:
        """Number of mini-batches in a pass."""
        return N_LESSONS // BATCH_SIZE

    def __repr__(self) -> str:
        return f"<{len(self)} mini-batches of {BATCH_SIZE} reviews, for {PASSES} passes>"

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if self.passes == PASSES:
            raise ValueError(f"expected at most {PASSES} passes over the lessons, got one more")
        self.passes += 1
        read = school().lessons
        for rows in torch.randperm(N_LESSONS, generator=self.generator).split(BATCH_SIZE):
            yield *bags([read.sequences[row] for row in rows.tolist()]), read.teacher_logits[rows]


def _taught(answer, draw) -> tuple[nn.Module, Tensor]:
    """The student's student, and its logits of the held-out reviews (400, 2)."""
    if answer not in _RESULTS:
        held_out, vocab_size = school().held_out, school().vocab_size
        answer.seconds = SECONDS
        got = answer(Lessons(draw.generator), vocab_size)
        if not isinstance(got, nn.Module):
            raise NotYet("The result is not a model.", {"expected": "the trained student, a torch.nn.Module",
                                                        "got": describe(got)}, "Return the student itself.")
        with torch.no_grad():
            logits = got.eval()(*bags(held_out.sequences))
        _RESULTS[answer] = got, is_tensor(logits, held_out.teacher_logits.shape, letters="(B, 2)",
                                          name="what your model returns", hint="Two logits for each review.")
    return _RESULTS[answer]


def distil_model(answer, draw):
    """A model with few enough parameters, and finite logits."""
    model, logits = _taught(answer, draw)
    size, limit = sum(one.numel() for one in model.parameters()), int(SHARE * school().teacher_parameters)
    if size > limit:
        raise NotYet("The student is too large.", {"expected": f"at most {limit:,} parameters, a quarter of the "
                     "teacher's", "got": f"{size:,}"}, "A narrower student: fewer features for each token.")
    is_finite(logits, problem="The student's logits are NaN or infinite.", hint="Lower the learning rate.")


def _share(logits: Tensor) -> tuple[int, int]:
    teacher = school().held_out.teacher_logits
    return int((logits.argmax(1) == teacher.argmax(1)).sum()), len(logits)


def distil_learns(answer, draw):
    """It agrees with the teacher more often than one decision for all would."""
    same, n = _share(_taught(answer, draw)[1])
    if same < LEARNED * n:
        raise NotYet("The student has not learned from its teacher.",
                     {"expected": f"agreement on more than {LEARNED:.0%} of {n} held-out reviews",
                      "got": f"{same / n:.1%}"},
                     "Does the loss fall from pass to pass? Print it. For each batch: the loss with the teacher's "
                     "logits, its gradients, a step, and the gradients back to zero.")


def distil_target(answer, draw):
    """It reaches the target."""
    model, logits = _taught(answer, draw)
    same, n = _share(logits)
    if same < TARGET * n:
        raise NotYet("The student learns, but not enough.",
                     {"expected": f"agreement on at least {TARGET:.0%} of {n} held-out reviews",
                      "got": f"{same / n:.1%}"},
                     f"Use all {PASSES} passes, and with Adam a learning rate of about 0.01: word vectors that begin "
                     "near 0 need larger steps than a pre-trained model.")
    right = int((logits.argmax(1) == school().held_out.labels).sum())
    size = sum(one.numel() for one in model.parameters())
    return (f"Agreement on {n} held-out reviews: {same / n:.1%} ({wilson(same, n)}; target {TARGET:.0%}). "
            f"Accuracy: {right / n:.1%}. {size:,} parameters, {size / school().teacher_parameters:.1%} of the "
            f"teacher's.")
