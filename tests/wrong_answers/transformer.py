"""Plausible wrong answers to lab 06, each with words that its card must show and the points that it still earns."""

import torch
import torch.nn.functional as F
from torch.func import functional_call

from utils.models.attention import MultiHeadAttention


def part(weights, name):
    return {key.removeprefix(f"{name}."): one for key, one in weights.items() if key.startswith(f"{name}.")}


def attend(x, weights, n_heads, causal=True):
    layer = MultiHeadAttention(x.shape[-1], n_heads)
    return functional_call(layer, weights, x, {"causal": causal})[0]


def norm(x, weights, name="norm"):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def tanh_gelu(x):
    return F.gelu(x, approximate="tanh")


def linear(x, weights, name, bias=1):
    return x @ weights[f"{name}.weight"].T + bias * weights[f"{name}.bias"]


def normed(x, weight, bias, axes=-1, correction=0, subtract=1, root=0.5, under=1e-5, beside=0.0):
    variance, mean = torch.var_mean(x, axes, correction=correction, keepdim=True)
    return weight * (x - subtract * mean) / ((variance + under) ** root + beside) + bias


def variance_by_one_less(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, correction=1)


def over_the_tokens(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, axes=1)


def over_everything(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, axes=(0, 1, 2))


def mean_left_in(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, subtract=0)


def root_mean_square(x, weight, bias, epsilon=1e-5):
    return F.rms_norm(x, weight.shape, weight, epsilon) + bias


def divided_by_the_variance(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, root=1)


def without_weight_and_bias(x, weight, bias, epsilon=1e-5):
    return F.layer_norm(x, weight.shape, eps=epsilon)


def bias_multiplied(x, weight, bias, epsilon=1e-5):
    return weight * (F.layer_norm(x, weight.shape, eps=epsilon) + bias)


def without_epsilon(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, under=0)


def epsilon_outside_the_root(x, weight, bias, epsilon=1e-5):
    return normed(x, weight, bias, under=0, beside=epsilon)


def axis_not_kept(x, weight, bias, epsilon=1e-5):
    return weight * (x - x.mean(-1)) / x.var(-1).sqrt() + bias


def exact_gelu(x):
    return F.gelu(x)


def relu(x):
    return x.relu()


def sigmoid_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def without_the_half(x):
    return 2 * tanh_gelu(x)


def without_the_cube(x):
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * x))


def root_forgotten(x):
    return 0.5 * x * (1 + torch.tanh(2 / torch.pi * (x + 0.044715 * x**3)))


def without_the_factor_x(x):
    return tanh_gelu(x) / x


def fed(x, weights, bend=tanh_gelu, first_bias=1, second_bias=1):
    return linear(bend(linear(x, weights, "expand", first_bias)), weights, "contract", second_bias)


def fed_with_relu(x, weights):
    return fed(x, weights, torch.relu)


def nothing_between(x, weights):
    return fed(x, weights, lambda inner: inner)


def fed_without_biases(x, weights):
    return fed(x, weights, first_bias=0, second_bias=0)


def fed_without_contracting(x, weights):
    return tanh_gelu(linear(x, weights, "expand"))


def fed_weights_not_transposed(x, weights):
    return tanh_gelu(x @ weights["expand.weight"]) @ weights["contract.weight"]


def fed_with_the_residual(x, weights):
    return x + fed(x, weights)


def bent_twice(x, weights):
    return tanh_gelu(fed(x, weights))


def fed_over_the_tokens(x, weights):
    return fed(x.cumsum(dim=1), weights)


def halves(x, weights, n_heads):
    """The two layers of a block, each as a function of what it reads."""
    return (lambda read: attend(read, part(weights, "attention"), n_heads),
            lambda read: fed(read, part(weights, "feed_forward")),
            lambda read: norm(read, weights, "attention_norm"),
            lambda read: norm(read, weights, "feed_forward_norm"))


