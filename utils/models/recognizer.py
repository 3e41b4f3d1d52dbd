"""A speech recognizer: two convolutions over time, a Transformer encoder, and a class for each frame, for CTC.

Letters in shape comments: B batch, T frames of 10 ms, M mel bands, P frames after the stem (T / 4), D d_model,
C classes.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.data import audio, sources
from utils.models.attention import padding_mask
from utils.models.blocks import Block, make_norm
from utils.models.config import TransformerConfig
from utils.models.pretrained import WeightsError, check_weights_of_card, fit_weights, load_weights

BLANK = 10  # after the digits 0 to 9


class Recognizer(nn.Module):
    """Features in, log-probabilities of digits and the blank out, one frame for four.

    Shapes: features (B, T, M), frame_mask (B, T) with True at real frames -> log_probs (B, P, C), lengths (B,).
    Raises: ValueError for another number of mel bands.
    Source: the stem is Whisper's (Radford et al. 2022, section 2.2) with stride 2 in both convolutions.
    """

    def __init__(self, config: TransformerConfig, n_mels: int = audio.N_MELS) -> None:
        super().__init__()
        self.config, self.n_mels = config, n_mels
        self.stem_1 = nn.Conv1d(n_mels, config.d_model, kernel_size=3, stride=2, padding=1)
        self.stem_2 = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, stride=2, padding=1)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config, causal=False) for _ in range(config.n_layers)])
        self.norm = make_norm(config)
        self.head = nn.Linear(config.d_model, config.vocab_size)

    def stem(self, features: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vectors for every fourth frame, and which of them are real. Shapes: (B, T, M) -> (B, P, D), (B, P)."""
        if features.dim() != 3 or features.shape[-1] != self.n_mels:
            raise ValueError(f"features: expected shape (B, T, {self.n_mels}), got {tuple(features.shape)}")
        if frame_mask is None:
            frame_mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        x = (features * frame_mask[..., None]).mT
        for convolution in (self.stem_1, self.stem_2):
            # Padding must stay 0 between the two, or a recording would sound different in another batch.
            frame_mask = frame_mask[:, ::2]
            x = F.gelu(convolution(x)) * frame_mask[:, None]
        return x.mT, frame_mask

    def encode(
        self, features: Tensor, frame_mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Hidden states (B, P, D), their mask (B, P) and, when wanted, each layer's attention weights (B, H, P, P)."""
        x, mask = self.stem(features, frame_mask)
        x, all_weights = self.dropout(x), []
        for block in self.blocks:
            x, weights = block(x, padding_mask(mask), need_weights=need_weights)
            all_weights.append(weights[-1])
        return self.norm(x), mask, all_weights if need_weights else []

    def forward(self, features: Tensor, frame_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, P, C), in fp32, and the number of real frames of each row (B,)."""
        hidden, mask, _ = self.encode(features, frame_mask)
        return self.head(hidden).float().log_softmax(dim=-1), mask.sum(dim=1)

    @torch.inference_mode()
    def listen(self, samples) -> Tensor:
        """Log-probabilities (P, C) of one recording: samples (N,) at 16 kHz."""
        features = audio.features(torch.as_tensor(samples, dtype=torch.float32))
        device = self.head.weight.device
        return self(features[None].to(device))[0][0].cpu()

    def attention_weights(self, features: Tensor) -> list[Tensor]:
        """Attention weights of every layer, each (B, H, P, P)."""
        return self.encode(features, need_weights=True)[2]


def load_recognizer(name_or_folder: str | Path = "digits-recognizer") -> Recognizer:
    """The course's recognizer of digit strings, in evaluation mode, by name or from a folder.

    Raises: SourceError if it is not here; WeightsError if its files are damaged or do not belong together.
    """
    folder = name_or_folder if isinstance(name_or_folder, Path) else sources.model_folder(name_or_folder)
    try:
        settings = json.loads((folder / "config.json").read_text())
        n_mels = settings.pop("n_mels")
        model = Recognizer(TransformerConfig(**settings), n_mels)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"expected the config.json of a recognizer in {folder}, got: {error!r}") from error
    fit_weights(model, load_weights(folder / "model.safetensors"))
    check_weights_of_card(folder)
    return model.eval()
