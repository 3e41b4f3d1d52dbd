"""Weights in and out: the course's own models, the packaged encoder, and Hugging Face's GPT-2 and BERT with copied
weights.

Only here do Hugging Face's own parameter names appear.
"""

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
from utils.models.transformer import BERT, GPT, TransformerConfig

FAMILIES = {"gpt": GPT, "bert": BERT}


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
    parts = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights = save({name: t.detach().cpu().to(dtype).contiguous() for name, t in model.state_dict().items()})
        card = {**card, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        contents = {
            "config.json": (json.dumps({"family": family, **model.config.to_dict()}, indent=1) + "\n").encode(),
            "tokenizer.json": (tokenizer.to_str() + "\n").encode(),
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
    """A model of the course in evaluation mode, and its tokenizer, by name ("reviews-gpt") or from a folder of
    `save_model`.

    Raises: SourceError if it is not here; WeightsError or ValueError if its files are damaged or do not belong
    together.
    """
    folder = name_or_folder if isinstance(name_or_folder, Path) else sources.model_folder(name_or_folder)
    try:
        settings = json.loads((folder / "config.json").read_text())
        family = settings.pop("family")
        model = FAMILIES[family](TransformerConfig(**settings))
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"expected the config.json of a course model (gpt or bert) in {folder}, got: {error!r}; "
            f"for a Hugging Face BERT use load_encoder"
        ) from error
    fit_weights(model, load_weights(folder / "model.safetensors"))
    check_weights_of_card(folder)
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


def load_encoder(name: str = "all-minilm-l6-v2") -> tuple[BERT, Tokenizer]:
    """A BERT from Hugging Face's files, for evaluation: the packaged one, or `bert-base-uncased` from the hub."""
    folder = sources.model_folder(name)
    settings = json.loads((folder / "config.json").read_text())
    model = BERT(bert_config(settings))
    # Weights saved without pre-training heads leave ours as initialized.
    fit_weights(
        model, bert_weights(load_weights(folder / "model.safetensors")), optional=("word_", "next_sentence", "pooler")
    )
    return model.eval(), sources.load_tokenizer(name)


def bert_config(settings: dict[str, Any]) -> TransformerConfig:
    """Our configuration of a Hugging Face `BertConfig`, given as a dictionary."""
    return TransformerConfig(
        vocab_size=settings["vocab_size"],
        context_length=settings["max_position_embeddings"],
        d_model=settings["hidden_size"],
        n_layers=settings["num_hidden_layers"],
        n_heads=settings["num_attention_heads"],
        d_ff=settings["intermediate_size"],
        n_segments=settings["type_vocab_size"],
        activation=settings["hidden_act"],
        norm_position="post",
        norm_epsilon=settings["layer_norm_eps"],
    )


def gpt2_config(settings: dict[str, Any]) -> TransformerConfig:
    """Our configuration of a Hugging Face `GPT2Config`, given as a dictionary."""
    return TransformerConfig(
        vocab_size=settings["vocab_size"],
        context_length=settings["n_positions"],
        d_model=settings["n_embd"],
        n_layers=settings["n_layer"],
        n_heads=settings["n_head"],
        d_ff=settings["n_inner"],
        activation="gelu_tanh",
        norm_epsilon=settings["layer_norm_epsilon"],
    )


BERT_NAMES = {
    "embeddings.word_embeddings": "transformer.token_embedding",
    "embeddings.position_embeddings": "transformer.position_embedding",
    "embeddings.token_type_embeddings": "transformer.segment_embedding",
    "embeddings.LayerNorm": "transformer.norm",
    "encoder.layer.": "transformer.blocks.",
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_forward.expand",
    "output.dense": "feed_forward.contract",
    "output.LayerNorm": "feed_forward_norm",
    "pooler.dense": "pooler",
    "cls.predictions.transform.dense": "word_transform",
    "cls.predictions.transform.LayerNorm": "word_norm",
    "cls.predictions.bias": "word_bias",
    "cls.seq_relationship": "next_sentence",
}


def bert_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face BERT's tensors under our names; copies of tied tensors and buffers are left out."""
    renamed = {}
    for name, tensor in weights.items():
        if "position_ids" in name or name.startswith("cls.predictions.decoder"):
            continue
        name = name.removeprefix("bert.")
        for theirs, ours in BERT_NAMES.items():
            name = name.replace(theirs, ours)
        # bert-base-uncased still has the names of its TensorFlow original.
        name = name.replace("norm.gamma", "norm.weight").replace("norm.beta", "norm.bias")
        renamed[name] = tensor
    return renamed


GPT2_NAMES = {
    "wte": "transformer.token_embedding",
    "wpe": "transformer.position_embedding",
    "ln_f": "transformer.norm",
    "h.": "transformer.blocks.",
    "ln_1": "attention_norm",
    "ln_2": "feed_forward_norm",
    "attn.c_proj": "attention.output",
    "mlp.c_fc": "feed_forward.expand",
    "mlp.c_proj": "feed_forward.contract",
}


def gpt2_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face GPT-2's tensors under our names: its matrices are transposed, and query, key and value are one."""
    renamed = {}
    for name, tensor in weights.items():
        name = name.removeprefix("transformer.")
        if name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        layer, _, rest = name.partition(".attn.c_attn.")
        for theirs, ours in GPT2_NAMES.items():
            name, layer = name.replace(theirs, ours), layer.replace(theirs, ours)
        tensor = tensor.T if name.endswith("weight") and tensor.dim() == 2 and "embedding" not in name else tensor
        if rest:
            parts = tensor.chunk(3, dim=0)
            renamed |= {
                f"{layer}.attention.{part}.{rest}": t for part, t in zip(("query", "key", "value"), parts, strict=True)
            }
        else:
            renamed[name] = tensor
    return renamed
