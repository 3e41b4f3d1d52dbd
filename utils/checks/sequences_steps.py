"""Properties for lab 04: steps of a plain recurrent network, an LSTM and a GRU."""

import torch
from torch import Tensor, nn

from utils.checks.properties import are_results, is_equal, is_tensor

SIZES = (3, 5, 7)


def library(kind: type[nn.Module], W: Tensor, U: Tensor, b: Tensor, b_state: Tensor | None = None) -> nn.Module:
    """PyTorch's cell or layer of this kind with the given weights; made without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        made = kind(W.shape[1], U.shape[1])
    values = (W, U, b, torch.zeros_like(b) if b_state is None else b_state)
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), values, strict=True):
            parameter.copy_(value)
    return made.requires_grad_(False)


def random_weights(draw, gates: int, d_embed: int, d_hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """W (gates D, E), U (gates D, D) and b (gates D,), random."""
    rows = gates * d_hidden
    return draw.normal(rows, d_embed) / 2, draw.normal(rows, d_hidden) / 2, draw.normal(rows)


def _inputs(draw, gates: int) -> tuple[Tensor, ...]:
    """x (B, E), h (B, D), W, U, b for a cell with so many gates."""
    batch_size, d_embed, d_hidden = draw.sizes(3, of=SIZES)
    weights = random_weights(draw, gates, d_embed, d_hidden)
    return draw.normal(batch_size, d_embed), draw.normal(batch_size, d_hidden).tanh(), *weights


# Exercise 1: a step


def step_shape(answer, draw):
    """A state (B, D)."""
    x, h, *weights = _inputs(draw, 1)
    is_tensor(answer(x, h, *weights), tuple(h.shape), letters="(B, D)", hint="U h has D numbers, and so has W x.")


def step_library(answer, draw):
    """Equal to RNNCell."""
    x, h, W, U, b = _inputs(draw, 1)
    total = x @ W.T + h @ U.T + b
    is_equal(
        answer(x, h, W, U, b),
        library(nn.RNNCell, W, U, b)(x, h),
        problem="This is not the new state.",
        hint="Add W x, U h and b, then squash.",
        slips={
            "The tanh is missing.": total,
            "A tanh is wanted, not a sigmoid.": total.sigmoid(),
            "The bias is missing.": (total - b).tanh(),
            "The old state does not go in.": (x @ W.T + b).tanh(),
            "U is transposed: row i of U makes number i of the state, as with W.": (x @ W.T + h @ U + b).tanh(),
        },
    )


# Exercise 3a: an LSTM's step


def _lstm(answer, draw) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    x, h, *weights = _inputs(draw, 4)
    c = draw.normal(*h.shape)
    new_h, new_c = are_results(answer(x, h, c, *weights), 2, "h, c")
    shape = tuple(h.shape)
    new_h = is_tensor(new_h, shape, name="the state", letters="(B, D)", hint="Cut the 4D numbers into four parts.")
    return (x, h, c, *weights), new_h, is_tensor(new_c, shape, name="the cell", letters="(B, D)")


def lstm_shapes(answer, draw):
    """State and cell (B, D)."""
    _lstm(answer, draw)


def lstm_cell(answer, draw):
    """The cell of LSTMCell."""
    (x, h, c, W, U, b), _, got = _lstm(answer, draw)
    total = x @ W.T + h @ U.T + b
    one, two, three, four = total.chunk(4, dim=-1)
    i, f, g = one.sigmoid(), two.sigmoid(), three.tanh()
    expected_h, expected = library(nn.LSTMCell, W, U, b)(x, (h, c))
    is_equal(
        got,
        expected,
        problem="This is not the new cell.",
        hint="Keep f of the old cell, and add i of the candidate.",
        slips={
            "State and cell are swapped: return h, c.": expected_h,
            "The input and the forget gate are swapped: the order is i, f, g, o.": i * c + f * g,
            "The candidate and the output gate are swapped: the order is i, f, g, o.": f * c + i * four.tanh(),
            "The old cell is not forgotten: multiply it by f.": c + i * g,
            "The candidate is squashed by tanh, not by the sigmoid.": f * c + i * three.sigmoid(),
            "The input gate is missing.": f * c + g,
            "The cell itself is never squashed: that is the point of it.": (f * c + i * g).tanh(),
        },
    )


def lstm_hidden(answer, draw):
    """The state of LSTMCell."""
    (x, h, c, W, U, b), got, _ = _lstm(answer, draw)
    expected, cell = library(nn.LSTMCell, W, U, b)(x, (h, c))
    output = (x @ W.T + h @ U.T + b).chunk(4, dim=-1)[3].sigmoid()
    is_equal(
        got,
        expected,
        problem="The cell is right, the state is not.",
        hint="The state shows the output gate's share of the squashed cell.",
        slips={
            "The tanh over the cell is missing.": output * cell,
            "The output gate is missing.": cell.tanh(),
            "The state shows the new cell, not the old one.": output * c.tanh(),
        },
    )


# Exercise 4: a GRU's step


def gru_shape(answer, draw):
    """A state (B, D)."""
    x, h, W, U, b = _inputs(draw, 3)
    is_tensor(
        answer(x, h, W, U, b, draw.normal(*b.shape)),
        tuple(h.shape),
        letters="(B, D)",
        hint="Cut the 3D numbers into three parts: r, z, n.",
    )


def gru_library(answer, draw):
    """Equal to GRUCell."""
    x, h, W, U, b = _inputs(draw, 3)
    b_state = draw.normal(*b.shape)
    (r_x, z_x, n_x), (r_h, z_h, n_h) = (x @ W.T + b).chunk(3, -1), (h @ U.T + b_state).chunk(3, -1)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    n = (n_x + r * n_h).tanh()
    U_n, b_n = U.chunk(3)[2], b_state.chunk(3)[2]
    early = (n_x + (r * h) @ U_n.T + b_n).tanh()
    outside = (n_x + r * (n_h - b_n) + b_n).tanh()
    swapped = (n_x + z * n_h).tanh()
    is_equal(
        answer(x, h, W, U, b, b_state),
        library(nn.GRUCell, W, U, b, b_state)(x, h),
        problem="This is not the new state.",
        hint="First r and z from the sums, then n, then the blend of n and the old state.",
        slips={
            "The update gate is upside down: z keeps the old state, 1 - z takes the new.": z * n + (1 - z) * h,
            "The reset gate comes too early: it multiplies U h + b_state, not h alone.": (1 - z) * early + z * h,
            "The second bias of n belongs inside the reset, too.": (1 - z) * outside + z * h,
            "The reset gate is missing.": (1 - z) * (n_x + n_h).tanh() + z * h,
            "The old state is missing in the blend.": (1 - z) * n,
            "The two gates are swapped: the order is r, z, n.": (1 - r) * swapped + r * h,
        },
    )
