"""Weights in and out: the course's own models, the packaged encoder, and Hugging Face's files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn

from utils.data import sources
from utils.models import hugging_face
from utils.models.config import TransformerConfig
from utils.models.encoder_decoder import EncoderDecoder
from utils.models.pointer import PointerGenerator
from utils.models.transformer import BERT, GPT

FAMILIES = {"gpt": GPT, "bert": BERT, "encoder_decoder": EncoderDecoder, "pointer_generator": PointerGenerator}


class WeightsError(ValueError):
    """Weights that cannot be read or do not fit: says what was expected, what came, and what to do."""


def load_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, as fp32.

    Raises: WeightsError if the file is missing, truncated or corrupted.
    """
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"expected a safetensors file at {path}, got: {error}; the file is missing or damaged, install or "
            f"train it again"
        ) from error


def fit_weights(model: nn.Module, weights: dict[str, Tensor], optional: tuple[str, ...] = ()) -> None:
    """Copy weights into a model after all names and shapes were compared; parts named in `optional` may be missing.

    Raises: WeightsError naming what is missing, left over or of another shape; the model is then as it was.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [
        f"missing {name}" for name in wanted if name not in weights and not name.startswith(optional or ("\0",))
    ]
    problems += [f"unexpected {name}" for name in weights if name not in wanted]
    problems += [
        f"{name}: {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    if problems:
        raise WeightsError(
            f"expected weights of a {type(model).__name__} of this configuration, got {len(problems)} differences: "
            f"{'; '.join(problems[:4])}; build the model from the config.json beside the weights"
        )
    model.load_state_dict(weights, strict=False)


def save_model(
    folder: Path,
    model: nn.Module,
    tokenizer: Tokenizer,
    family: str,
    card: dict[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write `config.json`, `model.safetensors` (half precision), `tokenizer.json` and the model card `card.json`.

    Raises: WeightsError without write permission or space; files of an earlier model stay.
    """
    settings = {"family": family, **model.config.to_dict()}
    write_model(folder, model, settings, card, dtype, {"tokenizer.json": tokenizer.to_str() + "\n"})


def write_model(
    folder: Path,
    model: nn.Module,
    settings: dict[str, Any],
    card: dict[str, Any],
    dtype: torch.dtype = torch.float16,
    more: dict[str, str] | None = None,
) -> None:
    """Write `config.json` (the settings), `model.safetensors`, `card.json` with the weights' hash, and `more` texts.

    Raises: WeightsError without write permission or space; files of an earlier model stay.
    """
    parts = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights = save({name: t.detach().cpu().to(dtype).contiguous() for name, t in model.state_dict().items()})
        card = {**card, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        contents = {
            "config.json": (json.dumps(settings, indent=1) + "\n").encode(),
            **{name: text.encode() for name, text in (more or {}).items()},
            "card.json": (json.dumps(card, indent=1) + "\n").encode(),
            "model.safetensors": weights,
        }
        for name, content in contents.items():
            parts[name] = folder / f".{name}.part"
            parts[name].write_bytes(content)
        for name, part in parts.items():
            part.replace(folder / name)
    except OSError as error:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise WeightsError(
            f"expected to write a model to {folder}, got: {error.strerror or error}; choose a folder you may write "
            f"to, with space left"
        ) from error


def load_model(name_or_folder: str | Path) -> tuple[nn.Module, Tokenizer]:
    """A model in evaluation mode, and its tokenizer, by name or from a folder.

    It is one of the course ("reviews-gpt", or a folder of `save_model`), the packaged encoder "all-minilm-l6-v2", or a
    GPT-2, Llama, BERT or DistilBERT in Hugging Face's files.
    Raises: SourceError if it is not here; WeightsError or ValueError if its files are damaged or do not belong
    together.
    """
    folder = name_or_folder if isinstance(name_or_folder, Path) else sources.model_folder(name_or_folder)
    try:
        settings = json.loads((folder / "config.json").read_text())
        if "family" in settings:
            model = FAMILIES[settings.pop("family")](TransformerConfig(**settings))
            theirs = None
        else:
            theirs = hugging_face.FAMILIES[settings["model_type"]]
            model = theirs.model(theirs.config(settings))
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"expected the config.json of a course model (family {', '.join(FAMILIES)}) or of Hugging Face's "
            f"(model_type {', '.join(hugging_face.FAMILIES)}) in {folder}, got: {error!r}"
        ) from error
    weights = load_weights(folder / "model.safetensors")
    if theirs is None:
        fit_weights(model, weights)
        check_weights_of_card(folder)
    else:
        fit_weights(model, theirs.weights(weights), theirs.optional)
    return model.eval(), sources.load_tokenizer(folder)


def check_weights_of_card(folder: Path) -> None:
    """Raise WeightsError unless the weights are those that the model card beside them describes, if there is one."""
    card = folder / "card.json"
    expected = json.loads(card.read_text()).get("weights_sha256") if card.is_file() else None
    if expected and sources.sha256(folder / "model.safetensors") != expected:
        raise WeightsError(
            f"expected the weights in {folder} that card.json describes (SHA-256 {expected[:16]}…), got others; "
            f"the file is damaged or was replaced, install or train it again"
        )


def load_card(name: str) -> dict[str, Any]:
    """The model card of one of the course's models: data, steps, loss curve, seed, hardware, licence."""
    return json.loads((sources.model_folder(name) / "card.json").read_text())
