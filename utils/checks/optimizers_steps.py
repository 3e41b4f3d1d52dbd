"""Properties for lab 10: single steps of momentum, Nesterov and RMSProp."""

import torch
from torch import Tensor
from torch.optim import SGD, RMSprop

from utils.checks.calls import NotYet
from utils.checks.optimizers_paths import STEPS, TOLERANCE, Path, follow, library, note, problem, same_path
from utils.checks.properties import is_equal, is_finite

# Exercise 1: momentum and Nesterov


def _pace(draw) -> tuple[float, float]:
    """A learning rate and a beta."""
    return draw.number(1, 9) / 100, draw.number(5, 9) / 10


def _remembering(answer, draw, rate: float, beta: float, steps: int = STEPS) -> tuple[Tensor, Tensor, Path]:
    """A problem and the student's path on it, for a function (w, m, gradient, learning_rate, beta)."""
    w, gradients = problem(draw, steps)
    return w, gradients, follow(lambda w, m, gradient, t: answer(w, *m, gradient, rate, beta), "w, m", w, gradients)


def momentum_shapes(answer, draw):
    """Two tensors of the weights' shape."""
    _remembering(answer, draw, *_pace(draw), steps=1)


def momentum_none(answer, draw):
    """With beta 0, steps equal those of plain SGD, and the memory is the gradient."""
    rate, _ = _pace(draw)
    w, gradients, got = _remembering(answer, draw, rate, 0.0, 5)
    same_path(
        got["w"],
        library(SGD, w, gradients, lr=rate)["w"],
        "the weights",
        "With beta = 0, the memory is the gradient itself, and the step goes against it.",
        {
            "The step goes uphill: subtract it.": library(SGD, w, -gradients, lr=rate)["w"],
            "The learning rate is missing.": library(SGD, w, gradients, lr=1.0)["w"],
        },
    )
    is_equal(
        got["m"],
        gradients,
        tolerance=TOLERANCE,
        problem="With beta = 0, the memory is not the gradient.",
        hint="Return the new memory, after this gradient has gone in, and without the learning rate.",
        slips={
            "The learning rate went into the memory. It belongs to the step alone.": rate * gradients,
            "The old memory was returned.": torch.zeros_like(gradients),
        },
    )


def momentum_library(answer, draw):
    """Weights and memory equal torch.optim.SGD's with momentum."""
    rate, beta = _pace(draw)
    w, gradients, got = _remembering(answer, draw, rate, beta)
    expected = library(SGD, w, gradients, lr=rate, momentum=beta)
    worst = same_path(
        got["w"],
        expected["w"],
        "the weights",
        "First the new memory, beta times the old one plus the gradient; then the step along the new memory.",
        {
            "The memory is not used: this is plain gradient descent.": library(SGD, w, gradients, lr=rate)["w"],
            "This is Nesterov's step. Here the step goes along the memory alone.": library(
                SGD, w, gradients, lr=rate, momentum=beta, nesterov=True
            )["w"],
        },
    )
    same_path(
        got["m"],
        expected["momentum_buffer"],
        "the memories",
        "Return the new memory, without the learning rate.",
        {
            "The learning rate went into the memory: a rate that changes later would change the past.": rate
            * expected["momentum_buffer"]
        },
    )
    return note(worst)


def nesterov_shapes(answer, draw):
    """Two tensors of the weights' shape."""
    _remembering(answer, draw, *_pace(draw), steps=1)


