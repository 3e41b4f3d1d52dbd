"""Sound to numbers: against a Fourier matrix, scipy and torch.stft; recordings of every kind in and out."""

import io
import struct
import wave

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
import torch

from utils.data import audio, recordings


def sound(n, seed=0):
    """Noise (n,), fp64."""
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("n", "window", "hop"), [(1003, 101, 37), (400, 400, 160), (57, 20, 20), (1, 7, 3), (12, 13, 5)]
)
def test_frames(n, window, hop):
    samples = sound(n)
    found = audio.frames(samples, window, hop)
    padded = torch.cat([samples, torch.zeros(max(0, window - n), dtype=torch.float64)])
    starts = range(0, len(padded) - window + 1, hop)
    torch.testing.assert_close(found, torch.stack([padded[s : s + window] for s in starts]), rtol=0, atol=0)


@pytest.mark.parametrize(("n", "window", "hop"), [(1003, 101, 37), (900, 400, 160), (333, 64, 32)])
def test_power_spectrogram_is_the_fourier_matrix_torch_and_scipy(n, window, hop):
    samples = sound(n)
    found = audio.power_spectrogram(samples, window, hop)
    times = torch.arange(window, dtype=torch.float64)
    angles = 2 * torch.pi * torch.outer(times, torch.arange(window // 2 + 1, dtype=torch.float64)) / window
    framed = audio.frames(samples, window, hop) * torch.hann_window(window, dtype=torch.float64)
    direct = (framed @ angles.cos()) ** 2 + (framed @ angles.sin()) ** 2
    torch.testing.assert_close(found, direct, rtol=1e-5, atol=1e-5)
    library = torch.stft(
        samples, window, hop, window=torch.hann_window(window, dtype=torch.float64), center=False, return_complex=True
    )
    torch.testing.assert_close(found, library.abs().square().T, rtol=1e-5, atol=1e-5)
    _, _, theirs = scipy.signal.stft(
        samples.numpy(), window="hann", nperseg=window, noverlap=window - hop, boundary=None, padded=False,
        scaling="psd", fs=1.0,
    )  # fmt: skip
    scale = float(torch.hann_window(window, dtype=torch.float64).square().sum())
    np.testing.assert_allclose(found.numpy(), scale * np.abs(theirs.T) ** 2, rtol=1e-4, atol=1e-4)


def test_hann_is_torchs():
    for length in (2, 7, 400):
        torch.testing.assert_close(audio.hann(length), torch.hann_window(length), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("n_mels", "window", "rate", "low", "high"), [(40, 400, 16_000, 0, None), (23, 512, 8_000, 60, 3_700)]
)
def test_mel_filterbank_is_transformers(n_mels, window, rate, low, high):
    from transformers.audio_utils import mel_filter_bank

    found = audio.mel_filterbank(n_mels, window, rate, low, high)
    expected = mel_filter_bank(
        window // 2 + 1, n_mels, low, rate / 2 if high is None else high, rate, norm=None, mel_scale="htk"
    )
    np.testing.assert_allclose(found.numpy(), expected.T, atol=1e-5)


def test_mel_scale_turns_back():
    assert audio.hertz_to_mel(1000) == pytest.approx(1000, abs=0.1)
    for hertz in (0, 55.5, 4000):
        assert audio.mel_to_hertz(audio.hertz_to_mel(hertz)) == pytest.approx(hertz, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"), [((0,), "n_mels"), ((40, 400, 16_000, 9_000), "low"), ((200,), "frequency in each")]
)
def test_impossible_mel_bands(arguments, words):
    with pytest.raises(ValueError, match=words):
        audio.mel_filterbank(*arguments)


def test_a_tone_lights_up_its_band():
    times = torch.arange(8000) / 16_000
    for hertz in (300, 1000, 3100):
        bands = audio.log_mel(torch.sin(2 * torch.pi * hertz * times)).mean(dim=0)
        center = audio.mel_filterbank()[bands.argmax()].argmax() * 40
        assert abs(float(center) - hertz) < 0.1 * hertz + 40


def test_features_do_not_hear_loudness_or_microphone():
    samples = sound(9000).float()
    found = audio.features(samples)
    torch.testing.assert_close(audio.features(0.01 * samples), found, rtol=0, atol=1e-3)
    assert found.mean(dim=0).abs().max() < 1e-4 and abs(float(found.std()) - 1) < 1e-3
    for short in (torch.zeros(500), torch.ones(1), torch.zeros(400)):
        assert audio.features(short).isfinite().all()


@pytest.mark.parametrize("bad", [(torch.zeros(0), 5, 2), (torch.zeros(9), 0, 2), (torch.zeros(9), 5, 0)])
def test_frames_of_nothing(bad):
    with pytest.raises(ValueError, match="at least 1"):
        audio.frames(*bad)


def wav(samples, rate=16_000):
    """Bytes of a WAV file by scipy."""
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, rate, samples)
    return buffer.getvalue()


TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(4410) / 44_100)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        (TONE, 1e-7),
        (TONE.astype(np.float64), 1e-7),
        ((32767 * TONE).astype(np.int16), 1e-4),
        ((2147483647 * TONE.astype(np.float64)).astype(np.int32), 1e-6),
        ((128 + 127 * TONE).astype(np.uint8), 2e-2),
        (np.stack([TONE, TONE], axis=1), 1e-7),
        (np.stack([(32767 * TONE).astype(np.int16)] * 5, axis=1), 1e-4),
    ],
)
def test_wav_files_of_every_kind(samples, tolerance, tmp_path):
    (tmp_path / "tone.wav").write_bytes(wav(samples, 44_100))
    for file in (tmp_path / "tone.wav", str(tmp_path / "tone.wav"), wav(samples, 44_100)):
        found, rate = recordings.read_wav(file)
        assert rate == 44_100 and found.dtype == np.float32 and found.shape == TONE.shape
        np.testing.assert_allclose(found, TONE, atol=tolerance)


