"""The calculator: its counts equal `utils.training.costs`, which are equal to what is measured; and what it refuses."""

import itertools

import pytest

from tests.test_widgets import needs_node, run_js
from utils.models.config import TransformerConfig
from utils.training import costs
from utils.widgets import base, calculator

ODD = TransformerConfig(31, 9, 12, n_layers=2, n_heads=3, d_ff=50)


@needs_node
def test_memory_and_operations_equal_the_counts_in_python(tmp_path):
    explorer = calculator.explore_calculator({"odd": ODD})
    settings = [
        {"rows": rows, "length": length, "precision": precision, "recompute": recompute, "sharding": sharding,
         "devices": devices}
        for (rows, length), precision, recompute, (devices, sharding) in itertools.product(
            ((3, 7), (128, 512)), ("fp32", "bf16"), (False, True),
            ((1, "nothing"), (7, "optimizer"), (8, "gradients"), (1024, "parameters")))
    ]
    code = """return data.models.map(
        (m) => data.settings.map((o) => ({ ...memoryOf(m, o), flops: stepFlops(m, o) })));"""
    found = run_js("calculator", code, {"models": explorer.models, "settings": settings}, tmp_path)
    configs = {"odd": ODD, **calculator.MODELS}
    assert len(found) == len(configs) == len(explorer.models)
    for config, answers in zip(configs.values(), found, strict=True):
        for options, answer in zip(settings, answers, strict=True):
            expected = costs.memory(config, **options)
            for name in ("parameters", "gradients", "optimizer", "activations"):
                assert answer[name] == getattr(expected, name), (name, options)
            flops = costs.step_flops(config, options["rows"], options["length"], options["recompute"])
            assert answer["flops"] == pytest.approx(flops, rel=1e-12)


@needs_node
def test_quantities_are_told_in_fitting_units(tmp_path):
    code = "return [data.bytes.map(bytes), data.seconds.map(duration), data.tokens.map(tokensInWords)];"
    data = {"bytes": [1, 1500, 2.79e12], "seconds": [1e-4, 0.25, 100, 86400 * 15, 4e9], "tokens": [1e6, 3e11, 1e13]}
    sizes, times, tokens = run_js("calculator", code, data, tmp_path)
    assert sizes == ["1 B", "1.5 kB", "2.79 TB"]
    assert times == ["100 microseconds", "250 milliseconds", "1.67 minutes", "15 days", "127 years"]
    assert tokens == ["1 million tokens", "300 billion tokens", "10 trillion tokens"]


def test_the_published_shapes_have_the_published_sizes():
    sizes = {name: costs.parameters(config) for name, config in calculator.MODELS.items()}
    assert sizes["GPT-2 small"] == 124_439_808 and sizes["GPT-2 XL"] == 1_557_611_200
    assert sizes["GPT-3 6.7B"] == pytest.approx(6.7e9, rel=0.01)
    assert sizes["GPT-3 175B"] == pytest.approx(175e9, rel=0.01)


def test_says_what_it_shows_and_refuses_what_it_cannot_count():
    explorer = calculator.explore_calculator({"odd": ODD}, {"here": (8.0, 0.1, 0.1)})
    assert "odd, GPT-2 small" in explorer.says() and "<table>" in explorer.still()
    assert [device["name"] for device in explorer.devices] == ["here", *calculator.DEVICES]
    assert explorer._esm == base.source("calculator") and "https:" not in explorer._esm
    with pytest.raises(ValueError, match="expected GPT-2's block"):
        calculator.explore_calculator({"llama": TransformerConfig(31, 9, 12, n_heads=3, gated=True)})
    with pytest.raises(ValueError, match="three numbers above 0"):
        calculator.explore_calculator(devices={"nothing": (0.0, 1.0, 1.0)})
