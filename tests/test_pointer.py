"""The pointer-generator: equal to See's equations by loops, a distribution, causal, and the same step by step."""

import dataclasses
import math

import pytest
import torch

from utils.models.attention import KVCache
from utils.models.beam import beam_search
from utils.models.config import TransformerConfig
from utils.models.encoder_decoder import EncoderDecoder
from utils.models.pointer import PointerGenerator, greedy

CONFIG = TransformerConfig(23, context_length=16, d_model=12, n_layers=2, n_heads=3)


@pytest.fixture
def model():
    torch.manual_seed(5)
    model = PointerGenerator(CONFIG).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


SOURCE = torch.tensor([[3, 7, 7, 9, 1], [4, 5, 0, 0, 0]])
MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])
TARGET = torch.tensor([[1, 7, 2], [1, 4, 22]])


@torch.no_grad()
def test_it_equals_the_published_equations_by_loops(model):
    log_probs = model(SOURCE, TARGET, MASK)
    encoded = model.encode(SOURCE, MASK)
    hidden = model.decode(TARGET, encoded, MASK)[0]
    for b in range(2):
        for t in range(3):
            written = model.output(hidden)[b, t].softmax(-1)
            q = model.pointer_query(hidden[b, t])
            keys = [model.pointer_key(encoded[b, s]) for s in range(5) if MASK[b, s]]
            going_on = [s > 0 and SOURCE[b, s - 1] == TARGET[b, t] for s in range(len(keys))]
            scores = [
                math.exp(float(q @ k) / math.sqrt(12) + bool(bonus) * float(model.follow))
                for k, bonus in zip(keys, going_on, strict=True)
            ]
            copying = torch.sigmoid(model.gate(hidden[b, t]))
            expected = (1 - copying) * written
            for s, score in enumerate(scores):
                expected[SOURCE[b, s]] += (copying * score / sum(scores))[0]
            torch.testing.assert_close(log_probs[b, t].exp(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 3).double(), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_copied_run_goes_on(model):
    model.gate.bias.fill_(60.0)
    model.gate.weight.zero_()
    model.pointer_query.weight.zero_()
    model.follow.fill_(60.0)
    source = torch.tensor([[1, 9, 4, 6, 4, 5]])
    written = greedy(model.given(source), 1, begin=1, end=2, most=2)
    assert written == [[9, 4]]
    after = model(source, torch.tensor([[1, 9, 4]])).exp()[0, 2]
    assert after[[6, 5]].tolist() == pytest.approx([0.5, 0.5])  # 4 stands twice: what follows either is as likely


def test_a_closed_gate_is_the_plain_encoder_decoder(model):
    plain = EncoderDecoder(CONFIG).double().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.fill_(-60.0)
    expected = plain(SOURCE, TARGET, MASK).log_softmax(-1)
    torch.testing.assert_close(model(SOURCE, TARGET, MASK), expected, rtol=0, atol=1e-5)


def test_padding_of_the_source_changes_nothing(model):
    torch.testing.assert_close(
        model(SOURCE, TARGET, MASK)[1:], model(SOURCE[1:, :2], TARGET[1:], MASK[1:, :2]), rtol=0, atol=1e-6
    )


def test_loss_is_the_sum_over_targets(model):
    targets = torch.tensor([[7, 2, -100], [4, -100, -100]])
    log_probs = model(SOURCE, TARGET, MASK)
    expected = -(log_probs[0, 0, 7] + log_probs[0, 1, 2] + log_probs[1, 0, 4])
    torch.testing.assert_close(model(SOURCE, TARGET, MASK, targets), expected)


def test_step_by_step_with_a_cache_is_the_same(model):
    given, cache = model.given(SOURCE, MASK), KVCache()
    steps = torch.cat([given(TARGET[:, t : t + 1], cache=cache) for t in range(3)], dim=1)
    torch.testing.assert_close(steps, model(SOURCE, TARGET, MASK), rtol=0, atol=1e-6)


def test_greedy_is_a_search_with_one_beam(model):
    found = greedy(model.given(SOURCE, MASK), 2, begin=1, end=2, most=8, banned=())
    for row in range(2):
        source = SOURCE[row : row + 1, : int(MASK[row].sum())]
        best = beam_search(model.given(source), torch.tensor([[1]]), 8, 1, stop=2)[0].tokens
        assert found[row] == [token for token in best if token != 2]
    banned = greedy(model.given(SOURCE, MASK), 2, begin=1, end=2, most=8, banned=tuple(set(found[0])))
    assert not set(found[0]) & set(banned[0])


def test_untied_vocabularies_cannot_copy():
    with pytest.raises(ValueError, match="tied=True"):
        PointerGenerator(dataclasses.replace(CONFIG, tied=False))
