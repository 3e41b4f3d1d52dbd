"""Properties for lab 10's capstone: a small classifier of reviews, trained by the student's optimizer."""

import functools
import math
import weakref
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.calls import NotYet
from utils.checks.properties import are_named, is_finite
from utils.data import corpora
from utils.models.pretrained import load_model

N_STEPS, BATCH_SIZE, WIDTH = 200, 64, 16
TARGET = 0.55  # nats a held-out review
SECONDS = 60.0
FACTOR = 1e6  # the broken batch's gradient is so many times too long

_RESULTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # one training serves two properties


@dataclass(frozen=True)
class Reviews:
    """Tokenized reviews and their labels (N,)."""

    sequences: list[Tensor]
    labels: Tensor

    def bags(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """The tokens of some reviews end to end, and the place (B,) where each begins."""
        chosen = [self.sequences[row] for row in rows]
        lengths = torch.tensor([0, *map(len, chosen)])
        return torch.cat(chosen), lengths.cumsum(0)[:-1]


@functools.cache
def reviews(split: str) -> Reviews:
    """A split of Rotten Tomatoes, in the tokens of `reviews-bert`; empty reviews are left out."""
    tokenizer, data = load_model("reviews-bert")[1], corpora.reviews("rotten_tomatoes", split)
    found = [encoding.ids for encoding in tokenizer.encode_batch_fast(data["text"][:], add_special_tokens=False)]
    kept = [(torch.tensor(ids), label) for ids, label in zip(found, data["label"][:], strict=True) if ids]
    return Reviews([ids for ids, _ in kept], torch.tensor([label for _, label in kept]))


def logits(weights: dict[str, Tensor], split: str, rows: list[int]) -> Tensor:
    """The classifier: the mean of the words' vectors, and a linear layer over it. Shapes: (B, 2)."""
    tokens, starts = reviews(split).bags(rows)
    return F.embedding_bag(tokens, weights["words"], starts, mode="mean") @ weights["layer"] + weights["bias"]


def start(generator: torch.Generator) -> dict[str, Tensor]:
    """Weights before training: a table of word vectors (V, 16), a layer (16, 2) and its bias (2,)."""
    vocabulary = 1 + max(int(ids.max()) for split in ("train", "validation") for ids in reviews(split).sequences)
    shapes = {"words": (vocabulary, WIDTH), "layer": (WIDTH, 2)}
    weights = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**weights, "bias": torch.zeros(2)}


class Gradients:
    """Gradients of a classifier's loss on one mini-batch a step; one batch is broken, its gradient far too long.

    Called as `gradients(weights, step)`. `losses` (n,) grows with each call.
    """

    def __init__(self, generator: torch.Generator, n_steps: int = N_STEPS):
        epochs = 1 + n_steps * BATCH_SIZE // len(reviews("train").labels)
        orders = [torch.randperm(len(reviews("train").labels), generator=generator) for _ in range(epochs)]
        self.batches = torch.cat(orders)[: n_steps * BATCH_SIZE].split(BATCH_SIZE)
        self.broken = int(torch.randint(n_steps // 50, n_steps // 20, (), generator=generator))
        self.losses: list[float] = []

    def __repr__(self) -> str:
        return "<the gradients of mini-batches of reviews>"

    def __call__(self, weights: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """The gradient for each weight. Raises ValueError for other weights or a step out of range."""
        if not 0 <= step < len(self.batches) or len(self.losses) == len(self.batches):
            raise ValueError(
                f"expected each step from 0 to {len(self.batches) - 1} once, got step {step} in call "
                f"{len(self.losses) + 1}"
            )
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        rows = self.batches[step].tolist()
        loss = F.cross_entropy(logits(leaves, "train", rows), reviews("train").labels[rows])
        found = torch.autograd.grad(loss, list(leaves.values()))
        self.losses.append(loss.item())
        factor = FACTOR if step == self.broken else 1.0
        return {name: factor * gradient for name, gradient in zip(leaves, found, strict=True)}


def held_out(weights: dict[str, Tensor]) -> tuple[float, int, int]:
    """Nats a review on the validation split, how many reviews the classifier gets right, and of how many."""
    labels = reviews("validation").labels
    found = logits(weights, "validation", range(len(labels)))
    right = (found.argmax(dim=1) == labels).sum()
    return F.cross_entropy(found, labels).item(), int(right), len(labels)


def _trained(answer, draw) -> dict[str, Tensor]:
    """The weights that the student's function returns."""
    done = _RESULTS.setdefault(answer, {})
    if draw.seed not in done:
        weights = start(draw.generator)
        answer.seconds = SECONDS
        done[draw.seed] = are_named(
            answer(weights, Gradients(draw.generator), N_STEPS),
            {name: w.shape for name, w in weights.items()},
            problem="The result does not have the weights' names.",
            hint="Return the new weights under their old names.",
            shape_hint="A step keeps the shape.",
        )
    return done[draw.seed]


def _held_out(answer, draw) -> tuple[float, int, int]:
    trained = _trained(answer, draw)
    for name, w in trained.items():
        is_finite(
            w,
            problem=f"After training, `{name}` holds NaN or infinity.",
            hint="A step was far too long. Clip the gradients, and lower the peak of the learning rate.",
        )
    return held_out(trained)


def train_shapes(answer, draw):
    """All weights come back, and no batch was asked for twice."""
    _trained(answer, draw)


def train_learns(answer, draw):
    """The held-out loss is below that of a coin toss."""
    loss, _, _ = _held_out(answer, draw)
    if loss > 0.97 * math.log(2):
        raise NotYet(
            "The classifier has not learned anything.",
            {"expected": f"clearly less than ln 2 = {math.log(2):.3f} nats per held-out review", "got": f"{loss:.3f}"},
            "Take one step for each batch, with your functions: clip, look up the rate, step. Keep each "
            "weight's memories from step to step, and return the new weights.",
        )


def train_target(answer, draw):
    """The held-out loss reaches the target."""
    loss, right, n = _held_out(answer, draw)
    if loss > TARGET:
        raise NotYet(
            "It learns, but not enough.",
            {"expected": f"at most {TARGET} nats per held-out review", "got": f"{loss:.3f}"},
            "One broken batch fills Adam's second memory for the rest of the run, unless it is clipped. "
            "Then try other peaks: 0.003, 0.01, 0.03, 0.1.",
        )
    return f"Held-out loss {loss:.3f} nats per review (target {TARGET}); {right} of {n} reviews right."


def descend(weights: dict[str, Tensor], gradients_of: Gradients, rate: float, momentum: float) -> dict[str, Tensor]:
    """The weights after training with torch.optim.SGD, with clipping: what the student's optimizer races against."""
    parameters = {name: torch.nn.Parameter(w.clone()) for name, w in weights.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=rate, momentum=momentum)
    for step in range(N_STEPS):
        for name, gradient in gradients_of(parameters, step).items():
            parameters[name].grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
    return {name: parameter.detach() for name, parameter in parameters.items()}
