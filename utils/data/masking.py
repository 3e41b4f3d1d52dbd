"""Batches for BERT's two tasks: words masked at random, and pairs of passages that follow one another or do not."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from utils import environment
from utils.data.batches import IGNORE, Batch, Slices, TokenCorpus, generator_for, length_at, sharded


@dataclass(frozen=True)
class MaskingIds:
    """The token ids that masking needs; ids below `first_word` are special and never masked or drawn."""

    cls: int
    sep: int
    mask: int
    first_word: int
    vocab_size: int


def mask_words(
    input_ids: np.ndarray, ids: MaskingIds, random: np.random.Generator, rate: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Choose `rate` of the words; of those 80 % become the mask token, 10 % a random word, 10 % stay.

    Shapes: input_ids (B, T) -> corrupted ids (B, T), targets (B, T) with the original id where chosen, else -100.
    Raises: ValueError unless 0 < rate <= 1.
    Source: Devlin et al. 2019, section 3.1, task 1.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"mask_words: expected a rate above 0 and at most 1, got {rate}")
    chosen = (random.random(input_ids.shape) < rate) & (input_ids >= ids.first_word)
    fate = random.random(input_ids.shape)
    words = random.integers(ids.first_word, ids.vocab_size, input_ids.shape)
    corrupted = np.where(chosen & (fate < 0.8), ids.mask, input_ids)
    corrupted = np.where(chosen & (fate >= 0.8) & (fate < 0.9), words, corrupted)
    return corrupted, np.where(chosen, input_ids, IGNORE)


def split_point(text: np.ndarray, ends: np.ndarray, random: np.random.Generator) -> int:
    """Where to cut a passage in two: in its middle half, behind the end of a sentence if there is one."""
    low, high = len(text) // 4, 3 * len(text) // 4
    places = np.flatnonzero(np.isin(text[low:high], ends)) + low + 1
    return int(random.choice(places)) if len(places) else int(random.integers(low, high))


def pair_rows(
    text: np.ndarray, ids: MaskingIds, sentence_ends: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows `[CLS] A [SEP] B [SEP]` of passages that stand one behind the other in a text; a coin decides of each row
    whether B follows A there.

    Shapes: text (B, T - 3) -> token ids (B, T), segment ids (B, T), and whether B follows (B,).
    """
    n_rows, width = text.shape
    stream = text.reshape(-1)
    cuts = [row * width + split_point(text[row], sentence_ends, random) for row in range(n_rows)]
    follows = random.random(n_rows) < 0.5
    rows, segments = np.empty((n_rows, width + 3), np.int64), np.zeros((n_rows, width + 3), np.int64)
    for row, cut in enumerate(cuts):
        first = stream[row * width : cut]
        # A false second part begins at another row's cut; the last row's is left out, because text may end too soon
        # behind it.
        begin = cut if follows[row] else cuts[random.choice([other for other in range(n_rows - 1) if other != row])]
        second = stream[begin : begin + width - len(first)]
        rows[row] = np.concatenate([[ids.cls], first, [ids.sep], second, [ids.sep]])
        segments[row, len(first) + 2 :] = 1
    return rows, segments, follows


def masked_pair_batches(
    corpus: TokenCorpus,
    ids: MaskingIds,
    sentence_ends: np.ndarray,
    lengths: int | tuple[tuple[int, int], ...] = 128,
    tokens_per_batch: int = 8192,
    seed: int = 0,
    start: int = 0,
    n: int | None = None,
    rate: float = 0.15,
    shift_within: int | None = None,
    shift_from: int = 0,
) -> Iterator[Batch]:
    """Rows `[CLS] A [SEP] B [SEP]` with masked words; in half of the rows B follows A in the text, in half it comes
    from elsewhere.

    Documents are packed end to end with [SEP] between, so no row needs padding. With `shift_within`, a model's
    context_length, the positions of each row begin at a random place that leaves it room, from micro-batch `shift_from`
    on: so short rows train all positions.
    Shapes: input_ids, segment_ids and targets (B, T); next_sentence (B,), 0 where B follows A and 1 where not; with
    shifts also first_position (B,).
    Raises: ValueError for fewer than three rows a batch: a false second part needs another row to come from.
    Source: Devlin et al. 2019, section 3.1; packing across documents as in Liu et al. 2019, section 4.2; shifts as in
    Kiyono et al. 2021, "SHAPE", section 3.
    """
    slices = Slices(corpus, tokens_per_batch, ids.sep, seed)
    world = environment.world_size()

    def make(m: int) -> Batch:
        random, length = generator_for(seed, m), length_at(lengths, m // world)
        n_rows, width = tokens_per_batch // length, length - 3
        if n_rows < 3:
            raise ValueError(
                f"masked pairs: expected at least 3 rows a batch, got {n_rows}; raise tokens_per_batch or "
                f"shorten the rows"
            )
        text = slices(m)[: n_rows * width]
        rows, segments, follows = pair_rows(text.reshape(n_rows, width), ids, sentence_ends, random)
        corrupted, targets = mask_words(rows, ids, random, rate)
        shifts = {}
        if shift_within is not None and m // world >= shift_from:
            shifts["first_position"] = torch.from_numpy(random.integers(0, shift_within - length + 1, n_rows))
        return shifts | {
            "input_ids": torch.from_numpy(corrupted),
            "segment_ids": torch.from_numpy(segments),
            "targets": torch.from_numpy(targets),
            "next_sentence": torch.from_numpy((~follows).astype(np.int64)),
        }

    return sharded(make, start, n)
