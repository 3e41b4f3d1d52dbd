"""Properties for lab 04: attention over an encoder's states, and the clipping of gradients."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks.calls import NotYet
from utils.checks.properties import are_named, are_results, is_equal, is_finite, is_tensor

# Exercise 5: attention over the encoder's states


def _memory(draw) -> tuple[Tensor, ...]:
    """state (B, D), memory (B, S, D), read (B, S), A (D, D); rows of different lengths."""
    batch_size, length, d_hidden = draw.sizes(3, of=(3, 5, 7))
    lengths = torch.tensor([length, *(draw.number(1, length) for _ in range(batch_size - 2)), 1])
    read = torch.arange(length) < lengths[:, None]
    return draw.normal(batch_size, d_hidden), draw.normal(batch_size, length, d_hidden), read, draw.normal(
        d_hidden, d_hidden
    ) / math.sqrt(d_hidden)


def _attended(answer, state, memory, read, A) -> tuple[Tensor, Tensor]:
    context, weights = are_results(answer(state, memory, read, A), 2, "context, weights")
    context = is_tensor(context, tuple(state.shape), name="the context", letters="(B, D)", hint="A sum over S states.")
    return context, is_tensor(
        weights, tuple(read.shape), name="the weights", letters="(B, S)", hint="One weight a source word."
    )


def _by_library(queries: Tensor, memory: Tensor, values: Tensor, read: Tensor, scale: float = 1.0) -> Tensor:
    """PyTorch's attention of one query a row, (B, D) -> (B, Dv)."""
    return F.scaled_dot_product_attention(queries[:, None], memory, values, read[:, None], scale=scale)[:, 0]


def _weights_by_library(queries: Tensor, memory: Tensor, read: Tensor, scale: float = 1.0) -> Tensor:
    identity = torch.eye(memory.shape[1]).expand(len(memory), -1, -1)
    return _by_library(queries, memory, identity, read, scale)


def attend_shapes(answer, draw):
    """Context (B, D), weights (B, S)."""
    _attended(answer, *_memory(draw))


def attend_open(answer, draw):
    """Rows sum to one over the words that were read."""
    state, memory, read, A = _memory(draw)
    _, weights = _attended(answer, state, memory, read, A)
    if (weights[~read] != 0).any():
        raise NotYet(
            "Padding gets some weight.",
            {"expected": "exactly 0 where `read` is False", "got": f"up to {weights[~read].abs().max():.4f}"},
            "Set its scores to minus infinity, before the softmax.",
        )
    is_equal(
        weights.sum(dim=-1),
        torch.ones(len(state)),
        problem="The weights of a row do not sum to one.",
        hint="Close the padding before the softmax: then the open words share the whole.",
    )


def attend_weights(answer, draw):
    """Equal to PyTorch's."""
    state, memory, read, A = _memory(draw)
    _, weights = _attended(answer, state, memory, read, A)
    q = state @ A
    is_equal(
        weights,
        _weights_by_library(q, memory, read),
        problem="The weights are not the softmax of the scores.",
        hint="The score of word j is state · A · memory_j.",
        slips={
            "A is transposed: the state stands on its left.": _weights_by_library(state @ A.T, memory, read),
            "A is missing.": _weights_by_library(state, memory, read),
            "The scores were divided by the root of D: here they are not.": _weights_by_library(
                q, memory, read, memory.shape[2] ** -0.5
            ),
        },
    )


def attend_sum(answer, draw):
    """Equal to PyTorch's."""
    state, memory, read, A = _memory(draw)
    context, weights = _attended(answer, state, memory, read, A)
    is_equal(
        context,
        _by_library(state @ A, memory, memory, read),
        problem="The weights are right, the context is not their sum of states.",
        hint="Multiply each state by its weight, and add up over the source words.",
        slips={"This is a mean: the weights have not been used.": memory.mean(dim=1)},
    )


# Exercise 6: clipping


def _gradients(draw, length: float) -> dict[str, Tensor]:
    """Three gradients by name whose common length is `length`."""
    a, b, c = draw.sizes(3, of=(3, 5, 7))
    found = {"W": draw.normal(a, b), "U": 0.2 * draw.normal(a, c), "b": 3 * draw.normal(a)}
    total = math.sqrt(sum(g.square().sum().item() for g in found.values()))
    return {name: g * (length / total) for name, g in found.items()}


def _clipped(answer, gradients, longest) -> dict[str, Tensor]:
    return are_named(
        answer(gradients, longest),
        {name: g.shape for name, g in gradients.items()},
        problem="The result is not a dictionary with the same names.",
        hint="Make it with a comprehension over `gradients.items()`.",
    )


def _all(gradients: dict[str, Tensor], names) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in names])


def clip_shapes(answer, draw):
    """The same names and shapes."""
    _clipped(answer, _gradients(draw, 4.0), 1.0)


def clip_short(answer, draw):
    """Unchanged."""
    gradients = _gradients(draw, 0.3)
    is_equal(
        _all(_clipped(answer, gradients, 0.7), gradients),
        _all(gradients, gradients),
        problem="Gradients that are short enough were changed.",
        hint="The factor is at most 1: clipping never makes a gradient longer.",
    )


def clip_long(answer, draw):
    """Equal to clip_grad_norm_."""
    length, longest = float(draw.number(3, 9)), 0.4 + draw.number(0, 3) / 2
    gradients = _gradients(draw, length)
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameters, longest)
    each = {name: g * min(1.0, longest / g.norm().item()) for name, g in gradients.items()}
    squared = sum(g.square().sum().item() for g in gradients.values())
    is_equal(
        _all(_clipped(answer, gradients, longest), gradients),
        torch.cat([parameter.grad.flatten() for parameter in parameters]),
        problem="The gradients are not scaled back to the longest length allowed.",
        hint="One length for all of them: the root of the sum of all squares. Then one factor for all.",
        slips={
            "Each gradient was clipped by its own length. Then the direction changes: take one length for all.": _all(
                each, gradients
            ),
            "The numbers were cut off one by one. Then the direction changes: scale them all by one factor.": _all(
                gradients, gradients
            ).clamp(-longest, longest),
            "The root is missing: the length is the root of the sum of squares.": _all(gradients, gradients)
            * (longest / squared),
            "They have length 1 now; `longest` is wanted.": _all(gradients, gradients) / length,
        },
    )


def clip_zero(answer, draw):
    """No NaN from zeros."""
    gradients = {name: torch.zeros_like(g) for name, g in _gradients(draw, 1.0).items()}
    got = is_finite(
        _all(_clipped(answer, gradients, 1.0), gradients),
        problem="Gradients that are all zero became NaN.",
        hint="Their length is 0, and 0/0 is NaN. Divide only where the length is above the limit.",
    )
    is_equal(got, _all(gradients, gradients), problem="Zeros did not stay zeros.")
