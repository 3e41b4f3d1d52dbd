"""Answers from libraries, to compare with: PyTorch's fused attention, Llama's rotary positions, GPT-2's layer."""

import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.models import hugging_face

# Nothing here is fetched: models are made from a configuration, with random weights.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@dataclass(frozen=True)
class Layer:
    """A causal self-attention layer: its weights, an input and the output that its library computes.

    Shapes: x and output (B, T, D). `weights` has `query`, `key`, `value` and `output`, each with `.weight` (D, D) and
    `.bias` (D,), as nn.Linear keeps them.
    """

    weights: dict[str, Tensor]
    n_heads: int
    x: Tensor
    output: Tensor


def attention_weights(query: Tensor, keys: Tensor, scale: float | None = None) -> Tensor:
    """Weights (..., T, S) from PyTorch's fused attention, which gives outputs only: the values are the identity."""
    identity = torch.eye(keys.shape[-2], dtype=keys.dtype).expand(*keys.shape[:-1], keys.shape[-2])
    return F.scaled_dot_product_attention(query, keys, identity, scale=scale)


def masked_weights(scores: Tensor, allowed: Tensor) -> Tensor:
    """Weights (B, H, T, S) of scores under a boolean mask, from the same function: with the identity as keys, too."""
    identity = torch.eye(scores.shape[-1], dtype=scores.dtype).expand(*scores.shape[:2], -1, -1)
    return F.scaled_dot_product_attention(scores, identity, identity, attn_mask=allowed, scale=1.0)


def gradient(weights_of: Tensor, grad_weights: Tensor) -> Tensor:
    """The gradient by autograd for the scores `weights_of` (..., S), given the gradient for their softmax."""
    scores = weights_of.detach().requires_grad_()
    return torch.autograd.grad(scores.softmax(-1), scores, grad_weights)[0]


def rotary(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Rotary positions as Llama's code in transformers applies them. Shapes: x (B, H, T, Dh), positions (T,)."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    head_dim = x.shape[-1]
    config = LlamaConfig(hidden_size=head_dim, num_attention_heads=1, head_dim=head_dim,
                         rope_parameters={"rope_type": "default", "rope_theta": base})
    cos, sin = LlamaRotaryEmbedding(config)(x, positions[None])
    return apply_rotary_pos_emb(x, x, cos, sin)[0]


def gpt2_layer(batch_size: int, length: int, d_model: int, n_heads: int, seed: int) -> Layer:
    """The attention layer of a Hugging Face GPT-2 with random weights, its input and its output.

    Weights and biases are larger than a fresh GPT-2's, whose attention is all but uniform and whose biases are 0.
    """
    from transformers import GPT2Config, GPT2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=64, n_positions=length, n_embd=d_model, n_head=n_heads, n_layer=1,
                            bos_token_id=0, eos_token_id=0, attn_implementation="eager")
        model = GPT2Model(config).eval()
        attention = model.h[0].attn
        for parameter in attention.parameters():
            torch.nn.init.normal_(parameter, std=d_model**-0.5)
        seen = {}
        attention.register_forward_hook(lambda module, given, named, result: seen.update(
            x=given[0] if given else named["hidden_states"], output=result[0]), with_kwargs=True)
        with torch.no_grad():
            model(input_ids=torch.randint(64, (batch_size, length)))
    named = hugging_face.gpt2_weights({f"h.0.attn.{name}": one for name, one in attention.state_dict().items()})
    weights = {name.split(".attention.")[1]: one.contiguous().clone() for name, one in named.items()}
    return Layer(weights, n_heads, seen["x"].clone(), seen["output"].clone())
