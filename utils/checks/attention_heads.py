"""Properties for lab 05: heads, rotary positions, and the whole layer."""

import torch

from utils.checks import oracles
from utils.checks.calls import NotYet
from utils.checks.properties import TOLERANCE, is_equal, is_tensor

# Exercise 3: heads are slices of the features


def _heads_sizes(draw):
    batch_size, length, n_heads, head_dim = draw.sizes(4)
    return batch_size, length, n_heads, head_dim


def _split(answer, x, n_heads):
    batch_size, length, d_model = x.shape
    head_dim = d_model // n_heads
    return is_tensor(
        answer(x, n_heads),
        (batch_size, n_heads, length, head_dim),
        letters="(B, H, T, Dh)",
        hint="Every head keeps all T tokens; its features are Dh = D / H of the D.",
        slips={(batch_size, length, n_heads, head_dim): "The axes of the tokens and of the heads must change places."},
    )


def split_shape(answer, draw):
    """The shape (B, H, T, Dh)."""
    batch_size, length, n_heads, head_dim = _heads_sizes(draw)
    _split(answer, draw.normal(batch_size, length, n_heads * head_dim), n_heads)


def split_tokens(answer, draw):
    """A change of one token changes that token in every head, and nothing else."""
    batch_size, length, n_heads, head_dim = _heads_sizes(draw)
    x = draw.normal(batch_size, length, n_heads * head_dim)
    changed, token = x.clone(), draw.number(0, length - 1)
    changed[:, token] += 1
    moved = _split(answer, changed, n_heads) != _split(answer, x, n_heads)
    expected = torch.zeros_like(moved)
    expected[:, :, token] = True
    is_equal(
        moved,
        expected,
        problem=f"Token {token} was changed; the heads must change in all of row {token} and nowhere else.",
        hint="The sequence was cut, not the features. A reshape from (B, T, D) straight to (B, H, T, Dh) fills the "
             "heads with whole stretches of text: cut the last axis in two first, then move the heads forward.",
    )


def split_features(answer, draw):
    """Head h holds the features from h * Dh on, in order."""
    batch_size, length, n_heads, head_dim = _heads_sizes(draw)
    x = torch.arange(n_heads * head_dim).expand(batch_size, length, -1).float()
    expected = torch.arange(n_heads * head_dim).reshape(1, n_heads, 1, head_dim).expand(batch_size, -1, length, -1)
    is_equal(
        _split(answer, x, n_heads),
        expected,
        problem="Features are in the wrong head, or in the wrong order.",
        hint="Head h holds the Dh neighbors from feature h * Dh on: the last axis becomes (H, Dh), not (Dh, H).",
    )


def _merge(answer, heads):
    batch_size, n_heads, length, head_dim = heads.shape
    return is_tensor(
        answer(heads),
        (batch_size, length, n_heads * head_dim),
        letters="(B, T, D)",
        hint="The heads go back beside each other: D = H * Dh features for each of the T tokens.",
    )


def merge_shape(answer, draw):
    """The shape (B, T, D)."""
    _merge(answer, draw.normal(*draw.sizes(4)))


def merge_tokens(answer, draw):
    """A change of one row in all heads changes that token, and nothing else."""
    heads = draw.normal(*draw.sizes(4))
    changed, token = heads.clone(), draw.number(0, heads.shape[2] - 1)
    changed[:, :, token] += 1
    moved = _merge(answer, changed) != _merge(answer, heads)
    expected = torch.zeros_like(moved)
    expected[:, token] = True
    is_equal(
        moved,
        expected,
        problem=f"Row {token} of every head was changed; token {token} must change, all of it, and no other.",
        hint="Before the last two axes can be joined, they must be (H, Dh): move the tokens in front of the heads "
             "first.",
    )


def merge_features(answer, draw):
    """The features come head by head, in order."""
    batch_size, n_heads, length, head_dim = draw.sizes(4)
    heads = torch.arange(n_heads * head_dim).float().reshape(1, n_heads, 1, head_dim).expand(batch_size, -1, length, -1)
    expected = torch.arange(n_heads * head_dim).expand(batch_size, length, -1)
    is_equal(
        _merge(answer, heads.contiguous()),
        expected,
        problem="The features are out of order.",
        hint="First all features of head 0, then those of head 1, and so on.",
    )


# Exercise 5: rotary positions


def _vectors(draw):
    """Vectors (B, H, T, Dh) with an even Dh, and their positions (T,), neither starting at 0 nor in steps of one."""
    batch_size, n_heads, length = draw.sizes(3)
    positions = 1 + torch.randperm(50, generator=draw.generator)[:length]
    return draw.normal(batch_size, n_heads, length, 2 * draw.number(3, 6)), positions


def _rotated(answer, x, positions):
    return is_tensor(
        answer(x, positions),
        x.shape,
        name="the result",
        letters="(B, H, T, Dh)",
        hint="Turning a vector keeps its shape.",
    )


def rotary_start(answer, draw):
    """Position 0 leaves the vectors as they are."""
    x, positions = _vectors(draw)
    is_equal(
        _rotated(answer, x, 0 * positions),
        x,
        problem="At position 0 the vectors change.",
        hint="The angle of position 0 is 0: cos 0 = 1 and sin 0 = 0.",
    )


