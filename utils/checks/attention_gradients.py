"""Properties for lab 05: the gradient of the softmax."""

import torch

from utils.checks import oracles
from utils.checks.properties import is_equal, is_tensor

# Exercise 4: the gradient of the softmax


def _probabilities(draw, *shape):
    return draw.normal(*shape, dtype=torch.float64).softmax(-1)


def _jacobian(answer, weights):
    size = weights.numel()
    return is_tensor(
        answer(weights),
        (size, size),
        name="the Jacobian",
        letters="(S, S)",
        hint="Row i, column j: how weight i changes with score j.",
    )


def jacobian_shape(answer, draw):
    """A square matrix."""
    _jacobian(answer, _probabilities(draw, draw.number(2, 3) * 2 + 1))


def jacobian_autograd(answer, draw):
    """Equal to autograd's Jacobian in fp64, within 1e-12."""
    weights = _probabilities(draw, draw.number(1, 3) * 2 + 1)
    expected = torch.autograd.functional.jacobian(lambda scores: scores.softmax(-1), weights.log())
    worst = is_equal(
        _jacobian(answer, weights),
        expected,
        tolerance=1e-12,
        problem="This is not autograd's Jacobian.",
        hint="The weight of score i grows with it, at the cost of all others: two cases, i = j and i != j.",
        slips={
            "The diagonal is right. The other entries are not 0: a score that grows takes weight from all "
            "others.": expected.diag().diag(),
            "The sign is wrong: a score that grows raises its own weight.": -expected,
            "On the diagonal something is missing: it is w_i (1 - w_i), not -w_i^2.": expected - weights.diag(),
            "The product w_i w_j has the wrong sign.": 2 * weights.diag() - expected,
        },
    )
    return f"Largest difference to autograd: {worst:.1e}."


def _backward(answer, weights, grad_weights):
    return is_tensor(
        answer(weights, grad_weights),
        weights.shape,
        name="the gradient",
        letters="(..., S)",
        hint="There is one gradient a score, so its shape is that of the scores.",
    )


def backward_shape(answer, draw):
    """One gradient a score."""
    sizes = draw.sizes(3)
    _backward(answer, _probabilities(draw, *sizes), draw.normal(*sizes, dtype=torch.float64))


def backward_autograd(answer, draw):
    """Equal to autograd's gradient in fp64, within 1e-12, for a batch of rows."""
    sizes = draw.sizes(4)
    weights, grad_weights = _probabilities(draw, *sizes), draw.normal(*sizes, dtype=torch.float64)
    expected = oracles.gradient(weights.log(), grad_weights)
    product = weights * grad_weights
    plain_mean = weights * (grad_weights - grad_weights.mean(-1, True))
    got = _backward(answer, weights, grad_weights)
    worst = is_equal(
        got,
        expected,
        tolerance=1e-12,
        problem="This is not autograd's gradient.",
        hint="Multiply the Jacobian by the gradient on paper, and simplify the sum.",
        slips={
            "Only the Jacobian's diagonal was used.": product * (1 - weights),
            "The second term is missing: the mean gradient, weighted by the weights.": product,
            "The mean to subtract is weighted by the weights.": plain_mean,
            "The sum ran over all axes: every row has its own.": product - weights * product.sum(),
            "The sum is not multiplied by the weight.": product - product.sum(-1, True),
        },
    )
    return f"Largest difference to autograd: {worst:.1e}."
