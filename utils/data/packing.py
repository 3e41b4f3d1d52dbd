"""Texts of different lengths in one rectangle: padded, padded among their like, or packed with a mask between them.

Each of the three reads the same tokens; they differ in how much of the rectangle is wasted.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from utils.data.batches import IGNORE, Batch, TokenCorpus, pad

ORDERS = ("padded", "bucketed", "packed")


def pieces(corpus: TokenCorpus, length: int, separator: int) -> list[list[int]]:
    """Each document after a separator, cut into pieces of at most `length` + 1 tokens that overlap by one.

    So every token of a document is the target of exactly one piece.
    Raises: ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"pieces: expected a length of at least 1, got {length}")
    found = []
    for i in range(len(corpus)):
        ids = [separator, *corpus.document(i).tolist()]
        found += [ids[start : start + length + 1] for start in range(0, len(ids) - 1, length)]
    return found


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of items, longest items first, each in the first row that has room; at most 11/9 of the best possible + 1.

    Raises: ValueError for an item that is longer than a row.
    Source: Johnson 1973, "Near-Optimal Bin Packing Algorithms" (first fit decreasing); Yue 1991 for the bound.
    """
    longest = max(lengths, default=0)
    if longest > capacity:
        raise ValueError(f"packing: expected items of at most {capacity} tokens, got one of {longest}; cut it first")
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, free in enumerate(room) if free >= lengths[i]), None)
        if place is None:
            place = len(rows)
            rows.append([])
            room.append(capacity)
        rows[place].append(i)
        room[place] -= lengths[i]
    return rows


def document_mask(document: Tensor) -> Tensor:
    """True where query and key belong to the same document. Shapes: (B, T) numbers of documents -> (B, T, T)."""
    return document[:, :, None] == document[:, None, :]


def padded_batch(texts: Sequence[Sequence[int]], pad_id: int, given: Sequence[int] | None = None) -> Batch:
    """One text a row, filled up on the right; what is filled in is no target, and no real token looks at it.

    The first `given` tokens of a text (a prompt) are read and no targets: the loss is that of the answer alone.
    Shapes: input_ids and targets (B, T), T the longest text less one.
    Raises: ValueError unless each text has at least one token, and one more than is given.
    """
    given = _checked_given(texts, given)
    ids, real = pad([list(text) for text in texts], pad_id)
    targets = ids.masked_fill(~real | (torch.arange(ids.shape[1]) < torch.tensor(given)[:, None]), IGNORE)
    return {"input_ids": ids[:, :-1].contiguous(), "targets": targets[:, 1:].contiguous()}


def _checked_given(texts: Sequence[Sequence[int]], given: Sequence[int] | None) -> list[int]:
    """How many first tokens of each text are given; none unless said."""
    given = [0] * len(texts) if given is None else list(given)
    wrong = [(len(text), n) for text, n in zip(texts, given, strict=True) if not 0 <= n < len(text)]
    if wrong:
        raise ValueError(f"batches: expected at least one token behind those given, got {wrong[0][0]} tokens and "
                         f"{wrong[0][1]} given; leave the text out, or shorten its prompt")
    return given


def packed_batch(
    rows: Sequence[Sequence[Sequence[int]]], length: int, pad_id: int, given: Sequence[Sequence[int]] | None = None
) -> Batch:
    """Several texts a row: each sees itself alone, and counts its positions from 0.

    The first `given` tokens of a text are read and no targets, as in `padded_batch`.
    Shapes: input_ids, targets and first_position (B, T); attention_mask (B, T, T), which the model makes causal.
    Raises: ValueError for a row that is too long, or a text without a token behind those given.
    """
    shape = (len(rows), length)
    ids, targets = torch.full(shape, pad_id), torch.full(shape, IGNORE)
    positions, document = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for r, texts in enumerate(rows):
        start = 0
        hidden = _checked_given(texts, None if given is None else given[r])
        for number, text in enumerate(texts, 1):
            end = start + len(text) - 1
            if end > length:
                raise ValueError(f"packing: expected texts of {length + 1} tokens together at most, got more in a row")
            ids[r, start:end], targets[r, start:end] = torch.tensor(text[:-1]), torch.tensor(text[1:])
            targets[r, start : start + max(hidden[number - 1] - 1, 0)] = IGNORE
            positions[r, start:end], document[r, start:end] = torch.arange(end - start), number
            start = end
    mask = document_mask(document)
    return {"input_ids": ids, "targets": targets, "attention_mask": mask, "first_position": positions}


def batches_of(
    texts: Sequence[Sequence[int]],
    order: str,
    length: int,
    tokens_per_batch: int,
    pad_id: int,
    seed: int = 0,
    given: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Endless batches of about `tokens_per_batch` places: "padded" in random order, "bucketed" by length, or "packed".

    Each epoch reads every text once, in an order drawn anew. The first `given` tokens of each text are no targets.
    Raises: ValueError for an unknown order, or a batch smaller than a row.
    """
    if order not in ORDERS:
        raise ValueError(f"batches: expected one of {ORDERS}, got {order!r}")
    if not texts or tokens_per_batch < length:
        raise ValueError(f"batches: expected some texts and at least {length} tokens a batch, got {len(texts)} texts "
                         f"and {tokens_per_batch} tokens")
    given = _checked_given(texts, given)
    sizes = np.array([len(text) - 1 for text in texts])
    epoch = 0
    while True:
        random = np.random.default_rng([seed, 4, epoch])
        epoch += 1
        if order == "packed":
            rows = _packed_rows(sizes, length, random)
            n = tokens_per_batch // length
            for i in range(0, len(rows), n):
                chosen = [[texts[j] for j in row] for row in rows[i : i + n]]
                hidden = [[given[j] for j in row] for row in rows[i : i + n]]
                yield packed_batch(chosen, length, pad_id, hidden)
            continue
        jitter = random.uniform(0.9, 1.1, len(sizes)) if order == "bucketed" else random.permutation(len(sizes)) / sizes
        groups = _groups(np.argsort(sizes * jitter), sizes, tokens_per_batch)
        for g in random.permutation(len(groups)):
            yield padded_batch([texts[j] for j in groups[g]], pad_id, [given[j] for j in groups[g]])


def _packed_rows(sizes: np.ndarray, length: int, random: np.random.Generator) -> list[list[int]]:
    """Rows of an epoch: first fit over a random thousand at a time, so that the neighbors change; then shuffled."""
    shuffled = random.permutation(len(sizes))
    rows = []
    for i in range(0, len(shuffled), 1000):
        some = shuffled[i : i + 1000]
        rows += [[int(some[j]) for j in row] for row in first_fit(sizes[some].tolist(), length)]
    return [rows[r] for r in random.permutation(len(rows))]


def _groups(order: np.ndarray, sizes: np.ndarray, tokens: int) -> list[list[int]]:
    """Texts in order, as many to a group as their rectangle has room for."""
    groups: list[list[int]] = [[]]
    widest = 0
    for i in order.tolist():
        widest = max(widest, int(sizes[i]))
        if groups[-1] and (len(groups[-1]) + 1) * widest > tokens:
            groups.append([])
            widest = int(sizes[i])
        groups[-1].append(i)
    return groups


def wasted(batch: Batch) -> float:
    """Share of a batch's places that are no target."""
    return float((batch["targets"] == IGNORE).float().mean())
