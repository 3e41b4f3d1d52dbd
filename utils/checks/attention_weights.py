"""Properties for lab 05: one query over its keys, and masks."""

import torch
import torch.nn.functional as F

from utils.checks import oracles
from utils.checks.properties import are_results, is_bool, is_equal, is_finite, is_tensor

# Exercise 1: one query over S keys


def _one_query(draw):
    d_key, n_keys, d_value = draw.sizes(3, of=(3, 5, 7))
    return draw.normal(d_key), draw.normal(n_keys, d_key), draw.normal(n_keys, d_value)


def _one_output(answer, query, keys, values):
    output, weights = are_results(answer(query, keys, values), 2, "output, weights")
    output = is_tensor(
        output,
        values.shape[1:],
        name="the output",
        letters="(Dv,)",
        hint="The output is one vector of the values' width: a weighted sum over the S values.",
    )
    return output, is_tensor(
        weights, keys.shape[:1], name="the weights", letters="(S,)", hint="There is one weight a key."
    )


def one_shapes(answer, draw):
    """One output of the values' width and one weight a key."""
    _one_output(answer, *_one_query(draw))


def one_weights(answer, draw):
    """The weights equal PyTorch's."""
    query, keys, values = _one_query(draw)
    _, weights = _one_output(answer, query, keys, values)
    n_keys, d_key = keys.shape
    scales = (None, 1.0, 1 / d_key, n_keys**-0.5)
    rows = {scale: oracles.attention_weights(query[None], keys, scale)[0] for scale in scales}
    is_equal(
        weights,
        rows[None],
        problem="The weights are not the softmax of the scaled scores.",
        hint="A score is a query's dot product with a key; the softmax runs over the keys.",
        slips={
            "These are the weights without the division by the square root of Dh.": rows[1.0],
            "The scores were divided by Dh: its square root is wanted.": rows[1 / d_key],
            "The scores were divided by the root of the number of keys: the root of Dh is wanted.": rows[n_keys**-0.5],
            "These are the scores: the softmax is missing.": keys @ query / d_key**0.5,
        },
    )


def one_sum(answer, draw):
    """The output equals PyTorch's."""
    query, keys, values = _one_query(draw)
    output, _ = _one_output(answer, query, keys, values)
    expected = F.scaled_dot_product_attention(query[None], keys, values)[0]
    is_equal(
        output,
        expected,
        problem="The output is not the weighted sum of the values.",
        hint="Each value counts with its own weight.",
        slips={
            "This is the plain mean of the values: every weight counts the same.": values.mean(0),
            "This is the sum of the values without their weights.": values.sum(0),
        },
    )


def one_overflow(answer, draw):
    """Scores in the hundreds give finite, right weights."""
    query, keys, values = _one_query(draw)
    output, weights = _one_output(answer, 300 * query, keys, values)
    for got in (output, weights):
        is_finite(
            got,
            problem="Large scores overflow.",
            hint="exp(89) is already infinite in fp32. The softmax does not change when the largest score is "
                 "subtracted from all of them first; torch.softmax does so.",
        )
    # A score of 1000 has a rounding error of about 1e-4 in fp32.
    expected = oracles.attention_weights(300 * query[None], keys)[0]
    is_equal(weights, expected, tolerance=2e-3, problem="The weights of large scores are wrong.")


# Exercise 2: the causal mask and the padding mask


def _allowed(answer, attention_mask):
    batch_size, length = attention_mask.shape
    allowed = is_tensor(
        answer(attention_mask),
        (batch_size, 1, length, length),
        letters="(B, 1, T, T)",
        name="the mask",
        hint="Index with None to add an axis: a[:, None, None, :].",
        slips={
            (
                batch_size,
                length,
                length,
            ): "The axis of the heads is missing: a mask that serves all heads has size 1 there.",
            (length, length): "One mask a sequence is wanted: the padding differs from sequence to sequence.",
        },
    )
    return is_bool(allowed, name="the mask")


def _causal(batch_size, length):
    """The library's bias for the same rule is minus infinity where nothing may be attended to, and 0 elsewhere."""
    closed = torch.nn.Transformer.generate_square_subsequent_mask(length).isinf()
    return ~closed.expand(batch_size, 1, -1, -1)


def mask_causal(answer, draw):
    """Without padding the mask equals PyTorch's causal mask."""
    batch_size, length = draw.sizes(2, of=(2, 3, 5, 7))
    allowed = _allowed(answer, torch.ones(batch_size, length, dtype=torch.bool))
    expected = _causal(batch_size, length)
    diagonal = torch.eye(length, dtype=torch.bool).expand_as(expected)
    is_equal(
        allowed,
        expected,
        problem="Without padding, this is not the causal mask.",
        hint="Row i (query) may attend to column j (key) when j is at or before i.",
        slips={
            "It is inverted: True means may be attended to.": ~expected,
            "A position must also attend to itself: the diagonal is missing.": expected & ~diagonal,
            "It is transposed: rows are queries, columns are keys.": ~expected | diagonal,
            "Everything is open: the causal part is missing.": torch.ones_like(expected),
        },
    )


