"""Compressing the sentiment model: every method on the same model, judged by the same reviews, drawn in one picture."""

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from utils import environment
from utils.data.batches import Batch, classification_batches
from utils.experiments.fine_tuning import (
    BATCH_SIZE,
    MAX_LENGTH,
    Reviews,
    linear_schedule,
    tokenized_reviews,
    train_classifier,
)
from utils.models import adapters, pruning
from utils.models.compression import held_bytes, save_compressed
from utils.models.heads import SequenceClassifier, encode_texts, predict_probs
from utils.models.quantization import QuantizationConfig, quantize_model, round_to_levels
from utils.models.sentiment import load_sentiment
from utils.training import objectives, profiling
from utils.training.loop import Record

GROUP = 64
SPARSITIES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9)
BIT_WIDTHS = (32, 8, 5, 4, 3, 2)
IMPORTANCE_REVIEWS = 256
RETRAIN_RATE = 5e-5
QUANTIZATIONS = {
    "int8, one scale a matrix": QuantizationConfig(scales="tensor"),
    "int8, one scale a row": QuantizationConfig(),
    "int8, zero points": QuantizationConfig(symmetric=False),
    "int8, activations too": QuantizationConfig(activations=8),
    "int4, groups of 64": QuantizationConfig(bits=4, scales=GROUP),
}
HEADS_REMOVED = (24, 48)
Method = Callable[[nn.Module], object]


def original() -> tuple[SequenceClassifier, Tokenizer]:
    """The course's sentiment model with its adapter merged into plain layers, and its tokenizer."""
    model, tokenizer = load_sentiment()
    adapters.fold(model)
    return model.requires_grad_(True).eval(), tokenizer


def importance_of_heads(model: nn.Module, tokenizer: Tokenizer, n: int = IMPORTANCE_REVIEWS) -> Tensor:
    """Importance of each head for the loss on some training reviews. Shapes: (L, H)."""
    reviews = tokenized_reviews("rotten_tomatoes", "train", tokenizer)
    chosen = reviews.take(np.random.default_rng(0).permutation(len(reviews.labels))[:n])
    pad_id = tokenizer.token_to_id("[PAD]")
    # Small batches: |gradient| is averaged over batches, and within a large one gradients of both signs cancel.
    batches = classification_batches(chosen.sequences, chosen.labels, pad_id, batch_size=4)
    return pruning.head_importance(model, batches, objectives.classification)


def prune(model: nn.Module, sparsity: float, scope: str = "global") -> None:
    """Set the smallest weights of the linear layers of a model's blocks to zero, in place."""
    pruning.apply_masks(model, pruning.magnitude_masks(pruning.prunable(model), sparsity, scope))


def prune_two_of_four(model: nn.Module) -> None:
    """Keep two of every four neighboring weights, in place."""
    weights = pruning.prunable(model)
    pruning.apply_masks(model, {name: pruning.n_of_m_mask(weight) for name, weight in weights.items()})


