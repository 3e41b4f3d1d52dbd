"""BPE and WordPiece: merges equal to the tokenizers library's, text in and out, streaming, files, and bad input."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from utils.data import sources
from utils.text import bpe, merges, wordpiece

SPECIAL = ["<|endoftext|>", "<|pad|>"]
ODD = [
    "",
    " ",
    "\n\n \t x",
    "don't we'll I'd 'tis '' ' l'",
    "Größe 10/10 — 电影很好 🎬👍🏽",
    "a" * 50,
    "..!!!...   ?!  ",
    "\x00\x7f\xad",
]


@pytest.fixture(scope="module")
def reviews():
    return sources.load_reviews("rotten_tomatoes").select(range(400))["text"][:] + [text for text in ODD if text]


@pytest.fixture(scope="module")
def ours(reviews):
    return bpe.BPE.train(reviews, 900, SPECIAL)


@pytest.fixture(scope="module")
def theirs(reviews):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(reviews, trainer)
    return tokenizer


def test_bpe_learns_the_librarys_vocabulary(ours, theirs):
    assert ours.vocab == theirs.get_vocab()
    assert len(ours.merges) == 900 - 256 - len(SPECIAL)


def recounted_merges(words, symbols, n):
    """Merges by the definition: count all pairs anew at each step."""
    words, names, found = dict(words), list(symbols), []
    while len(names) < n:
        counts = {}
        for word, times in words.items():
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + times
        if not counts:
            break
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        name = names[pair[0]] + names[pair[1]]
        merged = names.index(name) if name in names else len(names)
        names += [name] if merged == len(names) else []
        found.append((pair, merged, counts[pair]))
        old, words = words, {}
        for word, times in old.items():
            new = tuple(merges.replace_pair(word, pair, merged))
            words[new] = words.get(new, 0) + times
    return names, found


@pytest.mark.parametrize("seed", range(6))
def test_updated_counts_equal_counting_anew(seed):
    draw = random.Random(seed)
    words = {tuple(draw.choices(range(3), k=draw.randint(1, 12))): draw.randint(1, 9) for _ in range(40)}
    names, found = merges.learn_merges(words, ["a", "b", "c"], 40)
    assert (names, [(merge.pair, merge.merged, merge.count) for merge in found]) == recounted_merges(words, "abc", 40)


@pytest.mark.parametrize("text", ODD)
def test_bpe_encodes_as_the_library_and_decodes_to_the_same_text(ours, theirs, text):
    assert ours.encode(text) == theirs.encode(text).ids
    assert ours.decode(ours.encode(text)) == text


def test_the_shipped_tokenizer_read_from_gpt2s_two_files_encodes_the_same(tmp_path, reviews):
    shipped = sources.load_tokenizer("reviews-gpt")
    shipped.model.save(str(tmp_path))
    special = [token.content for token in shipped.get_added_tokens_decoder().values()]
    tokenizer = bpe.BPE.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt", special)
    for text in [*reviews[::10], *ODD, f"one{special[0]}two {special[1]}{special[0]}"]:
        assert tokenizer.encode(text) == shipped.encode(text, add_special_tokens=False).ids
    tokenizer.save(tmp_path / "again.json", tmp_path / "again.txt")
    again = bpe.BPE.from_files(tmp_path / "again.json", tmp_path / "again.txt", special)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_cut_anywhere_gives_the_ids_of_the_whole(ours, reviews, seed):
    draw = random.Random(seed)
    whole = "<|endoftext|>".join([*ODD, *draw.sample(reviews, 20), *ODD])
    parts, place = [], 0
    while place < len(whole):
        length = draw.choice([1, 1, 2, 3, 5, 17, 60])
        parts.append(whole[place : place + length])
        place += length
    assert list(ours.encode_iterable(parts)) == ours.encode(whole)


def test_a_stream_is_not_held_in_memory(ours):
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 1
            yield "so it goes on and on. "

    ids = ours.encode_iterable(endless())
    for _ in range(1000):
        next(ids)
    assert pulled < 1000


def test_the_steps_of_a_word_lead_from_its_bytes_to_its_tokens(ours):
    steps = ours.steps(" wonderful")
    assert steps[0] == list("Ġwonderful")
    assert [ours.vocab[token] for token in steps[-1]] == ours.encode(" wonderful")
    assert all("".join(step) == "Ġwonderful" for step in steps)
    assert all(len(a) > len(b) for a, b in zip(steps, steps[1:], strict=False))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda path: bpe.BPE.train([], 300), "expected some text, got none"),
        (lambda path: bpe.BPE.train(["a b"], 255), "expected at least 256"),
        (lambda path: bpe.BPE({"a": 0}, []), "all bytes and all merges"),
        (lambda path: bpe.BPE.from_files(path / "none.json", path / "none.txt"), "expected GPT-2's vocabulary in"),
        (lambda path: wordpiece.WordPiece.train([], 300), "expected some words, got none"),
        (lambda path: wordpiece.WordPiece.train(["ab"], 2), "expected at least 4 for all letters"),
        (lambda path: wordpiece.WordPiece({"a": 0}), "expected the unknown token"),
        (lambda path: wordpiece.WordPiece({"[UNK]": 0}).decode([0, 7]), "expected ids from 0 to 0, got 7"),
        (lambda path: merges.learn_merges({(0, 3): 1}, ["a"], 5), "expected ids from 0 to 0"),
    ],
)
def test_bad_input_is_one_clear_error(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)


def test_an_unknown_id_is_refused(ours):
    with pytest.raises(ValueError, match="expected ids from 0 to 899, got 900"):
        ours.decode([5, 900])


def test_wordpiece_encodes_as_the_shipped_tokenizer_does(reviews):
    shipped = sources.load_tokenizer("reviews-bert")
    ours = wordpiece.WordPiece(shipped.get_vocab())
    for text in [*reviews, *ODD, "x" * 101, "x" * 100]:
        cut = [word for word, _ in shipped.pre_tokenizer.pre_tokenize_str(shipped.normalizer.normalize_str(text))]
        assert ours.encode(cut) == shipped.encode(text, add_special_tokens=False).ids


def test_wordpiece_learns_the_librarys_pieces(reviews):
    words = [word for text in reviews[:200] for word in text.lower().split() if word.isalpha() and word.isascii()]
    ours = wordpiece.WordPiece.train(words, 400)
    # As special tokens, the letters inside of words have the same order in the library, which draws another each time.
    letters = [token for token in ours.vocab if len(token.removeprefix("##")) == 1]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[UNK]", *letters], show_progress=False)
    tokenizer.train_from_iterator([" ".join(words)], trainer)
    assert ours.vocab == tokenizer.get_vocab()
    assert ours.decode(ours.encode(["wonderful", "film"])) == "wonderful film"
