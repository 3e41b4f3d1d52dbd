"""What a model costs to keep: bytes on disk, in a safetensors file that is really written, and bytes in memory."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from utils.models.pretrained import WeightsError
from utils.models.pruning import pack_sparse, unpack_sparse

BITS, VALUES = ".nonzero_bits", ".nonzero_values"


def save_compressed(path: Path, model: nn.Module) -> int:
    """Write a model's tensors as they are; returns the file's bytes.

    Where more than 1 number in 16 is zero, fp32 tensors are written as one bit a number and the numbers that are not.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.dtype == torch.float32 and int((tensor == 0).sum()) > tensor.numel() / 16:
            tensors[name + BITS], tensors[name + VALUES] = pack_sparse(tensor)
        else:
            tensors[name] = tensor
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path.stat().st_size


def load_compressed(path: Path, model: nn.Module) -> None:
    """Read the tensors of `save_compressed` into a model of the same build (quantized, or with heads removed, alike).

    Raises: WeightsError if the file is missing, damaged, or of a model built otherwise; the model is then as it was.
    """
    wanted = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # the Rust library raises its own kinds
        raise WeightsError(f"expected a safetensors file at {path}, got: {error}; save the model again") from error
    for name in [name.removesuffix(BITS) for name in stored if name.endswith(BITS)]:
        bits, values = stored.pop(name + BITS), stored.pop(name + VALUES)
        if name in wanted:
            stored[name] = unpack_sparse(bits, values, wanted[name][1])
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in stored.items()}
    if found != wanted:
        others = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise WeightsError(
            f"expected the tensors of this model, got {len(others)} differences in {path}: {', '.join(others[:4])}; "
            f"quantize or prune the model as it was when it was saved, then load"
        )
    model.load_state_dict(stored)


def held_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers that a model holds in memory; one shared by two names counts once."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