def nesterov_library(answer, draw):
    """Weights and memory equal torch.optim.SGD's with nesterov=True."""
    rate, beta = _pace(draw)
    w, gradients, got = _remembering(answer, draw, rate, beta)
    expected = library(SGD, w, gradients, lr=rate, momentum=beta, nesterov=True)
    plain = library(SGD, w, gradients, lr=rate, momentum=beta)
    worst = same_path(
        got["w"],
        expected["w"],
        "the weights",
        "The step is the gradient plus beta times the memory, and the memory already holds this gradient.",
        {
            "This is plain momentum: the gradient plus beta times the OLD memory is the new memory itself. Look ahead "
            "with the new one.": plain["w"],
            "Beta is missing before the memory.": w - rate * (gradients + plain["momentum_buffer"]).cumsum(0),
            "The gradient itself is missing beside the memory.": w - rate * beta * plain["momentum_buffer"].cumsum(0),
        },
    )
    same_path(
        got["m"],
        expected["momentum_buffer"],
        "the memories",
        "The memory is the same as in exercise 1a: the look ahead changes the step, not the memory.",
    )
    return note(worst)


# Exercise 2: RMSProp


def _scaling(answer, w: Tensor, gradients: Tensor, rate: float, beta: float, epsilon: float) -> Path:
    """The student's path, for a function (w, s, gradient, learning_rate, beta, epsilon)."""
    return follow(lambda w, s, gradient, t: answer(w, *s, gradient, rate, beta, epsilon), "w, s", w, gradients)


def rmsprop_shapes(answer, draw):
    """Two tensors of the weights' shape."""
    _scaling(answer, *problem(draw, 1), *_pace(draw), 1e-8)


def rmsprop_memory(answer, draw):
    """The memory equals torch.optim.RMSprop's for a few steps."""
    (w, gradients), (rate, beta) = problem(draw, 5), _pace(draw)
    squares = library(RMSprop, w, gradients, lr=rate, alpha=beta)["square_avg"]
    same_path(
        _scaling(answer, w, gradients, rate, beta, 1e-8)["s"],
        squares,
        "the memories",
        "The new memory is beta times the old one plus (1 - beta) times the squared gradient, entry by entry.",
        {
            "This is AdaGrad's sum of all squares, which never forgets.": gradients.square().cumsum(0),
            "The factor (1 - beta) is missing: this is a sum, not a mean.": squares / (1 - beta),
            "The gradient was not squared.": library(SGD, w, gradients, lr=rate, momentum=beta)["momentum_buffer"]
            * (1 - beta),
        },
    )


def rmsprop_scale(answer, draw):
    """Gradients times 1,000 give the same path, but for epsilon."""
    (w, gradients), (rate, beta) = problem(draw, 20), _pace(draw)
    usual, large = (_scaling(answer, w, factor * gradients, rate, beta, 1e-14)["w"] for factor in (1, 1000))
    is_finite(
        usual,
        problem="The weights hold NaN or infinity.",
        hint="An entry whose gradients are all 0 has a memory of 0: without epsilon, the step is 0/0.",
    )
    if torch.equal(usual[-1], w):
        raise NotYet("The weights do not move.", hint="Return the new weights first, then the new memory.")
    is_equal(
        large,
        usual,
        tolerance=1e-6,
        problem="With gradients a thousand times as large, the steps change.",
        hint="The memory holds squares. Take its root before you divide, so that the units cancel.",
    )


def rmsprop_library(answer, draw):
    """Weights equal torch.optim.RMSprop's, also where epsilon counts."""
    (w, gradients), (rate, beta) = problem(draw), _pace(draw)
    epsilon = draw.number(1, 9) / 10
    expected = library(RMSprop, w, gradients, lr=rate, alpha=beta, eps=epsilon)
    inside = w - (rate * gradients / (expected["square_avg"] + epsilon).sqrt()).cumsum(0)
    worst = same_path(
        _scaling(answer, w, gradients, rate, beta, epsilon)["w"],
        expected["w"],
        "the weights",
        "Divide by the root of the new memory plus epsilon, and multiply by the learning rate.",
        {
            "Epsilon belongs outside the root.": inside,
            "Epsilon has no effect.": library(RMSprop, w, gradients, lr=rate, alpha=beta, eps=1e-12)["w"],
        },
    )
    return note(worst)
