"""Recordings in and out: WAV files of any common kind, one sample rate, one channel; and what is no recording."""

import io
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.io.wavfile
import scipy.signal

SAMPLE_RATE = 16_000
LARGEST_FILE = 50_000_000  # bytes
SHORTEST, LONGEST = 0.1, 20.0  # seconds that the course's recognizer takes
SILENCE = 1e-4  # a louder sample than this makes a sound: -80 dB of full scale
RATES = (4_000, 400_000)
# What a file begins with, by format: to name what came instead of a WAV file.
FORMATS = {b"ID3": "an MP3", b"\xff\xfb": "an MP3", b"OggS": "an Ogg", b"fLaC": "a FLAC", b"\x1aE\xdf\xa3": "a WebM"}


def read_wav(file: str | Path | bytes) -> tuple[np.ndarray, int]:
    """A WAV file, or its bytes, as samples (N,) float32 from -1 to 1, and the sample rate in Hz.

    Integers of 8 to 32 bits and floats are read; several channels are averaged.
    Raises: FileNotFoundError for no such file; ValueError for another format, a damaged file or too large a one.
    """
    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    if len(data) > LARGEST_FILE:
        megabytes = len(data) / 1e6
        raise ValueError(f"recording: expected at most {LARGEST_FILE / 1e6:.0f} MB, got {megabytes:.0f} MB; cut it")
    if data[:4] not in (b"RIFF", b"RIFX", b"RF64"):
        kind = next((name for start, name in FORMATS.items() if data.startswith(start)), "another")
        what = f"{kind} file" if data else "an empty one"
        raise ValueError(f"recording: expected a WAV file, got {what}; convert it: ffmpeg -i FILE recording.wav")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.io.wavfile.WavFileWarning)  # chunks it does not know: titles, dates
            rate, samples = scipy.io.wavfile.read(io.BytesIO(data))
    except Exception as error:  # the library raises what it stumbles over: struct.error, ValueError, TypeError
        raise ValueError(
            f"recording: expected a whole WAV file of integers or floats, got one that cannot be read ({error}); "
            f"save it again as 16-bit PCM"
        ) from error
    return to_mono(scaled(samples)), int(rate)


def scaled(samples: np.ndarray) -> np.ndarray:
    """Samples of any WAV type as float32 from -1 to 1; 8-bit ones are unsigned, with silence at 128."""
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)


def to_mono(samples: np.ndarray) -> np.ndarray:
    """The mean of all channels. Shapes: (N,) or (N, channels) -> (N,)."""
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


def wav_bytes(samples, sample_rate: int) -> bytes:
    """Samples (N,) from -1 to 1 as the bytes of a 16-bit mono WAV file; what is louder is cut off.

    Raises: ValueError for samples that are not finite numbers in one row, or a sample rate out of range.
    """
    samples = checked_samples(samples, sample_rate)
    buffer = io.BytesIO()
    whole = np.clip(np.rint(32768 * samples.astype(np.float64)), -32768, 32767).astype(np.int16)
    scipy.io.wavfile.write(buffer, sample_rate, whole)
    return buffer.getvalue()


def checked_samples(samples, sample_rate: int) -> np.ndarray:
    """The samples as float32 (N,), if they are finite numbers in one row at a possible rate.

    Raises: ValueError saying what does not fit.
    """
    array = np.asarray(samples)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"samples: expected numbers of shape (N,), got {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("samples: expected finite numbers, got NaN or infinity among them")
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise ValueError(f"sample rate: expected {RATES[0]:,} to {RATES[1]:,} Hz, got {sample_rate}")
    return array.astype(np.float32)


def resample(samples: np.ndarray, rate: int, new_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The same sound at another sample rate; tones that it cannot hold are filtered out first. (N,) -> (M,) float32.

    Raises: as `checked_samples`.
    """
    samples = checked_samples(samples, rate)
    if rate == new_rate or not len(samples):
        return samples
    ratio = Fraction(int(new_rate), int(rate)).limit_denominator(1000)
    return scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)


def usable(samples, sample_rate: int) -> np.ndarray:
    """A recording as the course's recognizer takes it: mono, 16 kHz, (N,) float32.

    Raises: ValueError, in words for whoever recorded it, if it is too short, too long, silent or no sound at all.
    """
    samples = np.asarray(samples)
    samples = checked_samples(to_mono(samples) if samples.ndim == 2 else samples, sample_rate)
    seconds = len(samples) / sample_rate
    if seconds < SHORTEST:
        raise ValueError(f"recording: expected at least {SHORTEST} s, got {seconds:.4f} s ({len(samples)} samples)")
    if seconds > LONGEST:
        raise ValueError(f"recording: expected at most {LONGEST:.0f} s, got {seconds:.1f} s; say fewer digits")
    if np.abs(samples - samples.mean()).max() < SILENCE:
        raise ValueError("recording: expected a sound, got silence; is the microphone switched on and allowed?")
    return resample(samples, sample_rate)
