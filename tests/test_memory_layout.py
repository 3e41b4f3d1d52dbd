"""The layout for generation: the same numbers, and every parameter back as it was, whatever happens."""

import pytest
import torch
from torch import nn

from tests import tiny
from utils.models import memory_layout
from utils.models.adapters import LoRAConfig, add_lora
from utils.models.attention import KVCache
from utils.models.config import TransformerConfig
from utils.models.generation import generate
from utils.models.memory_layout import MIN_TOKENS, generating
from utils.models.transformer import GPT

ROTARY = {"positions": "rotary", "bias": False, "tied": False}
OPTIONS = [{}, {"n_kv_heads": 1}, ROTARY, {"gated": True, "n_experts": 2}]


def gpt(**options) -> GPT:
    torch.manual_seed(0)
    return GPT(TransformerConfig(vocab_size=97, context_length=70, d_model=24, n_layers=2, n_heads=3, **options))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("options", OPTIONS)
def test_logits_are_the_same_in_either_layout(options, dtype, tolerance, rows):
    model, ids = gpt(**options).to(dtype), torch.randint(97, (rows, 7))
    with torch.inference_mode():
        expected, found = model(ids), {}
        for n_tokens in (0, MIN_TOKENS):
            with generating(model, n_tokens, rows):
                found[n_tokens] = model(ids)
                cache = KVCache()
                stepwise = torch.cat([model(ids[:, t : t + 1], cache=cache) for t in range(7)], dim=1)
            torch.testing.assert_close(found[n_tokens], expected, rtol=0, atol=tolerance)
            torch.testing.assert_close(stepwise, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_layout_changes_only_while_many_tokens_are_generated(rows):
    model = gpt()
    block = model.transformer.blocks[0]
    for n_tokens, changed in ((MIN_TOKENS - 1, False), (MIN_TOKENS, True)):
        with generating(model, n_tokens, rows):
            assert ("forward" in vars(block.feed_forward.expand)) == changed
            assert (block.attention.joined is not None) == (model.ready_head is not None) == changed
        assert "forward" not in vars(block.feed_forward.expand)
        assert block.attention.joined is None and model.ready_head is None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows, columns, places", [(1, 5, 3), (7, 33, 4), (2, 48, 9)])
def test_ready_products_equal_the_linear_layer(rows, columns, places, bias, monkeypatch):
    layer = nn.Linear(columns, 19, bias=bias)
    x = torch.randn(rows, places, columns)
    with torch.inference_mode():
        for packs in (True, False):  # with oneDNN's kernel where there is one, and without it
            if not packs:
                monkeypatch.setattr(memory_layout, "can_pack", lambda matrix: False)
            found = memory_layout.ready_product(layer.weight, layer.bias, rows)(x)
            torch.testing.assert_close(found, layer(x), rtol=0, atol=2e-6)


def test_under_autocast_nothing_is_packed():
    with torch.autocast("cpu", torch.bfloat16):
        assert not memory_layout.can_pack(torch.zeros(3, 3))
    assert not memory_layout.can_pack(torch.zeros(3, 3, dtype=torch.float64))


@pytest.mark.parametrize("training", [True, False])
def test_all_is_as_before_also_after_an_error(training):
    model = gpt().train(training)
    before = {name: (parameter.data_ptr(), parameter.stride()) for name, parameter in model.named_parameters()}
    with pytest.raises(KeyboardInterrupt):
        with generating(model, MIN_TOKENS):
            assert not model.training and model.ready_head is not None
            raise KeyboardInterrupt
    assert model.training == training and model.ready_head is None
    assert not any("forward" in vars(layer) for layer in model.modules())
    assert before == {name: (p.data_ptr(), p.stride()) for name, p in model.named_parameters()}
    model(torch.ones(1, 3, dtype=torch.long), targets=torch.ones(1, 3, dtype=torch.long)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_layers_that_are_more_than_a_matrix_are_left_alone():
    model = gpt()
    add_lora(model, LoRAConfig(rank=2))
    for name, parameter in model.named_parameters():
        if "lora" in name or parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    prompt = torch.randint(97, (1, 5))
    with generating(model, MIN_TOKENS):
        assert all(block.attention.joined is None for block in model.transformer.blocks)
    cached, plain = (generate(model, prompt, 40, temperature=0, use_cache=use_cache) for use_cache in (True, False))
    assert torch.equal(cached, plain)


def test_it_holds_for_any_model_with_linear_layers():
    model = tiny.bert().eval()
    ids = torch.randint(tiny.VOCAB_SIZE, (2, 5))
    expected = model.encode(ids)
    with generating(model, MIN_TOKENS):
        torch.testing.assert_close(model.encode(ids), expected, rtol=0, atol=1e-5)
