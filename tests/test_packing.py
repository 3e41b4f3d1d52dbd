"""Texts padded, bucketed and packed: the same targets, the same losses, and how much is wasted."""

import itertools

import numpy as np
import pytest
import torch

from utils.data import packing
from utils.data.batches import TokenCorpus
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import objectives

LENGTH, VOCAB = 24, 41


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(0)
    return [random.integers(1, VOCAB, size=int(n)).tolist() for n in random.integers(2, LENGTH + 2, size=120)]


def epoch(texts, order, tokens=96, seed=3):
    """The batches of one epoch."""
    target, found, count = sum(len(text) - 1 for text in texts), [], 0
    for batch in packing.batches_of(texts, order, LENGTH, tokens, pad_id=0, seed=seed):
        found.append(batch)
        count += objectives.count_targets(batch)
        if count >= target:
            return found
    raise AssertionError


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("order", packing.ORDERS)
def test_every_order_gives_the_loss_of_each_text_alone(texts, order, positions):
    torch.manual_seed(1)
    model = GPT(TransformerConfig(VOCAB, LENGTH, 12, n_layers=2, n_heads=3, positions=positions)).double()
    with torch.no_grad():
        alone = sum(float(model(torch.tensor([t[:-1]]), targets=torch.tensor([t[1:]]))) for t in texts)
        found = [objectives.next_token(model, batch) for batch in epoch(texts, order)]
    assert sum(count for _, count in found) == sum(len(text) - 1 for text in texts)
    assert float(sum(loss for loss, _ in found)) == pytest.approx(alone, abs=1e-8)


def test_without_mask_or_positions_a_packed_text_sees_its_neighbors(texts):
    torch.manual_seed(1)
    model = GPT(TransformerConfig(VOCAB, LENGTH, 12, n_layers=2, n_heads=3)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    batch = epoch(texts, "packed")[0]
    right = float(objectives.next_token(model, batch)[0].detach())
    for name in ("attention_mask", "first_position"):
        less = {key: value for key, value in batch.items() if key != name}
        assert abs(float(objectives.next_token(model, less)[0].detach()) - right) > 1e-3, name


@pytest.mark.parametrize("order", packing.ORDERS)
def test_batches_fit_follow_from_the_seed_and_change_each_epoch(texts, order):
    def drawn(seed, n=60):
        return list(itertools.islice(packing.batches_of(texts, order, LENGTH, 96, 0, seed), n))

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(a["targets"], b["targets"]) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a["targets"], b["targets"]) for a, b in zip(first, other, strict=True))
    assert all(batch["input_ids"].numel() <= 96 for batch in first)
    n = len(epoch(texts, order))
    assert any(not torch.equal(a["targets"], b["targets"]) for a, b in zip(first[:n], first[n:], strict=False))


def test_packing_wastes_least_and_padding_most(texts):
    waste = {order: np.mean([packing.wasted(batch) for batch in epoch(texts, order, 192)]) for order in packing.ORDERS}
    assert waste["packed"] < 0.1 < waste["padded"] and waste["bucketed"] < waste["padded"]


def test_first_fit_fills_rows_within_capacity_and_uses_every_item_once():
    random = np.random.default_rng(5)
    for _ in range(20):
        lengths = random.integers(1, 30, size=50).tolist()
        rows = packing.first_fit(lengths, 30)
        assert sorted(i for row in rows for i in row) == list(range(50))
        assert all(sum(lengths[i] for i in row) <= 30 for row in rows)
        # Full rows cut into three: the best possible is known.
        cuts = [sorted(random.choice(np.arange(1, 30), size=2, replace=False).tolist()) for _ in range(18)]
        whole = [size for a, b in cuts for size in (a, b - a, 30 - b)]
        assert 18 <= len(packing.first_fit(whole, 30)) <= 11 / 9 * 18 + 1
    assert packing.first_fit([3, 7, 5, 5], 10) == [[1, 0], [2, 3]]
    assert packing.first_fit([], 10) == []


def test_pieces_make_every_token_a_target_once():
    random = np.random.default_rng(6)
    documents = [random.integers(1, 9, size=n) for n in (1, 4, 5, 23)]
    corpus = TokenCorpus(np.concatenate(documents), np.cumsum([0, 1, 4, 5, 23]))
    found = packing.pieces(corpus, 5, separator=0)
    assert all(2 <= len(piece) <= 6 for piece in found)
    assert [token for piece in found for token in piece[1:]] == np.concatenate(documents).tolist()
    assert [piece[0] for piece in found].count(0) == 4


def test_the_mask_separates_documents():
    document = torch.tensor([[1, 1, 2, 0]])
    assert packing.document_mask(document).int().tolist() == [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: packing.first_fit([4, 11], 10), "at most 10 tokens, got one of 11"),
        (lambda: packing.packed_batch([[[1, 2, 3], [4, 5, 6]]], 3, 0), "4 tokens together at most"),
        (lambda: next(packing.batches_of([[1, 2]], "sorted", 4, 8, 0)), "expected one of"),
        (lambda: next(packing.batches_of([[1, 2]], "packed", 8, 4, 0)), "at least 8 tokens a batch"),
        (lambda: next(packing.batches_of([], "packed", 8, 8, 0)), "got 0 texts"),
        (lambda: packing.pieces(TokenCorpus(np.array([1]), np.array([0, 1])), 0, 0), "length of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
