"""Numbers in words: spelled right (read back by another rule), split without overlap, batched with their ends."""

import random

import pytest
import torch

from utils.data import number_words

NAMED = {  # written out here once more, so that a slip in the module's own tables is seen
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


def value(words):
    """The number that words name, read from the left: add, multiply at "hundred", bank at a scale."""
    banked, current = 0, 0
    for word in words:
        if word in SCALES:
            banked, current = banked + current * SCALES[word], 0
        elif word == "hundred":
            current *= 100
        else:
            current += NAMED[word]
    return banked + current


def test_spelling_can_be_read_back():
    generator = random.Random(0)
    for n in [*range(3000), *(generator.randrange(10 ** generator.randint(1, 12)) for _ in range(5000)), 10**12 - 1]:
        assert value(number_words.spell(n)) == n


@pytest.mark.parametrize(("n", "words"), [
    (0, "zero"), (10, "ten"), (13, "thirteen"), (20, "twenty"), (101, "one hundred one"), (1_000_000, "one million"),
    (407_012, "four hundred seven thousand twelve"), (60_000_000_019, "sixty billion nineteen"),
])
def test_known_spellings(n, words):
    assert " ".join(number_words.spell(n)) == words


def test_training_and_test_share_no_number():
    generator = random.Random(1)
    train, test = ({number_words.draw(generator, of_test) for _ in range(3000)} for of_test in (False, True))
    assert not train & test
    share = sum(number_words.held_out(n) for n in range(10_000)) / 10_000
    assert abs(share - 0.1) < 5 * (0.1 * 0.9 / 10_000) ** 0.5


def test_drawn_numbers_have_the_digits_asked_for():
    generator = random.Random(2)
    for digits in range(2, 13):
        assert all(len(str(number_words.draw(generator, True, digits))) == digits for _ in range(20))
    lengths = {len(str(number_words.draw(generator, False, most=3))) for _ in range(200)}
    assert lengths == {1, 2, 3}


def test_batches_are_padded_and_shifted():
    source, inputs, targets = number_words.batch_of([407_012, 30])
    words = [[number_words.SOURCE[i] for i in row] for row in source.tolist()]
    assert words == [["four", "hundred", "seven", "thousand", "twelve"], ["thirty", *["<pad>"] * 4]]
    assert inputs.tolist() == [[10, 4, 0, 7, 0, 1, 2], [10, 3, 0, 0, 0, 0, 0]]
    assert targets.tolist() == [[4, 0, 7, 0, 1, 2, 11], [3, 0, 11, -100, -100, -100, -100]]
    assert number_words.digits_of(torch.tensor([[4, 0, 11, 3], [10, 1, 2, 11]])) == ["40", "?12"]


def test_refuses_what_it_cannot_spell():
    with pytest.raises(ValueError, match="from 0 to 999,999,999,999, got -1"):
        number_words.spell(-1)
    with pytest.raises(ValueError, match="digits: expected 1 to 12, got 13"):
        number_words.draw(random.Random(0), False, 13)
    with pytest.raises(ValueError, match="number words .* got \\['dozen'\\]"):
        number_words.source_ids([["one", "dozen"]])
