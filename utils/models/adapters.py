"""LoRA: a low-rank change beside frozen linear layers; trained alone, saved alone, merged into the weights for use.

Letters in shape comments: r rank, D_in and D_out the widths of the wrapped layer.
"""

import fnmatch
import hashlib
import itertools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from utils.models.pretrained import load_weights
from utils.models.quantization import QuantizedLinear


class AdapterError(ValueError):
    """An adapter that does not fit: says what was expected, what came, and what to do."""


@dataclass(frozen=True)
class LoRAConfig:
    """Which layers get an adapter, and how large; checked whole, all problems in one message.

    `targets` are patterns over full layer names ("*.query"); the change B A is scaled by alpha / rank.
    Raises: ValueError naming every field that does not fit.
    Source: Hu et al. 2022, section 4.1; query and value are the layers adapted there (section 4.2).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("*.query", "*.value")
    dropout: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if not isinstance(self.rank, int) or self.rank < 1:
            problems.append(f"rank={self.rank!r} (a whole number from 1)")
        if not self.alpha > 0:
            problems.append(f"alpha={self.alpha!r} (above 0)")
        if isinstance(self.targets, str) or not self.targets:
            problems.append(f"targets={self.targets!r} (a tuple of at least one pattern, such as ('*.query',))")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout={self.dropout!r} (from 0 to below 1)")
        if problems:
            raise ValueError("LoRAConfig: expected in brackets, got " + "; ".join(problems))


class LoRALinear(nn.Module):
    """A linear layer with a low-rank change beside it: x W^T + b + (alpha / r) (x A^T) B^T.

    A starts at random and B at zero, so that the layer starts as it was. W and b are frozen; W may be quantized.
    Shapes: x (..., D_in) -> (..., D_out), A (r, D_in), B (D_out, r).
    Source: Hu et al. 2022, equation 3; Dettmers et al. 2023, equation 5 for a quantized W.
    """

    def __init__(self, base: nn.Linear | QuantizedLinear, config: LoRAConfig) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = config.alpha / config.rank
        device = next(itertools.chain(base.parameters(), base.buffers())).device
        self.A = nn.Parameter(torch.empty(config.rank, base.in_features, device=device))
        self.B = nn.Parameter(torch.zeros(base.out_features, config.rank, device=device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))  # as nn.Linear starts its own weight
        self.dropout = nn.Dropout(config.dropout)
        self.unmerged_weight: Tensor | None = None

    @property
    def merged(self) -> bool:
        """Whether the change is in the base's weight at the moment."""
        return self.unmerged_weight is not None

    def change(self) -> Tensor:
        """What the adapter adds to the weight: (alpha / r) B A. Shapes: (D_out, D_in)."""
        return self.scale * (self.B @ self.A)

    def forward(self, x: Tensor) -> Tensor:
        """The base's output plus the change's; after `merge` they are one product."""
        if self.merged:
            return self.base(x)
        return self.base(x) + self.scale * F.linear(F.linear(self.dropout(x), self.A), self.B)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the change to the base's weight: from now on the layer costs what it cost without an adapter.

        Raises: ValueError for a quantized base, whose levels cannot hold the sum.
        """
        if isinstance(self.base, QuantizedLinear):
            raise ValueError(
                "merge: expected base weights in floating point, got quantized ones; keep the adapter beside them"
            )
        if not self.merged:
            self.unmerged_weight = self.base.weight.clone()
            self.base.weight += self.change()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the base's own weight back, to the bit: subtracting the change would leave rounding errors."""
        if self.merged:
            self.base.weight.copy_(self.unmerged_weight)
            self.unmerged_weight = None


def add_lora(model: nn.Module, config: LoRAConfig, also_train: tuple[str, ...] = ("head.*",)) -> list[str]:
    """Freeze a model and give the linear layers that match `config.targets` an adapter, in place.

    Parameters whose names match `also_train` (a new head, which has nothing to keep) stay trainable.
    Returns the names of the adapted layers. Raises: ValueError if no linear layer matches, or one has an adapter; the
    model is then as it was.
    """
    kinds = (nn.Linear, QuantizedLinear)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    chosen = [name for name in layers if any(fnmatch.fnmatchcase(name, pattern) for pattern in config.targets)]
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("add_lora: expected a model without adapters, got one that has them; start from the base")
    if not chosen:
        endings = sorted({name.rpartition(".")[2] for name in layers})
        raise ValueError(
            f"add_lora: expected a linear layer whose name matches one of {config.targets}, found none; "
            f"the model's linear layers end in {endings}"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in also_train))
    for name in chosen:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, LoRALinear(layers[name], config))
    return chosen


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted layers of a model by name. Raises: ValueError if there are none."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    if not found:
        raise ValueError("expected a model with adapters, got one without; call add_lora or load_adapter first")
    return found


