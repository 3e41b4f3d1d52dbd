"""The Transformer as one configurable stack, and the two families made of it: GPT (decoder) and BERT (encoder).

Letters in shape comments: B batch, T time, D d_model, F d_ff, V vocabulary.
"""

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.data.batches import IGNORE
from utils.models.attention import KVCache, MultiHeadAttention, padding_mask
from utils.models.losses import summed_cross_entropy

ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and options of a Transformer; checked whole, all problems in one message.

    Raises: ValueError naming every field that does not fit.
    """

    vocab_size: int
    context_length: int = 512
    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int | None = None
    d_ff: int | None = None
    n_segments: int = 0
    dropout: float = 0.0
    activation: str = "gelu_tanh"
    norm_position: str = "pre"
    norm_epsilon: float = 1e-5
    positions: str = "learned"

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads")
        problems = [
            f"{name}={getattr(self, name)} (a whole number from 1)"
            for name in sizes
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        if not problems and self.d_model % self.n_heads:
            problems.append(f"n_heads={self.n_heads} (a divisor of d_model={self.d_model})")
        if not problems and (self.n_heads % self.kv_heads if self.kv_heads > 0 else True):
            problems.append(f"n_kv_heads={self.n_kv_heads} (a divisor of n_heads={self.n_heads})")
        if self.d_ff is not None and (not isinstance(self.d_ff, int) or self.d_ff < 1):
            problems.append(f"d_ff={self.d_ff} (a whole number from 1)")
        if not isinstance(self.n_segments, int) or self.n_segments < 0:
            problems.append(f"n_segments={self.n_segments} (a whole number from 0)")
        if not problems and self.positions == "rotary" and self.d_model // self.n_heads % 2:
            problems.append(f"n_heads={self.n_heads} (an even d_model / n_heads for rotary positions)")
        if not 0.0 <= self.dropout < 1.0:
            problems.append(f"dropout={self.dropout} (from 0 to below 1)")
        for name, known in (
            ("activation", tuple(ACTIVATIONS)),
            ("norm_position", ("pre", "post")),
            ("positions", ("learned", "rotary")),
        ):
            if getattr(self, name) not in known:
                problems.append(f"{name}={getattr(self, name)!r} (one of {known})")
        if problems:
            raise ValueError("TransformerConfig: expected in brackets, got " + "; ".join(problems))

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads; as many as query heads unless set."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def width_ff(self) -> int:
        """Width of the feed-forward layer; four times d_model unless set."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    def to_dict(self) -> dict:
        """The fields as a plain dictionary, for a JSON file."""
        return dataclasses.asdict(self)


class FeedForward(nn.Module):
    """Two linear layers with an activation between, applied to each position alone. Shapes: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.d_model, config.width_ff)
        self.contract = nn.Linear(config.width_ff, config.d_model)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        """Expand to F features, activate, contract to D again."""
        return self.contract(self.activation(self.expand(x)))


class Block(nn.Module):
    """Attention and feed-forward, each with a residual connection; the norm before each ("pre") or after ("post").

    Shapes: (B, T, D) -> (B, T, D). Source: Vaswani et al. 2017, section 3.1; Xiong et al. 2020 for pre-norm.
    """

    def __init__(self, config: TransformerConfig, causal: bool) -> None:
        super().__init__()
        self.causal, self.pre_norm = causal, config.norm_position == "pre"
        self.attention = MultiHeadAttention(
            config.d_model, config.n_heads, config.n_kv_heads, rotary=config.positions == "rotary"
        )
        self.feed_forward = FeedForward(config)
        self.attention_norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One block; also returns the attention weights (B, H, T, S) when they are wanted."""
        options = dict(mask=mask, causal=self.causal, cache=cache, layer=layer, need_weights=need_weights)
        if self.pre_norm:
            mixed, weights = self.attention(self.attention_norm(x), **options)
            x = x + self.dropout(mixed)
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), weights
        mixed, weights = self.attention(x, **options)
        x = self.attention_norm(x + self.dropout(mixed))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x))), weights


