"""Attention: masks, the scaled dot product, the multi-head layer with grouped queries, and the key-value cache.

Letters in shape comments: B batch, T query time, S key time, D d_model, H heads, G key-value heads, Dh head_dim.
Masks are boolean, True where attention is allowed.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.models.positions import rotate


def causal_mask(n_queries: int, n_keys: int | None = None, device: torch.device | None = None) -> Tensor:
    """Mask that lets position t see keys up to its own; queries are the last of the keys when a cache holds earlier
    ones.

    Shapes: (T, S), bool.
    """
    n_keys = n_queries if n_keys is None else n_keys
    allowed = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device)
    return allowed.tril(diagonal=n_keys - n_queries)


def padding_mask(attention_mask: Tensor) -> Tensor:
    """Mask that hides padded keys from every query, from `attention_mask` (B, S) with True (or 1) at real tokens.

    A mask (B, T, S) says for each query which keys it may see, as packed documents need.
    Shapes: (B, 1, 1, S) or (B, 1, T, S), bool; it broadcasts over heads.
    """
    if attention_mask.dim() == 3:
        return attention_mask.bool()[:, None]
    return attention_mask.bool()[:, None, None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, spelled out; returns the output and the weights.

    A query that may see no key at all gets weights and output 0, not NaN.
    Shapes: q (..., T, Dh), k (..., S, Dh), v (..., S, Dv), mask broadcastable to (..., T, S)
    -> output (..., T, Dv), weights (..., T, S).
    Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (..., T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        # A softmax over nothing but -inf is 0/0.
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights


class KVCache:
    """Keys and values of the tokens seen so far, one pair a layer, so that each is computed once.

    With a `capacity` the room for so many tokens is taken once and filled step by step; without, it grows by copying.
    `contexts` holds those of an encoder's output, which cross-attention computes once and never adds to.
    Shapes: keys and values (B, G, S, Dh) a layer; S grows with every call of `append`.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.contexts: dict[int, tuple[Tensor, Tensor]] = {}
        self._rooms: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Number of tokens held."""
        return self.layers[0][0].shape[-2] if self.layers else 0

    @property
    def n_bytes(self) -> int:
        """Bytes of the keys and values held; an encoder's and room not yet filled do not count."""
        return sum(t.numel() * t.element_size() for pair in self.layers.values() for t in pair)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add the new tokens' keys and values (B, G, T, Dh) to a layer; returns all of the layer's so far.

        Raises: ValueError for more tokens than the capacity.
        """
        if self.capacity is not None:
            k, v = self._fill(layer, k, v)
        elif layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat([old_k, k], dim=-2), torch.cat([old_v, v], dim=-2)
        self.layers[layer] = k, v
        return k, v

    def _fill(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values behind the old ones; returns views of all so far."""
        start = len_of(self, layer)
        end = start + k.shape[-2]
        if end > self.capacity:
            raise ValueError(f"KVCache: expected at most capacity={self.capacity} tokens, got {end}; make it larger")
        if layer not in self._rooms:
            B, G, _, Dh = k.shape
            self._rooms[layer] = k.new_empty(B, G, self.capacity, Dh), v.new_empty(B, G, self.capacity, v.shape[-1])
        room_k, room_v = self._rooms[layer]
        room_k[:, :, start:end], room_v[:, :, start:end] = k, v
        return room_k[:, :, :end], room_v[:, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in that order (beam search continues some sequences, drops others)."""
        length = len(self)
        if self.capacity is not None:
            self._rooms = {layer: (k[rows], v[rows]) for layer, (k, v) in self._rooms.items()}
            self.layers = {layer: (k[:, :, :length], v[:, :, :length]) for layer, (k, v) in self._rooms.items()}
        else:
            self.layers = {layer: (k[rows], v[rows]) for layer, (k, v) in self.layers.items()}
        self.contexts = {layer: (k[rows], v[rows]) for layer, (k, v) in self.contexts.items()}

    def trim(self, length: int) -> None:
        """Forget all but the first `length` tokens (speculative decoding takes back what was rejected)."""
        self.layers = {layer: (k[:, :, :length], v[:, :, :length]) for layer, (k, v) in self.layers.items()}


def cache_bytes(
    n_layers: int, n_kv_heads: int, head_dim: int, n_tokens: int, batch_size: int = 1, bytes_per_number: int = 4
) -> int:
    """Bytes of a key-value cache: a key and a value vector for each layer, key-value head, token and row.

    Raises: ValueError for a size below 1.
    Source: Shazeer 2019, "Fast Transformer Decoding", section 2.4.
    """
    sizes = dict(n_layers=n_layers, n_kv_heads=n_kv_heads, head_dim=head_dim, n_tokens=n_tokens,
                 batch_size=batch_size, bytes_per_number=bytes_per_number)  # fmt: skip
    wrong = [f"{name}={size}" for name, size in sizes.items() if size < 1]
    if wrong:
        raise ValueError(f"cache_bytes: expected sizes from 1, got {', '.join(wrong)}")
    return 2 * math.prod(sizes.values())


class MultiHeadAttention(nn.Module):
    """Multi-head attention over H query heads and G key-value heads; each head sees a slice of the features.

    Shapes: x (B, T, D), context (B, S, D) -> (B, T, D), and weights (B, H, T, S) on request.
    Raises: ValueError if d_model is no multiple of n_heads, or n_heads none of n_kv_heads.
    Source: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023 for grouped queries.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        bias: bool = True,
        rotary: bool = False,
        rotary_base: float = 10_000.0,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if d_model % n_heads or n_heads % n_kv_heads:
            raise ValueError(
                f"attention: expected n_heads to divide d_model and n_kv_heads to divide n_heads, "
                f"got d_model={d_model}, n_heads={n_heads}, n_kv_heads={n_kv_heads}"
            )
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, d_model // n_heads
        self.rotary, self.rotary_base = rotary, rotary_base
        self.query = nn.Linear(d_model, n_heads * self.head_dim, bias=bias)
        self.key = nn.Linear(d_model, n_kv_heads * self.head_dim, bias=bias)
        self.value = nn.Linear(d_model, n_kv_heads * self.head_dim, bias=bias)
        self.output = nn.Linear(n_heads * self.head_dim, d_model, bias=bias)
        self.joined: Callable[[Tensor], Tensor] | None = None  # set while generating, see memory_layout

    def split(self, x: Tensor) -> Tensor:
        """Cut the features into heads: (B, T, H*Dh) -> (B, H, T, Dh). The time axis stays whole."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
        layer: int = 0,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `x` to `context` (to `x` itself without one); `mask` broadcasts to (B, H, T, S).

        Rotary positions turn queries and keys of `x` alone: those of a context are counted in another text.
        """
        if context is not None:
            q = self.split(self.query(x))
            k, v = self._of_context(context, cache, layer)
        else:
            q, k, v = self._of_itself(x)
            if self.rotary:
                start = 0 if cache is None else len_of(cache, layer)
                q, k = rotate(q, start, self.rotary_base), rotate(k, start, self.rotary_base)
            if cache is not None:
                k, v = cache.append(layer, k, v)
        if self.n_kv_heads != self.n_heads:
            k, v = (t.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1) for t in (k, v))
        mixed, weights = self._mix(q, k, v, mask, causal, need_weights)
        return self.output(mixed.transpose(1, 2).flatten(2)), weights

    def _of_itself(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x. Shapes: (B, T, D) -> (B, H, T, Dh) and twice (B, G, T, Dh)."""
        if self.joined is None:
            return self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        heads = self.split(self.joined(x))
        return heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)

    def _of_context(self, context: Tensor, cache: KVCache | None, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the context, from the cache if it holds them. Shapes: (B, S, D) -> twice (B, G, S, Dh)."""
        if cache is not None and layer in cache.contexts:
            return cache.contexts[layer]
        k, v = self.split(self.key(context)), self.split(self.value(context))
        if cache is not None:
            cache.contexts[layer] = k, v
        return k, v

    @staticmethod
    def _mix(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The scaled dot product: PyTorch's fused kernel, or `attend` when the weights are wanted."""
        T, S = q.shape[-2], k.shape[-2]
        # A single query is the last of the keys, and may see them all.
        causal = causal and T > 1
        if causal and (need_weights or mask is not None or T != S):
            allowed = causal_mask(T, S, q.device)
            mask, causal = allowed if mask is None else mask & allowed, False
        if need_weights:
            return attend(q, k, v, mask)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal), None


def len_of(cache: KVCache, layer: int) -> int:
    """Number of tokens that one layer of the cache holds; layers fill one after the other within a step."""
    return cache.layers[layer][0].shape[-2] if layer in cache.layers else 0
