"""Properties for lab 18: frames under a window, their power, and mel bands, beside PyTorch's and transformers'."""

import torch
from torch import Tensor

from utils.checks.properties import is_equal, is_tensor


def _sound(draw) -> tuple[Tensor, int, int]:
    """A sound (N,), a window and a hop, so that some samples are left over at the end."""
    window, hop = 2 * draw.number(5, 12) + 1, draw.number(3, 9)
    length = window + hop * draw.number(4, 9) + draw.number(1, hop - 1)
    return draw.normal(length), window, hop


def _hann(window: int, periodic: bool = True) -> Tensor:
    return torch.hann_window(window, periodic=periodic)


def _framed(answer, x: Tensor, window: int, hop: int) -> Tensor:
    n_frames = (len(x) - window) // hop + 1
    return is_tensor(
        answer(x, window, hop),
        (n_frames, window),
        letters="(T, W)",
        name="the frames",
        hint="A frame must lie wholly inside the sound: the last begins at the latest at N - W.",
        slips={
            (n_frames + 1, window): "One frame too many: the last one runs over the end.",
            (window, n_frames): "Time goes down the rows: one row a frame.",
        },
    )


def frames_shape(answer, draw):
    """One row a frame."""
    _framed(answer, *_sound(draw))


def frames_places(answer, draw):
    """The middle of each frame, where the window of odd length is nearly 1, is the sound's own."""
    x, window, hop = _sound(draw)
    got = _framed(answer, x, window, hop)
    middle = window // 2
    pieces = x.unfold(0, window, hop)
    is_equal(
        got[:, middle],
        pieces[:, middle] * _hann(window)[middle],
        tolerance=0.02 * float(x.abs().max()),
        problem="The frames do not begin every `hop` samples.",
        hint="Frame t holds x[t * hop : t * hop + window].",
        slips={
            "Each frame begins where the last one ended: they overlap, for the hop is shorter.": x.repeat(window)[
                middle::window
            ][: len(got)]
            * _hann(window)[middle]
        },
    )


def frames_window(answer, draw):
    """Each frame fades in and out as torch.hann_window says."""
    x, window, hop = _sound(draw)
    pieces = x.unfold(0, window, hop)
    is_equal(
        _framed(answer, x, window, hop),
        pieces * _hann(window),
        problem="The frames are not faded by the Hann window.",
        hint="Multiply each frame by the window of the formula.",
        slips={
            "The window is missing.": pieces,
            "The window is symmetric: divide by W, not by W - 1.": pieces * _hann(window, periodic=False),
            "The frames were faded twice.": pieces * _hann(window) ** 2,
            "A Hamming window begins at 0.08; the Hann window begins at 0.": pieces * torch.hamming_window(window),
        },
    )


# Exercise 2: power


def _frames(draw) -> Tensor:
    """Frames (T, W), fp64, of odd or even width."""
    n_frames, window = draw.number(3, 6), draw.number(8, 21)
    return draw.normal(n_frames, window, dtype=torch.float64)


