"""A small encoder that labels each position of a sequence, from hashed features of its characters or words.

Letters in shape comments: B sentences, T positions, K features, D d_model, L labels.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.models.attention import padding_mask
from utils.models.blocks import Block, make_norm
from utils.models.config import TransformerConfig
from utils.models.pretrained import WeightsError, fit_weights, load_weights, write_model
from utils.models.transformer import Transformer
from utils.text import hashing

FEATURES = {"characters": hashing.character_features, "words": hashing.word_features}
NEIGHBORS = 5  # positions that the convolution sees at once


class Tagger(nn.Module):
    """Sums of feature vectors, a convolution over neighbors, Transformer blocks without a causal mask, a linear layer.

    units: what a position is, "characters" or "words". `config.vocab_size` is the number of rows of the feature table.
    Shapes: features (B, T, K), attention_mask (B, T) -> logits (B, T, L).
    Raises: ValueError for unknown units, fewer than two labels, or d_embed below 1.
    """

    def __init__(self, config: TransformerConfig, units: str, labels: tuple[str, ...], d_embed: int = 32) -> None:
        super().__init__()
        if units not in FEATURES or len(labels) < 2 or d_embed < 1:
            raise ValueError(
                f"Tagger: expected units one of {sorted(FEATURES)}, at least two labels and d_embed of at least 1, "
                f"got {units!r}, {len(labels)} labels and {d_embed}"
            )
        self.config, self.units, self.labels, self.d_embed = config, units, tuple(labels), d_embed
        self.table = nn.Embedding(config.vocab_size, d_embed, padding_idx=0)
        self.neighbors = nn.Conv1d(d_embed, config.d_model, NEIGHBORS, padding=NEIGHBORS // 2)
        self.blocks = nn.ModuleList([Block(config, causal=False) for _ in range(config.n_layers)])
        self.norm = make_norm(config)
        self.head = nn.Linear(config.d_model, len(labels))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks.apply(Transformer._initialize)
        with torch.no_grad():
            self.table.weight.normal_(std=0.1)[0] = 0

    def forward(self, features: Tensor, attention_mask: Tensor) -> Tensor:
        """Label logits (B, T, L)."""
        x = self.dropout(self.table(features).sum(dim=2))  # (B, T, d_embed); padding is zero
        x = F.gelu(self.neighbors(x.mT).mT)  # (B, T, D)
        mask = padding_mask(attention_mask)
        for block in self.blocks:
            x, _ = block(x, mask)
        return self.head(self.norm(x))

    def features(self, sequences: list) -> list[np.ndarray]:
        """The features of texts (characters) or of lists of words, each (T, K)."""
        return [FEATURES[self.units](sequence, self.config.vocab_size) for sequence in sequences]


def pad_features(features: list[np.ndarray], multiple: int = 8) -> tuple[Tensor, Tensor]:
    """Features of sentences as one block. Shapes: (B, T, K), and attention_mask (B, T)."""
    lengths = torch.tensor([len(rows) for rows in features])
    width = int(lengths.max())
    width += -width % multiple
    block = torch.zeros(len(features), width, features[0].shape[1], dtype=torch.long)
    for i, rows in enumerate(features):
        block[i, : len(rows)] = torch.from_numpy(rows)
    return block, torch.arange(width) < lengths[:, None]


@torch.inference_mode()
def predict_label_probs(model: Tagger, sequences: list, batch_size: int = 64) -> list[Tensor]:
    """Probabilities of the labels of each position, in evaluation mode; the model's mode is restored.

    Shapes: a tensor (T, L) a sequence, on the CPU. Raises: ValueError for an empty sequence.
    """
    features = model.features(sequences)
    order = np.argsort([len(rows) for rows in features], kind="stable")
    device, was_training, found = next(model.parameters()).device, model.training, {}
    model.eval()
    try:
        for i in range(0, len(order), batch_size):
            rows = order[i : i + batch_size]
            block, mask = pad_features([features[j] for j in rows])
            probs = model(block.to(device), mask.to(device)).float().softmax(dim=-1).cpu()
            found |= {int(j): probs[k, : len(features[j])] for k, j in enumerate(rows)}
    finally:
        model.train(was_training)
    return [found[i] for i in range(len(sequences))]


def save_tagger(folder: Path, model: Tagger, card: dict[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Write `config.json` (sizes, units, labels), `model.safetensors` in half precision, and `card.json`.

    Raises: WeightsError without write permission or space; files of an earlier model stay.
    """
    settings = {"units": model.units, "labels": model.labels, "d_embed": model.d_embed, **model.config.to_dict()}
    write_model(folder, model, settings, card, dtype)


def load_tagger(folder: Path) -> Tagger:
    """A tagger of `save_tagger`, in evaluation mode.

    Raises: WeightsError if a file is missing or damaged, or the weights do not fit the configuration.
    """
    try:
        settings = json.loads((folder / "config.json").read_text())
        units, labels, d_embed = (settings.pop(name) for name in ("units", "labels", "d_embed"))
        model = Tagger(TransformerConfig(**settings), units, tuple(labels), d_embed)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"expected the config.json of a saved tagger in {folder}, got: {error!r}; train it again: "
            f"python -m utils.launch {folder.parent.name}"
        ) from error
    fit_weights(model, load_weights(folder / "model.safetensors"))
    return model.eval()
