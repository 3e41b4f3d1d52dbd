"""Numbers in words and in digits: a sequence-to-sequence task without error and without end, made by rule.

The source is a number in English words, the target its digits. Training and test never share a number: the number
itself decides to which it belongs.
"""

import random
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from utils.data.batches import IGNORE

ONES = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen".split()
)
TENS = tuple("twenty thirty forty fifty sixty seventy eighty ninety".split())
SCALES = ("thousand", "million", "billion")
MOST_DIGITS = 12

SOURCE = ("<pad>", *ONES, *TENS, "hundred", *SCALES)
TARGET = (*"0123456789", "<begin>", "<end>")
PAD, BEGIN, END = 0, 10, 11
_ID = {word: i for i, word in enumerate(SOURCE)}


def spell(n: int) -> list[str]:
    """The words of a whole number from 0 to 999,999,999,999, without "and".

    Raises: ValueError for a number outside of that range.
    """
    if not 0 <= n < 10**MOST_DIGITS:
        raise ValueError(f"spell: expected a whole number from 0 to {10**MOST_DIGITS - 1:,}, got {n}")
    words = []
    for scale in (3, 2, 1, 0):
        hundreds, rest = divmod(n // 1000**scale % 1000, 100)
        words += [ONES[hundreds], "hundred"] if hundreds else []
        if rest >= 20:
            words.append(TENS[rest // 10 - 2])
            rest %= 10
        words += [ONES[rest]] if rest else []
        words += [SCALES[scale - 1]] if scale and n // 1000**scale % 1000 else []
    return words or ["zero"]


def held_out(n: int) -> bool:
    """Whether a number belongs to the test: one in ten does, by its checksum."""
    return zlib.crc32(str(n).encode()) % 10 == 0


def draw(generator: random.Random, of_test: bool, digits: int | None = None, most: int = MOST_DIGITS) -> int:
    """A number of the training or of the test set with so many digits; without `digits`, 1 to `most` equally often.

    Raises: ValueError for a count of digits that is not from 1 to 12.
    """
    if not 1 <= (digits or most) <= MOST_DIGITS:
        raise ValueError(f"digits: expected 1 to {MOST_DIGITS}, got {digits or most}")
    while True:
        count = digits or generator.randint(1, most)
        n = generator.randrange(10 ** (count - 1) if count > 1 else 0, 10**count)
        if held_out(n) == of_test:
            return n


def source_ids(sentences: Sequence[Sequence[str]]) -> Tensor:
    """Ids (B, S) of numbers in words, padded at the end.

    Raises: ValueError for a word that is not among those of `spell`.
    """
    unknown = sorted({word for words in sentences for word in words} - set(SOURCE[1:]))
    if unknown:
        raise ValueError(f"source_ids: expected number words such as 'seven' or 'hundred', got {unknown}")
    return pad_sequence([torch.tensor([_ID[word] for word in words]) for words in sentences], batch_first=True)


def batch_of(numbers: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Source ids (B, S), the decoder's inputs (B, T) and its targets (B, T), where -100 is ignored.

    The inputs are the digits so far, begun with `BEGIN`; the targets are the digits, ended with `END`.
    """
    digits = [[int(digit) for digit in str(n)] for n in numbers]
    inputs = pad_sequence([torch.tensor([BEGIN, *each]) for each in digits], batch_first=True)
    targets = pad_sequence([torch.tensor([*each, END]) for each in digits], batch_first=True, padding_value=IGNORE)
    return source_ids([spell(n) for n in numbers]), inputs, targets


def digits_of(ids: Tensor) -> list[str]:
    """What a decoder wrote, (B, T), as one string a row, cut at its end; a stray beginning shows as "?"."""
    rows = ("".join("0123456789?."[token] for token in row) for row in ids.tolist())
    return [row.split(".")[0] for row in rows]
