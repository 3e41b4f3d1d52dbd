"""From documents to batches: tokenize, pack, shard over ranks; stateless, so that a run resumes anywhere.

A batch is a dictionary of tensors that always has `targets`; -100 marks what is not predicted. Micro-batch number m
holds the
same rows in every run: they follow from (seed, m) alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from utils import environment

IGNORE = -100
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TokenCorpus:
    """Tokenized documents end to end: `tokens` (N,) and the `offsets` (n_documents + 1,) where each begins.

    Raises: ValueError for a corpus without a token.
    """

    tokens: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        if len(self.tokens) == 0:
            raise ValueError("corpus: expected at least one token, got none; check the text file or the split's name")

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    def document(self, i: int) -> np.ndarray:
        """Tokens of document i."""
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]

    def stream(self, order: np.ndarray, separator: int) -> np.ndarray:
        """The documents in the given order, end to end, a separator before each."""
        parts = []
        for i in order:
            parts += [(separator,), self.document(i)]
        return np.concatenate(parts).astype(np.int32)


def tokenize(documents: Iterable[str], tokenizer: Tokenizer) -> TokenCorpus:
    """Token ids of all documents, without special tokens."""
    encodings = tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)
    lengths = [len(encoding.ids) for encoding in encodings]
    tokens = np.fromiter(
        (token for encoding in encodings for token in encoding.ids), dtype=np.int32, count=sum(lengths)
    )
    return TokenCorpus(tokens, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def generator_for(seed: int, micro_batch: int) -> np.random.Generator:
    """The random numbers of one micro-batch: the same in every run and after every resume."""
    return np.random.default_rng([seed, micro_batch])


class Slices:
    """Consecutive slices of a corpus, shuffled by document anew each epoch; slice m is a function of (seed, m).

    Raises: ValueError if the corpus is shorter than one slice.
    """

    def __init__(self, corpus: TokenCorpus, n_tokens: int, separator: int, seed: int) -> None:
        self.corpus, self.n_tokens, self.separator, self.seed = corpus, n_tokens, separator, seed
        self.per_epoch = (len(corpus.tokens) + len(corpus) - 1) // n_tokens
        if self.per_epoch < 1:
            raise ValueError(
                f"batches: expected a corpus of more than {n_tokens} tokens (one micro-batch), got "
                f"{len(corpus.tokens)}; "
                f"take more text or smaller batches"
            )
        self.epoch, self.text = -1, np.empty(0, dtype=np.int32)

    def __call__(self, m: int) -> np.ndarray:
        """Slice m: n_tokens + 1 tokens, the last one being the first of the next slice. Shapes: (n_tokens + 1,)."""
        epoch, place = divmod(m, self.per_epoch)
        if epoch != self.epoch:
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.corpus))
            self.epoch, self.text = epoch, self.corpus.stream(order, self.separator)
        return self.text[place * self.n_tokens : (place + 1) * self.n_tokens + 1]


def length_at(lengths: int | tuple[tuple[int, int], ...], m: int) -> int:
    """Sequence length of micro-batch m: a number, or ((first micro-batch, length), …) for a schedule."""
    if isinstance(lengths, int):
        return lengths
    return [length for first, length in lengths if first <= m][-1]


def sharded(make: Callable[[int], Batch], start: int = 0, n: int | None = None) -> Iterator[Batch]:
    """Micro-batches `start`, `start` + 1, … of this rank; over all ranks together every number is made once."""
    world, rank = environment.world_size(), environment.rank()
    m = start
    while n is None or m < start + n:
        yield make(m * world + rank)
        m += 1


def next_token_batches(
    corpus: TokenCorpus,
    separator: int,
    lengths: int | tuple[tuple[int, int], ...] = 512,
    tokens_per_batch: int = 8192,
    seed: int = 0,
    start: int = 0,
    n: int | None = None,
) -> Iterator[Batch]:
    """Packed rows for a causal language model, without padding; endless unless `n` is given.

    Shapes: input_ids and targets (tokens_per_batch // length, length); targets are the ids one position on.
    Raises: ValueError for a row longer than tokens_per_batch, or a corpus of fewer tokens.
    """
    slices = Slices(corpus, tokens_per_batch, separator, seed)
    world = environment.world_size()

    def make(m: int) -> Batch:
        text, length = torch.from_numpy(slices(m).astype(np.int64)), length_at(lengths, m // world)
        rows = tokens_per_batch // length
        if rows == 0:
            raise ValueError(f"batches: expected rows of at most tokens_per_batch={tokens_per_batch}, got {length}")
        return {
            "input_ids": text[: rows * length].view(rows, length),
            "targets": text[1 : rows * length + 1].view(rows, length),
        }

    return sharded(make, start, n)


def pad(
    sequences: list[list[int]], pad_id: int, multiple: int = 1, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Sequences as one rectangle, padded on the right (or `left`) to the longest, and on to a `multiple`.

    Few different widths save memory: in bf16 on a CPU, the kernels compiled for each new shape hold several megabytes.
    Shapes: input_ids (B, T), attention_mask (B, T) with True at real tokens.
    """
    width = max(len(sequence) for sequence in sequences)
    width += -width % multiple
    ids = torch.full((len(sequences), width), pad_id)
    for row, sequence in enumerate(sequences):
        start = width - len(sequence) if left else 0
        ids[row, start : start + len(sequence)] = torch.tensor(sequence)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    places = torch.arange(width).flip(0) if left else torch.arange(width)
    return ids, places < lengths[:, None]


def similar_lengths(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """The row numbers of one epoch's batches: rows of about equal length together, the batches in random order."""
    order = np.argsort(lengths * random.uniform(0.8, 1.25, len(lengths)))
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    for g in random.permutation(len(groups)):
        yield groups[g]


def classification_batches(
    sequences: list[list[int]],
    labels: list[int] | None,
    pad_id: int,
    batch_size: int = 32,
    seed: int | None = None,
    start: int = 0,
    n: int | None = None,
    multiple: int = 1,
) -> Iterator[Batch]:
    """Padded batches of tokenized texts with one label each; their width is a `multiple`.

    With a seed: endless and shuffled anew each epoch, this rank's share; without: once through, in order, on every
    rank.
    Shapes: input_ids and attention_mask (B, T), targets (B,).
    Raises: ValueError for no sequences, or as many labels as there are not sequences.
    """
    if not sequences or (labels is not None and len(labels) != len(sequences)):
        raise ValueError(
            f"batches: expected one label for each of at least one sequence, got {len(sequences)} sequences and "
            f"{'no' if labels is None else len(labels)} labels"
        )
    targets = torch.full((len(sequences),), IGNORE) if labels is None else torch.tensor(labels)

    def collate(rows: np.ndarray) -> Batch:
        input_ids, attention_mask = pad([sequences[row] for row in rows], pad_id, multiple)
        return {"input_ids": input_ids, "attention_mask": attention_mask, "targets": targets[torch.from_numpy(rows)]}

    if seed is None:
        rows = np.arange(len(sequences))
        return (collate(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size))
    per_epoch = -(-len(sequences) // batch_size)

    def make(m: int) -> Batch:
        epoch, place = divmod(m, per_epoch)
        order = np.random.default_rng([seed, 2, epoch]).permutation(len(sequences))
        return collate(order[place * batch_size : (place + 1) * batch_size])

    return sharded(make, start, n)
