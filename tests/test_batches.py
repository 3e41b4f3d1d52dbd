"""Batches: pure functions of (seed, number), each token once an epoch, masking and pairs as published."""

import math

import numpy as np
import pytest
import torch

from utils.data import batches, masking
from utils.data.batches import IGNORE, TokenCorpus

SEPARATOR = 0
IDS = masking.MaskingIds(cls=2, sep=3, mask=4, first_word=8, vocab_size=200)
ENDS = np.array([10, 11])


def corpus(n_documents=23, seed=0, low=8, high=200, longest=60):
    """Documents of uneven length, an empty one among them."""
    generator = np.random.default_rng(seed)
    documents = [generator.integers(low, high, n) for n in [0, 1, *generator.integers(1, longest, n_documents - 2)]]
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    return TokenCorpus(np.concatenate(documents).astype(np.int32), offsets)


def numbered(n=100_000):
    """One document in which each token is its own place, so that a row tells where it comes from."""
    return TokenCorpus(np.arange(8, n + 8, dtype=np.int32), np.array([0, n]))


def next_token(**options):
    return batches.next_token_batches(corpus(), SEPARATOR, **{"lengths": 7, "tokens_per_batch": 21, **options})


def pairs(**options):
    options = {"lengths": 16, "tokens_per_batch": 64, **options}
    return masking.masked_pair_batches(corpus(200), IDS, ENDS, **options)


def classified(**options):
    sequences = [[1 + i] * (1 + i % 5) for i in range(23)]
    return batches.classification_batches(
        sequences, list(range(23)), pad_id=0, **{"batch_size": 5, "seed": 0, **options}
    )


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("make", [next_token, pairs, classified])
def test_a_micro_batch_is_a_function_of_seed_and_number_and_a_run_resumes_anywhere(make):
    straight = list(make(n=150, seed=3))
    assert len(straight) == 150
    for start in (1, 37, 149):
        assert all(equal(a, b) for a, b in zip(make(start=start, n=150 - start, seed=3), straight[start:], strict=True))
    assert not equal(next(make(seed=4)), straight[0]) and not equal(straight[0], straight[1])


@pytest.mark.parametrize("make", [next_token, pairs, classified])
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_take_turns_and_together_make_every_micro_batch_once(make, world, monkeypatch):
    alone = list(make(n=6 * world, seed=1))
    monkeypatch.setenv("WORLD_SIZE", str(world))
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        own = list(make(n=6, seed=1))
        assert all(equal(a, b) for a, b in zip(own, alone[rank::world], strict=True))
        assert equal(next(make(start=4, seed=1)), alone[4 * world + rank])


def test_an_epoch_covers_every_token_once_and_the_next_one_in_another_order():
    text = corpus()
    stream = len(text.tokens) + len(text)  # with a separator before each document
    per_epoch = (stream - 1) // 21
    first, second = (
        torch.cat([b["input_ids"].flatten() for b in next_token(start=e * per_epoch, n=per_epoch)]) for e in (0, 1)
    )
    tail = stream - 21 * per_epoch
    assert 1 <= tail <= 21
    whole = np.bincount(np.concatenate([text.tokens, [SEPARATOR] * len(text)]), minlength=200)
    for epoch in (first, second):
        left = whole - np.bincount(epoch.numpy(), minlength=200)
        assert (left >= 0).all() and left.sum() == tail
    assert not torch.equal(first, second)


def test_targets_are_the_ids_one_position_on_across_rows_and_micro_batches():
    parts = list(next_token(n=10))
    ids, targets = (torch.cat([part[name].flatten() for part in parts]) for name in ("input_ids", "targets"))
    assert parts[0]["input_ids"].shape == (3, 7)
    assert torch.equal(ids[1:], targets[:-1])


def test_documents_stay_whole_and_are_set_apart_by_the_separator():
    text = corpus()
    stream = text.stream(np.arange(len(text)), SEPARATOR)
    assert len(text) == 23 and stream[0] == SEPARATOR
    for found, i in zip(np.split(stream, np.flatnonzero(stream == SEPARATOR))[1:], range(23), strict=True):
        assert np.array_equal(found[1:], text.document(i))


