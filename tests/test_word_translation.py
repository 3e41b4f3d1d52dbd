"""IBM's first model: equal to Brown's equations by loops, a likelihood that never falls, and a dictionary."""

import math
import random

import pytest

from utils.text.word_translation import NULL, WordTranslation, translate_words

SOURCES = [["the", "house"], ["the", "book"], ["a", "book"]]
TARGETS = [["das", "haus"], ["das", "buch"], ["ein", "buch"]]


def by_loops(sources, targets, t):
    """One step of expectation and maximization, word by word, and the log-likelihood before it."""
    counts, totals, log_likelihood = {}, {}, 0.0
    for source, target in zip(sources, targets, strict=True):
        for f in target:
            z = sum(t[e, f] for e in [NULL, *source])
            log_likelihood += math.log(z / (len(source) + 1))
            for e in [NULL, *source]:
                counts[e, f] = counts.get((e, f), 0) + t[e, f] / z
                totals[e] = totals.get(e, 0) + t[e, f] / z
    return {(e, f): count / totals[e] for (e, f), count in counts.items()}, log_likelihood


def random_corpus(seed):
    generator = random.Random(seed)
    draw = lambda letters, low: [generator.choice(letters) for _ in range(generator.randint(low, 6))]  # noqa: E731
    return [draw("abcde", 0) for _ in range(13)], [draw("uvwxyz", 1) for _ in range(13)]


@pytest.mark.parametrize("sources, targets", [(SOURCES, TARGETS), random_corpus(1), random_corpus(2)])
def test_steps_equal_the_equations_and_never_fall(sources, targets):
    model = WordTranslation(sources, targets)
    n = len({f for target in targets for f in target})
    t = {(e, f): 1 / n for s, target in zip(sources, targets, strict=True) for e in [NULL, *s] for f in target}
    likelihoods = []
    for _ in range(12):
        t, expected = by_loops(sources, targets, t)
        likelihoods.append(model.step())
        assert likelihoods[-1] == pytest.approx(expected, rel=1e-10)
        found = {(e, f): p for e, best in model.table(99).items() for f, p in best}
        assert found.keys() == t.keys()
        assert all(found[pair] == pytest.approx(p, abs=1e-12) for pair, p in t.items())
    assert all(after >= before - 1e-9 for before, after in zip(likelihoods, likelihoods[1:], strict=False))


def test_it_learns_the_textbook_example():
    model = WordTranslation(SOURCES, TARGETS)
    for _ in range(30):
        model.step()
    table = model.table()
    assert [table[word][0][0] for word in ("the", "house", "book", "a")] == ["das", "haus", "buch", "ein"]
    assert model.alignment(["the", "book"], ["buch", "das"]) == [1, 0]
    assert translate_words(["a", "house", "of", "of", "cards"], table) == ["ein", "haus", "of", "cards"]


@pytest.mark.parametrize("sources, targets", [([], []), ([["a"]], []), ([["a"]], [[]])])
def test_what_it_refuses(sources, targets):
    with pytest.raises(ValueError, match="word translation: expected as many"):
        WordTranslation(sources, targets)
