"""Properties for lab 06: layer norm, the feed-forward layer, and the block."""

import torch
import torch.nn.functional as F

from utils.checks import gpt2_oracle as oracle
from utils.checks.properties import is_equal, is_finite, is_tensor

EPSILON = 1e-5

# Exercise 1: layer norm


def _normed(answer, x, weight, bias):
    return is_tensor(
        answer(x, weight, bias, EPSILON),
        x.shape,
        letters="(B, T, D)",
        hint="Mean and variance have one number a token; keepdim=True keeps their last axis, so that they fit x.",
    )


def _tokens(draw):
    """Vectors (B, T, D) far from mean 0 and variance 1, and a neutral weight and bias (D,)."""
    batch_size, length, d_model = draw.sizes(3, of=(3, 5, 7))
    # A variance must be neither small beside the mean, where fp32 loses it, nor so small that epsilon shows.
    patterns = F.layer_norm(draw.normal(batch_size, length, d_model, dtype=torch.float64), (d_model,))
    scales, shifts = draw.normal(2, batch_size, length, 1, dtype=torch.float64)
    return ((20 + 10 * scales.abs()) * patterns + 30 * shifts).float(), torch.ones(d_model), torch.zeros(d_model)


def norm_shape(answer, draw):
    """The input's shape."""
    _normed(answer, *_tokens(draw))


def norm_standard(answer, draw):
    """With weight 1 and bias 0 it equals PyTorch's, which has mean 0 and variance 1."""
    x, weight, bias = _tokens(draw)
    size = x.shape[-1]
    expected = F.layer_norm(x, (size,), eps=EPSILON)
    is_equal(
        _normed(answer, x, weight, bias),
        expected,
        problem="With weight 1 and bias 0, the tokens do not have mean 0 and variance 1.",
        hint="Subtract a token's mean from its features, then divide by the root of their variance plus epsilon.",
        slips={
            "The variance divides by D here, not by D - 1.": expected * ((size - 1) / size) ** 0.5,
            "The mean was not subtracted from what is divided.":
                x / (x.var(-1, correction=0, keepdim=True) + EPSILON).sqrt(),
            "This is RMSNorm, which leaves the mean in. Layer norm subtracts it, also inside the variance.":
                F.rms_norm(x, (size,), eps=EPSILON),
            "One mean and one variance for everything: each token has its own.": F.layer_norm(x, x.shape, eps=EPSILON),
            "This normalizes over the tokens. Layer norm works inside one token, over its features.":
                F.layer_norm(x.mT, x.shape[1:2], eps=EPSILON).mT,
            "Divide by the standard deviation, the root of the variance.":
                (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + EPSILON),
        },
    )


def norm_affine(answer, draw):
    """With any weight and bias it equals PyTorch's."""
    x, weight, bias = _tokens(draw)
    weight, bias = draw.normal(*weight.shape), draw.normal(*bias.shape)
    plain = F.layer_norm(x, weight.shape, eps=EPSILON)
    is_equal(
        _normed(answer, x, weight, bias),
        F.layer_norm(x, weight.shape, weight, bias, EPSILON),
        problem="Weight and bias are not applied as they should.",
        hint="After the division, each feature is multiplied by its weight, and its bias is added.",
        slips={
            "Neither weight nor bias is used.": plain,
            "The bias is missing.": plain * weight,
            "The weight is missing.": plain + bias,
            "The bias is multiplied, too: add it last.": (plain + bias) * weight,
        },
    )


def norm_epsilon(answer, draw):
    """A token whose features are all equal gives the bias; tiny features show where epsilon stands."""
    x, weight, _ = _tokens(draw)
    bias = draw.normal(*weight.shape)
    constant = x[..., :1].round().expand_as(x).contiguous()  # whole numbers, whose mean is exact
    got = _normed(answer, constant, weight, bias)
    is_finite(got, problem="A token whose features are all equal gives NaN.",
              hint="Its variance is 0. Epsilon keeps the division from being 0/0.")
    is_equal(got, bias.expand_as(x), tolerance=1e-3, problem="A token whose features are all equal must give the bias.",
             hint="Its variance is 0, and so is everything that is left after its mean is subtracted.")
    tiny = 2e-3 * draw.normal(*x.shape)
    centered, variance = tiny - tiny.mean(-1, keepdim=True), tiny.var(-1, correction=0, keepdim=True)
    is_equal(
        _normed(answer, tiny, weight, 0 * bias),
        F.layer_norm(tiny, weight.shape, weight, eps=EPSILON),
        tolerance=1e-4,
        problem="For tiny features the result is wrong: epsilon stands in the wrong place.",
        hint="Add epsilon to the variance, and take the root of the sum.",
        slips={
            "Epsilon stands outside the root. It is added to the variance.": centered / (variance.sqrt() + EPSILON),
            "Epsilon is not used.": centered / variance.sqrt(),
        },
    )


