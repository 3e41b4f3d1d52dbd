"""Properties for lab 06: from token ids to vectors, and from vectors back to tokens."""

import torch.nn.functional as F

from utils.checks import gpt2_oracle as oracle
from utils.checks.properties import is_equal, is_tensor

# Exercise 4: into the model and out of it


def _embedded(answer, draw, length):
    gpt2 = oracle.gpt2(draw.number(2, 4), length, draw.seed)
    weights = gpt2.part("transformer")
    weights = {name: weights[name] for name in ("token_embedding.weight", "position_embedding.weight")}
    got = is_tensor(
        answer(gpt2.input_ids, weights),
        gpt2.embedded.shape,
        letters="(B, T, D)",
        hint="Indexing a matrix (V, D) with ids (B, T) gives (B, T, D). Take the vectors of the T positions in use.",
    )
    return gpt2, weights, got


def embed_shape(answer, draw):
    """One vector a token."""
    _embedded(answer, draw, 7)


def embed_first(answer, draw):
    """One token gives its vector plus the first position's."""
    gpt2, weights, got = _embedded(answer, draw, 1)
    tokens, positions = weights["token_embedding.weight"], weights["position_embedding.weight"]
    is_equal(
        got,
        gpt2.embedded,
        tolerance=1e-6,
        problem="For a text of one token the vector is wrong.",
        hint="Two rows are added: that of the token's id, and that of position 0.",
        slips={
            "The position's vector is missing.": tokens[gpt2.input_ids],
            "The token's vector is missing.": positions[0].expand_as(got),
            "Positions count from 0, not from 1.": tokens[gpt2.input_ids] + positions[1],
            "This is the last position of the table: take the first T.": tokens[gpt2.input_ids] + positions[-1],
            "The token's vector is multiplied by the root of D. The first Transformer did that; GPT-2 does not.":
                tokens[gpt2.input_ids] * got.shape[-1] ** 0.5 + positions[0],
            "The token's id was used to look up the position.":
                tokens[gpt2.input_ids] + positions[gpt2.input_ids.clamp(max=len(positions) - 1)],
        },
    )


def embed_library(answer, draw):
    """Equal to what GPT-2's first block gets, within 1e-6."""
    gpt2, weights, got = _embedded(answer, draw, 2 * draw.number(3, 7) + 1)
    positions = weights["position_embedding.weight"]
    tokens = weights["token_embedding.weight"][gpt2.input_ids]
    is_equal(
        got,
        gpt2.embedded,
        tolerance=1e-6,
        problem="For a longer text the vectors are wrong.",
        hint="Position t adds row t of position_embedding.weight, in every text of the batch.",
        slips={
            "Every position adds the vector of position 0.": tokens + positions[0],
        },
    )


def _logits(answer, draw):
    gpt2 = oracle.gpt2(*draw.sizes(2), draw.seed)
    weights = gpt2.part("transformer")
    weights = {name: weights[name] for name in ("norm.weight", "norm.bias", "token_embedding.weight")}
    got = is_tensor(
        answer(gpt2.last, weights),
        gpt2.logits.shape,
        letters="(B, T, V)",
        name="the logits",
        hint="Each vector (D,) is compared with each of the V token vectors.",
        slips={gpt2.logits.shape[::2]: "Keep all positions: training needs a prediction at each."},
    )
    return gpt2, weights, got


def logits_shape(answer, draw):
    """One number a position and token."""
    _logits(answer, draw)


def logits_library(answer, draw):
    """Equal to GPT-2's logits within 1e-5."""
    gpt2, weights, got = _logits(answer, draw)
    tokens = weights["token_embedding.weight"]
    plain = F.layer_norm(gpt2.last, gpt2.last.shape[-1:], eps=1e-5)
    is_equal(
        got,
        gpt2.logits,
        problem="These are not GPT-2's logits.",
        hint="The last norm, then a dot product with every row of token_embedding.weight.",
        slips={
            "The last norm is missing.": gpt2.last @ tokens.T,
            "The last norm is used without its weight and bias.": plain @ tokens.T,
            "These are probabilities. Return what comes before the softmax.": gpt2.logits.softmax(-1),
            "These are log-probabilities. Return what comes before the softmax.": gpt2.logits.log_softmax(-1),
            "The logits are divided by the root of D. That belongs to attention.":
                gpt2.logits / gpt2.last.shape[-1] ** 0.5,
        },
    )
