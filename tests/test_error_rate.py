"""Edit distance, alignment, and word and character error rates against jiwer."""

import random

import jiwer
import pytest

from utils.metrics import error_rate

WORDS = "the a cat sat on mat. Mat é".split()


def texts(seed):
    generator = random.Random(seed)
    n = generator.randint(1, 5)

    def text(shortest):
        return " ".join(generator.choice(WORDS) for _ in range(generator.randint(shortest, 9)))

    return [text(1) for _ in range(n)], [text(0) for _ in range(n)]


@pytest.mark.parametrize("seed", range(40))
def test_rates_and_alignments_equal_jiwers(seed):
    references, hypotheses = texts(seed)
    assert error_rate.word_error_rate(references, hypotheses) == pytest.approx(jiwer.wer(references, hypotheses))
    assert error_rate.character_error_rate(references, hypotheses) == pytest.approx(jiwer.cer(references, hypotheses))
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        assert error_rate.word_error_rate(reference, hypothesis) == pytest.approx(jiwer.wer(reference, hypothesis))
        theirs = jiwer.process_words(reference, hypothesis)
        ours = error_rate.align(reference.split(), hypothesis.split())
        # Of several cheapest ways each may take another: the sum of the edits is the same.
        assert ours.distance == theirs.substitutions + theirs.deletions + theirs.insertions
        assert ours.distance == ours.substitutions + ours.deletions + ours.insertions
        assert [a for a, _ in ours.pairs if a is not None] == reference.split()
        assert [b for _, b in ours.pairs if b is not None] == hypothesis.split()
        assert ours.hits + ours.substitutions + ours.deletions == len(reference.split())


def test_by_hand():
    # Levenshtein's own example in every textbook.
    assert error_rate.edit_distances("kitten", "sitting")[-1][-1] == 3
    ways = error_rate.align("a b c d".split(), "a x c d d".split())
    assert ways.pairs[:2] == (("a", "a"), ("b", "x")) and (ways.hits, ways.substitutions, ways.insertions) == (3, 1, 1)
    assert error_rate.word_error_rate("one", "one two three") == 2


def test_an_empty_hypothesis_is_all_deletions():
    assert error_rate.word_error_rate("a b c", "") == 1
    assert error_rate.character_error_rate(["ab", "c"], ["", "c"]) == pytest.approx(2 / 3)
    assert error_rate.align(["a", "b"], []).deletions == 2 and error_rate.align([], []).distance == 0


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: error_rate.word_error_rate("", "a"), "reference 0 is empty"),
        (lambda: error_rate.word_error_rate(["a", " "], ["a", "b"]), "reference 1 is empty"),
        (lambda: error_rate.word_error_rate([], []), "at least one, got 0 and 0"),
        (lambda: error_rate.word_error_rate(["a"], ["a", "b"]), "got 2 and 1"),
        (lambda: error_rate.word_error_rate("a", ["a"]), "one of each"),
        (lambda: error_rate.character_error_rate("  ", "a"), "reference 0 is empty"),
    ],
)
def test_bad_input_gets_one_clear_error(call, match):
    with pytest.raises(ValueError, match=match):
        call()
