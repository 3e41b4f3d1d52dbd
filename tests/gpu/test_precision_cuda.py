"""Mixed precision on a CUDA GPU: what no CPU can show. Skipped, with the reason, where there is none."""

import math

import pytest
import torch
import torch.nn.functional as F

from utils import environment
from utils.experiments import precision
from utils.training.loop import TrainConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

SIZE = precision.Size(d_model=128, n_layers=2, n_heads=4, context_length=64, tokens_per_step=2048)
VOCAB_SIZE = 512


def batch(device: torch.device) -> dict[str, torch.Tensor]:
    ids = torch.randint(0, VOCAB_SIZE, (SIZE.tokens_per_step // SIZE.context_length, SIZE.context_length + 1))
    return {"input_ids": ids[:, :-1].to(device), "targets": ids[:, 1:].to(device)}


def trainer(name: str, **options):
    config = TrainConfig(max_steps=50, learning_rate=3e-3, precision=name, **options)
    return precision.trainer(SIZE, VOCAB_SIZE, config, 0, environment.device())


def test_fp16_overflow_skips_halves_and_recovers():
    run = trainer("fp16", loss_scale=2.0**40)
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    data = batch(run.device)
    first = run.attempt([data])
    assert first.skipped and first.step == 0 and math.isfinite(first.loss)
    assert run.scaler.get_scale() == 2.0**39
    assert all(torch.equal(old, new) for old, new in zip(before, run.model.parameters(), strict=True))
    records = [run.attempt([data]) for _ in range(39)]
    assert not records[-1].skipped and records[-1].step >= 1
    assert any(not torch.equal(old, new) for old, new in zip(before, run.model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_learns_as_fp32_does(name):
    if not environment.supports(name):
        pytest.skip(f"this GPU has no {name}")
    losses = {}
    for each in ("fp32", name):
        run = trainer(each)
        data = batch(run.device)  # the trainer seeds: the same batch in both precisions
        losses[each] = [run.attempt([data]).loss for _ in range(20)]
    assert losses["fp32"][-1] < losses["fp32"][0] - 0.5
    assert max(abs(a - b) for a, b in zip(losses["fp32"], losses[name], strict=True)) < 0.05


def test_parameters_and_gradients_stay_in_fp32():
    run = trainer("fp16")
    run.backward(batch(run.device), count=SIZE.tokens_per_step, last=True)
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in run.model.parameters())


def test_half_precision_lowers_the_peak_of_a_large_step():
    """Activations dominate here, and they are what half precision halves."""
    large, peaks = precision.Size(256, 8, 8, 256, 32768), {}
    for name in ("fp32", "fp16"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run = precision.trainer(large, VOCAB_SIZE, TrainConfig(max_steps=2, precision=name), 0, environment.device())
        ids = torch.randint(0, VOCAB_SIZE, (128, 257))
        for _ in range(2):
            run.attempt([{"input_ids": ids[:, :-1], "targets": ids[:, 1:]}])
        peaks[name] = torch.cuda.max_memory_allocated()
        del run
    assert peaks["fp16"] < 0.8 * peaks["fp32"], peaks


def test_autocast_lifts_what_the_documentation_says():
    x = torch.rand(4, 8, device="cuda", dtype=torch.float16)
    with torch.autocast("cuda", dtype=torch.float16):
        assert (x @ x.mT).dtype == torch.float16
        for lifted in (F.layer_norm(x, (8,)), x.softmax(-1), x.exp(), x.sum(), x.log_softmax(-1)):
            assert lifted.dtype == torch.float32
