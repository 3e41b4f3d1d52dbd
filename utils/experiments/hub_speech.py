"""One argument from the course's digits to read speech: LibriSpeech and Whisper, where the hub is in reach.

The hub's parts are used through `transformers` and `datasets`; both come from the local cache when they lie there.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch

from utils import environment
from utils.data import recordings, sources
from utils.experiments import digits
from utils.metrics import intervals
from utils.metrics.error_rate import align
from utils.models.ctc_search import greedy
from utils.models.recognizer import BLANK, load_recognizer

SOURCES = ("digits", "librispeech")
WHISPER = "openai/whisper-tiny.en"
LIBRISPEECH, LIBRISPEECH_PART, LIBRISPEECH_SPLIT = "openslr/librispeech_asr", "clean", "test"


@dataclass(frozen=True)
class Transcripts:
    """What was said and what was heard, text by text, and the word error rate with its interval over the texts."""

    source: str
    said: list[str]
    heard: list[str]
    error_rate: intervals.Interval


def transcribe(source: str = "digits", n: int = 50) -> Transcripts:
    """Transcripts of `n` recordings: "digits" (the course's, unheard voices) or "librispeech" (by Whisper).

    Raises: ValueError for another source or n below 1; SourceError if the hub's model or data is not here.
    """
    if source not in SOURCES or n < 1:
        raise ValueError(f"transcribe: expected a source of {SOURCES} and n of at least 1, got {source!r} and {n}")
    said, heard = _digits(n) if source == "digits" else _librispeech(n)
    wrong = np.array([align(a.split(), b.split()).distance for a, b in zip(said, heard, strict=True)])
    words = np.array([len(text.split()) for text in said])
    rate = intervals.bootstrap(lambda rows: wrong[rows].sum(-1) / words[rows].sum(-1), len(said), n_resamples=2000)
    return Transcripts(source, said, heard, rate)


def _digits(n: int) -> tuple[list[str], list[str]]:
    """Digit strings of voices never heard, through the shipped recognizer."""
    spoken = digits.test_set("unheard voices", n)
    found = [greedy(one, BLANK) for one in digits.frame_log_probs(load_recognizer(), spoken)]
    return [" ".join(map(str, one.digits)) for one in spoken], [" ".join(map(str, labels)) for labels in found]


def _librispeech(n: int) -> tuple[list[str], list[str]]:
    """The first recordings of LibriSpeech's clean test part, through Whisper."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor  # slow, and only this switch needs it

    here = dict(local_files_only=not environment.online())
    try:
        processor = WhisperProcessor.from_pretrained(WHISPER, **here)
        model = WhisperForConditionalGeneration.from_pretrained(WHISPER, **here).to(environment.device()).eval()
        rows = _rows(n)
    except (OSError, ValueError, ConnectionError) as error:
        raise sources.SourceError(
            f"looked for {WHISPER} and {LIBRISPEECH} in the local cache and on the hub "
            f"({'reachable' if environment.online() else 'offline'}): not here. Go online and unset HF_HUB_OFFLINE, or "
            f"take the course's own: transcribe('digits')"
        ) from error
    said, heard = [], []
    for row in rows:
        samples = decoded(row["audio"]["bytes"])
        inputs = processor(samples, sampling_rate=recordings.SAMPLE_RATE, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=200)
        text = processor.batch_decode(ids, skip_special_tokens=True)[0]
        said.append(processor.tokenizer.normalize(row["text"]))
        heard.append(processor.tokenizer.normalize(text))
    return said, heard


def _rows(n: int) -> list[dict]:
    """Rows with `text` and the undecoded bytes of `audio`."""
    import datasets

    if not environment.online():
        raise OSError("the hub cannot be reached, and streaming needs it")
    stream = datasets.load_dataset(LIBRISPEECH, LIBRISPEECH_PART, split=LIBRISPEECH_SPLIT, streaming=True)
    return list(stream.cast_column("audio", datasets.Audio(decode=False)).take(n))


def decoded(data: bytes) -> np.ndarray:
    """The bytes of a sound file as samples (N,) at 16 kHz; formats but WAV take the package soundfile.

    Raises: SourceError if that is missing; ValueError for a damaged file.
    """
    if data[:4] == b"RIFF":
        samples, rate = recordings.read_wav(data)
    else:
        try:
            import soundfile
        except ImportError as error:
            raise sources.SourceError("looked for the package soundfile to read FLAC: pip install soundfile") from error
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return recordings.resample(recordings.to_mono(np.asarray(samples)), rate)