def mask_padding(answer, draw):
    """Padding, left and right, closes its own columns and nothing else."""
    length = 2 * draw.number(2, 3) + 1
    attention_mask = draw.normal(4, length) > -0.5
    # Padded on the left, padded on the right; the other two at random.
    attention_mask[0], attention_mask[1] = torch.arange(length) >= 2, torch.arange(length) < length - 2
    allowed, causal = _allowed(answer, attention_mask), _causal(4, length)
    real = attention_mask[:, None, None, :].expand_as(allowed)
    is_equal(
        allowed,
        causal & real,
        problem="With padding, the wrong positions are open.",
        hint="Both rules must hold at once; padding closes its own column (key) and nothing else.",
        slips={
            "The padding has no effect: its columns are still open.": causal,
            "Only the padding is open: in attention_mask, True is a real token.": causal & ~real,
            "The two rules are joined with `|` (either); both must hold: `&`.": causal | real,
            "The padding closes rows in place of columns: rows are queries, columns are keys.": causal & real.mT,
            "The rows of padding queries are closed as well. Close columns only: what padding attends to is never "
            "used, and rows with nothing open need care.": causal
            & real
            & real.mT,
        },
    )


def _scores(draw):
    """Scores (B, H, T, S), a mask (B, 1, T, S) with some rows that are closed all along, and which rows are open."""
    batch_size, n_heads, n_queries, n_keys = draw.sizes(4)
    allowed = draw.normal(batch_size, 1, n_queries, n_keys) > -0.3
    allowed[..., 0] = True
    allowed[-1, :, -1] = False
    return 3 * draw.normal(batch_size, n_heads, n_queries, n_keys), allowed, allowed.any(-1, keepdim=True)


def _weights(answer, scores, allowed):
    return is_tensor(
        answer(scores, allowed),
        scores.shape,
        name="the weights",
        letters="(B, H, T, S)",
        hint="Masking and softmax keep the shape of the scores.",
    )


def masked_open(answer, draw):
    """Rows with an open key equal PyTorch's, and closed keys have exactly 0."""
    scores, allowed, is_open = _scores(draw)
    weights = _weights(answer, scores, allowed)
    expected = oracles.masked_weights(scores, allowed)
    zeroed, plain = (scores * allowed).softmax(-1), scores.softmax(-1)
    inverted = scores.masked_fill(allowed, -torch.inf).softmax(-1).nan_to_num()
    slips = {
        "A score of 0 is not closed: exp(0) is 1. The closed scores must become hugely negative.": zeroed,
        "The closed weights were set to 0 after the softmax, so that a row no longer sums to one.": plain * allowed,
        "The mask has no effect.": plain,
        "The mask is inverted: True means may be attended to.": inverted,
    }
    slips = {why: torch.where(is_open, value, 0.0) for why, value in slips.items()}
    is_equal(
        torch.where(is_open, weights, 0.0),
        torch.where(is_open, expected, 0.0),
        slips=slips,
        problem="In rows with something to attend to, the weights are wrong.",
        hint="The softmax runs over the keys, the last axis, and gives closed keys a weight of exactly 0.",
    )
    is_equal(
        torch.where(is_open & ~allowed, weights, 0.0),
        torch.zeros_like(weights),
        tolerance=0.0,
        problem="A closed key has a weight that is not exactly 0.",
        hint="exp of a hugely negative number is exactly 0.",
    )


def masked_closed(answer, draw):
    """Rows without an open key are zeros, not NaN."""
    scores, allowed, is_open = _scores(draw)
    weights = _weights(answer, scores, allowed)
    closed = weights[~is_open.expand_as(weights[..., :1])[..., 0]]
    is_finite(
        closed,
        problem="Rows with nothing to attend to hold NaN.",
        hint="When all scores are minus infinity, the softmax is 0/0. Set these rows to 0 afterwards.",
    )
    is_equal(
        closed,
        torch.zeros_like(closed),
        problem="Rows with nothing to attend to are not all zero.",
        hint="With a large negative number instead of infinity, the softmax spreads its weight evenly over the closed "
             "keys. Set closed weights to 0 after the softmax as well.",
    )


def masked_half(answer, draw):
    """The same holds in fp16, within 5e-3."""
    scores, allowed, is_open = _scores(draw)
    weights = _weights(answer, scores.half(), allowed)
    expected = torch.where(is_open, oracles.masked_weights(scores, allowed), 0.0)
    is_finite(weights, problem="In fp16 the weights are not finite.", hint="The largest fp16 number is 65504.")
    is_equal(
        weights,
        expected,
        tolerance=5e-3,
        problem="In fp16 the weights are wrong.",
        hint="The largest fp16 number is 65504: -1e9 does not fit. torch.finfo(scores.dtype).min always does.",
    )