def rotary_length(answer, draw):
    """Turning keeps each vector's length."""
    x, positions = _vectors(draw)
    got = _rotated(answer, x, positions)
    is_equal(
        got.norm(dim=-1),
        x.norm(dim=-1),
        tolerance=1e-4,
        problem="The vectors change their length.",
        hint="A rotation by the angle a maps (u, v) to (u cos a - v sin a, u sin a + v cos a). Check the signs, and "
             "that both lines use the old u and v.",
    )


def rotary_distance(answer, draw):
    """Scores depend on the distance of query and key, and on it alone."""
    x, positions = _vectors(draw)
    query, key = x[:, :, :1], x[:, :, 1:2]
    step = draw.number(1, 9)

    def score(at_query, at_key):
        turned = [_rotated(answer, one, torch.tensor([at])) for one, at in ((query, at_query), (key, at_key))]
        return (turned[0] * turned[1]).sum(-1)

    start = int(positions[0])
    near, moved, far = score(start, start + step), score(start + 20, start + step + 20), score(start, start + step + 3)
    is_equal(
        moved,
        near,
        tolerance=1e-4,
        problem="The score changes when query and key move on by the same 20 positions.",
        hint="Each pair of features must turn by its position times one frequency, queries and keys in the same sense.",
    )
    if (far - near).abs().max() < 1e-3:
        raise NotYet("The score does not depend on the distance at all.", hint="The result must depend on `positions`.")


def rotary_library(answer, draw):
    """Equal to Llama's rotation, within 1e-4."""
    x, positions = _vectors(draw)
    expected = oracles.rotary(x, positions)
    order = torch.arange(x.shape[-1]).reshape(2, -1).T.flatten()  # neighbors to halves
    neighbors = torch.empty_like(x)
    neighbors[..., order.argsort()] = oracles.rotary(x[..., order.argsort()], positions)
    worst = is_equal(
        _rotated(answer, x, positions),
        expected,
        tolerance=1e-4,
        problem="This is not Llama's rotation.",
        hint="Pair i turns by position * 10000 ** (-2 i / Dh): the first pair the fastest, by one radian a position.",
        slips={
            "It turns the other way round.": oracles.rotary(x, -positions),
            "Neighbors (2i, 2i + 1) are paired, as in the paper. Here, as in Llama, feature i goes with i + "
            "Dh/2.": neighbors,
        },
    )
    return f"Largest difference to the library: {worst:.1e}."


# Capstone: causal multi-head self-attention


def _layer(answer, draw, length):
    batch_size, n_heads = draw.sizes(2, of=(2, 3, 5))
    layer = oracles.gpt2_layer(batch_size, length, n_heads * 7, n_heads, seed=draw.seed)
    got = is_tensor(
        answer(layer.x, layer.weights, layer.n_heads),
        layer.x.shape,
        letters="(B, T, D)",
        name="the output",
        hint="A layer's output has the shape of its input, so that layers can be stacked.",
    )
    return layer, got


def layer_shape(answer, draw):
    """The output has the input's shape."""
    _layer(answer, draw, 5)


def layer_one_token(answer, draw):
    """One token gives GPT-2's output, within 1e-5."""
    layer, got = _layer(answer, draw, 1)
    weights = layer.weights
    is_equal(
        got,
        layer.output,
        problem="For a text of one token the output is wrong.",
        hint="One token attends to itself with weight 1. What is left are the value and the output projection, x @ "
             "W.T + b each.",
        slips={
            "The biases are missing.": layer.x @ weights["value.weight"].T @ weights["output.weight"].T,
            "The output projection is missing.": layer.x @ weights["value.weight"].T + weights["value.bias"],
            "The weights are transposed: they are kept as (out, in), as in nn.Linear.": (
                layer.x @ weights["value.weight"] + weights["value.bias"]
            )
            @ weights["output.weight"]
            + weights["output.bias"],
        },
    )


def layer_causal(answer, draw):
    """A change of one token leaves the earlier outputs as they are."""
    layer, got = _layer(answer, draw, 7)
    changed, token = layer.x.clone(), draw.number(1, 6)
    changed[:, token] += 1
    moved = is_tensor(answer(changed, layer.weights, layer.n_heads), layer.x.shape)
    is_equal(
        moved[:, :token],
        got[:, :token],
        problem=f"Token {token} was changed, and an earlier output changed, too.",
        hint="A query may not look ahead: close the keys after it before the softmax.",
    )


def layer_library(answer, draw):
    """A text of odd length gives GPT-2's output, within 1e-5."""
    layer, got = _layer(answer, draw, 2 * draw.number(4, 8) + 1)
    worst = is_equal(
        got,
        layer.output,
        problem="The output is not GPT-2's.",
        hint="Go through your steps: split into heads, scores over the root of Dh (not of D), causal mask, softmax "
             "over keys, weighted values, merge, output projection.",
    )
    return f"Largest difference to GPT-2's own layer: {worst:.1e} (target: at most {TOLERANCE:g})."
