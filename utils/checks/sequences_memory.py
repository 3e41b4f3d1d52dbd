"""Properties for lab 04: a network over a batch of texts, and what an LSTM's cell is made of."""

import torch
from torch import Tensor, nn

from utils.checks.properties import are_results, is_equal, is_finite, is_tensor
from utils.checks.sequences_steps import library, random_weights

# Exercise 2: over time


def _texts(draw) -> tuple[Tensor, ...]:
    """x (B, T, E), lengths (B,), W, U, b; one text is as long as T, and padding holds numbers that must not matter."""
    d_embed, d_hidden, length = draw.sizes(3, of=(3, 5, 7))
    lengths = torch.tensor([draw.number(1, length - 1), length, draw.number(1, length - 1), 1])
    return draw.normal(4, length, d_embed), lengths, *random_weights(draw, 1, d_embed, d_hidden)


def _time(answer, x, lengths, W, U, b) -> tuple[Tensor, Tensor]:
    states, last = are_results(answer(x, lengths, W, U, b), 2, "states, last")
    shape = (*x.shape[:2], U.shape[0])
    states = is_tensor(states, shape, name="states", letters="(B, T, D)", hint="`torch.stack(list, dim=1)` makes it.")
    return states, is_tensor(last, (shape[0], shape[2]), name="last", letters="(B, D)")


def _alone(x, lengths, W, U, b) -> list[Tensor]:
    """The states of each text alone, by PyTorch's layer."""
    layer = library(nn.RNN, W, U, b)
    return [layer(x[row, :length])[0] for row, length in enumerate(lengths.tolist())]


def time_shapes(answer, draw):
    """(B, T, D) and (B, D)."""
    _time(answer, *_texts(draw))


def time_states(answer, draw):
    """Each text's states up to its end, as PyTorch's layer gives them for that text alone."""
    given = _texts(draw)
    x, lengths, W, U, b = given
    states, _ = _time(answer, *given)
    backward = torch.cat([one.flip(0) for one in _alone(x.flip(1), 0 * lengths + x.shape[1], W, U, b)])
    flat = torch.cat([states[row, :length] for row, length in enumerate(lengths.tolist())])
    pick = [row * x.shape[1] + t for row, length in enumerate(lengths.tolist()) for t in range(length)]
    is_equal(
        flat,
        torch.cat(_alone(*given)),
        problem="These are not the texts' own states.",
        hint="Begin with zeros, and hand each step's state to the next one.",
        slips={
            "Each step begins with a state of zeros: hand the state on.": (x @ W.T + b).tanh().flatten(0, 1)[pick],
            "The words were read from the last to the first.": backward[pick],
        },
    )


def time_last(answer, draw):
    """Each text's state after its own last word."""
    given = _texts(draw)
    x, lengths, *weights = given
    states, last = _time(answer, *given)
    before = states[torch.arange(len(x)), (lengths - 2).clamp_min(0)]
    is_equal(
        last,
        torch.stack([alone[-1] for alone in _alone(*given)]),
        problem="These are not the states after each text's own last word.",
        hint="A text of length n ends at position n - 1.",
        slips={
            "This is the state after the padding.": states[:, -1],
            "This is the state after all T positions, padding included.": torch.stack(
                _alone(x, 0 * lengths + x.shape[1], *weights)
            )[:, -1],
            "One position too early: counting begins at 0.": before,
        },
    )


# Exercise 3b: the pieces of a cell


def _gates(draw) -> tuple[Tensor, Tensor]:
    length, d_hidden = draw.sizes(2, of=(5, 7, 11))
    forget = (draw.normal(length, d_hidden, dtype=torch.float64) + 1).sigmoid()
    return forget, draw.normal(length, d_hidden, dtype=torch.float64)


def _last_cell(forget: Tensor, written: Tensor) -> Tensor:
    cell = torch.zeros_like(written[0])
    for keep, add in zip(forget, written, strict=True):
        cell = keep * cell + add
    return cell


def _contributions(forget: Tensor, written: Tensor) -> Tensor:
    """What each word contributes to the last cell, by autograd: the cell is linear in what is written."""
    leaf = written.clone().requires_grad_()
    return leaf.detach() * torch.autograd.grad(_last_cell(forget, leaf).sum(), leaf)[0]


def _pieces(answer, forget, written) -> Tensor:
    return is_tensor(answer(forget, written), tuple(written.shape), letters="(T, D)", hint="One piece a word and unit.")


def pieces_shape(answer, draw):
    """(T, D)."""
    _pieces(answer, *_gates(draw))


def pieces_sum(answer, draw):
    """They sum to the last cell."""
    forget, written = _gates(draw)
    pieces = _pieces(answer, forget, written)
    forward = (written * forget.cumprod(0)).sum(0)
    is_equal(
        pieces.sum(dim=0),
        _last_cell(forget, written),
        tolerance=1e-10,
        problem="The pieces do not sum to the last cell.",
        hint="What was written at t passes the forget gates of t + 1, t + 2, ... up to the last word.",
        slips={
            "A piece does not pass its own word's forget gate: that one works on the older pieces.": (
                _contributions(forget, written * forget).sum(0)
            ),
            "These are the gates before the word; the ones after it count.": forward,
            "Nothing was forgotten.": written.sum(0),
        },
    )


def pieces_autograd(answer, draw):
    """Equal to what autograd says."""
    forget, written = _gates(draw)
    is_equal(
        _pieces(answer, forget, written),
        _contributions(forget, written),
        tolerance=1e-10,
        problem="The sum is right, the pieces are not.",
        hint="Piece t is what was written at t, times the product of all later forget gates.",
    )


def pieces_closed(answer, draw):
    """Also with gates that are exactly 0."""
    forget, written = _gates(draw)
    forget[draw.number(1, len(forget) - 2)] = 0.0
    pieces = is_finite(
        _pieces(answer, forget, written),
        problem="A forget gate of 0 gives NaN or infinity.",
        hint="You divide by a product of gates somewhere, and it is 0. Multiply the later gates instead.",
    )
    is_equal(
        pieces,
        _contributions(forget, written),
        tolerance=1e-10,
        problem="With a forget gate of 0 the pieces are wrong.",
        hint="Everything older than a gate of 0 is gone.",
    )
