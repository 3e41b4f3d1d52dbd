"""Properties for lab 10: single steps of Adam and AdamW."""

import torch
from torch import Tensor
from torch.optim import Adam, AdamW

from utils.checks.optimizers_paths import Path, follow, library, note, problem, same_path
from utils.checks.properties import is_equal, is_finite

# Exercise 3: Adam and AdamW


def _betas(draw) -> tuple[float, float]:
    return draw.number(5, 9) / 10, (90 + draw.number(1, 9)) / 100


def _adam(answer, w: Tensor, gradients: Tensor, rate: float, betas: tuple, epsilon: float, *decay: float) -> Path:
    """The student's path, for a function (w, m, v, t, gradient, learning_rate, betas, epsilon) and maybe a decay."""
    return follow(
        lambda w, memories, gradient, t: answer(w, *memories, t, gradient, rate, betas, epsilon, *decay),
        "w, m, v",
        w,
        gradients,
    )


def adam_shapes(answer, draw):
    """Three tensors of the weights' shape."""
    _adam(answer, *problem(draw, 1), 0.01, _betas(draw), 1e-8)


def adam_memories(answer, draw):
    """Both memories equal torch.optim.Adam's for a few steps."""
    (w, gradients), betas = problem(draw, 5), _betas(draw)
    expected = library(Adam, w, gradients, lr=0.01, betas=betas)
    swapped = library(Adam, w, gradients, lr=0.01, betas=betas[::-1])
    got = _adam(answer, w, gradients, 0.01, betas, 1e-8)
    t = torch.arange(1, 6, dtype=torch.float64)[:, None]
    for letter, name, beta, what in (
        ("m", "exp_avg", betas[0], "gradient"),
        ("v", "exp_avg_sq", betas[1], "squared gradient"),
    ):
        same_path(
            got[letter],
            expected[name],
            f"the memories {letter}",
            f"{letter} is beta times the old {letter} plus (1 - beta) times the {what}, with its own beta.",
            {
                "The two betas have changed places: the first is for the gradient.": swapped[name],
                f"The corrected value was returned as memory. Keep {letter} as it is, and correct it for the "
                "step only.": expected[name] / (1 - beta**t),
                f"The factor (1 - beta) is missing in {letter}.": expected[name] / (1 - beta),
            },
        )


def adam_first(answer, draw):
    """The first step moves every weight that has a gradient by the learning rate, against the gradient's sign."""
    (w, gradients), betas, rate = problem(draw, 1), _betas(draw), draw.number(1, 9) / 100
    moved = _adam(answer, w, gradients, rate, betas, 1e-15)["w"][0] - w
    is_finite(
        moved,
        problem="After the first step, the weights hold NaN or infinity.",
        hint="An entry whose gradient is 0 has memories of 0: without epsilon, the step is 0/0.",
    )
    first, second = 1 - betas[0], 1 - betas[1]
    signs = gradients[0].sign()
    inverse = torch.where(signs == 0, 0.0, rate / gradients[0])  # signs over sizes, and 0 where there is no gradient
    is_equal(
        moved,
        -rate * signs,
        tolerance=1e-8,
        problem="The first step is not as long as the learning rate.",
        hint="At t = 1 the corrected means are the gradient and its square: gradient over root of square is its sign.",
        slips={
            "Nothing corrects the means, which start at 0: divide each by 1 - beta^t.": -rate
            * signs
            * first
            / second**0.5,
            "The step goes uphill: subtract it.": rate * signs,
            "The root is missing: a mean over a mean of squares has the unit of 1 over gradient.": -inverse,
            "Only the first mean is corrected.": -rate * signs / second**0.5,
            "Only the second mean is corrected.": -rate * signs * first,
        },
    )


def adam_library(answer, draw):
    """Weights equal torch.optim.Adam's, also where epsilon counts."""
    (w, gradients), betas, rate = problem(draw), _betas(draw), draw.number(1, 9) / 100
    epsilon = draw.number(1, 9) / 10
    worst = same_path(
        _adam(answer, w, gradients, rate, betas, epsilon)["w"],
        library(Adam, w, gradients, lr=rate, betas=betas, eps=epsilon)["w"],
        "the weights",
        "Correct both means with this step's t; epsilon is added to the root of the corrected second mean.",
        {
            "The correction does not use t: it fits the first step only.": _first_correction(
                w, gradients, rate, betas, epsilon
            )
        },
    )
    return note(worst)


def _first_correction(w, gradients, rate, betas, epsilon) -> Tensor:
    """The path with the first step's correction at all steps."""
    memories = library(Adam, w, gradients, lr=rate, betas=betas)
    m, v = memories["exp_avg"] / (1 - betas[0]), memories["exp_avg_sq"] / (1 - betas[1])
    return w - (rate * m / (v.sqrt() + epsilon)).cumsum(0)


def adamw_shapes(answer, draw):
    """Three tensors of the weights' shape."""
    _adam(answer, *problem(draw, 1), 0.01, _betas(draw), 1e-8, 0.1)


def adamw_none(answer, draw):
    """Without decay, the path is torch.optim.Adam's."""
    (w, gradients), betas, rate = problem(draw), _betas(draw), draw.number(1, 9) / 100
    same_path(
        _adam(answer, w, gradients, rate, betas, 1e-8, 0.0)["w"],
        library(Adam, w, gradients, lr=rate, betas=betas)["w"],
        "the weights",
        "With a decay of 0 nothing shrinks, and what is left is your Adam of exercise 3a.",
    )


def adamw_shrink(answer, draw):
    """With gradients of 0, each step multiplies the weights by 1 - rate * decay."""
    (w, gradients), betas = problem(draw, 7), _betas(draw)
    rate, decay = draw.number(1, 9) / 100, draw.number(1, 9) / 10
    nothing = torch.zeros_like(gradients)
    options = dict(lr=rate, betas=betas)
    same_path(
        _adam(answer, w, nothing, rate, betas, 1e-8, decay)["w"],
        library(AdamW, w, nothing, **options, weight_decay=decay)["w"],
        "the weights",
        "The old weights are multiplied by 1 - learning_rate * decay.",
        {
            "The decay went into the gradient, and Adam divided it by its own size: this is an L2 penalty.": library(
                Adam, w, nothing, **options, weight_decay=decay
            )["w"],
            "The learning rate is missing in the decay.": w
            * (1 - decay) ** torch.arange(1.0, 8.0, dtype=torch.float64)[:, None],
            "The decay has no effect.": w.expand_as(nothing),
            "The weights grow: the decay has the wrong sign.": w
            * (1 + rate * decay) ** torch.arange(1.0, 8.0, dtype=torch.float64)[:, None],
        },
    )


def adamw_library(answer, draw):
    """Weights equal torch.optim.AdamW's."""
    (w, gradients), betas = problem(draw), _betas(draw)
    rate, decay, epsilon = draw.number(1, 9) / 100, draw.number(1, 9) / 10, draw.number(1, 9) / 10
    expected = library(AdamW, w, gradients, lr=rate, betas=betas, eps=epsilon, weight_decay=decay)
    plain = library(Adam, w, gradients[:1], lr=rate, betas=betas, eps=epsilon)["w"]
    worst = same_path(
        _adam(answer, w, gradients, rate, betas, epsilon, decay)["w"],
        expected["w"],
        "the weights",
        "Shrink the old weights, then take Adam's step from there, with the plain gradient.",
        {
            "The weights were shrunk after the step, and the step with them. Shrink the OLD weights.": (
                plain * (1 - rate * decay)
            ).expand_as(gradients)
        },
    )
    return note(worst)