def _powers(answer, frames: Tensor) -> Tensor:
    T, W = frames.shape
    return is_tensor(
        answer(frames),
        (T, W // 2 + 1),
        letters="(T, F)",
        name="the power",
        hint="There are W // 2 + 1 different tones, from 0 to half the sample rate.",
        slips={
            (T, W): "The upper half of the tones mirrors the lower one: keep W // 2 + 1.",
            (T, W // 2): "The last tone is missing: k runs from 0 to W // 2, both included.",
        },
    )


def power_shape(answer, draw):
    """W // 2 + 1 tones."""
    _powers(answer, _frames(draw))


def power_tone(answer, draw):
    """A pure tone has all its power in one place."""
    window = 2 * draw.number(6, 12)
    k = draw.number(1, window // 2 - 1)
    tone = torch.cos(2 * torch.pi * k * torch.arange(window, dtype=torch.float64) / window + draw.number(0, 6))
    expected = torch.zeros(1, window // 2 + 1, dtype=torch.float64)
    expected[0, k] = window**2 / 4
    is_equal(
        _powers(answer, tone[None]),
        expected,
        tolerance=1e-7,
        problem=f"A pure tone that swings {k} times in a frame should have power {window**2 / 4:g} at {k}, else 0.",
        hint="Square the cosine sum and the sine sum, and add them: the phase must not matter.",
        slips={
            "These are magnitudes: square them.": expected.sqrt(),
            "The power was divided by W.": expected / window,
            "The power was divided by W squared.": expected / window**2,
        },
    )


def power_library(answer, draw):
    """Equal to torch.fft.rfft, squared."""
    frames = _frames(draw)
    spectrum = torch.fft.rfft(frames)
    is_equal(
        _powers(answer, frames),
        spectrum.abs() ** 2,
        tolerance=1e-8,
        problem="These are not the squared magnitudes of the Fourier transform.",
        hint="For each tone k: the frame times cos(2 pi k n / W), summed, and the same with sin.",
        slips={
            "The sine sum is missing.": spectrum.real**2,
            "The cosine sum is missing.": spectrum.imag**2,
            "These are magnitudes: square them.": spectrum.abs(),
            "The two sums were added before squaring.": (spectrum.real - spectrum.imag) ** 2,
        },
    )


# Exercise 3: mel bands


def _bank(n_mels: int, window: int, rate: int, **options) -> Tensor:
    """The bank of transformers (M, F)."""
    from transformers.audio_utils import mel_filter_bank

    options = {"norm": None, "mel_scale": "htk", **options}
    return torch.from_numpy(mel_filter_bank(window // 2 + 1, n_mels, 0.0, rate / 2, rate, **options).T).float()


def _in_hertz(n_mels: int, window: int, rate: int) -> Tensor:
    """Triangles evenly spaced in hertz (M, F): the misconception."""
    hertz = torch.arange(window // 2 + 1) * rate / window
    width = rate / 2 / (n_mels + 1)
    centers = width * torch.arange(1, n_mels + 1)[:, None]
    return (1 - (hertz - centers).abs() / width).clamp(min=0)


def _sizes(draw) -> tuple[int, int, int]:
    """So many bands, a window and a rate, that each band holds some tones."""
    return draw.number(5, 11), 2 * draw.number(150, 260), (8_000, 12_000, 16_000)[draw.number(0, 2)]


def _banked(answer, sizes: tuple[int, int, int]) -> Tensor:
    n_mels, window, _ = sizes
    return is_tensor(
        answer(*sizes),
        (n_mels, window // 2 + 1),
        letters="(M, F)",
        name="the bank",
        hint="One row a band, one column a tone.",
        slips={(window // 2 + 1, n_mels): "One row a band: transpose it."},
    )


def bank_shape(answer, draw):
    """One row a band."""
    _banked(answer, _sizes(draw))


def bank_covers(answer, draw):
    """Between the first and the last center, the triangles add up to 1."""
    sizes = _sizes(draw)
    expected = _bank(*sizes)
    inside = slice(int(expected[0].argmax()) + 1, int(expected[-1].argmax()))
    got = _banked(answer, sizes).float()
    is_equal(
        got.sum(dim=0)[inside],
        torch.ones(inside.stop - inside.start),
        tolerance=1e-4,
        problem="Between the first and the last center, the triangles should add up to 1 at every tone.",
        hint="Each triangle reaches from the center of the one before it to the center of the one after it, "
        "and is 1 at its own center.",
    )
    is_equal(
        (got < -1e-6).sum(),
        torch.tensor(0),
        problem="A band is negative outside of its triangle.",
        hint="`clamp(min=0)` cuts what lies below 0.",
    )


def bank_library(answer, draw):
    """Equal to mel_filter_bank of transformers."""
    sizes = _sizes(draw)
    is_equal(
        _banked(answer, sizes).float(),
        _bank(*sizes),
        tolerance=2e-4,
        problem="This is not the bank of transformers' mel_filter_bank (scale `htk`, no norm).",
        hint="M triangles have M + 2 corners, evenly spaced in mels from 0 to half the rate; then back to hertz.",
        slips={
            "The corners are evenly spaced in hertz: space them in mels, then go back.": _in_hertz(*sizes),
            "This is another mel scale: m = 2595 log10(1 + f / 700).": _bank(*sizes, mel_scale="slaney"),
            "The triangles were divided by their width; here each has height 1.": _bank(*sizes, norm="slaney"),
        },
    )
