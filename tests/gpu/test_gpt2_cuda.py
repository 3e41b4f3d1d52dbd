"""The model and its measurement on a GPU: kernels, compilation, generation, memory, utilization.

What needs no GPU runs on the CPU too; the rest is skipped there, with the reason.
"""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from utils import environment, launch
from utils.experiments import gpu
from utils.models.attention import attend, causal_mask
from utils.models.config import TransformerConfig
from utils.models.generation import generate
from utils.models.transformer import GPT
from utils.training import costs, objectives
from utils.training.loop import TrainConfig, Trainer

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=NEEDS_GPU)]
CUDA = torch.device("cuda")
SMALL = TransformerConfig(vocab_size=101, context_length=48, d_model=48, n_layers=2, n_heads=3)


def gpt(device: torch.device, config: TransformerConfig = SMALL) -> GPT:
    torch.manual_seed(0)
    model = GPT(config)
    for parameter in model.parameters():
        parameter.data *= 3
    return model.to(device).eval()


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(SMALL.vocab_size, shape, generator=torch.Generator().manual_seed(1))


@NEEDS_GPU
def test_logits_and_gradients_are_those_of_the_cpu():
    found, ids = {}, random_ids(3, 31)
    for device in (torch.device("cpu"), CUDA):
        model = gpt(device)
        model(ids.to(device), targets=ids.to(device)).backward()
        with torch.no_grad():
            found[device.type] = [model(ids.to(device)).cpu(), *(p.grad.cpu() for p in model.parameters())]
    for ours, expected in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_the_fused_kernel_equals_the_formula(device, dtype, tolerance):
    q, k, v = (torch.randn(2, 3, 33, 16, generator=torch.Generator().manual_seed(i)) for i in range(3))
    expected, _ = attend(q.double(), k.double(), v.double(), causal_mask(33))
    found = F.scaled_dot_product_attention(*(t.to(device, dtype) for t in (q, k, v)), is_causal=True)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=0, atol=tolerance)


@NEEDS_GPU
@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
def test_every_kernel_of_the_gpu_equals_the_formula(backend):
    q, k, v = (torch.randn(2, 4, 65, 64, generator=torch.Generator().manual_seed(i)) for i in range(3))
    expected, _ = attend(q.double(), k.double(), v.double(), causal_mask(65))
    inputs = [t.to(CUDA, torch.float16) for t in (q, k, v)]
    if backend == SDPBackend.FLASH_ATTENTION and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("FlashAttention needs compute capability 8.0")
    with sdpa_kernel(backend):
        found = F.scaled_dot_product_attention(*inputs, is_causal=True)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_cached_generation_equals_uncached(device):
    model, prompt = gpt(device), random_ids(2, 5).to(device)
    cached, plain = (generate(model, prompt, 40, temperature=0, use_cache=use_cache) for use_cache in (True, False))
    assert cached.device.type == device.type and torch.equal(cached, plain)


@NEEDS_GPU
@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_compiled_run_learns_as_the_plain_one_does(name):
    if not environment.supports(name):
        pytest.skip(f"this GPU has no {name}")
    losses, batch = {}, gpu.batch_of(SMALL, 4, CUDA)
    for compiled in (False, True):
        environment.seed_everything(0)
        config = TrainConfig(max_steps=10, learning_rate=1e-3, precision=name, compile=compiled)
        run = Trainer(GPT(SMALL), objectives.next_token, config, CUDA)
        losses[compiled] = [run.attempt([batch]).loss for _ in range(10)]
    assert losses[True] == pytest.approx(losses[False], abs=1e-4 if name == "fp32" else 2e-2)
    assert losses[True][-1] < losses[True][0]


# On a GPU other kernels keep more or less than was counted, and blocks of memory are rounded up.
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_steps_peak_is_what_was_counted(device, name):
    config = TransformerConfig(512, context_length=128, d_model=128, n_layers=3, n_heads=4)
    found = gpu.measure_variant(config, 8, (name, False), 1, device)
    assert found["peak_bytes"] == pytest.approx(found["counted_bytes"], rel=0.15 if device.type == "cpu" else 0.35)


@pytest.mark.parametrize("device", DEVICES)
def test_the_measurement_runs_small(device):
    variants = {"fp32": ("fp32", False), "bf16": ("bf16", False)}
    result = json.loads(json.dumps(gpu.measure(device, SMALL, 2, 2, (64,), variants)))
    assert result["hardware"] == environment.hardware() and result["parameters"] == costs.parameters(SMALL)
    assert set(result["variants"]) == set(variants)
    for name, found in result["variants"].items():
        assert len(found["tokens_per_second"]) == 2 and min(found["tokens_per_second"]) > 0
        middle = sum(found["tokens_per_second"]) / 2
        expected = costs.utilization(middle, SMALL, SMALL.context_length, result["peak_flops_per_second"][name])
        assert found["utilization"] == pytest.approx(expected, abs=1e-4)


def test_gpt2_has_the_published_124_million_parameters():
    assert costs.parameters(costs.GPT2) == 124_439_808


def test_without_a_gpu_the_command_says_so_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "device", lambda: torch.device("cpu"))
    with pytest.raises(SystemExit, match="measure-gpu: expected a CUDA GPU, got .* run `python -m utils.launch"):
        launch.main(["measure-gpu", "--folder", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_figures_are_none_until_measured_and_an_error_when_damaged(tmp_path):
    path = tmp_path / "gpu.json"
    assert gpu.load_result(tmp_path) is None
    path.write_text('{"variants": {}, "hardware": "some GPU"}')
    assert gpu.load_result(tmp_path)["hardware"] == "some GPU"
    for damaged in ("{", "[1]", "{}"):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="expected the results of measure-gpu in .* anew: python"):
            gpu.load_result(tmp_path)


@NEEDS_GPU
def test_the_command_writes_its_figures(tmp_path, monkeypatch):
    small = dataclasses.replace(costs.GPT2, vocab_size=512, context_length=64, d_model=64, n_layers=1, n_heads=2)
    measure = gpu.measure
    monkeypatch.setattr(gpu, "measure", lambda device: measure(device, small, 2, 2, (256,)))
    gpu.measure_gpu(tmp_path)
    assert gpu.load_result(tmp_path)["hardware"] == environment.hardware()
