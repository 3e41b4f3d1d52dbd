"""Properties for lab 13: attention with a cache of keys and values, beside PyTorch's over the whole text."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

NAMES = "output, keys, values"


def _case(draw, n_cached: int, n_new: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, S + T, Dh) of a whole text, and PyTorch's causal attention over it, in fp64."""
    B, H, Dh = draw.sizes(3, (2, 3, 5))
    q, k, v = (draw.normal(B, H, n_cached + n_new, Dh, dtype=torch.float64) for _ in range(3))
    return q, k, v, F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _step(answer, q: Tensor, k: Tensor, v: Tensor, n_cached: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the student's function returns when the first `n_cached` tokens are in the cache and the rest is new."""
    new = [one[:, :, n_cached:] for one in (q, k, v)]
    got = are_results(answer(*new, k[:, :, :n_cached], v[:, :, :n_cached]), 3, NAMES)
    shapes = ((new[0].shape, "(B, H, T, Dh)"), (k.shape, "(B, H, S + T, Dh)"), (v.shape, "(B, H, S + T, Dh)"))
    hint = "The output has a row for each new token; keys and values come back for all tokens, old and new."
    return tuple(is_tensor(one, shape, letters=letters, name=f"`{name}`", hint=hint)
                 for one, name, (shape, letters) in zip(got, NAMES.split(", "), shapes, strict=True))


def _attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, scale: float | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale)


def cache_shapes(answer, draw):
    """Three tensors: new outputs, all keys, all values."""
    n_cached = draw.number(2, 6)
    _step(answer, *_case(draw, n_cached, draw.number(1, 4))[:3], n_cached)


def cache_grows(answer, draw):
    """The keys and values returned are the cached ones and, after them, the new ones."""
    n_cached = draw.number(3, 6)
    q, k, v, _ = _case(draw, n_cached, draw.number(1, 2))
    for name, got, whole in zip(("keys", "values"), _step(answer, q, k, v, n_cached)[1:], (k, v), strict=True):
        is_equal(got, whole, problem=f"The {name} returned are not the cached ones, followed by the new ones.",
                 hint="Join them along the axis of the tokens, which is the last but one: the cached ones first.",
                 slips={"The new ones came first. A later token stands further right.":
                            whole.roll(whole.shape[2] - n_cached, dims=2)})


def cache_one(answer, draw):
    """One new token's output is the last row of attention over the whole text."""
    n_cached = draw.number(2, 6)
    q, k, v, whole = _case(draw, n_cached, 1)
    got, newest = _step(answer, q, k, v, n_cached)[0], q[:, :, -1:]
    is_equal(got, whole[:, :, -1:], tolerance=1e-9, problem="The new token's output is not that of the whole text.",
             hint="The new query meets all keys, the cached ones and its own: scores, scaled, softmax, times values.",
             slips={"The new token sees itself alone: the cache has no effect on the output.": v[:, :, -1:],
                    "The new token does not see itself: append before you attend.":
                        _attend(newest, k[:, :, :-1], v[:, :, :-1], None),
                    "The scores are not divided by the root of Dh.": _attend(newest, k, v, None, 1.0),
                    "The mask lets the new token see the first one only: it stands at position S, not at 0.":
                        v[:, :, :1]})


def cache_many(answer, draw):
    """Several new tokens at once, none of which sees a later one."""
    n_cached, n_new = draw.number(3, 6), draw.number(3, 4)
    q, k, v, whole = _case(draw, n_cached, n_new)
    got, new = _step(answer, q, k, v, n_cached)[0], q[:, :, n_cached:]
    size = (n_new, n_cached + n_new)
    from_corner = torch.ones(size, dtype=torch.bool).tril()
    worst = is_equal(
        got, whole[:, :, n_cached:], tolerance=1e-9,
        problem=f"With {n_new} new tokens at once, the outputs are not those of the whole text.",
        hint="New token number i stands at position S + i: it sees the S cached keys, and new ones up to its own.",
        slips={"A new token sees later new ones: mask them.": _attend(new, k, v, None),
               "The mask counts from the corner: new token number i stands at position S + i, not at i. "
               "(`is_causal=True` does the same when T and S differ.)": _attend(new, k, v, from_corner),
               "A new token does not see itself.": _attend(new, k, v, torch.ones(size).tril(n_cached - 1) > 0),
               "A new token sees one key too many: the next one's.":
                   _attend(new, k, v, torch.ones(size).tril(n_cached + 1) > 0)})
    return f"Largest difference to attention over the whole text: {worst:.1e}."


def cache_empty(answer, draw):
    """An empty cache: the prompt itself."""
    q, k, v, whole = _case(draw, 0, draw.number(3, 5))
    got = is_finite(_step(answer, q, k, v, 0)[0], problem="With an empty cache, the output holds NaN or infinity.",
                    hint="With S = 0, the first token sees itself, and nothing else.")
    is_equal(got, whole, tolerance=1e-9, problem="With an empty cache, this is not causal attention.",
             hint="The first call reads the whole prompt: S is 0, and your mask must still be right.")
