"""Hugging Face's GPT-2, Llama, BERT and DistilBERT in our terms: their configurations, and tensors under our names.

Only here do Hugging Face's own parameter names appear.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from utils.models.config import TransformerConfig
from utils.models.transformer import BERT, GPT


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


def distilbert_config(settings: dict[str, Any]) -> TransformerConfig:
    """Our configuration of a Hugging Face `DistilBertConfig`, given as a dictionary: a BERT without segments."""
    return TransformerConfig(
        vocab_size=settings["vocab_size"],
        context_length=settings["max_position_embeddings"],
        d_model=settings["dim"],
        n_layers=settings["n_layers"],
        n_heads=settings["n_heads"],
        d_ff=settings["hidden_dim"],
        activation=settings["activation"],
        norm_position="post",
        norm_epsilon=1e-12,
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


def llama_config(settings: dict[str, Any]) -> TransformerConfig:
    """Our configuration of a Hugging Face `LlamaConfig`, given as a dictionary.

    Raises: ValueError for what our model does not have: stretched rotary positions, heads of a width of their own,
    biases in one kind of layer only.
    """
    rotary = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    head_dim = settings["hidden_size"] // settings["num_attention_heads"]
    found = {
        "rope_type": rotary.get("rope_type", rotary.get("type", "default")),
        "head_dim": settings.get("head_dim") or head_dim,
        "mlp_bias": settings.get("mlp_bias", False),
    }
    wanted = {"rope_type": "default", "head_dim": head_dim, "mlp_bias": settings.get("attention_bias", False)}
    if found != wanted:
        raise ValueError(f"Llama: expected {wanted}, got {found}; take a Llama 2, or a model without these")
    return TransformerConfig(
        vocab_size=settings["vocab_size"],
        context_length=settings["max_position_embeddings"],
        d_model=settings["hidden_size"],
        n_layers=settings["num_hidden_layers"],
        n_heads=settings["num_attention_heads"],
        n_kv_heads=settings.get("num_key_value_heads"),
        d_ff=settings["intermediate_size"],
        activation=settings["hidden_act"],
        norm="rms",
        norm_epsilon=settings["rms_norm_eps"],
        positions="rotary",
        rotary_base=float(rotary.get("rope_theta", settings.get("rope_theta", 10_000.0))),
        gated=True,
        bias=found["mlp_bias"],
        tied=settings["tie_word_embeddings"],
    )


def renamed(weights: dict[str, Tensor], prefix: str, names: dict[str, str]) -> dict[str, Tensor]:
    """The tensors without the prefix of their names, and with each part of a name replaced, in the order of `names`."""

    def ours(name: str) -> str:
        return functools.reduce(lambda found, part: found.replace(*part), names.items(), name.removeprefix(prefix))

    return {ours(name): tensor for name, tensor in weights.items()}


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
    # bert-base-uncased still has the names of its TensorFlow original.
    "norm.gamma": "norm.weight",
    "norm.beta": "norm.bias",
}


def bert_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face BERT's tensors under our names; copies of tied tensors and buffers are left out."""
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if "position_ids" not in name and not name.startswith("cls.predictions.decoder")
    }
    return renamed(kept, "bert.", BERT_NAMES)


DISTILBERT_NAMES = {
    "embeddings.word_embeddings": "transformer.token_embedding",
    "embeddings.position_embeddings": "transformer.position_embedding",
    "embeddings.LayerNorm": "transformer.norm",
    "transformer.layer.": "transformer.blocks.",
    "attention.q_lin": "attention.query",
    "attention.k_lin": "attention.key",
    "attention.v_lin": "attention.value",
    "attention.out_lin": "attention.output",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "feed_forward.expand",
    "ffn.lin2": "feed_forward.contract",
    "output_layer_norm": "feed_forward_norm",
    "vocab_transform": "word_transform",
    "vocab_layer_norm": "word_norm",
    "vocab_projector.bias": "word_bias",
}


def distilbert_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face DistilBERT's tensors under our names; the copy of the tied tensor is left out."""
    kept = {name: tensor for name, tensor in weights.items() if name != "vocab_projector.weight"}
    return renamed(kept, "distilbert.", DISTILBERT_NAMES)


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
    kept = {}
    for name, tensor in weights.items():
        if name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        if name.endswith(".weight") and tensor.dim() == 2 and not name.endswith(("wte.weight", "wpe.weight")):
            tensor = tensor.T
        layer, found, rest = name.partition(".attn.c_attn.")
        if found:
            parts = zip(("query", "key", "value"), tensor.chunk(3, dim=0), strict=True)
            kept |= {f"{layer}.attention.{part}.{rest}": own for part, own in parts}
        else:
            kept[name] = tensor
    return renamed(kept, "transformer.", GPT2_NAMES)


