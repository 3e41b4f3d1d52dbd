"""A child process of its own that holds eSpeak NG's library: run as a file, it imports nothing of the course.

The library keeps state from one utterance to the next (the same sentence, asked for twice, sounds a little different)
and cannot be reset, and an error in it would take the notebook along. So each list of utterances gets a fresh process.
In: a line of JSON an utterance. Out: for each, four bytes with the number of samples (or minus the library's error
number) and the samples as 16-bit integers; first of all, the sample rate.
"""

import ctypes
import json
import struct
import sys

SYNCHRONOUS, DO_NOT_EXIT, UTF_8 = 2, 0x8000, 1
RATE, PITCH = 1, 3


def load(library: str, data: str) -> tuple[ctypes.CDLL, int]:
    """The library, ready to speak, and its sample rate."""
    espeak = ctypes.CDLL(library)
    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DO_NOT_EXIT)
    if rate <= 0:
        sys.exit(f"eSpeak NG could not be started with the data in {data}")
    return espeak, rate


def main(library: str, data: str) -> None:
    """Answer each line of the standard input with samples on the standard output."""
    espeak, sample_rate = load(library, data)
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def keep(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    espeak.espeak_SetSynthCallback(keep)
    out = sys.stdout.buffer
    out.write(struct.pack("<i", sample_rate))
    out.flush()
    for line in sys.stdin.buffer:
        one = json.loads(line)
        pieces.clear()
        error = espeak.espeak_SetVoiceByName(one["voice"].encode())
        if not error:
            espeak.espeak_SetParameter(RATE, one["rate"], 0)
            espeak.espeak_SetParameter(PITCH, one["pitch"], 0)
            text = one["text"].encode() + b"\0"
            error = espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, UTF_8, None, None)
            espeak.espeak_Synchronize()
        samples = b"".join(pieces)
        out.write(struct.pack("<i", -abs(error) if error else len(samples) // 2))
        out.write(b"" if error else samples)
        out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
