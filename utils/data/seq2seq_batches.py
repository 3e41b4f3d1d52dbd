"""Batches of an encoder-decoder: a source to read, the target so far, and the target to come."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from utils.data.batches import IGNORE, Batch, generator_for, sharded


def seq2seq_batch(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], pad: int, begin: int, end: int
) -> Batch:
    """Ids of sources and targets as a batch: `input_ids`, `attention_mask` (B, S), `decoder_ids`, `targets` (B, T).

    The decoder reads the target shifted by one, begun with `begin`; it is to write the target, ended with `end`.
    Raises: ValueError for unequal numbers, or an empty source.
    """
    if len(sources) != len(targets) or not all(len(source) for source in sources):
        raise ValueError(
            f"seq2seq batch: expected as many targets as sources, no source empty; got {len(targets)} for "
            f"{len(sources)}"
        )
    input_ids = pad_sequence([torch.tensor(list(source)) for source in sources], batch_first=True, padding_value=pad)
    lengths = torch.tensor([len(source) for source in sources])
    shifted = [torch.tensor([begin, *target]) for target in targets]
    expected = [torch.tensor([*target, end]) for target in targets]
    return {
        "input_ids": input_ids,
        "attention_mask": torch.arange(input_ids.shape[1]) < lengths[:, None],
        "decoder_ids": pad_sequence(shifted, batch_first=True, padding_value=pad),
        "targets": pad_sequence(expected, batch_first=True, padding_value=IGNORE),
    }


def with_unknowns(ids: Tensor, share: float, unknown: int, kept: Sequence[int], random: np.random.Generator) -> Tensor:
    """Ids with a share of them replaced by `unknown`, never those in `kept`: the network must do without some words."""
    chosen = torch.from_numpy(random.random(tuple(ids.shape)) < share) & ~torch.isin(ids, torch.tensor(list(kept)))
    return torch.where(chosen, unknown, ids)


def seq2seq_batches(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int,
    seed: int,
    make: Callable[[list[int], np.random.Generator], Batch],
    start: int = 0,
) -> Iterator[Batch]:
    """Batches without end, rows of similar length together, every row once a pass, in an order of the seed's.

    `make(rows, random)` gives the batch of these row numbers.
    Raises: ValueError for fewer rows than a batch has.
    """
    if len(sources) < batch_size:
        raise ValueError(f"seq2seq batches: expected at least batch_size={batch_size} rows, got {len(sources)}")
    lengths = np.array([len(s) + len(t) for s, t in zip(sources, targets, strict=True)])
    a_pass = len(sources) // batch_size

    def of(m: int) -> Batch:
        random = generator_for(seed, m // a_pass)  # one order a pass
        # Noise before sorting, so that neighbors in length change from pass to pass.
        order = np.argsort(lengths + random.uniform(0, 4, len(lengths)), kind="stable")
        first = int(random.integers(len(order) - a_pass * batch_size + 1))
        batch = random.permutation(a_pass)[m % a_pass]
        rows = order[first + batch * batch_size : first + (batch + 1) * batch_size]
        return make(rows.tolist(), generator_for(seed + 1, m))

    return sharded(of, start)
