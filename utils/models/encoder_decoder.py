"""The Transformer of 2017: an encoder reads the source, a decoder writes the target and looks at what was read.

Letters in shape comments: B batch, S source time, T target time, D d_model, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from utils.models.attention import KVCache
from utils.models.config import TransformerConfig
from utils.models.losses import summed_cross_entropy
from utils.models.transformer import Transformer


class EncoderDecoder(nn.Module):
    """An encoder and a causal decoder with cross-attention, each of n_layers.

    Tied: source embeddings, target embeddings and output layer are one matrix, so both sides share a vocabulary.
    Shapes: input_ids (B, S), decoder_ids (B, T) -> logits (B, T, V); logits at t are for the target token at t + 1.
    Raises: ValueError for a configuration with segments, which it has no use for.
    Source: Vaswani et al. 2017, section 3.1 (stacks), 3.2.3 (its three attentions) and 3.4 (one matrix).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        if config.n_segments:
            raise ValueError(f"EncoderDecoder: expected n_segments=0, got {config.n_segments}")
        self.config = config
        self.encoder = Transformer(config, causal=False)
        self.decoder = Transformer(config, causal=True, cross=True, embedded=not config.tied)
        if not config.tied:
            self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
            nn.init.normal_(self.head.weight, std=0.02)

    @property
    def target_embedding(self) -> nn.Embedding:
        """The decoder's token embeddings, which are the encoder's when tied."""
        return (self.encoder if self.config.tied else self.decoder).token_embedding

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """One vector a source position; `attention_mask` is True at real tokens. Shapes: (B, S) -> (B, S, D)."""
        return self.encoder(input_ids, attention_mask)[0]

    def decode(
        self,
        decoder_ids: Tensor,
        encoded: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Hidden states of the target, and the weights over the source, one (B, H, T, S) a layer, when they are wanted.

        `attention_mask` (B, S) is the source's. With a cache, `decoder_ids` are the new tokens alone.
        Shapes: decoder_ids (B, T), encoded (B, S, D) -> (B, T, D).
        """
        return self.decoder(
            decoder_ids,
            cache=cache,
            need_weights=need_weights,
            context=encoded,
            context_mask=attention_mask,
            token_embedding=self.target_embedding,
        )

    def output(self, hidden: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) of hidden states (B, T, D); with `targets` (B, T) instead the summed loss in nats."""
        head = self.target_embedding.weight if self.config.tied else self.head.weight
        if targets is None:
            return F.linear(hidden, head)
        return summed_cross_entropy(hidden.flatten(0, 1), head, targets.flatten())

    def forward(
        self,
        input_ids: Tensor,
        decoder_ids: Tensor,
        attention_mask: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next target token at every position; with `targets` (B, T) instead the summed loss in nats."""
        encoded = self.encode(input_ids, attention_mask)
        return self.output(self.decode(decoder_ids, encoded, attention_mask)[0], targets)

    def attention_weights(
        self, input_ids: Tensor, decoder_ids: Tensor, attention_mask: Tensor | None = None
    ) -> list[Tensor]:
        """Weights of the target's positions over the source's, one (B, H, T, S) a layer."""
        encoded = self.encode(input_ids, attention_mask)
        return self.decode(decoder_ids, encoded, attention_mask, need_weights=True)[1]

    def given(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> "GivenSource":
        """A causal language model of the target for these sources, for `generate` and everything else that takes one.

        The sources are read once, here.
        """
        return GivenSource(self, self.encode(input_ids, attention_mask), attention_mask)


class GivenSource(nn.Module):
    """An encoder-decoder whose sources are fixed: a causal language model of their targets, row by row.

    Shapes: input_ids (B, T), one row a source -> logits (B, T, V).
    """

    def __init__(self, model: EncoderDecoder, encoded: Tensor, attention_mask: Tensor | None) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.encoded, self.attention_mask = encoded, attention_mask
        self.training = model.training

    def forward(self, input_ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the next target token at every position; with a cache, of the new tokens alone."""
        return self.model.output(self.model.decode(input_ids, self.encoded, self.attention_mask, cache)[0])
