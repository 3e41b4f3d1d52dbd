"""Texts of program interfaces as pieces: Chinese characters, words, signs, and what is copied, not translated."""

import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

# What a program fills in, and names that stay as they are: config_file, conf.py, HTML, utf-8, --help.
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%\d|%[a-z](?![a-z])|\{[\w.!:]*\}")
COPIED = re.compile(
    rf"{PLACEHOLDER.pattern}|<[\w/]+>|(?<![\w-])--?[a-z][\w-]*|\w*[A-Za-z]\w*(?:[._:/]+\w+)+|[a-z]+[A-Z]\w*|\b[A-Z]{{2,}}\d*\b"
    r"|\b\d[\d.]*\b|\*?\.\w+\b"
)
PIECE = re.compile(r"<\d>|[\u4e00-\u9fff]|[A-Za-z0-9]+(?:['’][a-z]+)?|[^\s]")
N_COPIES = 6
PAD, BEGIN, END, UNKNOWN = "<pad>", "<begin>", "<end>", "<unk>"
SPECIAL = (PAD, BEGIN, END, UNKNOWN, *(f"<{i}>" for i in range(N_COPIES)))


def pieces(text: str) -> list[str]:
    """Chinese characters, other words, and signs, one by one, without spaces: what BLEU counts for Chinese."""
    return PIECE.findall(text)


def hide_copies(text: str, wanted: str | None = None) -> tuple[str, list[str]]:
    """The text with what is to be copied replaced by <0>, <1>, ..., and the list of it.

    With `wanted` (a translation), only what stands in it as well.
    """
    found: list[str] = []

    def hide(match: re.Match) -> str:
        part = match[0]
        if part not in found:
            if len(found) == N_COPIES or (wanted is not None and part not in wanted):
                return part
            found.append(part)
        return f" <{found.index(part)}> "

    return COPIED.sub(hide, text), found


def hide_the_same(text: str, copies: list[str]) -> str:
    """A translation with its source's copies replaced by the same signs."""
    for i in sorted(range(len(copies)), key=lambda i: -len(copies[i])):
        text = text.replace(copies[i], f" <{i}> ")
    return text


def restore_copies(text: str, copies: list[str]) -> str:
    """The text with <0>, <1>, ... replaced by what they stand for; a sign that stands for nothing is left out."""
    return re.sub(r"<(\d)>", lambda match: copies[int(match[1])] if int(match[1]) < len(copies) else "", text)


def joined(parts: Iterable[str]) -> str:
    """Pieces as a Chinese text: spaces between words of Latin letters, and on either side of a word or a copy."""
    text = ""
    for part in parts:
        before, after = text[-1:], part[:1]
        wordlike = [bool(re.match(r"[A-Za-z0-9<>]", sign)) for sign in (before, after)]
        chinese = [bool(CHINESE.match(sign)) for sign in (before, after)]
        if wordlike == [True, True] or (wordlike[0] and chinese[1]) or (chinese[0] and wordlike[1]):
            text += " "
        text += part
    return text


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """One subword vocabulary for both languages: each Chinese character a token, words in lower case cut by BPE.

    Texts are those of `hide_copies` and `hide_the_same`. A subword that continues a word begins with ##.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE.pattern), "removed", invert=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), continuing_subword_prefix="##", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_chinese_words(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer that cuts runs of Chinese characters into frequent words, found by BPE; signs and copies stand alone.

    Texts are those of `hide_the_same`.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    runs = Regex(r"<\d>|[\u4e00-\u9fff]+|[A-Za-z0-9]+|[^\s]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(runs, "removed", invert=True)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def detokenized(tokens: Iterable[str]) -> str:
    """Tokens of `train_tokenizer` as a Chinese text, copies still signs; what is special otherwise is left out."""
    words: list[str] = []
    for token in tokens:
        if token.startswith("##") and words:
            words[-1] += token[2:]
        elif token not in (PAD, BEGIN, END, UNKNOWN):
            words.append(token.removeprefix("##"))
    return joined(words)


def with_case_of(text: str, source: str) -> str:
    """Latin words of a text, spelled as in its source where they stand there."""
    spelled = {word.lower(): word for word in re.findall("[A-Za-z]+", source)}
    return re.sub("[A-Za-z]+", lambda match: spelled.get(match[0].lower(), match[0]), text)
