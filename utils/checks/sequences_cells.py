"""Properties for lab 04: steps of recurrent networks, and what an LSTM's cell is made of."""

import torch
from torch import Tensor, nn

from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

SIZES = (3, 5, 7)


def _library(kind: type[nn.Module], W: Tensor, U: Tensor, b: Tensor, b_state: Tensor | None = None) -> nn.Module:
    """PyTorch's cell or layer of this kind with the given weights; made without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        made = kind(W.shape[1], U.shape[1])
    values = (W, U, b, torch.zeros_like(b) if b_state is None else b_state)
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), values, strict=True):
            parameter.copy_(value)
    return made.requires_grad_(False)


def _weights(draw, gates: int, d_embed: int, d_hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    rows = gates * d_hidden
    return draw.normal(rows, d_embed) / 2, draw.normal(rows, d_hidden) / 2, draw.normal(rows)


def _inputs(draw, gates: int) -> tuple[Tensor, ...]:
    """x (B, E), h (B, D), W, U, b for a cell with so many gates."""
    batch_size, d_embed, d_hidden = draw.sizes(3, of=SIZES)
    weights = _weights(draw, gates, d_embed, d_hidden)
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
        _library(nn.RNNCell, W, U, b)(x, h),
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


# Exercise 2: over time


def _texts(draw) -> tuple[Tensor, ...]:
    """x (B, T, E), lengths (B,), W, U, b; one text is as long as T, and padding holds numbers that must not matter."""
    d_embed, d_hidden, length = draw.sizes(3, of=(3, 5, 7))
    lengths = torch.tensor([draw.number(1, length - 1), length, draw.number(1, length - 1), 1])
    return draw.normal(4, length, d_embed), lengths, *_weights(draw, 1, d_embed, d_hidden)


def _time(answer, x, lengths, W, U, b) -> tuple[Tensor, Tensor]:
    states, last = are_results(answer(x, lengths, W, U, b), 2, "states, last")
    shape = (*x.shape[:2], U.shape[0])
    states = is_tensor(states, shape, name="states", letters="(B, T, D)", hint="`torch.stack(list, dim=1)` makes it.")
    return states, is_tensor(last, (shape[0], shape[2]), name="last", letters="(B, D)")


def _alone(x, lengths, W, U, b) -> list[Tensor]:
    """The states of each text alone, by PyTorch's layer."""
    layer = _library(nn.RNN, W, U, b)
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
    expected_h, expected = _library(nn.LSTMCell, W, U, b)(x, (h, c))
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
    expected, cell = _library(nn.LSTMCell, W, U, b)(x, (h, c))
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
        _library(nn.GRUCell, W, U, b, b_state)(x, h),
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
