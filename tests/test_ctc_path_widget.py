"""The explorer of CTC's paths: what it computes, what it refuses, and what its page makes of the numbers."""

import numpy as np
import pytest
import torch

from tests.test_widgets import needs_node, run_js
from utils.data import recordings, speech
from utils.models import ctc
from utils.widgets import base, ctc_path


def listen(samples):
    """Random log-probabilities (P, 11) that follow from the samples' number."""
    frames = max(1, len(samples) // 640)
    generator = torch.Generator().manual_seed(len(samples))
    return (2 * torch.randn(frames, 11, generator=generator)).log_softmax(dim=-1)


@pytest.fixture(scope="module")
def typed():
    return ctc_path.explore_ctc_path(listen, "4 7 7 0")


def test_it_sends_what_the_pieces_give(typed):
    samples, rate = speech.synthesize("four seven seven zero", ctc_path.VOICES[0])
    log_probs = listen(recordings.resample(samples, rate))
    probs = np.frombuffer(typed.probs, "<f4").reshape(-1, 11)
    np.testing.assert_allclose(probs, log_probs.exp().numpy(), atol=1e-6)
    lattice = ctc.lattice(log_probs, [4, 7, 7, 0], 10)
    posterior = np.frombuffer(typed.posterior, "<f4").reshape(len(probs), -1)
    np.testing.assert_allclose(posterior, lattice.posterior.numpy(), atol=1e-5)
    assert typed.error == "" and typed.found["places"] == [10, 4, 10, 7, 10, 7, 10, 0, 10]
    assert typed.found["loss"] == pytest.approx(lattice.loss, rel=1e-5)
    assert typed.found["path"] == ctc.best_path(log_probs, [4, 7, 7, 0], 10)
    assert len(typed.spectrogram) % 40 == 0 and max(typed.spectrogram) == 255
    assert len(typed.sound) == 2 * len(recordings.resample(samples, rate))


def test_noise_voice_and_labels_change_the_answer():
    explorer = ctc_path.explore_ctc_path(listen, "3")
    before = explorer.spectrogram
    explorer.query = {**explorer.query, "noise": 5}
    assert explorer.spectrogram != before and explorer.error == ""
    explorer.query = {**explorer.query, "voice": "en-us+f2", "rate": 300}
    assert explorer.found["labels"] == [3]
    explorer.query = {**explorer.query, "labels": "3 3"}
    assert explorer.found["labels"] == [3, 3]
    explorer.query = {**explorer.query, "labels": "111111111111", "rate": 340}
    assert explorer.found["loss"] is None and explorer.found["path"] == [] and explorer.error == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(text=""), "got none"),
        (dict(text="four"), "only 0 to 9"),
        (dict(text="😀"), "only 0 to 9"),
        (dict(text="四"), "only 0 to 9"),
        (dict(text="4\x007"), "only 0 to 9"),
        (dict(text="1" * 13), "at most 12"),
        (dict(labels="x"), "only 0 to 9"),
        (dict(voice="nobody"), "accent"),
        (dict(rate=5000), "rate"),
    ],
)
def test_says_what_is_wrong_and_keeps_the_last_picture(changes, words):
    explorer = ctc_path.explore_ctc_path(listen, "4 7")
    before, query = explorer.found, explorer.query
    explorer.query = {**query, **changes}
    assert words in explorer.error and explorer.found == before
    explorer.query = query
    assert explorer.error == ""


def test_recordings_from_the_page():
    explorer = ctc_path.explore_recording(listen)
    assert "Nothing was recorded yet" in explorer.error and "Nothing" in explorer.says() and explorer.still() == ""
    tone = (0.3 * np.sin(np.arange(16_000) / 20)).astype("<f4")
    explorer.recording = tone.tobytes()
    explorer.query = {**explorer.query, "kind": "samples", "sample_rate": 16_000, "asked": 1}
    assert explorer.error == "" and explorer.found["seconds"] == 1
    explorer.recording = recordings.wav_bytes(np.tile(tone, 3), 48_000)
    explorer.query = {**explorer.query, "kind": "file", "asked": 2}
    assert explorer.error == "" and explorer.found["seconds"] == pytest.approx(1, abs=1e-3)
    for number, (bad, kind, words) in enumerate(
        [
            (np.zeros(16_000, "<f4").tobytes(), "samples", "silence"),
            (tone[:1].tobytes(), "samples", "at least 0.1 s"),
            (np.tile(tone, 25).tobytes(), "samples", "at most 20 s"),
            (b"not a sound", "file", "expected a WAV file"),
            (b"RIFF1234WAVE", "file", "cannot be read"),
        ]
    ):
        explorer.recording = bad
        explorer.query = {**explorer.query, "kind": kind, "asked": 10 + number}
        assert words in explorer.error


def test_a_recording_given_by_the_cell_is_shown_first():
    samples = np.sin(np.arange(16_000) / 9).astype(np.float32)
    explorer = ctc_path.explore_recording(listen, samples)
    assert explorer.error == "" and explorer.found["seconds"] == 1
    assert explorer.found["labels"] == explorer.found["heard"]


def test_refuses_frames_of_another_shape():
    assert "Expected log-probabilities" in ctc_path.explore_ctc_path(lambda samples: torch.zeros(5, 3)).error


def test_leaves_a_still_picture_and_keeps_to_its_own_module(typed):
    data, _ = typed._repr_mimebundle_()
    assert "heard greedily" in data["text/plain"] and "svg" in data["text/html"]
    script, css = typed._esm, typed._css
    assert script == base.source("ctc_path") and script.rstrip().endswith("export default { render };")
    for forbidden in ("https:", "import(", "window.", "globalThis", "innerHTML", "document.querySelector"):
        assert forbidden not in script, forbidden
    assert "@import" not in css and "url(" not in css


@needs_node
def test_the_page_ranks_mixes_and_writes_wav_files(tmp_path):
    probs = np.random.default_rng(0).random((4, 5)).astype("<f4")
    sound = (1000 * np.sin(np.arange(800))).astype("<i2")
    found = run_js(
        "ctc_path",
        """const bytes = Uint8Array.from(data.sound);
        const mono = monoBytes([Float32Array.from([1, 0, 3]), Float32Array.from([0, 0, 1])]);
        const names = ["NotAllowedError", "NotFoundError", "AbortError"].map((name) => whyNot({ name }));
        let head = [];
        globalThis.Blob = class { constructor(parts) { head = [...new Uint8Array(parts[0])]; } };
        wavFile(new DataView(bytes.buffer));
        const best = ranked(Float32Array.from(data.probs), 2, 5);
        const typed = ["4 7", "4a\\u{1F600}7a", ""].map(onlyDigits);
        return { typed, best, mono: [...new Float32Array(mono.buffer)], names, head };""",
        {"probs": probs.ravel().tolist(), "sound": list(sound.tobytes())},
        tmp_path,
    )
    assert [i for i, _ in found["best"]] == np.argsort(-probs[2]).tolist()
    assert found["mono"] == [0.5, 0, 2]
    assert [one["digits"] for one in found["typed"]] == ["47", "47", ""]
    assert [one["kept"] for one in found["typed"]] == ["4 7", "47", ""]
    assert [one["strange"] for one in found["typed"]] == ["", "a 😀", ""]
    for words, said in zip(("not allowed", "No microphone", "AbortError"), found["names"], strict=True):
        assert words in said
    samples, rate = recordings.read_wav(bytes(found["head"]) + sound.tobytes())
    assert rate == 16_000
    np.testing.assert_allclose(samples, sound / 32768, atol=1e-6)