# Exercise 2: GELU and the feed-forward layer


def _curve(answer, x):
    return is_tensor(answer(x), x.shape, hint="GELU works on each number alone; the shape stays.")


def gelu_tails(answer, draw):
    """GELU(x) is x far to the right and 0 far to the left."""
    far = 20 + 10 * draw.normal(*draw.sizes(2)).abs()
    is_equal(_curve(answer, far), far, tolerance=1e-4, problem="Far to the right GELU(x) is not x.",
             hint="There tanh is 1, so the formula gives x / 2 times 2.",
             slips={"The factor 1/2 is missing.": 2 * far, "The factor x is missing.": torch.ones_like(far)})
    is_equal(_curve(answer, -far), 0 * far, tolerance=1e-4, problem="Far to the left GELU(x) is not 0.",
             hint="There tanh is -1, so the bracket is 0.")


def gelu_library(answer, draw):
    """Equal to PyTorch's tanh form within 1e-6."""
    x = torch.linspace(-4, 4, 77) + 0.05 * draw.normal(77)
    root = (2 / torch.pi) ** 0.5
    worst = is_equal(
        _curve(answer, x),
        F.gelu(x, approximate="tanh"),
        tolerance=1e-6,
        problem="This is not the GELU of GPT-2.",
        hint="Go through the formula factor by factor: the root, the cube and its factor 0.044715.",
        slips={
            "This is the exact GELU, by the error function. GPT-2 and reviews-gpt were trained with the tanh form, and "
            "the two differ in the fourth decimal.": F.gelu(x),
            "This is the form with the sigmoid, x times sigmoid(1.702 x). The task asks for tanh.":
                x * torch.sigmoid(1.702 * x),
            "This is ReLU.": x.relu(),
            "This is SiLU, x times sigmoid(x).": F.silu(x),
            "The cube is missing.": 0.5 * x * (1 + torch.tanh(root * x)),
            "The root of 2 / pi is missing.": 0.5 * x * (1 + torch.tanh(x + 0.044715 * x**3)),
            "2 / pi stands there without its root.": 0.5 * x * (1 + torch.tanh(root**2 * (x + 0.044715 * x**3))),
        },
    )
    return f"Largest difference to PyTorch: {worst:.1e}."


def _fed(answer, x, weights):
    return is_tensor(
        answer(x, weights),
        x.shape,
        letters="(B, T, D)",
        hint="The second layer brings the F features back to D.",
        slips={(*x.shape[:-1], oracle.D_FF): "These are the F inner features: `contract` brings them back to D."},
    )


def _weights_and_tokens(draw):
    """The weights of a GPT-2's feed-forward layer, and vectors (B, T, D)."""
    batch_size, length = draw.sizes(2)
    gpt2 = oracle.gpt2(batch_size, length, draw.seed)
    return gpt2, gpt2.part("transformer.blocks.0.feed_forward"), draw.normal(batch_size, length, oracle.D_MODEL)


def feed_forward_shape(answer, draw):
    """The input's shape."""
    _, weights, x = _weights_and_tokens(draw)
    _fed(answer, x, weights)


def feed_forward_tokens(answer, draw):
    """A change of one token changes no other output."""
    _, weights, x = _weights_and_tokens(draw)
    changed, token = x.clone(), draw.number(0, x.shape[1] - 1)
    changed[:, token] += 1
    before, after = _fed(answer, x, weights), _fed(answer, changed, weights)
    others = torch.arange(x.shape[1]) != token
    is_equal(after[:, others], before[:, others], problem=f"Token {token} was changed, and another output changed.",
             hint="Only the features are mixed here. Nothing is summed or normalized over the tokens.")