def post_norm(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    x = first(x + attention(x))
    return second(x + feed(x))


def without_residuals(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    return feed(second(attention(first(x))))


def second_residual_missing(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    return feed(second(x + attention(first(x))))


def residual_of_the_normalized(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    x = first(x)
    x = x + attention(x)
    return x + feed(second(x))


def second_residual_of_the_normalized(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    x = second(x + attention(first(x)))
    return x + feed(x)


def one_norm_for_both(x, weights, n_heads):
    attention, feed, first, _ = halves(x, weights, n_heads)
    x = x + attention(first(x))
    return x + feed(first(x))


def second_norm_missing(x, weights, n_heads):
    attention, feed, first, _ = halves(x, weights, n_heads)
    x = x + attention(first(x))
    return x + feed(x)


def first_norm_missing(x, weights, n_heads):
    attention, feed, _, second = halves(x, weights, n_heads)
    x = x + attention(x)
    return x + feed(second(x))


def side_by_side(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    return x + attention(first(x)) + feed(second(x))


def one_head_only(x, weights, n_heads):
    return right_block(x, weights, 1)


def right_block(x, weights, n_heads):
    attention, feed, first, second = halves(x, weights, n_heads)
    x = x + attention(first(x))
    return x + feed(second(x))


def tables(weights):
    return weights["token_embedding.weight"], weights["position_embedding.weight"]


def right_embed(input_ids, weights):
    tokens, positions = tables(weights)
    return tokens[input_ids] + positions[: input_ids.shape[1]]


def without_positions(input_ids, weights):
    return tables(weights)[0][input_ids]


def positions_from_one(input_ids, weights):
    tokens, positions = tables(weights)
    return tokens[input_ids] + positions[1 : input_ids.shape[1] + 1]


def one_position_for_all(input_ids, weights):
    tokens, positions = tables(weights)
    return tokens[input_ids] + positions[0]


def last_positions(input_ids, weights):
    tokens, positions = tables(weights)
    return tokens[input_ids] + positions[-input_ids.shape[1] :]


def scaled_by_the_root(input_ids, weights):
    tokens, positions = tables(weights)
    return tokens[input_ids] * tokens.shape[1] ** 0.5 + positions[: input_ids.shape[1]]


def whole_table_of_positions(input_ids, weights):
    tokens, positions = tables(weights)
    return tokens[input_ids] + positions


def logits_without_norm(x, weights):
    return x @ weights["token_embedding.weight"].T


def norm_without_its_weights(x, weights):
    return F.layer_norm(x, x.shape[-1:]) @ weights["token_embedding.weight"].T


def right_logits(x, weights):
    return norm(x, weights) @ weights["token_embedding.weight"].T


def probabilities(x, weights):
    return right_logits(x, weights).softmax(dim=-1)


def last_position_alone(x, weights):
    return right_logits(x[:, -1], weights)


def logits_scaled(x, weights):
    return right_logits(x, weights) / x.shape[-1] ** 0.5


def table_not_transposed(x, weights):
    return norm(x, weights) @ weights["token_embedding.weight"]


def count(V, C, D, n, output=0, linear_biases=9, norms=2, last=2, positions=1, of_attention=4, blocks=None):
    block = of_attention * D * D + 8 * D * D + linear_biases * D + 2 * norms * D
    return (1 + output) * V * D + positions * C * D + (n if blocks is None else blocks) * block + last * D


def head_of_its_own(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, output=1)


def without_linear_biases(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, linear_biases=0)


def without_norms(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, norms=0)


def without_the_last_norm(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, last=0)


def one_block_for_all(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, blocks=1)


def positions_not_counted(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, positions=0)


def three_projections(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers, of_attention=3, linear_biases=8)


def half_a_parameter(vocab_size, context_length, d_model, n_layers):
    return count(vocab_size, context_length, d_model, n_layers) + 0.5


def written(model, input_ids, n_new, place=-1, largest=True):
    for _ in range(n_new):
        logits = model(input_ids)[:, place]
        chosen = logits.argmax(-1, keepdim=True) if largest else logits.argmin(-1, keepdim=True)
        input_ids = torch.cat([input_ids, chosen], dim=1)
    return input_ids


def chosen_at_the_first_position(model, input_ids, n_new):
    return written(model, input_ids, n_new, place=0)


def least_likely(model, input_ids, n_new):
    return written(model, input_ids, n_new, largest=False)


def read_only_once(model, input_ids, n_new):
    first = model(input_ids)[:, -1].argmax(-1, keepdim=True)
    return torch.cat([input_ids, first.expand(-1, n_new)], dim=1)


def last_token_alone(model, input_ids, n_new):
    for _ in range(n_new):
        chosen = model(input_ids[:, -1:])[:, -1].argmax(-1, keepdim=True)
        input_ids = torch.cat([input_ids, chosen], dim=1)
    return input_ids


def newest_token_alone(model, input_ids, n_new):
    fed_in = input_ids
    for _ in range(n_new):
        fed_in = model(fed_in)[:, -1].argmax(-1, keepdim=True)
        input_ids = torch.cat([input_ids, fed_in], dim=1)
    return input_ids


def new_tokens_alone(model, input_ids, n_new):
    return written(model, input_ids, n_new)[:, input_ids.shape[1] :]


def drawn_at_random(model, input_ids, n_new):
    for _ in range(n_new):
        drawn = torch.multinomial((0.01 * model(input_ids)[:, -1]).softmax(-1), 1)
        input_ids = torch.cat([input_ids, drawn], dim=1)
    return input_ids


def one_row_only(model, input_ids, n_new):
    for _ in range(n_new):
        chosen = model(input_ids)[:, -1].argmax().item()
        input_ids = torch.cat([input_ids, torch.tensor([[chosen]])], dim=1)
    return input_ids


def whole(input_ids, weights, layers, n_heads, enter=right_embed, one_block=right_block, leave=right_logits):
    weights = part(weights, "transformer")
    x = enter(input_ids, weights)
    for layer in layers:
        x = one_block(x, part(weights, f"blocks.{layer}"), n_heads)
    return leave(x, weights)


def first_block_for_all(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, [0] * n_layers, n_heads)


def one_block_too_few(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, range(n_layers - 1), n_heads)


def blocks_backwards(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, reversed(range(n_layers)), n_heads)


def no_blocks(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, [], n_heads)


def gpt_without_the_last_norm(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, range(n_layers), n_heads, leave=logits_without_norm)


def gpt_of_probabilities(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, range(n_layers), n_heads, leave=probabilities)


def gpt_with_post_norm(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, range(n_layers), n_heads, one_block=post_norm)


def number_of_layers_by_heart(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, range(min(n_layers, 3)), n_heads)


def prefix_forgotten(input_ids, weights, n_layers, n_heads):
    return right_logits(right_embed(input_ids, weights), weights)


def hidden_states(input_ids, weights, n_layers, n_heads):
    return whole(input_ids, weights, range(n_layers), n_heads, leave=norm)


WRONG = {
    "layer_norm": [
        (variance_by_one_less, "not by D - 1", 0), (over_the_tokens, "over the tokens", 0),
        (over_everything, "each token has its own", 0), (mean_left_in, "mean was not subtracted", 0),
        (root_mean_square, "RMSNorm", 0), (divided_by_the_variance, "root of the variance", 0),
        (without_weight_and_bias, "Neither weight nor bias", 1), (bias_multiplied, "add it last", 1),
        (without_epsilon, "gives NaN", 2), (epsilon_outside_the_root, "outside the root", 2),
        (axis_not_kept, "raised RuntimeError", 0),
    ],
    "gelu": [
        (exact_gelu, "error function", 0), (relu, "This is ReLU", 0), (sigmoid_gelu, "sigmoid(1.702", 0),
        (without_the_half, "1/2 is missing", 0), (without_the_cube, "cube is missing", 0),
        (root_forgotten, "without its root", 0), (without_the_factor_x, "factor x is missing", 0),
    ],
    "feed_forward": [
        (fed_with_relu, "There is ReLU", 0), (nothing_between, "only one", 0), (fed_without_biases, "biases are", 0),
        (fed_without_contracting, "F inner features", 0), (fed_weights_not_transposed, "raised RuntimeError", 0),
        (fed_with_the_residual, "residual was added", 0), (bent_twice, "after the second layer", 0),
        (fed_over_the_tokens, "another output changed", 0),
    ],
    "block": [
        (post_norm, "stands after the addition", 0), (without_residuals, "residual connection is missing", 0),
        (second_residual_missing, "residual connection is missing", 0),
        (residual_of_the_normalized, "must carry x itself", 0),
        (second_residual_of_the_normalized, "second residual", 0), (one_norm_for_both, "attention_norm twice", 1),
        (second_norm_missing, "norm in front of the feed-forward", 1), (first_norm_missing, "What attention adds", 0),
        (side_by_side, "Both halves start", 2), (one_head_only, "What attention adds", 0),
    ],
    "embed": [
        (without_positions, "position's vector is missing", 0), (positions_from_one, "from 0, not from 1", 0),
        (one_position_for_all, "vector of position 0", 1), (last_positions, "take the first T", 0),
        (scaled_by_the_root, "root of D", 0), (whole_table_of_positions, "raised RuntimeError", 0),
    ],
    "next_token_logits": [
        (logits_without_norm, "last norm is missing", 0), (norm_without_its_weights, "without its weight", 0),
        (probabilities, "These are probabilities", 0), (last_position_alone, "Keep all positions", 0),
        (logits_scaled, "belongs to attention", 0), (table_not_transposed, "raised RuntimeError", 0),
    ],
    "count_parameters": [
        (head_of_its_own, "counted twice", 1), (without_linear_biases, "linear layers are missing", 0),
        (without_norms, "norms are missing", 0), (without_the_last_norm, "last norm is missing", 2),
        (one_block_for_all, "weights of its own", 0), (positions_not_counted, "positions are missing", 1),
        (three_projections, "output projection", 0), (half_a_parameter, "not a whole number", 0),
    ],
    "continue_greedily": [
        (chosen_at_the_first_position, "at the first position", 0), (least_likely, "least likely", 0),
        (read_only_once, "same token came every time", 1), (last_token_alone, "last token alone", 0),
        (newest_token_alone, "newest token alone", 1),
        (new_tokens_alone, "new tokens alone", 0), (drawn_at_random, "not the likeliest", 0),
        (one_row_only, "raised RuntimeError", 0),
    ],
    "gpt": [
        (first_block_for_all, "each with its own weights", 0), (one_block_too_few, "not the logits", 0),
        (blocks_backwards, "not the logits", 0), (no_blocks, "blocks are missing", 0),
        (gpt_without_the_last_norm, "last norm is missing", 0), (gpt_of_probabilities, "These are probabilities", 0),
        (gpt_with_post_norm, "not the logits", 0), (number_of_layers_by_heart, "written as a number", 3),
        (prefix_forgotten, "raised KeyError", 0), (hidden_states, "ends with your function from 4b", 0),
    ],
}
