"""Plausible wrong answers to lab 05, each with words that its card must show and the points that it still earns."""

import math

import torch


def unscaled(query, keys, values):
    weights = (keys @ query).softmax(dim=0)
    return weights @ values, weights


def scaled_by_the_width(query, keys, values):
    weights = (keys @ query / query.shape[-1]).softmax(dim=0)
    return weights @ values, weights


def scaled_by_the_number_of_keys(query, keys, values):
    weights = (keys @ query / math.sqrt(len(keys))).softmax(dim=0)
    return weights @ values, weights


def without_softmax(query, keys, values):
    weights = keys @ query / math.sqrt(query.shape[-1])
    return weights @ values, weights


def literal_exponentials(query, keys, values):
    powers = torch.exp(keys @ query / math.sqrt(query.shape[-1]))
    weights = powers / powers.sum()
    return weights @ values, weights


def mean_of_the_values(query, keys, values):
    return values.mean(dim=0), (keys @ query / math.sqrt(query.shape[-1])).softmax(dim=0)


def element_by_element(query, keys, values):
    weights = (keys @ query / math.sqrt(query.shape[-1])).softmax(dim=0)
    return weights[:, None] * values, weights


def output_alone(query, keys, values):
    return (keys @ query / math.sqrt(query.shape[-1])).softmax(dim=0) @ values


def triangle(length, diagonal=0):
    return torch.ones(length, length, dtype=torch.bool).tril(diagonal)


def inverted_mask(attention_mask):
    return ~(triangle(attention_mask.shape[1]) & attention_mask[:, None, None, :])


def without_itself(attention_mask):
    return triangle(attention_mask.shape[1], -1) & attention_mask[:, None, None, :]


def transposed_mask(attention_mask):
    return triangle(attention_mask.shape[1]).T & attention_mask[:, None, None, :]


def padding_alone(attention_mask):
    length = attention_mask.shape[1]
    return attention_mask[:, None, None, :].expand(-1, 1, length, -1)


def causal_alone(attention_mask):
    batch_size, length = attention_mask.shape
    return triangle(length).expand(batch_size, 1, -1, -1)


def either_rule(attention_mask):
    return triangle(attention_mask.shape[1]) | attention_mask[:, None, None, :]


def rows_closed_too(attention_mask):
    real = attention_mask[:, None, None, :]
    return triangle(attention_mask.shape[1]) & real & real.mT


def rows_in_place_of_columns(attention_mask):
    return triangle(attention_mask.shape[1]) & attention_mask[:, None, :, None]


def mask_of_zeros_and_ones(attention_mask):
    return (triangle(attention_mask.shape[1]) & attention_mask[:, None, None, :]).float()


def without_the_axis_of_heads(attention_mask):
    return triangle(attention_mask.shape[1]) & attention_mask[:, None, :]


def scores_set_to_zero(scores, allowed):
    return (scores * allowed).softmax(dim=-1)


def weights_cut_afterwards(scores, allowed):
    return scores.softmax(dim=-1) * allowed


def nan_in_closed_rows(scores, allowed):
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)


def even_in_closed_rows(scores, allowed):
    return scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(dim=-1)


def too_large_for_half(scores, allowed):
    return scores.masked_fill(~allowed, -1e9).softmax(dim=-1) * allowed


def over_the_queries(scores, allowed):
    return scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(dim=-2).masked_fill(~allowed, 0)


def mask_ignored(scores, allowed):
    return scores.softmax(dim=-1)


def mask_turned_round(scores, allowed):
    return scores.masked_fill(allowed, -torch.inf).softmax(dim=-1).nan_to_num()


def input_changed(scores, allowed):
    scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) * allowed