def feed_forward_library(answer, draw):
    """Equal to GPT-2's MLP within 1e-5."""
    gpt2, weights, x = _weights_and_tokens(draw)
    with torch.no_grad():
        expected = gpt2.model.transformer.h[0].mlp(x)
    expand, contract = ((weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in ("expand", "contract"))
    inner = F.linear(x, *expand)
    worst = is_equal(
        _fed(answer, x, weights),
        expected,
        problem="This is not GPT-2's feed-forward layer.",
        hint="Expand, GELU, contract; each linear layer is x @ weight.T + bias.",
        slips={
            "There is ReLU between the layers. GPT-2 has GELU.": F.linear(inner.relu(), *contract),
            "The activation between the layers is missing. Two linear layers in a row are only one.":
                F.linear(inner, *contract),
            "The biases are missing.": F.gelu(x @ expand[0].T, approximate="tanh") @ contract[0].T,
            "The first bias is missing.": F.linear(F.gelu(x @ expand[0].T, approximate="tanh"), *contract),
            "The second bias is missing.": F.gelu(inner, approximate="tanh") @ contract[0].T,
            "There is a GELU after the second layer, too. Only the inner features are bent.":
                F.gelu(expected, approximate="tanh"),
            "The residual was added already. The block adds it, in the next exercise.": x + expected,
        },
    )
    return f"Largest difference to GPT-2's layer: {worst:.1e}."


# Exercise 3: the block


def _block(answer, draw, silent=()):
    """A GPT-2, the weights of its first block, and the answer for its input; the parts in `silent` give 0."""
    gpt2 = oracle.gpt2(*draw.sizes(2), draw.seed, silent)
    weights = gpt2.part("transformer.blocks.0")
    got = is_tensor(answer(gpt2.embedded, weights, oracle.N_HEADS), gpt2.embedded.shape, letters="(B, T, D)",
                    hint="A block's output has the shape of its input, so that blocks can be stacked.")
    return gpt2, weights, got


def _norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)


def block_identity(answer, draw):
    """With both output matrices 0, the output is the input."""
    gpt2, weights, got = _block(answer, draw, silent=("attn", "mlp"))
    x = gpt2.embedded
    once = _norm(x, weights, "attention_norm")
    is_equal(
        got,
        x,
        problem="Attention and feed-forward gave 0 here, and the block still changed its input.",
        hint="The residual connection carries x past each layer untouched: x plus what the layer says.",
        slips={
            "A residual connection is missing: x is lost on its way.": 0 * x,
            "The norm stands after the addition, as in the first Transformer. In GPT-2 it stands before each layer, "
            "and the residual connection has none.": _norm(once, weights, "feed_forward_norm"),
            "The residual carries the normalized input. It must carry x itself.": once,
            "The second residual carries the normalized input. It must carry what came out of the first half.":
                _norm(x, weights, "feed_forward_norm"),
        },
    )


def block_attention(answer, draw):
    """With the feed-forward layer silent, the output is GPT-2's within 1e-5."""
    gpt2, _, got = _block(answer, draw, silent=("mlp",))
    is_equal(
        got,
        gpt2.block_output,
        problem="The feed-forward layer gave 0 here. What attention adds is wrong.",
        hint="Normalize with attention_norm, call attend with the part called attention, add the result to x.",
        slips={"Attention adds nothing.": gpt2.embedded},
    )


def block_feed_forward(answer, draw):
    """With attention silent, the output is GPT-2's within 1e-5."""
    gpt2, weights, got = _block(answer, draw, silent=("attn",))
    x, mlp = gpt2.embedded, gpt2.model.transformer.h[0].mlp
    with torch.no_grad():
        plain, wrong_norm = x + mlp(x), x + mlp(_norm(x, weights, "attention_norm"))
        both = x + mlp(_norm(_norm(x, weights, "attention_norm"), weights, "feed_forward_norm"))
    is_equal(
        got,
        gpt2.block_output,
        problem="Attention gave 0 here. What the feed-forward layer adds is wrong.",
        hint="Normalize with feed_forward_norm, call feed_forward with the part called feed_forward, add the result.",
        slips={
            "The feed-forward layer adds nothing.": x,
            "The norm in front of the feed-forward layer is missing.": plain,
            "This uses attention_norm twice. The feed-forward layer has a norm of its own.": wrong_norm,
            "The feed-forward layer gets what attention's norm made. It must get x, normalized once.": both,
        },
    )


def block_library(answer, draw):
    """The whole block equals GPT-2's within 1e-5."""
    gpt2, weights, got = _block(answer, draw)
    attended = oracle.gpt2(*gpt2.input_ids.shape, draw.seed, ("mlp",)).block_output
    with torch.no_grad():
        apart = gpt2.model.transformer.h[0].mlp(_norm(gpt2.embedded, weights, "feed_forward_norm"))
    worst = is_equal(
        got,
        gpt2.block_output,
        problem="Each half is right alone, and together they are not a block of GPT-2.",
        hint="The second half continues where the first one ended.",
        slips={
            "Both halves start from the block's input. The feed-forward layer must see x with attention added.":
                attended + apart,
        },
    )
    return f"Largest difference to GPT-2's block: {worst:.1e}."
