"""How a model's matrices lie in memory while it generates: few positions at once read them in another order than many.

Letters in shape comments: B batch, D d_model, H heads, G kv heads, Dh head_dim.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.models.attention import MultiHeadAttention
from utils.models.transformer import GPT

MIN_TOKENS = 32  # on fewer, copying the matrices takes as long as it saves
Product = Callable[[Tensor], Tensor]


@contextlib.contextmanager
def generating(model: nn.Module, n_tokens: int, rows: int = 1) -> Iterator[None]:
    """Evaluation mode, and matrices laid out for one position of `rows` texts at a time; then all is as before.

    In training many positions meet a matrix at once, and its layout does not matter. With few, reading the matrix is
    the work: queries, keys and values become one product of (H + 2 G) Dh rows in place of three, and each matrix is
    laid out by `ready_product`. For fewer than MIN_TOKENS tokens the matrices stay as they are.
    """
    was_training = model.training
    plain = [layer for layer in model.modules() if is_plain(layer)] if n_tokens >= MIN_TOKENS else []
    attentions = [
        layer
        for layer in model.modules()
        if isinstance(layer, MultiHeadAttention) and {layer.query, layer.key, layer.value} <= set(plain)
    ]
    heads = [model] if isinstance(model, GPT) and plain and is_ordinary(model.head_matrix) else []
    model.eval()
    try:
        for attention in attentions:
            attention.joined = joined_projection(attention, rows)
        for gpt in heads:
            gpt.ready_head = ready_product(gpt.head_matrix.detach(), None, rows)
        for layer in plain:
            layer.forward = ready_product(layer.weight.detach(), layer.bias, rows)
        yield
    finally:
        for layer in plain:
            layer.__dict__.pop("forward", None)
        for gpt in heads:
            gpt.ready_head = None
        for attention in attentions:
            attention.joined = None
        model.train(was_training)


def is_plain(layer: nn.Module) -> bool:
    """Whether it is a linear layer with an ordinary matrix: no adapter, nothing quantized or sharded, no hook."""
    return type(layer) is nn.Linear and is_ordinary(layer.weight) and "forward" not in layer.__dict__


def is_ordinary(matrix: Tensor) -> bool:
    """Whether a matrix is a plain parameter on the CPU; elsewhere the libraries choose the layout themselves."""
    return type(matrix) is nn.Parameter and matrix.device.type == "cpu"


def ready_product(matrix: Tensor, bias: Tensor | None, rows: int) -> Product:
    """The function x -> x @ matrix.T + bias, with a copy of the matrix laid out for `rows` rows of x at a time.

    For one row each column lies in one piece. For several, oneDNN packs the matrix in blocks as its kernels read them:
    PyTorch's compiler does the same for models whose weights are frozen. Shapes: (..., columns) -> (..., rows).
    """
    if rows > 1 and can_pack(matrix):
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix, rows)
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    matrix = matrix.mT.contiguous().mT
    return lambda x: F.linear(x, matrix, bias)


def can_pack(matrix: Tensor) -> bool:
    """Whether this build of PyTorch has oneDNN's packed product for such a matrix."""
    known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and matrix.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def joined_projection(attention: MultiHeadAttention, rows: int) -> Product:
    """Query, key and value projection as one. Shapes: (B, T, D) -> (B, T, (H + 2 G) Dh)."""
    parts = (attention.query, attention.key, attention.value)
    bias = None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
    return ready_product(torch.cat([part.weight.detach() for part in parts]), bias, rows)