def test_24_bit_files():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(48_000)
        file.writeframes(b"".join(struct.pack("<i", int(8388607 * x))[:3] for x in TONE))
    found, rate = recordings.read_wav(buffer.getvalue())
    assert rate == 48_000
    np.testing.assert_allclose(found, TONE, atol=1e-5)


def test_written_and_read_again(tmp_path):
    (tmp_path / "x.wav").write_bytes(recordings.wav_bytes(TONE, 22_050))
    found, rate = recordings.read_wav(tmp_path / "x.wav")
    assert rate == 22_050
    np.testing.assert_allclose(found, TONE, atol=2e-5)
    np.testing.assert_allclose(recordings.read_wav(recordings.wav_bytes([2.0, -3.0], 8000))[0], [1, -1], atol=1e-4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty one"),
        (b"hello", "another file"),
        (b"ID3\x03\x00", "an MP3"),
        (b"OggS\x00", "an Ogg"),
        (b"fLaC\x00", "a FLAC"),
        (b"\x1aE\xdf\xa3", "a WebM"),
        (wav(TONE)[:30], "cannot be read"),
        (wav(TONE)[:20] + b"\x55\x00" + wav(TONE)[22:], "cannot be read"),
        (b"RIFF\x00\x00\x00\x00junk", "cannot be read"),
    ],
)
def test_no_wav_file(data, words):
    with pytest.raises(ValueError, match=words):
        recordings.read_wav(data)


def test_no_file_and_too_large_a_file(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        recordings.read_wav(tmp_path / "none.wav")
    monkeypatch.setattr(recordings, "LARGEST_FILE", 1000)
    with pytest.raises(ValueError, match="at most"):
        recordings.read_wav(wav(TONE))


def test_resampling_keeps_a_tone():
    for rate in (8_000, 22_050, 44_100, 48_000):
        times = np.arange(rate) / rate
        found = recordings.resample(np.sin(2 * np.pi * 440 * times), rate)
        expected = np.sin(2 * np.pi * 440 * np.arange(len(found)) / 16_000)
        assert abs(len(found) - 16_000) <= 1 and found.dtype == np.float32
        np.testing.assert_allclose(found[500:-500], expected[500:-500], atol=2e-3)


def test_what_the_recognizer_takes():
    stereo = np.stack([TONE, TONE], axis=1)
    found = recordings.usable(np.tile(stereo, (5, 1)), 44_100)
    assert found.ndim == 1 and found.dtype == np.float32 and abs(len(found) - 8000) <= 1


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        ([0.1], 16_000, "at least 0.1 s"),
        ([], 16_000, "at least 0.1 s"),
        (np.zeros(16_000), 16_000, "silence"),
        (np.full(16_000, 0.3), 16_000, "silence"),
        (TONE, 10, "sample rate"),
        (np.tile(TONE, 300), 44_100, "at most 20 s"),
        ([0.0, np.nan] * 4000, 16_000, "finite"),
        (np.zeros((3, 3, 3)), 16_000, "shape"),
        (["a"], 16_000, "numbers"),
    ],
)
def test_bad_recordings_are_one_plain_sentence(samples, rate, words):
    with pytest.raises(ValueError, match=words):
        recordings.usable(samples, rate)