def merge(model: nn.Module) -> None:
    """Merge every adapter of a model into its weights. Raises: ValueError for a quantized base; nothing is merged."""
    for layer in sorted(lora_layers(model).values(), key=lambda layer: isinstance(layer.base, nn.Linear)):
        layer.merge()  # a quantized base comes first and refuses


def unmerge(model: nn.Module) -> None:
    """Take every adapter of a model out of its weights again."""
    for layer in lora_layers(model).values():
        layer.unmerge()


def fold(model: nn.Module) -> None:
    """Merge every adapter and put plain linear layers back in their places: a model without adapters, for good.

    Raises: ValueError for a model without adapters, or with a quantized base; the model is then as it was.
    """
    merge(model)
    for name, layer in lora_layers(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.base)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many there are."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in counts if trained), sum(n for n, _ in counts)


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """What was trained, and nothing else: the adapters, and the head beside them."""
    lora_layers(model)
    return {name: p.detach().cpu() for name, p in model.named_parameters() if p.requires_grad}


def base_fingerprint(model: nn.Module, without: tuple[str, ...]) -> str:
    """Hash of the names, shapes and fp32 bytes of a model's parameters and buffers, but for those named in `without`.

    The same for a model before and after `add_lora`.
    """
    digest = hashlib.sha256()
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    named = {name.replace(".base.", "."): p for name, p in tensors if name not in without}
    for name in sorted(named):
        tensor = named[name].detach().cpu().float().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def save_adapter(
    folder: Path,
    model: nn.Module,
    config: LoRAConfig,
    base: str,
    card: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write `adapter.safetensors`, `adapter.json` (settings, the base's name and hash) and `card.json`.

    Raises: ValueError for a model without adapters, or with merged ones.
    """
    if any(layer.merged for layer in lora_layers(model).values()):
        raise ValueError("save_adapter: expected separate adapters, got merged ones; call unmerge first")
    weights = adapter_weights(model)
    settings = {**asdict(config), "base": base, "base_sha256": base_fingerprint(model, tuple(weights))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter.safetensors").write_bytes(save({name: t.to(dtype).contiguous() for name, t in weights.items()}))
    (folder / "adapter.json").write_text(json.dumps(settings, indent=1) + "\n")
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def load_adapter(folder: Path, model: nn.Module) -> LoRAConfig:
    """Add a saved adapter, and the head saved with it, to its base model, in place; returns its settings.

    Raises: AdapterError if the files are missing or damaged, or made for a model of other names, shapes or weights;
    the model is then as it was.
    """
    weights = load_weights(folder / "adapter.safetensors")
    try:
        settings = json.loads((folder / "adapter.json").read_text())
        base, expected = settings.pop("base"), settings.pop("base_sha256")
        config = LoRAConfig(**{**settings, "targets": tuple(settings["targets"])})
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise AdapterError(
            f"expected the adapter.json of a saved adapter in {folder}, got: {error!r}; save it again with save_adapter"
        ) from error
    parameters = dict(model.named_parameters())
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            parameters[f"{name}.weight"] = torch.empty(layer.out_features, layer.in_features, device="meta")
    extra = tuple(name for name in weights if not name.endswith((".A", ".B")))
    problems = [f"{name}: no such parameter" for name in extra if name not in parameters]
    problems += [
        f"{name}: {tuple(weights[name].shape)} instead of {tuple(parameters[name].shape)}"
        for name in extra
        if name in parameters and weights[name].shape != parameters[name].shape
    ]
    for name in sorted({name[:-2] for name in weights if name not in extra}):
        problems += _layer_problems(parameters.get(f"{name}.weight"), name, weights, config.rank)
    if not problems and base_fingerprint(model, extra) != expected:
        problems = ["all names and shapes fit, but the base's weights are others"]
    if problems:
        raise AdapterError(
            f"expected the base model {base!r} that the adapter in {folder} was trained on, got a model with "
            f"{len(problems)} differences: {'; '.join(problems[:4])}; load {base!r}, unchanged, and build the same head"
        )
    add_lora(model, config, also_train=extra)
    model.load_state_dict(weights, strict=False)
    return config


def _layer_problems(weight: Tensor | None, name: str, weights: dict[str, Tensor], rank: int) -> list[str]:
    """How the saved A and B of one layer differ from what its base needs."""
    if weight is None:
        return [f"{name}: no such layer"]
    shapes = {f"{name}.A": (rank, weight.shape[1]), f"{name}.B": (weight.shape[0], rank)}
    return [
        f"{key}: {tuple(weights[key].shape) if key in weights else 'missing'} instead of {shape}"
        for key, shape in shapes.items()
        if key not in weights or tuple(weights[key].shape) != shape
    ]
