"""Costs counted by hand equal what is measured: tensors, PyTorch's FLOP counter, saved tensors, the profiler."""

import gc
import math
import weakref

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from utils.experiments.precision import saved_bytes
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import costs, objectives, profiling

SIZES = {
    "odd": (TransformerConfig(31, 9, 12, n_layers=2, n_heads=3), 3, 7),
    "one": (TransformerConfig(7, 5, 4, n_layers=1, n_heads=1), 1, 1),
    "two pieces of the loss": (TransformerConfig(77, 130, 24, n_layers=3, n_heads=4, d_ff=50), 5, 130),
}
OPTIONS = {
    "llama": dict(gated=True, activation="silu", norm="rms", bias=False, positions="rotary", n_kv_heads=2, tied=False),
    "experts": dict(n_experts=3),
    "no bias": dict(bias=False),
}


def made(config, rows, length):
    torch.manual_seed(0)
    ids = torch.randint(config.vocab_size, (rows, length))
    return GPT(config), {"input_ids": ids, "targets": torch.randint(config.vocab_size, (rows, length))}


@pytest.mark.parametrize("options", OPTIONS)
def test_parameters_equal_the_models(options):
    config = TransformerConfig(31, 9, 24, n_layers=2, n_heads=4, **OPTIONS[options])
    assert costs.parameters(config) == sum(p.numel() for p in GPT(config).parameters())


def test_gpt3s_shape_counts_just_under_175_billion():
    assert costs.parameters(costs.GPT3) == 174_604_259_328


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_flops_equal_pytorchs_counter(size, recompute):
    config, rows, length = SIZES[size]
    model, batch = made(config, rows, length)
    model.transformer.recompute = recompute
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        objectives.next_token(model, batch)[0].backward()
    assert counter.get_total_flops() == costs.step_flops(config, rows, length, recompute)


@pytest.mark.parametrize("options", ["llama", "no bias"])
def test_forward_flops_of_other_blocks_equal_the_counter(options):
    config = TransformerConfig(31, 9, 24, n_layers=2, n_heads=4, **OPTIONS[options])
    model, batch = made(config, 2, 9)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(batch["input_ids"])
    assert counter.get_total_flops() == 2 * costs.forward_flops(config, 9)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("size", SIZES)
def test_activation_bytes_equal_what_autograd_keeps(size, precision):
    config, rows, length = SIZES[size]
    model, batch = made(config, rows, length)
    assert saved_bytes(model, batch, precision) == costs.activation_bytes(config, rows, length, precision)


def test_optimizer_bytes_equal_torchs():
    config, rows, length = SIZES["odd"]
    model, batch = made(config, rows, length)
    optimizer = torch.optim.AdamW(model.parameters())
    objectives.next_token(model, batch)[0].backward()
    optimizer.step()
    found = costs.memory(config, rows, length)
    states = [tensor for state in optimizer.state.values() for name, tensor in state.items() if name != "step"]
    assert found.optimizer == sum(tensor.nbytes for tensor in states)
    assert found.parameters == sum(p.nbytes for p in model.parameters())
    assert found.gradients == sum(p.grad.nbytes for p in model.parameters())


@pytest.mark.parametrize("recompute", [False, True])
def test_the_profiler_sees_the_same_bytes_after_the_forward_pass(recompute):
    config, rows, length = TransformerConfig(300, 64, 32, n_layers=3, n_heads=4), 4, 64
    model, batch = made(config, rows, length)
    model.transformer.recompute = recompute
    profiling.profile_step(model, objectives.next_token, batch)  # the first one also makes what stays
    found = profiling.profile_step(model, objectives.next_token, batch)
    ids = 16 * rows * length  # were there before
    counted = costs.activation_bytes(config, rows, length, recompute=recompute) - ids
    # Beside the activations: a few scalars, and the random state that recomputation keeps for each block.
    state = torch.get_rng_state().nbytes * config.n_layers if recompute else 0
    assert 0 <= found.bytes_at(found.phases[0].end) - counted - state < 200
    # The peak comes at the start of backward (the gradient of a piece's logits), or while a block is recomputed.
    extra = costs.block_activation_bytes(config, rows, length) + 8 * rows * length * config.vocab_size
    assert counted <= found.peak < counted + extra + 4 * costs.parameters(config)


def test_recomputation_changes_neither_loss_nor_gradients():
    config, rows, length = SIZES["odd"]
    model, batch = made(config, rows, length)
    found = []
    for recompute in (False, True):
        model.transformer.recompute = recompute
        model.zero_grad()
        loss = objectives.next_token(model, batch)[0]
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters())])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=0, atol=1e-6)


