"""Pruning: which weights, heads and layers a model can do without, and how to take them out.

Letters in shape comments: O and I the width of a layer's output and input, L layers, H heads, Dh head_dim.
"""

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from utils.data.batches import Batch
from utils.models.attention import MultiHeadAttention

SCOPES = ("global", "layer")
LINEAR_LAYERS = ("*blocks.*.weight",)


def check_sparsity(sparsity: float) -> None:
    """Raise ValueError unless a share of zeros is at least 0 and below 1."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float)) or not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity: expected a share from 0 to below 1 (0.5 sets half of the weights to zero), got {sparsity!r}"
        )


def prunable(model: nn.Module, targets: tuple[str, ...] = LINEAR_LAYERS) -> dict[str, nn.Parameter]:
    """The weight matrices whose names match a pattern: by default the linear layers of a Transformer's blocks.

    Raises: ValueError if there are none.
    """
    found = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and any(fnmatch.fnmatchcase(name, pattern) for pattern in targets)
    }
    if not found:
        raise ValueError(f"prunable: expected a matrix whose name matches one of {targets}, found none")
    return found


def smallest(scores: Tensor, n: int) -> Tensor:
    """True at exactly `n` of the smallest scores, ties by position. Shapes: (N,) -> (N,) bool."""
    if n == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    last = kth_smallest(scores, n)
    chosen = scores < last
    ties = (scores == last).nonzero()[:, 0]
    chosen[ties[: n - int(chosen.sum())]] = True
    return chosen


def kth_smallest(scores: Tensor, n: int) -> Tensor:
    """The n-th smallest number (n from 1) of a vector, as a tensor without axes.

    On a CPU by NumPy's partition: no sort of millions, and no second array for their places, which kthvalue keeps.
    """
    if scores.device.type != "cpu":
        return scores.kthvalue(n).values
    return torch.from_numpy(np.partition(scores.detach().numpy(), n - 1)[n - 1 : n])[0]


@torch.no_grad()
def magnitude_masks(
    weights: Mapping[str, Tensor], sparsity: float, scope: str = "global", kept: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Masks, True where a weight stays: the largest |w| of all matrices together, or of each ("layer").

    `kept`: masks of an earlier round; what they dropped stays dropped. `sparsity` is the share dropped of all.
    Shapes: each as its weight, bool. Raises: ValueError for a sparsity outside [0, 1) or an unknown scope.
    Source: Han et al. 2015, section 3 (per layer); Frankle and Carbin 2019, section 4 (global).
    """
    check_sparsity(sparsity)
    if scope not in SCOPES:
        raise ValueError(f"scope: expected one of {SCOPES}, got {scope!r}")
    scores = {name: weight.detach().abs().float() for name, weight in weights.items()}
    for name, mask in (kept or {}).items():
        scores[name] = scores[name].masked_fill(~mask, -1.0)
    if scope == "layer":
        drop = {name: smallest(s.flatten(), round(sparsity * s.numel())).view_as(s) for name, s in scores.items()}
    else:
        every = torch.cat([s.flatten() for s in scores.values()])
        parts = smallest(every, round(sparsity * len(every))).split([s.numel() for s in scores.values()])
        drop = {name: part.view_as(s) for part, (name, s) in zip(parts, scores.items(), strict=True)}
    return {name: ~mask for name, mask in drop.items()}


@torch.no_grad()
def n_of_m_mask(weight: Tensor, n: int = 2, m: int = 4) -> Tensor:
    """Mask that keeps the n largest |w| of every m neighbors in a row: the pattern that sparse tensor cores multiply.

    Shapes: (O, I) -> (O, I) bool. Raises: ValueError unless 1 <= n < m and m divides I.
    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", section 3.
    """
    if not 1 <= n < m or weight.shape[-1] % m:
        raise ValueError(
            f"n_of_m_mask: expected 1 <= n < m and an m that divides the row's {weight.shape[-1]} numbers, got "
            f"n={n}, m={m}"
        )
    parts = weight.detach().abs().unflatten(-1, (-1, m))
    chosen = parts.argsort(dim=-1, descending=True, stable=True)[..., :n]
    return torch.zeros_like(parts, dtype=torch.bool).scatter_(-1, chosen, True).flatten(-2)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the weights of a model where its masks are False to zero, in place."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].mul_(mask)


def hold_zeros(model: nn.Module, masks: Mapping[str, Tensor]) -> list:
    """Keep pruned weights at zero while the model trains: their gradients are zeroed. Returns hooks with `remove()`.

    The optimizer must add nothing of its own: a fresh one, whose decay leaves a zero at zero.
    """
    parameters = dict(model.named_parameters())
    return [parameters[name].register_hook(lambda gradient, mask=mask: gradient * mask) for name, mask in masks.items()]


def sparsity_of(weights: Iterable[Tensor]) -> float:
    """The share of zeros among the numbers of some tensors."""
    counts = [(int((weight == 0).sum()), weight.numel()) for weight in weights]
    return sum(zeros for zeros, _ in counts) / sum(n for _, n in counts)


