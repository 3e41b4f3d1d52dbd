"""The parts of a Transformer's layer: norms, feed-forward layers, mixtures of experts, and the block made of them.

Letters in shape comments: B batch, T time, D d_model, F d_ff, N positions of all rows, E experts, K experts a token.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from utils.models.attention import KVCache, MultiHeadAttention
from utils.models.config import ACTIVATIONS, TransformerConfig


def make_norm(config: TransformerConfig) -> nn.Module:
    """The norm that a configuration asks for: nn.LayerNorm, or nn.RMSNorm, which neither centers nor shifts.

    Source: Ba, Kiros, Hinton 2016, section 3; Zhang and Sennrich 2019, section 4.
    """
    if config.norm == "rms":
        return nn.RMSNorm(config.d_model, eps=config.norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.norm_epsilon, bias=config.bias)


class FeedForward(nn.Module):
    """Two linear layers with an activation between, or a gated form of three; each position alone.

    Plain: contract(activation(expand(x))). Gated: contract(activation(gate(x)) * expand(x)).
    Shapes: (..., D) -> (..., D).
    Source: Vaswani et al. 2017, section 3.3; Shazeer 2020, "GLU Variants Improve Transformer", equation 6.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.d_model, config.width_ff, bias=config.bias)
        if config.gated:
            self.gate = nn.Linear(config.d_model, config.width_ff, bias=config.bias)
        self.contract = nn.Linear(config.width_ff, config.d_model, bias=config.bias)
        self.gated, self.activation = config.gated, ACTIVATIONS[config.activation]

    def hidden(self, x: Tensor) -> Tensor:
        """What stands between expanding and contracting. Shapes: (..., D) -> (..., F)."""
        if self.gated:
            return self.activation(self.gate(x)) * self.expand(x)
        return self.activation(self.expand(x))

    def forward(self, x: Tensor) -> Tensor:
        """Expand to F features, activate, contract to D again."""
        return self.contract(self.hidden(x))


class MixtureOfExperts(nn.Module):
    """E feed-forward layers, of which a router picks K for each position; their outputs are added by its weights.

    Shapes: (..., D) -> (..., D).
    Source: Shazeer et al. 2017, section 2; Jiang et al. 2024, "Mixtral of Experts", section 2.1.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.router = nn.Linear(config.d_model, config.n_experts, bias=False)
        self.experts = nn.ModuleList([FeedForward(config) for _ in range(config.n_experts)])
        self.experts_per_token = config.experts_per_token

    def route(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of all experts, the chosen ones, and their weights, which sum to 1.

        Shapes: (N, D) -> (N, E), (N, K), (N, K).
        """
        probs = self.router(x).float().softmax(dim=-1)
        weights, chosen = probs.topk(self.experts_per_token, dim=-1)
        return probs, chosen, weights / weights.sum(dim=-1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """Each expert runs once, on the positions that chose it; the others cost nothing."""
        flat = x.flatten(0, -2)  # (N, D)
        _, chosen, weights = self.route(flat)
        output = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            rows, places = (chosen == i).nonzero(as_tuple=True)
            share = weights[rows, places, None].to(flat.dtype)
            output = output.index_add(0, rows, (share * expert(flat[rows])).to(flat.dtype))
        return output.view_as(x)


def load_balance(probs: Tensor, chosen: Tensor) -> Tensor:
    """How unevenly a router spreads its positions: E times the sum over experts of share chosen times mean probability.

    It is K when all experts are chosen alike, and grows to E as everything goes to the same few; added to the loss,
    it keeps experts from starving. Shapes: probs (N, E), chosen (N, K) -> scalar.
    Source: Fedus, Zoph, Shazeer 2022, "Switch Transformers", equation 4.
    """
    n_experts = probs.shape[-1]
    share = torch.nn.functional.one_hot(chosen, n_experts).float().sum(dim=1).mean(dim=0)  # (E,)
    return n_experts * (share * probs.mean(dim=0)).sum()


class Block(nn.Module):
    """Attention and feed-forward, each with a residual connection; the norm before each ("pre") or after ("post").

    With `cross` a second attention stands between the two, which looks at `context`, the output of an encoder.
    Shapes: x (B, T, D), context (B, S, D) -> (B, T, D).
    Source: Vaswani et al. 2017, section 3.1; Xiong et al. 2020 for pre-norm.
    """

    def __init__(self, config: TransformerConfig, causal: bool, cross: bool = False) -> None:
        super().__init__()
        self.causal, self.cross, self.pre_norm = causal, cross, config.norm_position == "pre"
        sizes = (config.d_model, config.n_heads, config.n_kv_heads, config.bias)
        self.attention = MultiHeadAttention(*sizes, config.positions == "rotary", config.rotary_base)
        if cross:
            # No rotary positions here: a distance between a word and its translation means nothing.
            self.cross_attention = MultiHeadAttention(*sizes)
        self.feed_forward = MixtureOfExperts(config) if config.n_experts else FeedForward(config)
        self.attention_norm = make_norm(config)
        if cross:
            self.cross_norm = make_norm(config)
        self.feed_forward_norm = make_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def residual(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        """x and what `part` makes of it, added, with the norm in its place."""
        if self.pre_norm:
            return x + self.dropout(part(norm(x)))
        return norm(x + self.dropout(part(x)))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        need_weights: bool = False,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """One block; also returns the weights of each attention (B, H, T, S), None unless they are wanted."""
        found = []

        def attending(attention: MultiHeadAttention, **options) -> Callable[[Tensor], Tensor]:
            def part(h: Tensor) -> Tensor:
                mixed, weights = attention(h, cache=cache, layer=layer, need_weights=need_weights, **options)
                found.append(weights)
                return mixed

            return part

        x = self.residual(x, self.attention_norm, attending(self.attention, mask=mask, causal=self.causal))
        if self.cross:
            looking = attending(self.cross_attention, context=context, mask=context_mask)
            x = self.residual(x, self.cross_norm, looking)
        return self.residual(x, self.feed_forward_norm, self.feed_forward), tuple(found)
