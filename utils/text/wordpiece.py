"""WordPiece as BERT uses it: words from pieces, the longest first; pieces inside of a word begin with "##"."""

from collections import Counter
from collections.abc import Iterable

from utils.text.merges import Merge, learn_merges

PREFIX = "##"
LONGEST_WORD = 100  # letters; a longer word is unknown as a whole


class WordPiece:
    """A WordPiece tokenizer over words that are cut already: a vocabulary {piece: id} with an unknown token.

    Raises: ValueError for a vocabulary without the unknown token.
    Source: Schuster and Nakajima 2012; as in BERT, Devlin et al. 2019, section 3.
    """

    def __init__(self, vocab: dict[str, int], unknown: str = "[UNK]") -> None:
        if unknown not in vocab:
            raise ValueError(f"WordPiece: expected the unknown token {unknown!r} in the vocabulary, it is not there")
        self.vocab, self.unknown = dict(vocab), unknown
        self.pieces = {i: piece for piece, i in self.vocab.items()}
        self.history: list[Merge] = []

    @classmethod
    def train(cls, words: Iterable[str], vocab_size: int, special_tokens: Iterable[str] = ("[UNK]",)) -> "WordPiece":
        """Learn pieces from words, special tokens first, until the vocabulary has `vocab_size` entries.

        As in the tokenizers library, the most frequent pair is merged, as in BPE. (The first WordPiece took the pair
        that raised the likelihood of a unigram model the most.)
        Raises: ValueError for no word, or a vocab_size that cannot hold the letters and the special tokens.
        """
        counts = Counter(words)
        if not any(counts):
            raise ValueError("WordPiece.train: expected some words, got none")
        letters = sorted({letter for word in counts for letter in word})
        inner = sorted({PREFIX + letter for word in counts for letter in word[1:]})
        symbols = [*special_tokens, *letters, *inner]
        if vocab_size < len(symbols):
            raise ValueError(f"vocab_size: expected at least {len(symbols)} for all letters, got {vocab_size}")
        number = {symbol: i for i, symbol in enumerate(symbols)}
        split = {tuple(number[symbol] for symbol in as_symbols(word)): n for word, n in counts.items() if word}
        names, history = learn_merges(split, symbols, vocab_size, PREFIX)
        tokenizer = cls({name: i for i, name in enumerate(names)})
        tokenizer.history = history
        return tokenizer

    def encode_word(self, word: str) -> list[str]:
        """The pieces of a word: the longest that fits, then the longest for what is left; unknown if none fits."""
        pieces, start = [], 0
        while start < len(word) <= LONGEST_WORD:
            mark = PREFIX if start else ""
            fits = (end for end in range(len(word), start, -1) if mark + word[start:end] in self.vocab)
            end = next(fits, None)
            if end is None:
                return [self.unknown]
            pieces.append(mark + word[start:end])
            start = end
        return pieces or [self.unknown]

    def encode(self, words: Iterable[str]) -> list[int]:
        """The ids of words."""
        return [self.vocab[piece] for word in words for piece in self.encode_word(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of ids with spaces between; what the cutting of words took away does not come back.

        Raises: ValueError for an id that the vocabulary lacks.
        """
        ids = list(ids)
        if unknown := [i for i in ids if i not in self.pieces]:
            raise ValueError(f"decode: expected ids from 0 to {max(self.pieces)}, got {unknown[0]}")
        text = " ".join(self.pieces[i] for i in ids)
        return text.replace(f" {PREFIX}", "")


def as_symbols(word: str) -> list[str]:
    """The letters of a word, all but the first with the mark of a piece inside."""
    return [letter if place == 0 else PREFIX + letter for place, letter in enumerate(word)]
