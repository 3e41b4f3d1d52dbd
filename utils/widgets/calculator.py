"""A calculator of a training step's memory and time, from the same counts as `utils.training.costs`."""

from collections.abc import Mapping

import traitlets

from utils.models.config import TransformerConfig
from utils.training import costs
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

# Shapes as published: Radford et al. 2019, table 2; Brown et al. 2020, table 2.1.
MODELS = {
    "GPT-2 small": costs.GPT2,
    "GPT-2 XL": TransformerConfig(50_257, 1024, 1600, n_layers=48, n_heads=25),
    "GPT-3 6.7B": TransformerConfig(50_257, 2048, 4096, n_layers=32, n_heads=32),
    "GPT-3 175B": costs.GPT3,
}
# Memory in GB and peak TFLOP a second of products in fp32 and bf16 (dense), from NVIDIA's data sheets.
DEVICES = {"A100 80 GB": (80.0, 19.5, 312.0), "H100 SXM 80 GB": (80.0, 67.0, 989.0)}
FIELDS = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads")


class CalculatorExplorer(Explorer):
    """The widget; `explore_calculator` makes it. All arithmetic is in the browser, and equal to `costs`."""

    _esm = source("calculator")
    _css = Explorer._css + (FOLDER / "calculator.css").read_text(encoding="utf-8")
    models = traitlets.List().tag(sync=True)
    devices = traitlets.List().tag(sync=True)

    def says(self) -> str:
        return (f"Memory and time of a training step of {', '.join(model['name'] for model in self.models)}, "
                f"by batch, precision, sharding and recomputation.")

    def still(self) -> str:
        rows = []
        for model in self.models:
            config = TransformerConfig(*(model[field] for field in FIELDS), d_ff=model["d_ff"])
            memory = costs.memory(config, 1, config.context_length)
            parts = (memory.parameters, memory.gradients, memory.optimizer, memory.activations)
            rows.append((model["name"], *(f"{part / 1e9:,.2f}" for part in parts)))
        return still.table(("model (GB, one full row, fp32)", "weights", "gradients", "Adam", "activations"), rows)


def explore_calculator(
    models: Mapping[str, TransformerConfig] | None = None,
    devices: Mapping[str, tuple[float, float, float]] | None = None,
) -> CalculatorExplorer:
    """Explore what a training step takes. `models` come before the published ones, `devices` before the GPUs.

    A device is its memory in GB and its peak TFLOP a second in fp32 and bf16.
    Raises: ValueError for a model whose activations are not counted, or a device with a number not above 0.
    """
    every = {**(models or {}), **MODELS}
    for config in every.values():
        costs.activation_bytes(config, 1, 1)
    machines = {**(devices or {}), **DEVICES}
    wrong = {name: numbers for name, numbers in machines.items() if len(numbers) != 3 or not min(numbers) > 0}
    if wrong:
        raise ValueError(f"devices: expected three numbers above 0 (GB, TFLOP/s in fp32, in bf16), got {wrong}")
    return CalculatorExplorer(
        models=[{"name": name, "d_ff": config.width_ff, **{field: getattr(config, field) for field in FIELDS}}
                for name, config in every.items()],
        devices=[{"name": name, "memory": memory, "fp32": fp32, "bf16": bf16}
                 for name, (memory, fp32, bf16) in machines.items()],
    )