def retrain(model: nn.Module, tokenizer: Tokenizer, steps: int, seed: int = 0) -> Iterator[Record]:
    """Train a pruned model on, its zeros held; yields the loop's records."""
    weights = pruning.prunable(model)
    hooks = pruning.hold_zeros(model, {name: weight.detach() != 0 for name, weight in weights.items()})
    reviews = tokenized_reviews("rotten_tomatoes", "train", tokenizer)
    config = linear_schedule(steps, RETRAIN_RATE, warmup_steps=steps // 10)
    try:
        yield from train_classifier(model, tokenizer, reviews, config, seed)
    finally:
        for hook in hooks:
            hook.remove()


def methods(importance: Tensor) -> dict[str, Method]:
    """Every method that needs no training: it changes a copy of the model in place."""
    found: dict[str, Method] = {"bf16": lambda model: model.bfloat16()}
    for name, config in QUANTIZATIONS.items():
        found[name] = lambda model, config=config: quantize_model(model, config)
    for sparsity in (0.3, 0.5):
        found[f"pruned {sparsity:.0%}"] = lambda model, sparsity=sparsity: prune(model, sparsity)
    found["pruned 2 of 4"] = prune_two_of_four
    for n in HEADS_REMOVED:
        chosen = pruning.least_important(importance, n)
        found[f"{n} heads removed"] = lambda model, chosen=chosen: pruning.remove_heads(model, chosen)
    return found


def squeeze(model: nn.Module, sparsity: float, bits: int) -> None:
    """Prune globally and round all matrices to so many bits in groups, in place, in fp32: for study, nothing shrinks.

    32 bits: no rounding.
    """
    prune(model, sparsity)
    if bits == 32:
        return
    with torch.no_grad():
        for name, parameter in pruning.prunable(model, (*pruning.LINEAR_LAYERS, "*token_embedding.weight")).items():
            model.get_parameter(name).copy_(round_to_levels(parameter, bits, GROUP))


def squeezed_bytes(model: nn.Module, sparsity: float, bits: int) -> float:
    """Bytes that `squeeze`d weights take: codes, an fp32 scale a group, and a bit a place where zeros are left out."""
    linear = pruning.prunable(model)
    matrices = pruning.prunable(model, (*pruning.LINEAR_LAYERS, "*token_embedding.weight"))
    total = 8.0 * held_bytes(model)
    for name, weight in matrices.items():
        n = weight.numel()
        dense = n * bits + (32 * n / GROUP if bits < 32 else 0)
        left_out = n * bits * (1 - sparsity) + n + dense - n * bits if name in linear else dense
        total += min(dense, left_out) - 32 * n
    return total / 8


def correct(model: nn.Module, tokenizer: Tokenizer, reviews: Reviews) -> np.ndarray:
    """Which reviews a model gets right, computed in its own precision. Shapes: (N,) bool."""
    return predict_probs(model, tokenizer, reviews.texts, MAX_LENGTH).argmax(dim=-1).numpy() == np.array(reviews.labels)


def batch_of(tokenizer: Tokenizer, texts: list[str]) -> Batch:
    """Texts as one padded batch."""
    sequences = encode_texts(tokenizer, texts, MAX_LENGTH)
    return next(iter(classification_batches(sequences, None, tokenizer.token_to_id("[PAD]"), len(texts), multiple=8)))


@torch.inference_mode()
def read(model: nn.Module, batch: Batch) -> Tensor:
    """One forward pass, as in use: no graph is kept. Shapes: (B, C)."""
    return model(batch["input_ids"], batch["attention_mask"])


def measured(model: nn.Module, tokenizer: Tokenizer, reviews: Reviews, batch: Batch) -> dict:
    """One model's correctness (N,), bytes on disk and in memory, and the bytes it works with on a batch."""
    with tempfile.TemporaryDirectory() as folder:
        saved = save_compressed(Path(folder) / "model.safetensors", model)
    return {
        "correct": correct(model, tokenizer, reviews),
        "bytes": saved,
        "held_bytes": held_bytes(model),
        "working_bytes": profiling.peak_bytes(lambda: read(model, batch), torch.device("cpu")),
    }


def compare(
    entries: Iterable[tuple[str, nn.Module, Tokenizer]], reviews: Reviews, rounds: int, progress=lambda name: None
) -> dict[str, dict]:
    """Measure models side by side: see `measured`, and seconds for one review and for a batch of 32, taking turns."""
    found, models, one, many = {}, {}, {}, {}
    for name, model, tokenizer in entries:
        progress(name)
        models[name] = model
        one[name] = batch_of(tokenizer, reviews.texts[:1])
        many[name] = batch_of(tokenizer, reviews.texts[:BATCH_SIZE])
        found[name] = measured(model, tokenizer, reviews, many[name])
        environment.release_memory()
    for key, batches in (("seconds_one", one), ("seconds_batch", many)):
        steps = {name: lambda _, model=model, batch=batches[name]: read(model, batch) for name, model in models.items()}
        for name, seconds in profiling.interleaved_seconds(steps, rounds).items():
            found[name][key] = seconds
    return found


def compressed(model: nn.Module, method: Method) -> nn.Module:
    """A copy of a model with a method applied to it, for evaluation."""
    copied = copy.deepcopy(model)
    method(copied)
    return copied.eval()


def pareto(sizes: Mapping[str, float], scores: Mapping[str, float]) -> list[str]:
    """Names that no other beats: nothing is as small and better, or as good and smaller. Ordered by size.

    Raises: ValueError if the two do not have the same names.
    """
    if sizes.keys() != scores.keys():
        raise ValueError(f"pareto: expected a size and a score for each name, got {sorted(sizes)} and {sorted(scores)}")
    front: list[str] = []
    for name in sorted(sizes, key=lambda name: (sizes[name], -scores[name])):
        if not front or scores[name] > scores[front[-1]]:
            front.append(name)
    return front