def test_a_profile_has_three_phases_that_hold_all_spans_in_order():
    config, rows, length = SIZES["two pieces of the loss"]
    model, batch = made(config, rows, length)
    optimizer = torch.optim.AdamW(model.parameters())
    found = profiling.profile_step(model, objectives.next_token, batch, [optimizer])
    assert tuple(phase.phase for phase in found.phases) == profiling.PHASES == tuple(dict.fromkeys(
        span.phase for span in found.spans))
    assert all(a.end <= b.start for a, b in zip(found.spans, found.spans[1:], strict=False))
    assert sum(span.milliseconds for span in found.spans) <= found.phases[-1].end
    assert "addmm" in found.table() and all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError, match="at least one target"):
        profiling.profile_step(model, objectives.next_token, {**batch, "targets": torch.full((5, 130), -100)})


def test_interleaved_steps_take_turns():
    seen = []
    steps = {name: lambda turn, name=name: seen.append((turn, name)) for name in "ab"}
    found = profiling.interleaved_seconds(steps, 3)
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3}
    assert seen == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b"), (3, "b"), (3, "a")]


@pytest.mark.parametrize(
    ("sharding", "shares"),
    [("nothing", (1, 1, 1)), ("optimizer", (1, 1, 8)), ("gradients", (1, 8, 8)), ("parameters", (8, 8, 8))],
)
def test_sharding_divides_what_it_names_and_what_comes_before(sharding, shares):
    config, rows, length = SIZES["odd"]
    P, found = costs.parameters(config), costs.memory(config, rows, length, devices=8, sharding=sharding)
    expected = [width * math.ceil(P / share) for width, share in zip((4, 4, 8), shares, strict=True)]
    assert [found.parameters, found.gradients, found.optimizer] == expected
    assert found.total == sum(expected) + found.activations


def test_zeros_example():
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters on 64 devices, 16 bytes a parameter: 120 and 1.9 GB."""
    P = 7.5e9
    assert 16 * P == 120e9 and math.isclose(16 * P / 64, 1.9e9, rel_tol=0.02)


def test_a_run_costs_what_its_parts_say():
    run = costs.Run(costs.training_flops(175e9, 300e9), 10_000, 24.6e12, watts=330, overhead=1.1)
    assert run.flops == 3.15e23
    assert run.days == pytest.approx(14.82, abs=0.01)
    assert run.megawatt_hours == pytest.approx(run.days * 24 * 10_000 * 330 * 1.1 / 1e6)
    assert run.cost(2.0) == pytest.approx(2 * run.device_hours)


def test_utilization_is_the_share_of_the_peak():
    config, _, length = SIZES["odd"]
    flops = costs.step_flops(config, 1, length)
    assert costs.utilization(10 * length, config, length, peak=20 * flops) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: costs.memory(SIZES["odd"][0], 1, 1, sharding="layers"), "sharding: expected one of"),
        (lambda: costs.memory(SIZES["odd"][0], 1, 1, devices=0), "at least 1, got devices=0"),
        (lambda: costs.utilization(1.0, SIZES["odd"][0], 1, 0.0), "peak above 0"),
        (lambda: costs.Run(1.0, 0, 1.0), "devices=0"),
        (lambda: costs.Run(1.0, 1, 1.0, overhead=0.5), "got 0.5"),
        (lambda: costs.activation_bytes(SIZES["odd"][0], 1, 1, "fp16"), "precision='fp16'"),
        (lambda: costs.activation_bytes(TransformerConfig(9, n_experts=2, dropout=0.1), 1, 1), "n_experts=2, dropout"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_peak_of_a_step_is_what_it_holds_at_once():
    layer, x = torch.nn.Linear(100, 1000), torch.randn(50, 100)
    with torch.inference_mode():
        peak = profiling.peak_bytes(lambda: layer(layer(x)[:, :100]).sum(), torch.device("cpu"))
    assert 400_000 <= peak <= 440_000, "twice 50 * 1000 numbers, and small change"


def test_counting_what_is_kept_keeps_nothing():
    model = GPT(TransformerConfig(31, 8, d_model=12, n_layers=2, n_heads=3))
    ids = torch.randint(31, (2, 8))
    assert saved_bytes(model, {"input_ids": ids, "targets": ids}, "fp32") > 0
    left = weakref.ref(model.transformer.blocks[0].feed_forward.expand.weight)
    del model
    gc.collect()
    assert left() is None, "a graph that holds itself holds the weights, too"
