"""Norms, gated feed-forward layers and mixtures of experts, against their formulas and Hugging Face's modules."""

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, MixtralConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func

from utils.models.blocks import Block, FeedForward, MixtureOfExperts, load_balance, make_norm
from utils.models.config import TransformerConfig

SIZES = dict(vocab_size=11, d_model=14, n_layers=1, n_heads=2)
MIXTRAL = dict(gated=True, activation="silu", bias=False, d_ff=19, n_experts=5, experts_per_token=3)
EXACT = dict(rtol=0, atol=1e-5)


def config(**options):
    return TransformerConfig(**{**SIZES, **options})


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(module, seed=0):
    """A module whose weights are far from where they start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


def test_rms_norm_divides_by_the_root_mean_square_and_equals_llamas():
    ours, x = shaken(make_norm(config(norm="rms", norm_epsilon=1e-3))), 3 * random(5, 14) + 1
    theirs = LlamaRMSNorm(14, eps=1e-3)
    theirs.load_state_dict(ours.state_dict())
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * ours.weight
    torch.testing.assert_close(ours(x), expected, **EXACT)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


def test_without_biases_there_are_none_anywhere():
    for norm in ("layer", "rms"):
        block = Block(config(bias=False, norm=norm, gated=True), causal=True, cross=True)
        assert not [name for name, _ in block.named_parameters() if name.endswith("bias")]


def test_a_gated_layer_equals_llamas():
    ours, x = shaken(FeedForward(config(gated=True, activation="silu", bias=False, d_ff=19))), random(3, 5, 14)
    theirs = LlamaMLP(LlamaConfig(hidden_size=14, num_attention_heads=1, intermediate_size=19))
    theirs.gate_proj, theirs.up_proj, theirs.down_proj = ours.gate, ours.expand, ours.contract
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


@pytest.mark.parametrize("d_model", [12, 30, 256])
def test_gated_layers_have_two_thirds_of_the_width_and_nearly_the_same_parameters(d_model):
    plain, gated = (
        FeedForward(TransformerConfig(7, d_model=d_model, n_heads=1, gated=gated, bias=False))
        for gated in (False, True)
    )
    counts = [sum(p.numel() for p in layer.parameters()) for layer in (plain, gated)]
    assert 0 <= counts[0] - counts[1] <= 3 * d_model


def mixtral_pair():
    """Our mixture of experts and Mixtral's, with the same weights."""
    ours = shaken(MixtureOfExperts(config(**MIXTRAL)))
    theirs = MixtralSparseMoeBlock(
        MixtralConfig(
            hidden_size=14, num_attention_heads=2, intermediate_size=19, num_local_experts=5, num_experts_per_tok=3
        )
    ).eval()
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.weight)
        for i, expert in enumerate(ours.experts):
            theirs.experts.gate_up_proj[i] = torch.cat([expert.gate.weight, expert.expand.weight])
            theirs.experts.down_proj[i] = expert.contract.weight
    return ours, theirs


@pytest.mark.parametrize("shape", [(1, 1), (3, 7)])
def test_a_mixture_of_experts_equals_mixtrals_and_its_gradients(shape):
    ours, theirs = mixtral_pair()
    x = random(*shape, 14)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = ours(a), theirs(b)
    torch.testing.assert_close(found, expected, **EXACT)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.router.weight.grad, theirs.gate.weight.grad, rtol=1e-5, atol=1e-5)


def test_a_mixture_of_experts_equals_a_loop_over_positions():
    layer, x = shaken(MixtureOfExperts(config(n_experts=4, experts_per_token=2))), random(2, 5, 14)
    rows = []
    for row in x.flatten(0, 1):
        scores = layer.router.weight @ row
        best = sorted(range(4), key=lambda i: -float(scores[i].detach()))[:2]
        weights = torch.softmax(scores[best], 0)
        rows.append(sum(w * layer.experts[i](row) for w, i in zip(weights, best, strict=True)))
    torch.testing.assert_close(layer(x).flatten(0, 1), torch.stack(rows), **EXACT)


def test_one_expert_is_a_feed_forward_layer():
    layer, x = shaken(MixtureOfExperts(config(n_experts=1, experts_per_token=1))), random(2, 5, 14)
    torch.testing.assert_close(layer(x), layer.experts[0](x), **EXACT)


def test_experts_that_are_not_chosen_do_not_run():
    layer = MixtureOfExperts(config(n_experts=3, experts_per_token=1))
    ran = []
    for expert in layer.experts:
        expert.register_forward_pre_hook(lambda _, inputs: ran.append(len(inputs[0])))
    layer(random(4, 5, 14))
    assert sum(ran) == 20


def test_the_load_balance_equals_the_librarys_and_knows_its_ends():
    logits = random(31, 5)
    probs = logits.softmax(-1)
    chosen = probs.topk(2, -1).indices
    theirs = load_balancing_loss_func((logits,), num_experts=5, top_k=2)
    torch.testing.assert_close(load_balance(probs, chosen), theirs, **EXACT)
    even = torch.full((10, 5), 0.2), torch.arange(10)[:, None].add(torch.arange(2)) % 5
    assert float(load_balance(*even)) == pytest.approx(2)
    one = F.one_hot(torch.zeros(10, dtype=torch.long), 5).float()
    assert float(load_balance(one, torch.zeros(10, 1, dtype=torch.long))) == pytest.approx(5)


@pytest.mark.parametrize("cross", [False, True])
def test_pre_norm_leaves_a_path_without_any_weight_and_post_norm_does_not(cross):
    x, context = random(1, 5, 14), random(1, 3, 14)
    for position in ("pre", "post"):
        block = Block(config(norm_position=position), causal=True, cross=cross)
        for name, parameter in block.named_parameters():
            if "output" in name or "contract" in name:
                torch.nn.init.zeros_(parameter)
        same = torch.equal(block(x, context=context if cross else None)[0], x)
        assert same == (position == "pre")
