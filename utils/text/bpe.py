"""Byte-level byte-pair encoding in GPT-2's format: train, encode, decode, stream."""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import regex

from utils.text.merges import Merge, learn_merges, merge_history

# Contractions, words, numbers and other signs, each with the space before it; then white space.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LOOKAHEAD = 3  # characters behind a piece that can still change where it ends


@functools.cache
def byte_letters() -> dict[int, str]:
    """A printable letter for each of the 256 bytes: its own where it has one, else one from 256 on.

    Source: Radford et al. 2019, the authors' encoder.py.
    """
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return {byte: chr(byte) for byte in own} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def to_letters(text: str) -> str:
    """The UTF-8 bytes of a text, each as its letter."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in text.encode())


def pre_tokenize(text: str) -> list[str]:
    """Cut a text into the pieces that merges never cross; joined they are the text again."""
    return regex.findall(GPT2_PATTERN, text)


class BPE:
    """A byte-level BPE tokenizer: a vocabulary {token: id}, merges in order, and special tokens that are never cut.

    Raises: ValueError for a vocabulary without the 256 bytes or without the union of a merge.
    Source: Sennrich et al. 2016; on bytes, Radford et al. 2019, section 2.2.
    """

    def __init__(
        self, vocab: dict[str, int], merges: list[tuple[str, str]], special_tokens: Iterable[str] = ()
    ) -> None:
        missing = [letter for letter in byte_letters().values() if letter not in vocab]
        missing += [a + b for a, b in merges if not {a, b, a + b} <= vocab.keys()]
        if missing:
            raise ValueError(f"BPE: expected all bytes and all merges in the vocabulary, {missing[:3]} are not")
        self.vocab, self.merges, self.special_tokens = dict(vocab), list(merges), list(special_tokens)
        for token in self.special_tokens:
            self.vocab.setdefault(token, len(self.vocab))
        self.tokens = {i: token for token, i in self.vocab.items()}
        self.ranks = {(vocab[a], vocab[b]): (rank, vocab[a + b]) for rank, (a, b) in reversed(list(enumerate(merges)))}
        self.bytes_of = {letter: byte for byte, letter in byte_letters().items()}
        self.history: list[Merge] = []
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        self._margin = max([LOOKAHEAD, *map(len, longest_first)])  # characters that further text can still change
        self._special = regex.compile("|".join(map(regex.escape, longest_first))) if longest_first else None
        self._encode_piece = functools.lru_cache(maxsize=100_000)(self._encode_piece)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, special_tokens: Iterable[str] = ()) -> "BPE":
        """Learn merges from texts until the vocabulary, special tokens included, has `vocab_size` entries.

        The ids are those of the tokenizers library: special tokens, then bytes by their letters, then merges.
        Raises: ValueError for no text, or a vocab_size that cannot hold the bytes and the special tokens.
        """
        special_tokens, letters = list(special_tokens), sorted(byte_letters().values())
        if vocab_size < len(special_tokens) + 256:
            raise ValueError(
                f"vocab_size: expected at least {len(special_tokens) + 256} for the 256 bytes and "
                f"{len(special_tokens)} special tokens, got {vocab_size}"
            )
        counts = Counter(piece for text in texts for piece in pre_tokenize(text))
        if not counts:
            raise ValueError("BPE.train: expected some text, got none")
        symbols = [*special_tokens, *letters]
        number = {letter: i for i, letter in enumerate(symbols)}
        words = {tuple(number[letter] for letter in to_letters(piece)): count for piece, count in counts.items()}
        names, history = learn_merges(words, symbols, vocab_size)
        merges = [(names[merge.pair[0]], names[merge.pair[1]]) for merge in history]
        tokenizer = cls({name: i for i, name in enumerate(names)}, merges, special_tokens)
        tokenizer.history = history
        return tokenizer

    @classmethod
    def from_files(cls, vocab: Path, merges: Path, special_tokens: Iterable[str] = ()) -> "BPE":
        """Read GPT-2's two files: `vocab.json` {token: id}, and `merges.txt`, a pair a line.

        Raises: ValueError for files that are not in this format.
        """
        try:
            table = json.loads(Path(vocab).read_text(encoding="utf-8"))
            lines = Path(merges).read_text(encoding="utf-8").splitlines()
            pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
            if not isinstance(table, dict) or any(len(pair) != 2 for pair in pairs):
                raise ValueError("a line of merges that is no pair, or a vocabulary that is no table")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"BPE: expected GPT-2's vocabulary in {vocab} and its merges in {merges}, got: {error}"
            ) from error
        return cls(table, pairs, special_tokens)

    def save(self, vocab: Path, merges: Path) -> None:
        """Write GPT-2's two files."""
        Path(vocab).write_text(json.dumps(self.vocab, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in self.merges)]
        Path(merges).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def steps(self, piece: str) -> list[list[str]]:
        """A pre-token after each of its merges, as tokens; bytes first, its encoding last."""
        ids = [self.vocab[letter] for letter in to_letters(piece)]
        return [[self.tokens[i] for i in step] for step in merge_history(ids, self.ranks)]

    def encode(self, text: str) -> list[int]:
        """The ids of a text; special tokens in it become their own ids."""
        return list(self.encode_iterable([text]))

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        """The ids of a long text that comes in parts, such as an open file's lines: the same as of the whole.

        Memory does not grow with the text: only what the next part could still change is held back.
        """
        held = ""
        for text in texts:
            ids, held = self._encode_settled(held + text)
            yield from ids
        yield from self._encode_settled(held, final=True)[0]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become the replacement character.

        Raises: ValueError for an id that the vocabulary lacks.
        """
        parts, run, special_tokens = [], bytearray(), set(self.special_tokens)
        for i in ids:
            if i not in self.tokens:
                raise ValueError(f"decode: expected ids from 0 to {max(self.tokens)}, got {i}")
            token = self.tokens[i]
            if token in special_tokens:
                parts += [run.decode(errors="replace"), token]
                run = bytearray()
            else:
                run += bytes(self.bytes_of[letter] for letter in token)
        return "".join([*parts, run.decode(errors="replace")])

    def _encode_piece(self, piece: str) -> list[int]:
        return merge_history([self.vocab[letter] for letter in to_letters(piece)], self.ranks)[-1]

    def _encode_settled(self, text: str, final: bool = False) -> tuple[list[int], str]:
        """The ids of what no further text can change, and the rest of the text."""
        ids, start = [], 0
        for found in self._special.finditer(text) if self._special else ():
            for piece in pre_tokenize(text[start : found.start()]):
                ids += self._encode_piece(piece)
            ids.append(self.vocab[found.group()])
            start = found.end()
        settled = len(text) if final else len(text) - self._margin
        for piece in pre_tokenize(text[start:]):
            if start + len(piece) > settled:
                break
            ids += self._encode_piece(piece)
            start += len(piece)
        return ids, text[start:]