def sequence_cut(x, n_heads):
    batch_size, length, d_model = x.shape
    return x.reshape(batch_size, n_heads, length, d_model // n_heads)


def features_interleaved(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)


def heads_not_in_front(x, n_heads):
    return x.unflatten(-1, (n_heads, -1))


def batch_and_heads_swapped(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).permute(2, 0, 1, 3)


def merged_without_moving(heads):
    batch_size, n_heads, length, head_dim = heads.shape
    return heads.reshape(batch_size, length, n_heads * head_dim)


def merged_interleaved(heads):
    return heads.permute(0, 2, 3, 1).flatten(2)


def view_after_transpose(heads):
    batch_size, n_heads, length, head_dim = heads.shape
    return heads.transpose(1, 2).view(batch_size, length, n_heads * head_dim)


def heads_added(heads):
    return heads.sum(dim=1)


def diagonal_alone(weights):
    return (weights * (1 - weights)).diag()


def product_added(weights):
    return weights.diag() + torch.outer(weights, weights)


def products_alone(weights):
    return -torch.outer(weights, weights)


def sign_turned(weights):
    return torch.outer(weights, weights) - weights.diag()


def diagonal_as_a_vector(weights):
    return weights * (1 - weights)


def diagonal_of_the_jacobian(weights, grad_weights):
    return weights * (1 - weights) * grad_weights


def without_the_mean(weights, grad_weights):
    return weights * grad_weights


def plain_mean(weights, grad_weights):
    return weights * (grad_weights - grad_weights.mean(dim=-1, keepdim=True))


def one_sum_for_all_rows(weights, grad_weights):
    return weights * (grad_weights - (weights * grad_weights).sum())


def sum_without_the_weight(weights, grad_weights):
    return weights * grad_weights - (weights * grad_weights).sum(dim=-1, keepdim=True)


def turn(x, angles, sign=1):
    u, v = x.chunk(2, dim=-1)
    return torch.cat([u * angles.cos() - sign * v * angles.sin(), sign * u * angles.sin() + v * angles.cos()], dim=-1)


def angles_of(x, positions, factor=2):
    return positions[:, None] * 10000 ** (-factor * torch.arange(x.shape[-1] // 2) / x.shape[-1])


def not_turned(x, positions):
    return x


def exponent_without_the_two(x, positions):
    return turn(x, angles_of(x, positions, factor=1))


def turned_backwards(x, positions):
    return turn(x, angles_of(x, positions), sign=-1)


def reflected(x, positions):
    u, v = x.chunk(2, dim=-1)
    angles = angles_of(x, positions)
    return torch.cat([u * angles.cos() + v * angles.sin(), u * angles.sin() + v * angles.cos()], dim=-1)


def neighbors_paired(x, positions):
    angles = angles_of(x, positions)
    u, v = x[..., ::2], x[..., 1::2]
    return torch.stack([u * angles.cos() - v * angles.sin(), u * angles.sin() + v * angles.cos()], dim=-1).flatten(-2)


def position_added(x, positions):
    return x + angles_of(x, positions).sin().repeat(1, 2)


def place_in_the_tensor(x, positions):
    return turn(x, angles_of(x, torch.arange(x.shape[-2])))


def layer(x, weights, n_heads, root="head", causal=True, bias=1, project=True, split=None, transpose=True):
    def linear(name, inputs):
        matrix = weights[f"{name}.weight"]
        return inputs @ (matrix.T if transpose else matrix) + bias * weights[f"{name}.bias"]

    cut = split or (lambda one, count: one.unflatten(-1, (count, -1)).transpose(1, 2))
    q, k, v = (cut(linear(name, x), n_heads) for name in ("query", "key", "value"))
    scores = q @ k.mT / math.sqrt(q.shape[-1] if root == "head" else x.shape[-1])
    if causal:
        scores = scores.masked_fill(~triangle(x.shape[1]), -torch.inf)
    merged = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
    return linear("output", merged) if project else merged


def root_of_the_whole_width(x, weights, n_heads):
    return layer(x, weights, n_heads, root="width")


def looking_ahead(x, weights, n_heads):
    return layer(x, weights, n_heads, causal=False)


def without_biases(x, weights, n_heads):
    return layer(x, weights, n_heads, bias=0)


def without_the_output_projection(x, weights, n_heads):
    return layer(x, weights, n_heads, project=False)


def weights_not_transposed(x, weights, n_heads):
    return layer(x, weights, n_heads, transpose=False)


def one_head(x, weights, n_heads):
    return layer(x, weights, 1)


def layer_with_the_sequence_cut(x, weights, n_heads):
    return layer(x, weights, n_heads, split=sequence_cut)


def zeros(x, weights, n_heads):
    return torch.zeros_like(x)


WRONG = {
    "attend_one": [
        (unscaled, "without the division", 0), (scaled_by_the_width, "divided by Dh", 0),
        (scaled_by_the_number_of_keys, "number of keys", 0), (without_softmax, "the softmax is missing", 0),
        (literal_exponentials, "overflow", 2), (mean_of_the_values, "plain mean", 1),
        (element_by_element, "wrong shape", 0), (output_alone, "return output, weights", 0),
    ],
    "self_attention_mask": [
        (inverted_mask, "inverted", 0), (without_itself, "diagonal is missing", 0), (transposed_mask, "transposed", 0),
        (padding_alone, "causal part is missing", 0), (causal_alone, "padding has no effect", 1),
        (either_rule, "causal part is missing", 0), (rows_closed_too, "rows of padding queries", 1),
        (rows_in_place_of_columns, "rows in place of columns", 1), (mask_of_zeros_and_ones, "not boolean", 0),
        (without_the_axis_of_heads, "axis of the heads is missing", 0),
    ],
    "masked_weights": [
        (scores_set_to_zero, "exp(0) is 1", 0), (weights_cut_afterwards, "no longer sums to one", 0),
        (nan_in_closed_rows, "0/0", 1), (even_in_closed_rows, "evenly", 1),
        (too_large_for_half, "raised RuntimeError", 2),
        (over_the_queries, "the last axis", 0), (mask_ignored, "no effect", 0), (mask_turned_round, "inverted", 0),
        (input_changed, "changed its input `scores`", 0),
    ],
    "split_heads": [
        (sequence_cut, "sequence was cut", 0), (features_interleaved, "wrong head", 1),
        (heads_not_in_front, "change places", 0), (batch_and_heads_swapped, "wrong shape", 0),
    ],
    "merge_heads": [
        (merged_without_moving, "in front of the heads", 0), (merged_interleaved, "out of order", 1),
        (view_after_transpose, "raised RuntimeError", 0), (heads_added, "beside each other", 0),
    ],
    "softmax_jacobian": [
        (diagonal_alone, "other entries are not 0", 0), (product_added, "wrong sign", 0),
        (products_alone, "On the diagonal something is missing", 0), (sign_turned, "sign is wrong", 0),
        (diagonal_as_a_vector, "wrong shape", 0),
    ],
    "softmax_backward": [
        (diagonal_of_the_jacobian, "diagonal", 0), (without_the_mean, "second term is missing", 0),
        (plain_mean, "weighted by the weights", 0), (one_sum_for_all_rows, "every row has its own", 0),
        (sum_without_the_weight, "not multiplied by the weight", 0),
    ],
    "rotate": [
        (not_turned, "does not depend on the distance", 0), (exponent_without_the_two, "10000 ** (-2 i / Dh)", 2),
        (turned_backwards, "the other way round", 2), (reflected, "change their length", 0),
        (neighbors_paired, "Neighbors", 2), (position_added, "At position 0", 0),
        (place_in_the_tensor, "At position 0", 0),
    ],
    "causal_self_attention": [
        (root_of_the_whole_width, "root of Dh", 2), (looking_ahead, "look ahead", 2), (without_biases, "biases", 0),
        (without_the_output_projection, "output projection is missing", 0),
        (weights_not_transposed, "transposed", 0), (one_head, "split into heads", 2),
        (layer_with_the_sequence_cut, "earlier output changed", 2), (zeros, "one token", 0),
    ],
}
