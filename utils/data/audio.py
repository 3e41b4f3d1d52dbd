"""From samples to what a recognizer reads: frames, the short-time Fourier transform, mel bands, their logarithm.

Letters in shape comments: N samples, T frames, W window length, F frequencies (W // 2 + 1), M mel bands.
"""

import functools
import math

import torch
from torch import Tensor

from utils.data.recordings import SAMPLE_RATE

WINDOW, HOP, N_MELS = 400, 160, 40  # 25 ms, every 10 ms
FLOOR = 1e-10
RANGE = 8.0  # powers of ten below the loudest that are kept


def hann(length: int) -> Tensor:
    """The Hann window, 0.5 - 0.5 cos(2 pi n / length): frames fade in and out. Shape: (length,).

    Raises: ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"window: expected a length of at least 1, got {length}")
    return 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(length, dtype=torch.float64) / length).float()


def frames(samples: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """Overlapping pieces, one every `hop` samples; what is left at the end is dropped. Shapes: (..., N) -> (..., T, W).

    Fewer samples than a window are filled up with zeros to one.
    Raises: ValueError for a window or hop below 1, or no samples.
    """
    if window < 1 or hop < 1 or samples.shape[-1] < 1:
        raise ValueError(
            f"frames: expected window, hop and samples of at least 1, got {window}, {hop} and {samples.shape[-1]}"
        )
    short = max(0, window - samples.shape[-1])
    return torch.nn.functional.pad(samples, (0, short)).unfold(-1, window, hop)


def power_spectrogram(samples: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """Squared magnitudes of each frame's Fourier transform under a Hann window. Shapes: (..., N) -> (..., T, F)."""
    return torch.fft.rfft(frames(samples, window, hop) * hann(window).to(samples)).abs().square()


def hertz_to_mel(hertz: float) -> float:
    """Mels: about equal steps of heard pitch. Source: O'Shaughnessy 1987, the formula that HTK uses."""
    return 2595 * math.log10(1 + hertz / 700)


def mel_to_hertz(mel: float) -> float:
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


@functools.cache
def mel_filterbank(
    n_mels: int = N_MELS,
    window: int = WINDOW,
    sample_rate: int = SAMPLE_RATE,
    low: float = 0.0,
    high: float | None = None,
) -> Tensor:
    """Triangles of height 1, their corners evenly spaced in mels, over the frequencies of a spectrum: (M, F).

    Raises: ValueError for bands out of range, or so many that one of them holds no frequency.
    """
    high = sample_rate / 2 if high is None else high
    if n_mels < 1 or not 0 <= low < high <= sample_rate / 2:
        raise ValueError(
            f"mel bands: expected n_mels of at least 1 and 0 <= low < high <= {sample_rate / 2:.0f} Hz, "
            f"got {n_mels}, {low} and {high}"
        )
    first, last = hertz_to_mel(low), hertz_to_mel(high)
    corners = [mel_to_hertz(first + (last - first) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    corners = torch.tensor(corners, dtype=torch.float64)
    hertz = torch.arange(window // 2 + 1, dtype=torch.float64) * sample_rate / window  # (F,)
    left, center, right = (corners[i : n_mels + i, None] for i in range(3))
    bank = torch.minimum((hertz - left) / (center - left), (right - hertz) / (right - center)).clamp(min=0)
    if empty := int((bank.sum(dim=1) == 0).sum()):
        raise ValueError(f"mel bands: expected a frequency in each, got {empty} without; take fewer")
    return bank.float()


def log_mel(samples: Tensor, n_mels: int = N_MELS, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Power in each mel band, log base 10; no lower than 80 dB below the loudest. Shapes: (..., N) -> (..., T, M)."""
    mel = power_spectrogram(samples) @ mel_filterbank(n_mels, WINDOW, sample_rate).to(samples).T  # (..., T, M)
    logs = mel.clamp(min=FLOOR).log10()
    return logs.maximum(logs.amax(dim=(-2, -1), keepdim=True) - RANGE)


def features(samples: Tensor) -> Tensor:
    """What the recognizer reads: log-mel with each band's mean taken out, and one deviation. Shapes: (N,) -> (T, M).

    A microphone or a room that colors the sound adds a constant to each band; subtracting the mean takes it out.
    """
    logs = log_mel(samples)
    centered = logs - logs.mean(dim=-2, keepdim=True)
    return centered / centered.std().clamp(min=1e-3)
