"""Speech from text: the synthesizer eSpeak NG, read from the package `espeakng-loader`, with many voices and rates.

eSpeak NG (GPL-3.0-or-later) builds a voice from rules and resonances; nobody was recorded. The package carries its
shared library and its data; its Python code is not imported.
"""

import functools
import importlib.metadata
import json
import platform
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from utils.data import recordings, sources

PACKAGE, VERSION = "espeakng-loader", "0.2.4"
LIBRARIES = {"Linux": "libespeak-ng.so", "Darwin": "libespeak-ng.dylib", "Windows": "espeak-ng.dll"}
# The sounds, their order and the English words: the same bytes on every system.
DATA_SHA256 = {
    "phondata": "a0b643b155cb6b12628d9e7865b57d9fca0d35844614f2594a5e009c80c80bb4",
    "phontab": "1b40690667e1e9aa1ba5e5234773c799e7e72ea751426e5150423d53c3f24fa2",
    "phonindex": "384e5fa6f714ba5356c58008249b78699c31c1ad044b243068d263fb806b7d73",
    "en_dict": "1053f74a34af38abb6fbd64b7838dacbc655a687c48ce1bb663d364a127b05de",
}
N_VARIANTS = 104
ACCENTS = {
    "en-us": "America",
    "en-us-nyc": "New York City",
    "en": "Great Britain",
    "en-gb-x-rp": "Received Pronunciation",
    "en-gb-scotland": "Scotland",
    "en-gb-x-gbclan": "Lancaster",
    "en-gb-x-gbcwmd": "West Midlands",
    "en-029": "Caribbean",
}
RATES, PITCHES = (80, 450), (0, 99)
LONGEST_TEXT = 500