def test_a_schedule_of_lengths_changes_the_shape_from_its_micro_batch_on():
    shapes = [tuple(b["input_ids"].shape) for b in next_token(lengths=((0, 7), (2, 10), (3, 21)), n=5)]
    assert shapes == [(3, 7), (3, 7), (2, 10), (1, 21), (1, 21)]


def rows_of(n_batches=60, **options):
    """Many masked rows over a corpus of words alone."""
    options = {"lengths": 64, "tokens_per_batch": 2048, "seed": 5, "n": n_batches, **options}
    return list(masking.masked_pair_batches(corpus(3000, longest=200), IDS, ENDS, **options))


def within(successes, trials, p, deviations=4.5):
    """Whether a count lies within a binomial interval that fails once in 150,000 draws."""
    return abs(successes - p * trials) < deviations * math.sqrt(trials * p * (1 - p))


def test_fifteen_percent_of_the_words_are_chosen_and_of_those_80_10_10_masked_replaced_kept():
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 200, (200, 517))
    corrupted, targets = masking.mask_words(ids, IDS, generator)
    chosen, words = targets != IGNORE, ids >= IDS.first_word
    assert within(chosen.sum(), words.sum(), 0.15)
    assert not (chosen & ~words).any()
    assert np.array_equal(targets[chosen], ids[chosen]) and np.array_equal(corrupted[~chosen], ids[~chosen])
    masked, kept = (corrupted == IDS.mask) & chosen, (corrupted == ids) & chosen
    n, same = chosen.sum(), 1 / 192  # a random word is the old one once in 192 draws
    assert within(masked.sum(), n, 0.8)
    assert within(kept.sum(), n, 0.1 + 0.1 * same)
    random = corrupted[chosen & ~masked & ~kept]
    assert within(len(random), n, 0.1 * (1 - same)) and random.min() >= IDS.first_word and random.max() == 199
    assert max(np.bincount(random)[8:]) < 5 * len(random) / 192


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, math.nan])
def test_a_masking_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="rate above 0"):
        masking.mask_words(np.zeros((1, 4), int), IDS, np.random.default_rng(0), rate)


def test_masked_rows_are_cls_a_sep_b_sep_and_specials_are_never_chosen():
    for part in rows_of(5):
        ids, targets, segments = part["input_ids"], part["targets"], part["segment_ids"]
        original = torch.where(targets == IGNORE, ids, targets)
        assert ids.shape == (32, 64) and (ids[:, 0] == IDS.cls).all() and (ids[:, -1] == IDS.sep).all()
        assert (targets[original < IDS.first_word] == IGNORE).all()
        boundary = segments.argmax(1) - 1
        assert (original.gather(1, boundary[:, None]) == IDS.sep).all()
        assert (segments.diff(dim=1) >= 0).all() and (segments[:, -1] == 1).all()
        sizes = segments.sum(1) - 1
        assert sizes.min() >= 61 // 4 and sizes.max() <= 61 - 61 // 4


def test_shifted_rows_begin_anywhere_in_the_context_from_their_micro_batch_on():
    options = dict(lengths=((0, 16), (3, 32)), tokens_per_batch=640, seed=5)
    plain = list(pairs(**options, n=6))
    shifted = list(pairs(**options, n=6, shift_within=40, shift_from=2))
    for m, (a, b) in enumerate(zip(plain, shifted, strict=True)):
        first = b.pop("first_position", None)
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert (first is None) == (m < 2)
        if first is not None:
            room = 40 - a["input_ids"].shape[1]
            assert first.shape == (len(a["input_ids"]),) and 0 <= first.min() and first.max() <= room
            assert len(first.unique()) > room / 2


def test_half_of_the_pairs_are_true_ones():
    labels = torch.cat([part["next_sentence"] for part in rows_of()])
    assert within(int(labels.sum()), len(labels), 0.5)