class Transformer(nn.Module):
    """Embeddings and a stack of blocks: token ids in, one vector a position out.

    Shapes: input_ids (B, T), attention_mask (B, T) with True at real tokens, segment_ids (B, T) -> (B, T, D).
    Raises: ValueError for a sequence longer than context_length or of other shape than (B, T).
    """

    def __init__(self, config: TransformerConfig, causal: bool) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        if config.n_segments:
            self.segment_embedding = nn.Embedding(config.n_segments, config.d_model)
        # Pre-norm leaves the residual stream unnormalized, so it is normalized once at the end; post-norm starts with
        # it.
        self.norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config, causal) for _ in range(config.n_layers)])
        self.apply(self._initialize)
        for block in self.blocks:
            for layer in (block.attention.output, block.feed_forward.contract):
                nn.init.normal_(layer.weight, std=0.02 / (2 * config.n_layers) ** 0.5)

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        """Normal weights of deviation 0.02, zero biases (Radford et al. 2019)."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def embed(
        self, input_ids: Tensor, segment_ids: Tensor | None = None, start: int = 0, first: Tensor | None = None
    ) -> Tensor:
        """Sum of token, position and segment vectors; positions count from `start`, or a row's from `first` (B,)."""
        if input_ids.dim() != 2:
            raise ValueError(f"input_ids: expected shape (batch, time), got {tuple(input_ids.shape)}; add a batch axis")
        end = start + input_ids.shape[1]
        if end > self.config.context_length:
            raise ValueError(
                f"input_ids: expected at most context_length={self.config.context_length} tokens, got {end}; "
                f"cut the text, or slide a window over it"
            )
        x = self.token_embedding(input_ids)
        if self.config.positions == "learned":
            places = slice(start, end) if first is None else first[:, None] + torch.arange(end, device=first.device)
            x = x + self.position_embedding.weight[places]
        if self.config.n_segments:
            x = x + (self.segment_embedding.weight[0] if segment_ids is None else self.segment_embedding(segment_ids))
        return x

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
        need_weights: bool = False,
        first_position: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the stack; also returns the attention weights, one (B, H, T, S) a layer, when they are wanted."""
        x = self.embed(input_ids, segment_ids, 0 if cache is None else len(cache), first_position)
        mask = None if attention_mask is None else padding_mask(attention_mask)
        pre_norm = self.config.norm_position == "pre"
        x = self.dropout(x if pre_norm else self.norm(x))
        all_weights = []
        for layer, block in enumerate(self.blocks):
            x, weights = block(x, mask, cache, layer, need_weights)
            if need_weights:
                all_weights.append(weights)
        return (self.norm(x) if pre_norm else x), all_weights


class GPT(nn.Module):
    """A causal language model with tied input and output embeddings, in GPT-2's shape.

    Shapes: input_ids (B, T) -> logits (B, T, V); logits at t are for the token at t + 1.
    Source: Radford et al. 2019, section 2.3.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config, causal=True)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token at every position; with `targets` (B, T) instead the summed loss in nats."""
        hidden, _ = self.transformer(input_ids, attention_mask, cache=cache)
        head = self.transformer.token_embedding.weight
        if targets is None:
            return F.linear(hidden, head)
        return summed_cross_entropy(hidden.flatten(0, 1), head, targets.flatten())

    def attention_weights(self, input_ids: Tensor) -> list[Tensor]:
        """Attention weights of every layer, each (B, H, T, T)."""
        return self.transformer(input_ids, need_weights=True)[1]


class BERT(nn.Module):
    """An encoder with BERT's two pre-training heads: masked words (tied to the embeddings) and next sentence.

    Shapes: input_ids, attention_mask, segment_ids (B, T) -> hidden states (B, T, D) from `encode`.
    Source: Devlin et al. 2019, section 3.1; the masked-word head is that of the authors' code.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config, causal=False)
        self.word_transform = nn.Linear(config.d_model, config.d_model)
        self.word_norm = nn.LayerNorm(config.d_model, eps=config.norm_epsilon)
        self.word_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.pooler = nn.Linear(config.d_model, config.d_model)
        self.next_sentence = nn.Linear(config.d_model, 2)
        for layer in (self.word_transform, self.pooler, self.next_sentence):
            Transformer._initialize(layer)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None,
        first_position: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D). Positions count from 0, or in each row from `first_position` (B,)."""
        return self.transformer(input_ids, attention_mask, segment_ids, first_position=first_position)[0]

    def word_features(self, hidden: Tensor) -> Tensor:
        """Hidden states as the masked-word head transforms them. Shapes: (..., D) -> (..., D)."""
        return self.word_norm(ACTIVATIONS[self.config.activation](self.word_transform(hidden)))

    def word_logits(self, hidden: Tensor) -> Tensor:
        """Logits over the vocabulary for hidden states (..., D) -> (..., V)."""
        return F.linear(self.word_features(hidden), self.transformer.token_embedding.weight, self.word_bias)

    def next_sentence_logits(self, hidden: Tensor) -> Tensor:
        """Logits (B, 2) from the first position: column 0 "the second follows the first", column 1 "it does not"."""
        return self.next_sentence(self.pooler(hidden[:, 0]).tanh())

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        targets: Tensor | None = None,
        first_position: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Word logits (B, T, V), or with `targets` (B, T) their summed loss; and next-sentence logits (B, 2)."""
        hidden = self.encode(input_ids, attention_mask, segment_ids, first_position)
        if targets is None:
            return self.word_logits(hidden), self.next_sentence_logits(hidden)
        chosen = targets != IGNORE  # the head is the dearest layer: run it only where a word is predicted
        loss = summed_cross_entropy(
            self.word_features(hidden[chosen]), self.transformer.token_embedding.weight, targets[chosen], self.word_bias
        )
        return loss, self.next_sentence_logits(hidden)

    def attention_weights(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """Attention weights of every layer, each (B, H, T, T)."""
        return self.transformer(input_ids, attention_mask, need_weights=True)[1]
