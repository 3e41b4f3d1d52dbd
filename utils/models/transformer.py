"""The Transformer as one configurable stack, and the two families made of it: GPT (decoder) and BERT (encoder).

Letters in shape comments: B batch, T time, D d_model, F d_ff, V vocabulary.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from utils.data.batches import IGNORE
from utils.models.attention import KVCache, padding_mask
from utils.models.blocks import Block, make_norm
from utils.models.config import ACTIVATIONS, TransformerConfig
from utils.models.losses import summed_cross_entropy


class Transformer(nn.Module):
    """Embeddings and a stack of blocks: token ids in, one vector a position out.

    With `cross` its blocks look at a `context` too; without `embedded` it has no token embeddings and is handed some.
    Set `recompute` to keep only each block's input for the backward pass, which then runs the block a second time.
    Shapes: input_ids (B, T), attention_mask (B, T) with True at real tokens or (B, T, T) with True where a query may
    look, segment_ids (B, T) -> (B, T, D).
    Raises: ValueError for a sequence longer than context_length or of other shape than (B, T).
    """

    def __init__(self, config: TransformerConfig, causal: bool, cross: bool = False, embedded: bool = True) -> None:
        super().__init__()
        self.config, self.recompute = config, False
        if embedded:
            self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        if config.n_segments:
            self.segment_embedding = nn.Embedding(config.n_segments, config.d_model)
        # Pre-norm leaves the residual stream unnormalized, so it is normalized once at the end; post-norm starts with
        # it.
        self.norm = make_norm(config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config, causal, cross) for _ in range(config.n_layers)])
        self.apply(self._initialize)
        # What is added to the residual stream starts small, so that the sum of all branches is of size 1.
        n_branches = (3 if cross else 2) * config.n_layers
        for name, module in self.blocks.named_modules():
            if name.endswith((".output", ".contract")):
                nn.init.normal_(module.weight, std=0.02 / n_branches**0.5)

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        """Normal weights of deviation 0.02, zero biases (Radford et al. 2019)."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def embed(
        self,
        input_ids: Tensor,
        segment_ids: Tensor | None = None,
        start: int = 0,
        first: Tensor | None = None,
        token_embedding: nn.Embedding | None = None,
    ) -> Tensor:
        """Sum of token, position and segment vectors; positions count from `start`.

        In a row they count from `first` (B,) + start, where below 0 (padding on the left) position 0 stands in; or
        `first` (B, T) holds all of them.
        """
        if input_ids.dim() != 2:
            raise ValueError(f"input_ids: expected shape (batch, time), got {tuple(input_ids.shape)}; add a batch axis")
        end = start + input_ids.shape[1]
        if end > self.config.context_length:
            raise ValueError(
                f"input_ids: expected at most context_length={self.config.context_length} tokens, got {end}; "
                f"cut the text, or slide a window over it"
            )
        x = (self.token_embedding if token_embedding is None else token_embedding)(input_ids)
        if self.config.positions == "learned":
            places = slice(start, end) if first is None else first
            if first is not None and first.dim() == 1:
                places = (first[:, None] + torch.arange(start, end, device=first.device)).clamp(min=0)
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
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
        token_embedding: nn.Embedding | None = None,
    ) -> tuple[Tensor, list]:
        """Run the stack; also returns the attention weights when they are wanted, one (B, H, T, S) a layer.

        With cross-attention: the weights over the context (B, H, T, S), `context_mask` (B, S) hiding its padding.
        """
        x = self.embed(input_ids, segment_ids, 0 if cache is None else len(cache), first_position, token_embedding)
        masks = [None if mask is None else padding_mask(mask) for mask in (attention_mask, context_mask)]
        pre_norm = self.config.norm_position == "pre"
        x = self.dropout(x if pre_norm else self.norm(x))
        all_weights = []
        for layer, block in enumerate(self.blocks):
            given = (x, masks[0], cache, layer, need_weights, context, masks[1])
            again = self.recompute and cache is None and torch.is_grad_enabled()
            x, weights = checkpoint(block, *given, use_reentrant=False) if again else block(*given)
            if need_weights:
                all_weights.append(weights[-1])
        return (self.norm(x) if pre_norm else x), all_weights


class GPT(nn.Module):
    """A causal language model: by default GPT-2, and with other options of its configuration a Llama or a Mixtral.

    Shapes: input_ids (B, T) -> logits (B, T, V); logits at t are for the token at t + 1.
    Source: Radford et al. 2019, section 2.3; Touvron et al. 2023, section 2.2; Jiang et al. 2024, section 2.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config, causal=True)
        if not config.tied:
            self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
            Transformer._initialize(self.head)
        self.ready_head: Callable[[Tensor], Tensor] | None = None  # set while generating, see memory_layout

    @property
    def head_matrix(self) -> nn.Parameter:
        """The matrix that makes logits: the token embeddings, or one of its own. Shape (V, D)."""
        return self.transformer.token_embedding.weight if self.config.tied else self.head.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        targets: Tensor | None = None,
        first_position: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Logits of the next token at every position; with `targets` (B, T) instead the summed loss in nats.

        With `last_only` those of the last position alone (B, 1, V): all that generation needs of a long prompt.
        With a cache, `attention_mask` (B, S) covers its tokens too. Rows padded on the left begin at `first_position`
        (B,), minus the number of padded tokens, so that their first real token stands at 0.
        """
        hidden, _ = self.transformer(input_ids, attention_mask, cache=cache, first_position=first_position)
        hidden = hidden[:, -1:] if last_only else hidden
        if targets is not None:
            return summed_cross_entropy(hidden.flatten(0, 1), self.head_matrix, targets.flatten())
        return F.linear(hidden, self.head_matrix) if self.ready_head is None else self.ready_head(hidden)

    def attention_weights(self, input_ids: Tensor) -> list[Tensor]:
        """Attention weights of every layer, each (B, H, T, T)."""
        return self.transformer(input_ids, need_weights=True)[1]


class BERT(nn.Module):
    """An encoder with BERT's two pre-training heads: masked words (tied to the embeddings) and next sentence.

    Shapes: input_ids, attention_mask, segment_ids (B, T) -> hidden states (B, T, D) from `encode`.
    Raises: ValueError for tied=False.
    Source: Devlin et al. 2019, section 3.1; the masked-word head is that of the authors' code.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if not config.tied:
            raise ValueError("BERT: expected tied=True (its word head uses the token embeddings), got tied=False")
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
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
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