def test_a_true_pair_is_contiguous_text_and_a_false_one_is_not():
    # The separator before the one document is 7, so that the text counts on from it: 7, 8, 9, …
    ids = masking.MaskingIds(cls=2, sep=7, mask=4, first_word=8, vocab_size=100_008)
    seen = {0: 0, 1: 0}
    for part in masking.masked_pair_batches(numbered(), ids, ENDS, 32, 1024, seed=1, n=20):
        whole = torch.where(part["targets"] == IGNORE, part["input_ids"], part["targets"])
        for row, segments, label in zip(whole, part["segment_ids"], part["next_sentence"], strict=True):
            first, second = row[segments == 0][1:-1], row[segments == 1][:-1]
            assert (first.diff() == 1).all() and (second.diff() == 1).all() and len(first) + len(second) == 29
            assert (int(second[0]) == int(first[-1]) + 1) == (int(label) == 0)
            seen[int(label)] += 1
    assert min(seen.values()) > 200


def test_passages_are_cut_behind_the_end_of_a_sentence_where_there_is_one():
    generator, text = np.random.default_rng(0), np.full(40, 50)
    text[[3, 17, 24, 35]] = 10  # the first and the last lie outside of the middle half
    assert {masking.split_point(text, ENDS, generator) for _ in range(50)} == {18, 25}
    cuts = {masking.split_point(np.full(40, 50), ENDS, generator) for _ in range(300)}
    assert cuts == set(range(10, 30))


def test_fewer_than_three_rows_cannot_make_a_false_pair():
    with pytest.raises(ValueError, match="at least 3 rows a batch, got 2"):
        next(pairs(lengths=32))


def test_padding_is_on_the_right_and_marked():
    ids, mask = batches.pad([[5, 6, 7], [8], [9, 9]], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1], [9, 9, 1]]
    assert mask.dtype == torch.bool and mask.sum(1).tolist() == [3, 1, 2] and mask[1, 0]


def test_classification_batches_without_a_seed_go_through_once_in_order_on_every_rank(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    parts = list(classified(seed=None))
    assert torch.cat([part["targets"] for part in parts]).tolist() == list(range(23))
    assert [len(part["targets"]) for part in parts] == [5, 5, 5, 5, 3]
    for part in parts:
        for ids, mask, label in zip(*part.values(), strict=True):
            assert ids[mask].tolist() == [1 + int(label)] * (1 + int(label) % 5) and (ids[~mask] == 0).all()


def test_shuffled_classification_batches_see_each_row_once_an_epoch_in_new_orders():
    epochs = [torch.cat([part["targets"] for part in classified(start=e * 5, n=5)]).tolist() for e in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[2])


def test_without_labels_no_row_has_a_target():
    part = next(batches.classification_batches([[1], [2, 3]], None, 0))
    assert (part["targets"] == IGNORE).all()


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: TokenCorpus(np.empty(0, np.int32), np.array([0])), "expected at least one token"),
        (lambda: next(next_token(tokens_per_batch=10_000)), "more than 10000 tokens"),
        (lambda: next(next_token(lengths=22)), "rows of at most tokens_per_batch=21, got 22"),
        (lambda: batches.classification_batches([], [], 0), "0 sequences and 0 labels"),
        (lambda: batches.classification_batches([[1], [2]], [1], 0), "2 sequences and 1 labels"),
    ],
    ids=["empty corpus", "short corpus", "long row", "no sequences", "label missing"],
)
def test_nothing_to_make_batches_of_is_one_clear_error(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_tokenizing_keeps_documents_apart_without_special_tokens():
    from utils.data.sources import load_tokenizer

    tokenizer, texts = load_tokenizer("all-minilm-l6-v2"), ["Good film.", "", "So bad, so long!"]
    found = batches.tokenize(texts, tokenizer)
    assert len(found) == 3 and len(found.document(1)) == 0
    for i, text in enumerate(texts):
        assert found.document(i).tolist() == tokenizer.encode(text, add_special_tokens=False).ids
    with pytest.raises(ValueError, match="expected at least one token"):
        batches.tokenize(["", "  "], tokenizer)
