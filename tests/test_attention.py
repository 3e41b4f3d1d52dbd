"""Attention against PyTorch's own: the fused kernel, nn.MultiheadAttention, and the rotation of complex numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from utils.models.attention import KVCache, MultiHeadAttention, attend, cache_bytes, causal_mask, padding_mask
from utils.models.positions import frequencies, rotate, sinusoidal_positions

EXACT = dict(rtol=0, atol=1e-12)
MASKS = ("none", "causal", "padding", "random")


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_mask(kind, B, T, S):
    """A boolean mask in which every query sees a key."""
    if kind == "none":
        return None
    if kind == "causal":
        return causal_mask(T, S)
    if kind == "padding":
        return padding_mask(torch.arange(S) < torch.tensor([S, 1, S - 2])[:B, None])
    allowed = torch.rand(B, 1, T, S, generator=torch.Generator().manual_seed(1)) < 0.5
    allowed[..., 0] = True
    return allowed


def copy_of_library_attention(d_model, n_heads, seed=0):
    """nn.MultiheadAttention with random weights and biases, and ours with the same ones, in float64."""
    torch.manual_seed(seed)
    theirs = nn.MultiheadAttention(d_model, n_heads, batch_first=True, dtype=torch.float64)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = MultiHeadAttention(d_model, n_heads).double()
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        for layer, w, b in zip(parts, theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True):
            layer.weight.copy_(w)
            layer.bias.copy_(b)
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    return ours, theirs


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("T, S", [(7, 7), (3, 11), (1, 5)])
def test_attend_equals_the_fused_kernel(kind, T, S):
    q, k, v = random(3, 2, T, 5), random(3, 2, S, 5, seed=1), random(3, 2, S, 5, seed=2)
    mask = make_mask(kind, 3, T, S)
    output, weights = attend(q, k, v, mask)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), **EXACT)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, T, dtype=torch.float64), **EXACT)
    if mask is not None:
        assert (weights.masked_select(~mask.expand_as(weights)) == 0).all()


@pytest.mark.parametrize("kind", MASKS)
def test_attend_has_the_gradients_of_the_fused_kernel(kind):
    ours = [random(3, 2, 7, 5, seed=i).requires_grad_() for i in range(3)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    mask, out = make_mask(kind, 3, 7, 7), random(3, 2, 7, 5, seed=9)
    (attend(*ours, mask)[0] * out).sum().backward()
    (F.scaled_dot_product_attention(*theirs, attn_mask=mask) * out).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, **EXACT)


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_query_that_may_see_nothing_gets_zero_and_no_nan_gradient(need_weights):
    layer = MultiHeadAttention(10, 2).double()
    layer.output.bias.data.zero_()
    x = random(2, 5, 10).requires_grad_()
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[1, 0, 3] = False
    out, weights = layer(x, mask=mask, need_weights=need_weights)
    assert (out[1, 3] == 0).all() and (out[1, 2] != 0).any()
    if need_weights:
        assert (weights[1, :, 3] == 0).all()
    out.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("d_model, n_heads, T", [(15, 3, 7), (6, 1, 4), (20, 5, 9)])
def test_multi_head_attention_equals_the_librarys(kind, d_model, n_heads, T, need_weights):
    ours, theirs = copy_of_library_attention(d_model, n_heads)
    x, mask = random(3, T, d_model), make_mask(kind, 3, T, T)
    # The library's masks are True where attention is forbidden, and have one entry for each head.
    library_mask = None if mask is None else ~mask.expand(3, n_heads, T, T).reshape(-1, T, T)
    expected, expected_weights = theirs(x, x, x, attn_mask=library_mask, average_attn_weights=False)
    out, weights = ours(x, mask=None if kind == "causal" else mask, causal=kind == "causal", need_weights=need_weights)
    torch.testing.assert_close(out, expected, **EXACT)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights, **EXACT)


def test_cross_attention_equals_the_librarys():
    ours, theirs = copy_of_library_attention(15, 3)
    x, context = random(3, 4, 15), random(3, 9, 15, seed=1)
    real = torch.arange(9) < torch.tensor([9, 1, 5])[:, None]
    expected, _ = theirs(x, context, context, key_padding_mask=~real)
    torch.testing.assert_close(ours(x, context, mask=padding_mask(real))[0], expected, **EXACT)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3])
def test_grouped_queries_equal_repeated_key_value_heads(n_kv_heads):
    n_heads, head_dim = 6, 5
    torch.manual_seed(0)
    grouped = MultiHeadAttention(n_heads * head_dim, n_heads, n_kv_heads).double()
    full = MultiHeadAttention(n_heads * head_dim, n_heads).double()
    state = grouped.state_dict()
    for name in ("key", "value"):
        for part in ("weight", "bias"):
            heads = state[f"{name}.{part}"].unflatten(0, (n_kv_heads, head_dim))
            state[f"{name}.{part}"] = heads.repeat_interleave(n_heads // n_kv_heads, dim=0).flatten(0, 1)
    full.load_state_dict(state)
    x = random(2, 7, 30)
    torch.testing.assert_close(grouped(x, causal=True)[0], full(x, causal=True)[0], **EXACT)


def test_each_head_sees_a_slice_of_the_features_and_all_of_the_sequence():
    layer, x = MultiHeadAttention(6, 3), random(2, 5, 6)
    heads = layer.split(x)
    assert heads.shape == (2, 3, 5, 2)
    for head in range(3):
        assert torch.equal(heads[:, head], x[..., 2 * head : 2 * head + 2])


@pytest.mark.parametrize("d_model, n_heads, n_kv_heads", [(10, 3, None), (12, 4, 3)])
def test_heads_that_do_not_divide_the_width_are_named(d_model, n_heads, n_kv_heads):
    with pytest.raises(ValueError, match=f"d_model={d_model}, n_heads={n_heads}"):
        MultiHeadAttention(d_model, n_heads, n_kv_heads)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 3, 1], [8, 1]])
def test_attention_in_pieces_through_a_cache_equals_attention_at_once(pieces, rotary):
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(24, 6, 2, rotary=rotary).double(), random(2, 9, 24)
    for cache in (KVCache(), KVCache(9), KVCache(14)):
        parts = [layer(part, causal=True, cache=cache)[0] for part in x.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), layer(x, causal=True)[0], **EXACT)
        assert len(cache) == 9
        assert cache.n_bytes == cache_bytes(1, 2, 4, 9, batch_size=2, bytes_per_number=8)


@pytest.mark.parametrize("capacity", [None, 9])
def test_a_trimmed_cache_continues_where_it_was_cut(capacity):
    layer, x, cache = MultiHeadAttention(8, 2).double(), random(3, 7, 8), KVCache(capacity)
    layer(random(3, 7, 8, seed=1), causal=True, cache=cache)
    cache.trim(0)
    layer(x[:, :6], causal=True, cache=cache)
    cache.trim(4)
    continued, _ = layer(x[:, 4:], causal=True, cache=cache)
    torch.testing.assert_close(continued, layer(x, causal=True)[0][:, 4:], **EXACT)
    assert len(cache) == 7


def test_a_full_cache_is_one_clear_error():
    layer, cache = MultiHeadAttention(8, 2), KVCache(3)
    layer(torch.zeros(1, 3, 8), cache=cache)
    with pytest.raises(ValueError, match="at most capacity=3 tokens, got 4"):
        layer(torch.zeros(1, 1, 8), cache=cache)
    with pytest.raises(ValueError, match="sizes from 1, got n_tokens=0"):
        cache_bytes(1, 1, 1, 0)


@pytest.mark.parametrize("capacity", [None, 7])
def test_a_reordered_cache_continues_the_chosen_rows(capacity):
    layer, x = MultiHeadAttention(8, 2).double(), random(3, 5, 8)
    cache = KVCache(capacity)
    layer(x[:, :4], causal=True, cache=cache)
    rows = torch.tensor([2, 2, 0])
    cache.reorder(rows)
    continued, _ = layer(x[rows, 4:], causal=True, cache=cache)
    torch.testing.assert_close(continued, layer(x[rows], causal=True)[0][:, 4:], **EXACT)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = random(1, 14), random(1, 14, seed=1)
    scores = {(t, s): float(rotate(q, t) @ rotate(k, s).mT) for t in (0, 3, 7, 40) for s in (0, 2, 9, 33)}
    for (t, s), score in scores.items():
        assert score == pytest.approx(float(rotate(q, t + 5) @ rotate(k, s + 5).mT), abs=1e-5)
    assert max(scores.values()) - min(scores.values()) > 0.1


def test_rotary_is_a_multiplication_by_unit_complex_numbers():
    x = torch.randn(2, 3, 7, 10, generator=torch.Generator().manual_seed(0))
    turned = torch.view_as_complex(torch.stack([x[..., :5], x[..., 5:]], dim=-1))
    angles = torch.arange(4, 11)[:, None] * 10_000.0 ** (-torch.arange(5) / 5)
    expected = turned * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(rotate(x, start=4), torch.cat([expected.real, expected.imag], dim=-1))
    torch.testing.assert_close(rotate(x).norm(dim=-1), x.norm(dim=-1))


def test_sinusoidal_positions_follow_the_formula_number_by_number():
    table = sinusoidal_positions(13, 6)
    for t in range(13):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            assert float(table[t, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(table[t, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-6)
    assert frequencies(6)[0] == 1.0


@pytest.mark.parametrize("call", [lambda: sinusoidal_positions(4, 5), lambda: rotate(torch.zeros(2, 5))])
def test_an_odd_width_has_no_feature_pairs(call):
    with pytest.raises(ValueError, match="even"):
        call()
