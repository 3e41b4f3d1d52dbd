"""An encoder-decoder that can copy: the next token is written from the vocabulary, or pointed at in the source.

Letters in shape comments: B batch, S source time, T target time, D d_model, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from utils.models.attention import KVCache
from utils.models.config import TransformerConfig
from utils.models.encoder_decoder import EncoderDecoder, GivenSource

TINY = 1e-12  # keeps the logarithm of a token finite that is neither likely nor in the source


def precise(x: Tensor) -> Tensor:
    """At least fp32: probabilities that are added and scattered need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class PointerGenerator(EncoderDecoder):
    """p(y) = (1 - c) p_vocabulary(y) + c (sum of the pointer's weights on source tokens that are y).

    The gate c and the pointer's weights are computed from the decoder's hidden state, the weights by one head over the
    encoder's output. A place whose token before it is the one just written gets a bonus, `follow`: who copies a run of
    tokens goes on where it is.
    Shapes: input_ids (B, S), decoder_ids (B, T) -> log-probabilities (B, T, V), which serve as logits.
    Raises: ValueError for a configuration that is not tied: copying needs one vocabulary for both sides.
    Source: See, Liu and Manning 2017, equations 8 and 9; the bonus after the induction heads of Olsson et al. 2022.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        if not config.tied:
            raise ValueError("PointerGenerator: expected tied=True, for source and target must share their tokens")
        self.pointer_query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.pointer_key = nn.Linear(config.d_model, config.d_model, bias=False)
        self.gate = nn.Linear(config.d_model, 1)
        for layer in (self.pointer_query, self.pointer_key):
            nn.init.normal_(layer.weight, std=config.d_model**-0.5)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)  # a small model learns sooner when not to copy than how to
        self.follow = nn.Parameter(torch.tensor([2.0]))

    def pointed(
        self, hidden: Tensor, encoded: Tensor, decoder_ids: Tensor, input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The gate c (B, T, 1) and the pointer's weights (B, T, S) for hidden states (B, T, D) of `decoder_ids`."""
        scores = self.pointer_query(hidden) @ self.pointer_key(encoded).mT / math.sqrt(hidden.shape[-1])
        before = nn.functional.pad(input_ids, (1, 0), value=-1)[:, :-1]  # nothing stands before the first
        scores = scores + self.follow * (before[:, None] == decoder_ids[:, :, None])
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask[:, None], -math.inf)
        return precise(self.gate(hidden)).sigmoid(), precise(scores).softmax(dim=-1)

    def log_probs(
        self, hidden: Tensor, encoded: Tensor, decoder_ids: Tensor, input_ids: Tensor, attention_mask: Tensor | None
    ) -> Tensor:
        """Log-probabilities (B, T, V) of the next token; a source of one row serves every row of hidden states."""
        copying, weights = self.pointed(hidden, encoded, decoder_ids, input_ids, attention_mask)
        written = (1 - copying) * precise(self.output(hidden)).softmax(dim=-1)
        places = input_ids[:, None].expand(*weights.shape)  # (B, T, S)
        return written.scatter_add(-1, places, copying * weights).clamp_min(TINY).log()

    def forward(
        self,
        input_ids: Tensor,
        decoder_ids: Tensor,
        attention_mask: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Log-probabilities of the next target token everywhere; with `targets` (B, T) the summed loss in nats."""
        encoded = self.encode(input_ids, attention_mask)
        hidden = self.decode(decoder_ids, encoded, attention_mask)[0]
        log_probs = self.log_probs(hidden, encoded, decoder_ids, input_ids, attention_mask)
        if targets is None:
            return log_probs
        return nn.functional.nll_loss(log_probs.flatten(0, 1), targets.flatten(), reduction="sum")

    def given(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> "GivenPointer":
        """A causal language model of the target for these sources, which are read once, here."""
        return GivenPointer(self, input_ids, attention_mask)


class GivenPointer(GivenSource):
    """A pointer-generator whose sources are fixed: a causal language model of their targets, row by row."""

    def __init__(self, model: PointerGenerator, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        super().__init__(model, model.encode(input_ids, attention_mask), attention_mask)
        self.input_ids = input_ids

    def forward(self, input_ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Log-probabilities of the next target token everywhere; with a cache, of the new tokens alone."""
        hidden = self.model.decode(input_ids, self.encoded, self.attention_mask, cache)[0]
        return self.model.log_probs(hidden, self.encoded, input_ids, self.input_ids, self.attention_mask)


@torch.inference_mode()
def greedy(
    given: GivenSource, n_rows: int, begin: int, end: int, most: int, banned: tuple[int, ...] = ()
) -> list[list[int]]:
    """The likeliest next token again and again, all sources side by side, until each has written `end` or `most`.

    `banned` tokens are never written. Returns the ids of each row, without `end`.
    """
    device = given.encoded.device
    cache, ids = KVCache(), torch.full((n_rows, 1), begin, device=device)
    finished = torch.zeros(n_rows, dtype=torch.bool, device=device)
    for _ in range(most):
        logits = given(ids[:, -1:], cache=cache)[:, -1]
        logits[:, list(banned)] = -math.inf
        new = torch.where(finished, end, logits.argmax(dim=-1))
        ids, finished = torch.cat([ids, new[:, None]], dim=1), finished | (new == end)
        if finished.all():
            break
    rows = ids[:, 1:].tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]