def pack_sparse(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A tensor as one bit a number (is it not zero?) and the numbers that are not.

    Shapes: any -> (ceil(N/8),) uint8 and (n_nonzero,).
    """
    bits = (weight.flatten() != 0).to(torch.uint8)
    bits = torch.cat([bits, bits.new_zeros(-len(bits) % 8)]).view(-1, 8)
    places = 2 ** torch.arange(8, dtype=torch.uint8, device=weight.device)
    return (bits * places).sum(dim=1, dtype=torch.uint8), weight[weight != 0]


def unpack_sparse(bits: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor of `pack_sparse`, to the bit."""
    places = 2 ** torch.arange(8, dtype=torch.uint8, device=bits.device)
    mask = (bits[:, None] & places).ne(0).flatten()[: math.prod(shape)].view(shape)
    weight = torch.zeros(shape, dtype=values.dtype, device=values.device)
    weight[mask] = values
    return weight


def attentions(model: nn.Module) -> list[MultiHeadAttention]:
    """The attention layers of a model from bottom to top.

    Raises: ValueError if there are none, or heads share keys.
    """
    found = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
    if not found or any(layer.n_heads != layer.n_kv_heads for layer in found):
        raise ValueError(
            "heads: expected a model with attention layers whose heads have their own keys and values, got "
            f"{len(found)} attention layers{', some with shared keys' if found else ''}"
        )
    return found


def head_importance(
    model: nn.Module, batches: Iterable[Batch], loss_of: Callable[[nn.Module, Batch], tuple[Tensor, int]]
) -> Tensor:
    """How much the loss would change, to first order, if a head were silenced: the mean of |d loss / d mask|.

    Each head's output is multiplied by a mask of 1; |gradient| is taken batch by batch and averaged. `loss_of` is an
    objective: a loss sum and a count. Shapes: (L, H).
    Source: Michel, Levy, Neubig 2019, section 4.1 (there example by example).
    """
    layers = attentions(model)
    device = next(model.parameters()).device
    masks = [torch.ones(layer.n_heads, device=device, requires_grad=True) for layer in layers]
    hooks = [
        layer.output.register_forward_pre_hook(
            lambda _, inputs, mask=mask, width=layer.head_dim: (
                (inputs[0].unflatten(-1, (-1, width)) * mask[:, None]).flatten(-2),
            )
        )
        for layer, mask in zip(layers, masks, strict=True)
    ]
    totals, n = [torch.zeros_like(mask) for mask in masks], 0
    try:
        for batch in batches:
            loss, count = loss_of(model, {name: tensor.to(device) for name, tensor in batch.items()})
            for total, gradient in zip(totals, torch.autograd.grad(loss / count, masks), strict=True):
                total += gradient.abs()
            n += 1
    finally:
        for hook in hooks:
            hook.remove()
    if n == 0:
        raise ValueError("head_importance: expected at least one batch, got none")
    return torch.stack(totals) / n


def least_important(importance: Tensor, n: int) -> dict[int, list[int]]:
    """The n heads of least importance, by layer; each layer keeps its best head.

    Each layer's scores are first divided by their length, as in the paper. Shapes: importance (L, H).
    Raises: ValueError if n is below 0, or so large that a layer would lose all of its heads.
    Source: Michel, Levy, Neubig 2019, section 4.1 (normalization by layer).
    """
    L, H = importance.shape
    if not 0 <= n <= L * (H - 1):
        raise ValueError(f"heads to remove: expected from 0 to {L * (H - 1)} (each layer keeps one), got {n}")
    scores = importance / importance.norm(dim=1, keepdim=True).clamp(min=1e-30)
    scores = scores.scatter(1, scores.argmax(dim=1, keepdim=True), torch.inf)
    found: dict[int, list[int]] = {}
    for place in scores.flatten().argsort(stable=True)[:n].tolist():
        found.setdefault(place // H, []).append(place % H)
    return found


@torch.no_grad()
def remove_heads(model: nn.Module, heads: Mapping[int, Iterable[int]]) -> None:
    """Cut heads out of a model, in place: rows of query, key and value, columns of output. It gets smaller and faster.

    Raises: ValueError for a layer or head that is not there, or a layer that would lose all heads; the model is then
    as it was.
    """
    layers = attentions(model)
    heads = {layer: set(chosen) for layer, chosen in heads.items()}
    for number, chosen in heads.items():
        n_heads = layers[number].n_heads if 0 <= number < len(layers) else 0
        if not chosen <= set(range(n_heads)) or (n_heads and len(chosen) >= n_heads):
            raise ValueError(
                f"remove_heads: expected layers from 0 to {len(layers) - 1}, their heads, and one head left in each, "
                f"got layer {number} (it has {n_heads}) and heads {sorted(chosen)}"
            )
    for number, chosen in heads.items():
        layer = layers[number]
        features = torch.ones(layer.n_heads, layer.head_dim, dtype=torch.bool)
        features[sorted(chosen)] = False
        features = features.flatten().nonzero()[:, 0].to(layer.output.weight.device)
        layer.query, layer.key, layer.value = (
            smaller(part, part.weight[features], None if part.bias is None else part.bias[features])
            for part in (layer.query, layer.key, layer.value)
        )
        layer.output = smaller(layer.output, layer.output.weight[:, features], layer.output.bias)
        layer.n_heads = layer.n_kv_heads = layer.n_heads - len(chosen)


def smaller(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with copies of other weights, trainable as the old one was. Shapes: weight (O, I), bias (O,)."""
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta", dtype=weight.dtype)
    new.weight = nn.Parameter(weight.clone(), requires_grad=layer.weight.requires_grad)
    if bias is not None:
        new.bias = nn.Parameter(bias.clone(), requires_grad=layer.bias.requires_grad)
    return new
