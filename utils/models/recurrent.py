"""An encoder-decoder of two LSTMs, with a fixed vector between them or with attention over all that was read.

Letters in shape comments: B batch, S source time, T target time, E embedding, D hidden width, V target vocabulary.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # an LSTM's hidden and cell state, each (1, B, D)


class Written(NamedTuple):
    """What `greedy` wrote: ids (B, T), `end_id` from a row's end on; attention weights (B, T, S), or None."""

    ids: Tensor
    weights: Tensor | None


class RecurrentSeq2Seq(nn.Module):
    """Sequence to sequence by two LSTMs.

    The decoder begins with the encoder's last state: the fixed vector. With attention, each of its states also looks
    at all states of the encoder. Whoever needs a token for the beginning or the end of a target includes it in
    `n_target`.
    Raises: ValueError for sizes below 1, or a padding id outside of the source vocabulary.
    Source: Sutskever et al. 2014, section 2; Luong et al. 2015, section 3.1, the score "general".
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        d_hidden: int = 96,
        d_embed: int = 32,
        attention: bool = True,
        pad_id: int = 0,
    ) -> None:
        sizes = {"n_source": n_source, "n_target": n_target, "d_hidden": d_hidden, "d_embed": d_embed}
        if min(sizes.values()) < 1:
            raise ValueError(f"expected sizes of at least 1, got {sizes}")
        if not 0 <= pad_id < n_source:
            raise ValueError(f"pad_id: expected a source id below {n_source}, got {pad_id}")
        super().__init__()
        self.pad_id = pad_id
        self.source_embedding = nn.Embedding(n_source, d_embed)
        self.target_embedding = nn.Embedding(n_target, d_embed)
        self.encoder = nn.LSTM(d_embed, d_hidden, batch_first=True)
        self.decoder = nn.LSTM(d_embed, d_hidden, batch_first=True)
        self.score = nn.Linear(d_hidden, d_hidden, bias=False) if attention else None
        self.combine = nn.Linear(2 * d_hidden, d_hidden) if attention else None
        self.head = nn.Linear(d_hidden, n_target)

    def encode(self, source_ids: Tensor) -> tuple[Tensor, State]:
        """The encoder's states (B, S, D), and its state after each source's own last token.

        source_ids: (B, S), padded at the end; the mask and the lengths are read from the padding.
        Raises: ValueError for a row that is all padding, or padded before its end.
        """
        read = source_ids != self.pad_id
        lengths = read.sum(dim=1)
        if (lengths == 0).any() or not read.long().cummin(dim=1).values.equal(read.long()):
            raise ValueError("source_ids: expected at least one token a row, and padding only at its end")
        packed = nn.utils.rnn.pack_padded_sequence(
            self.source_embedding(source_ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, last = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=source_ids.shape[1])
        return memory, last

    def decode(
        self, input_ids: Tensor, memory: Tensor, read: Tensor, state: State
    ) -> tuple[Tensor, State, Tensor | None]:
        """Logits (B, T, V), the state after the last input, and the attention weights (B, T, S) or None.

        input_ids: (B, T), the target shifted by one; memory: (B, S, D); read: (B, S), True where a source token stands.
        """
        hidden, state = self.decoder(self.target_embedding(input_ids), state)  # (B, T, D)
        if self.score is None:
            return self.head(hidden), state, None
        scores = (self.score(hidden) @ memory.mT).masked_fill(~read[:, None], -math.inf)  # (B, T, S)
        weights = scores.softmax(dim=-1)
        hidden = torch.tanh(self.combine(torch.cat([weights @ memory, hidden], dim=-1)))
        return self.head(hidden), state, weights

    def forward(self, source_ids: Tensor, input_ids: Tensor) -> Tensor:
        """Logits for every target position at once, given the right tokens before it.

        Shapes: (B, S), (B, T) -> (B, T, V).
        """
        memory, state = self.encode(source_ids)
        return self.decode(input_ids, memory, source_ids != self.pad_id, state)[0]

    @torch.no_grad()
    def greedy(self, source_ids: Tensor, begin_id: int, end_id: int, max_length: int) -> Written:
        """The likeliest next token again and again, until `end_id` or `max_length` tokens.

        After a row's end stands `end_id` again. Shapes: (B, S) -> ids (B, T), weights (B, T, S).
        """
        memory, state = self.encode(source_ids)
        read = source_ids != self.pad_id
        last = torch.full((len(source_ids), 1), begin_id, device=source_ids.device)
        done = torch.zeros_like(last, dtype=torch.bool)
        ids, weights = [], []
        while len(ids) < max_length and not done.all():
            logits, state, looked = self.decode(last, memory, read, state)
            last = logits.argmax(dim=-1).masked_fill(done, end_id)
            done = done | (last == end_id)
            ids.append(last)
            weights.append(looked)
        return Written(torch.cat(ids, dim=1), None if self.score is None else torch.cat(weights, dim=1))
