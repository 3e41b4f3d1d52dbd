"""BLEU and chrF against sacrebleu, ROUGE against frozen scores of rouge-score, and what each refuses."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from utils.data import corpora
from utils.metrics import overlap
from utils.metrics.intervals import bootstrap

FROZEN = json.loads((Path(__file__).parent / "frozen" / "rouge.json").read_text(encoding="utf-8"))
# Entities, numbers, hyphens and marks at all places: what a tokenizer may get wrong.
PIECES = "a b c d cat. 3,5 1.000 x-y 7-8 (no) ,5 &quot;so&quot; &amp; Don't ... “é” $5/6 wait- <skipped> [x] 东".split()
TOKENIZERS = {"13a": overlap.tokenize_13a, "none": str.split}


@pytest.fixture(scope="module")
def real_texts():
    return corpora.reviews("rotten_tomatoes", "test")["text"][:120]


def random_text(generator):
    return " ".join(generator.choice(PIECES) for _ in range(generator.randint(0, 11)))


def noisy(generator, text):
    return " ".join(word for word in text.split() if generator.random() < 0.8)


def random_corpus(generator):
    n, several = generator.randint(1, 5), generator.randint(1, 3)
    references = [["a " + random_text(generator) for _ in range(several)] for _ in range(n)]
    hypotheses = [generator.choice((noisy(generator, refs[0]), random_text(generator))) for refs in references]
    return hypotheses, references


def real_corpus(generator, texts):
    chosen = generator.sample(texts, 4)
    return [noisy(generator, text) for text in chosen], [[text, f"{noisy(generator, text)} it is"] for text in chosen]


def corpora_of(seed, texts):
    generator = random.Random(seed)
    return [random_corpus(generator) for _ in range(6)] + [real_corpus(generator, texts) for _ in range(2)]


@pytest.mark.parametrize("smoothing", overlap.SMOOTHING)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("seed", range(4))
def test_bleu_equals_sacrebleu(seed, tokenizer, smoothing, real_texts):
    options = {"smoothing": smoothing, "tokenize": TOKENIZERS[tokenizer]}
    for hypotheses, references in corpora_of(seed, real_texts):
        for effective in (False, True):
            theirs = BLEU(smooth_method=smoothing, tokenize=tokenizer, effective_order=effective, force=True)
            expected = theirs.corpus_score(hypotheses, list(map(list, zip(*references, strict=True))))
            found = overlap.bleu(hypotheses, references, effective_order=effective, **options)
            assert found.score == pytest.approx(expected.score, abs=1e-6)
            assert (found.hypothesis_length, found.reference_length) == (expected.sys_len, expected.ref_len)
            np.testing.assert_allclose(100 * np.array(found.precisions), expected.precisions, atol=1e-9)
            assert found.brevity_penalty == pytest.approx(expected.bp, abs=1e-12)
        for hypothesis, several in zip(hypotheses, references, strict=True):
            expected = theirs.sentence_score(hypothesis, several).score
            assert overlap.sentence_bleu(hypothesis, several, **options).score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("max_order", [1, 2, 5])
def test_bleu_of_other_orders(max_order, real_texts):
    for hypotheses, references in corpora_of(9, real_texts):
        by_place = list(map(list, zip(*references, strict=True)))
        expected = BLEU(max_ngram_order=max_order).corpus_score(hypotheses, by_place).score
        assert overlap.bleu(hypotheses, references, max_order=max_order).score == pytest.approx(expected, abs=1e-6)


def test_bleu_by_hand():
    # Papineni et al. (2002), section 2.1: the clipped unigram precision of seven times "the" is 2/7.
    example = overlap.bleu(["the the the the the the the"], ["the cat is on the mat"], max_order=1, smoothing="none")
    assert example.precisions == (pytest.approx(2 / 7),) and example.brevity_penalty == 1
    assert overlap.bleu(["a b c d"], ["a b c d"]).score == pytest.approx(100)
    short = overlap.bleu(["a b c d"], ["a b c d e f"])
    assert short.score == pytest.approx(100 * np.exp(1 - 6 / 4))


def test_a_corpus_score_is_no_mean_of_sentence_scores(real_texts):
    hypotheses, references = real_corpus(random.Random(1), real_texts)
    sentences = [overlap.sentence_bleu(h, r).score for h, r in zip(hypotheses, references, strict=True)]
    assert abs(np.mean(sentences) - overlap.bleu(hypotheses, references).score) > 1e-3


def test_counts_add_up_for_a_bootstrap(real_texts):
    references = real_texts[:40]
    hypotheses = [noisy(random.Random(2), text) for text in references]
    counts = overlap.bleu_counts(hypotheses, references)

    def score(rows):
        return np.apply_along_axis(lambda some: overlap.bleu_from_counts(counts[some].sum(axis=0)).score, -1, rows)

    interval = bootstrap(score, len(counts), n_resamples=200)
    assert interval.estimate == overlap.bleu(hypotheses, references).score
    assert interval.low < interval.estimate < interval.high


@pytest.mark.parametrize("options", [{}, {"word_order": 2}, {"word_order": 1, "char_order": 4, "beta": 3}])
@pytest.mark.parametrize("seed", range(4))
def test_chrf_equals_sacrebleu(seed, options, real_texts):
    for hypotheses, references in corpora_of(seed, real_texts):
        expected = CHRF(**options).corpus_score(hypotheses, list(map(list, zip(*references, strict=True)))).score
        assert overlap.chrf(hypotheses, references, **options) == pytest.approx(expected, abs=1e-6)


def rouge(hypothesis, reference):
    yield from (overlap.rouge_n(hypothesis, reference, n) for n in (1, 2, 3))
    yield overlap.rouge_l(hypothesis, reference)
    yield overlap.rouge_l_sum(hypothesis, reference)


def test_rouge_equals_rouge_score():
    stemming_tells = 0
    for case in FROZEN["cases"]:
        found = list(rouge(case["hypothesis"], case["reference"]))
        np.testing.assert_allclose(found, case["plain"], rtol=0, atol=1e-6, err_msg=repr(case))
        stemming_tells += not np.allclose([score.f1 for score in found], case["stemmed_f1"], atol=1e-6)
    # What is stated: ours does not stem, and that makes a difference.
    assert stemming_tells >= 5


@pytest.mark.parametrize("seed", range(20))
def test_common_subsequence_is_one_and_the_longest(seed):
    generator = np.random.default_rng(seed)
    first, second = (generator.integers(3, size=generator.integers(9)).tolist() for _ in range(2))
    found = overlap.common_subsequence(first, second)
    assert found == sorted(set(found))

    def holds(some):
        rest = iter(second)
        return all(item in rest for item in some)

    subsets = ([first[i] for i in range(len(first)) if mask >> i & 1] for mask in range(2 ** len(first)))
    assert holds(first[i] for i in found) and len(found) == max(len(some) for some in subsets if holds(some))


def test_an_empty_hypothesis_scores_zero():
    assert overlap.bleu([""], ["a b"]).score == overlap.sentence_bleu("", "a b").score == 0
    assert overlap.bleu([""], ["a b"]).brevity_penalty == 0
    assert overlap.chrf(["", " "], ["a b", "c"]) == 0
    assert all(score == (0, 0, 0) for score in rouge("", "a b c"))
    assert overlap.bleu(["", "a b c d"], ["e f", "a b c d"]).score == pytest.approx(100 * np.exp(1 - 6 / 4))


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: overlap.bleu([], []), "at least one, got 0 and 0"),
        (lambda: overlap.bleu(["a"], ["a", "b"]), "got 2 and 1"),
        (lambda: overlap.bleu(["a"], [[]]), "at least one reference a hypothesis, got none for number 0"),
        (lambda: overlap.bleu(["a", "b"], ["a", [" ", "b"]]), "reference 1 is empty"),
        (lambda: overlap.bleu("a b", ["a b"]), "put it in a list"),
        (lambda: overlap.bleu(["a"], ["a"], smoothing="add"), "smoothing must be one of"),
        (lambda: overlap.bleu(["a"], ["a"], max_order=0), "max_order"),
        (lambda: overlap.chrf(["a"], ["  "]), "reference 0 is empty"),
        (lambda: overlap.chrf(["a"], ["a"], char_order=0), "char_order"),
        (lambda: overlap.chrf(["a"], ["a"], beta=0), "beta above 0"),
        (lambda: overlap.rouge_n("a", "", 1), "reference with letters a to z"),
        (lambda: overlap.rouge_l("好", "好"), "got '好'"),
        (lambda: overlap.rouge_l_sum("a", "\n"), "reference with letters"),
        (lambda: overlap.rouge_n("a", "a", 0), "n must be at least 1"),
    ],
)
def test_bad_input_gets_one_clear_error(call, match):
    with pytest.raises(ValueError, match=match):
        call()