@dataclass(frozen=True)
class Utterance:
    """What to say, and how: voice "accent" or "accent+variant", rate in words a minute, pitch from 0 to 99.

    Raises: ValueError naming every field that does not fit.
    """

    text: str
    voice: str = "en-us"
    rate: int = 175
    pitch: int = 50

    def __post_init__(self) -> None:
        problems = [*_problems_of_text(self.text), *_problems_of_voice(self.voice)]
        for name, (low, high) in (("rate", RATES), ("pitch", PITCHES)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
                problems.append(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
        if problems:
            raise ValueError("; ".join(problems))


def _problems_of_text(text: str) -> Iterator[str]:
    """What hinders a text from being spoken."""
    if not isinstance(text, str) or not text.strip():
        yield f"text: expected words to speak, got {text!r}"
    elif len(text) > LONGEST_TEXT:
        yield f"text: expected at most {LONGEST_TEXT} characters, got {len(text)}; speak it in parts"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        yield "text: expected no control characters (line ends, tabs, NUL), got some; put spaces instead"
    elif not any(unicodedata.category(character)[0] in "LN" for character in text):
        yield f"text: expected letters or digits, got none in {text[:20]!r}"


def _problems_of_voice(voice: str) -> Iterator[str]:
    """The library takes an unknown variant without a word, and speaks with its plain voice; so it is asked here."""
    accent, _, variant = voice.partition("+") if isinstance(voice, str) else ("", "", "")
    if accent not in ACCENTS:
        yield f"voice: expected an accent of {', '.join(ACCENTS)}, got {voice!r}"
    elif "+" in voice and variant not in variants():
        yield f"voice: expected a variant of speech.variants() after the +, such as 'f2', got {variant!r}"


def library_files() -> tuple[Path, Path]:
    """Paths of the synthesizer's shared library and of its data folder.

    Raises: SourceError if the package or a file is missing; ValueError if the data is altered or of another version.
    """
    try:
        name = LIBRARIES[platform.system()]
    except KeyError:
        raise sources.SourceError(
            f"looked for a speech synthesizer for {platform.system()}, found none; {PACKAGE} has one for "
            f"{', '.join(LIBRARIES)}"
        ) from None
    library = sources.packaged_file(PACKAGE, f"espeakng_loader/{name}")
    files = {name: sources.packaged_file(PACKAGE, f"espeakng_loader/espeak-ng-data/{name}") for name in DATA_SHA256}
    if (found := importlib.metadata.version(PACKAGE)) != VERSION:
        raise ValueError(f"{PACKAGE}: expected version {VERSION}, got {found}; pip install {PACKAGE}=={VERSION}")
    for name, path in files.items():
        sources.check_sha256(path, DATA_SHA256[name])
    return library, files["phondata"].parent


@functools.cache
def _checked_files() -> tuple[Path, Path]:
    """The same, with the hashes computed once a process."""
    return library_files()


@functools.cache
def variants() -> tuple[str, ...]:
    """Names of the voice variants, to be put after an accent and a plus sign: "en-us+f2".

    Raises: SourceError or ValueError if the package is missing, altered or incomplete.
    """
    folder = _checked_files()[1] / "voices" / "!v"
    names = tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()
    if len(names) != N_VARIANTS:
        raise ValueError(
            f"{folder}: expected {N_VARIANTS} voice variants, got {len(names)}; the package is incomplete, "
            f"reinstall {PACKAGE}=={VERSION}"
        )
    return names


@functools.cache
def breathy() -> tuple[str, ...]:
    """Names of the variants with breath in them: the only ones that sound a little different each time.

    Raises: as `variants`.
    """
    folder = _checked_files()[1] / "voices" / "!v"
    lines = {name: (folder / name).read_text(encoding="utf-8", errors="replace").splitlines() for name in variants()}
    return tuple(name for name in lines if any(line.startswith("breath ") for line in lines[name]))


def synthesize(text: str, voice: str = "en-us", rate: int = 175, pitch: int = 50) -> tuple[np.ndarray, int]:
    """A text as sound: samples (N,) float32 from -1 to 1, mono, and the synthesizer's own sample rate in Hz.

    The same arguments give the same samples, but for breathy voices.
    Raises: ValueError for a text, voice, rate or pitch that does not fit; SourceError if the package is missing.
    """
    return next(_spoken([Utterance(text, voice, rate, pitch)]))


def synthesize_many(utterances: Sequence[Utterance], sample_rate: int = recordings.SAMPLE_RATE) -> Iterator[np.ndarray]:
    """Each utterance as samples (N,) float32, mono, at one common rate.

    The same list gives the same samples, but for breathy voices; an utterance depends a little on those before it.
    Raises: as `synthesize`.
    """
    for samples, rate in _spoken(utterances):
        yield recordings.resample(samples, rate, sample_rate)


def _spoken(utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, int]]:
    """Samples and sample rate of each utterance, by a child process of their own."""
    library, data = map(str, _checked_files())
    script = str(Path(__file__).with_name("synthesizer.py"))
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", script, library, data],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        rate = _number(child)
        for one in utterances:
            child.stdin.write(json.dumps(asdict(one), default=int).encode() + b"\n")
            child.stdin.flush()
            yield _answer(child, one), rate
    finally:
        child.stdin.close()
        child.stdout.close()
        child.stderr.close()
        child.kill()
        child.wait()


def _answer(child: subprocess.Popen, one: Utterance) -> np.ndarray:
    """The samples of one utterance, float32."""
    count = _number(child)
    if count < 0:
        raise ValueError(f"eSpeak NG could not speak {one} (its error {-count}); try another voice")
    samples = np.frombuffer(_exactly(child, child.stdout, 2 * count), dtype="<i2")
    return samples.astype(np.float32) / 32768


def _number(child: subprocess.Popen) -> int:
    """The next four bytes of a child's answer as a whole number."""
    return struct.unpack("<i", _exactly(child, child.stdout, 4))[0]


def _exactly(child: subprocess.Popen, stream: BinaryIO, count: int) -> bytes:
    """So many bytes of a child's answer. Raises: SourceError if it has ended before."""
    data = stream.read(count)
    if len(data) != count:
        said = child.stderr.read().decode(errors="replace").strip().splitlines()
        raise sources.SourceError(
            f"the speech synthesizer ended with code {child.wait()} ({said[-1] if said else 'it said nothing'}); "
            f"reinstall its package: pip install --force-reinstall {PACKAGE}=={VERSION}"
        )
    return data