def gpt2_settings(config: TransformerConfig, end_id: int | None = None) -> dict[str, Any]:
    """The arguments of a Hugging Face `GPT2Config` for a model of ours that is a GPT-2; `end_id` begins and ends texts.

    Raises: ValueError for options that GPT-2 does not have.
    """
    gpt2 = TransformerConfig(config.vocab_size)
    names = ("n_segments", "activation", "norm_position", "positions", "norm", "gated", "bias", "tied", "n_experts")
    other = [f"{name}={getattr(config, name)!r}" for name in names if getattr(config, name) != getattr(gpt2, name)]
    other += [f"n_kv_heads={config.n_kv_heads}"] * (config.kv_heads != config.n_heads)
    if other:
        raise ValueError(f"gpt2_settings: expected GPT-2's block, the defaults of TransformerConfig, got {other}")
    return {
        "vocab_size": config.vocab_size, "n_positions": config.context_length, "n_embd": config.d_model,
        "n_layer": config.n_layers, "n_head": config.n_heads, "n_inner": config.width_ff,
        "layer_norm_epsilon": config.norm_epsilon, "embd_pdrop": config.dropout, "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout, "bos_token_id": end_id, "eos_token_id": end_id,
    }  # fmt: skip


def to_gpt2_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our GPT's tensors under Hugging Face GPT-2's names, for `GPT2LMHeadModel`; `gpt2_weights` is the way back."""
    theirs = {ours: name for name, ours in GPT2_NAMES.items()}
    kept = {}
    for name, tensor in weights.items():
        layer, found, rest = name.partition(".attention.query.")
        if found:
            parts = [weights[f"{layer}.attention.{part}.{rest}"] for part in ("query", "key", "value")]
            name, tensor = f"{layer}.attn.c_attn.{rest}", torch.cat(parts, dim=0)
        elif ".attention.key." in name or ".attention.value." in name:
            continue
        if tensor.dim() == 2 and "embedding" not in name:
            tensor = tensor.T.contiguous()
        kept[name] = tensor
    kept = {f"transformer.{name}": tensor for name, tensor in renamed(kept, "", theirs).items()}
    return kept | {"lm_head.weight": kept["transformer.wte.weight"]}


LLAMA_NAMES = {
    "lm_head": "head",
    "embed_tokens": "transformer.token_embedding",
    "layers.": "transformer.blocks.",
    "self_attn.q_proj": "attention.query",
    "self_attn.k_proj": "attention.key",
    "self_attn.v_proj": "attention.value",
    "self_attn.o_proj": "attention.output",
    "mlp.gate_proj": "feed_forward.gate",
    "mlp.up_proj": "feed_forward.expand",
    "mlp.down_proj": "feed_forward.contract",
    "post_attention_layernorm": "feed_forward_norm",
    "input_layernorm": "attention_norm",
}


def llama_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face Llama's tensors under our names; buffers, and an output layer that copies the embeddings, are left
    out.
    """
    tied = weights.get("lm_head.weight"), weights.get("model.embed_tokens.weight")
    copied = None not in tied and torch.equal(*tied)
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not name.endswith("rotary_emb.inv_freq") and not (copied and name == "lm_head.weight")
    }
    last = kept.pop("model.norm.weight", None)
    kept = renamed(kept, "model.", LLAMA_NAMES)
    return kept if last is None else {**kept, "transformer.norm.weight": last}


@dataclass(frozen=True)
class Family:
    """How one of Hugging Face's model types becomes one of ours; weights saved without the heads leave ours `optional`
    parts as initialized.
    """

    model: type[GPT] | type[BERT]
    config: Callable[[dict[str, Any]], TransformerConfig]
    weights: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    optional: tuple[str, ...] = ()


FAMILIES = {
    "bert": Family(BERT, bert_config, bert_weights, ("word_", "next_sentence", "pooler")),
    "distilbert": Family(BERT, distilbert_config, distilbert_weights, ("word_", "next_sentence", "pooler")),
    "gpt2": Family(GPT, gpt2_config, gpt2_weights),
    "llama": Family(GPT, llama_config, llama_weights),
}
