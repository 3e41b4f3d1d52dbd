"""How a model's matrices lie in memory while it generates: a single position reads them in another order than many.

Letters in shape comments: D d_model, H heads, G kv heads, Dh head_dim.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from utils.models.attention import MultiHeadAttention

MIN_TOKENS = 32  # on fewer, copying the matrices takes as long as it saves


@contextlib.contextmanager
def generating(model: nn.Module, n_tokens: int) -> Iterator[None]:
    """Evaluation mode, and matrices laid out for one position at a time, until the block ends; then all is as before.

    In training many positions meet a matrix at once, and its layout does not matter. A single position is a vector: on
    a CPU its product is faster when each column of the matrix lies in one piece, and when queries, keys and values are
    one product of (H + 2 G) Dh rows in place of three. For fewer than MIN_TOKENS tokens the matrices stay as they are.
    """
    was_training = model.training
    plain = [layer for layer in model.modules() if is_plain(layer)] if n_tokens >= MIN_TOKENS else []
    own = [(layer.weight, layer.weight.data) for layer in plain]
    attentions = [
        layer
        for layer in model.modules()
        if isinstance(layer, MultiHeadAttention) and {layer.query, layer.key, layer.value} <= set(plain)
    ]
    model.eval()
    try:
        for attention in attentions:
            attention.joined = joined_projection(attention)
        for parameter, data in own:
            parameter.data = column_major(data)
        yield
    finally:
        for parameter, data in own:
            parameter.data = data
        for attention in attentions:
            attention.joined = None
        model.train(was_training)


def is_plain(layer: nn.Module) -> bool:
    """Whether it is a linear layer with an ordinary matrix on the CPU: no adapter, no quantized or sharded tensor."""
    return type(layer) is nn.Linear and type(layer.weight) is nn.Parameter and layer.weight.device.type == "cpu"


def column_major(matrix: Tensor) -> Tensor:
    """A copy of a matrix in which each column lies in one piece. Shapes: (rows, columns) -> the same."""
    return matrix.mT.contiguous().mT


def joined_projection(attention: MultiHeadAttention) -> tuple[Tensor, Tensor | None]:
    """Query, key and value matrix as one, and their biases. Shapes: ((H + 2 G) Dh, D), ((H + 2 G) Dh,)."""
    parts = (attention.query, attention.key, attention.value)
    weight = column_major(torch.cat([part.weight.detach() for part in parts]))
    return weight, None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
