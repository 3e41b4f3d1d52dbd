"""BM25, rankings and search, against formulas spelled out and other libraries."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.feature_extraction.text import CountVectorizer

from utils.data.course_text import Passage
from utils.metrics import ranking
from utils.models import retrieval
from utils.models.pretrained import load_model
from utils.text.bm25 import BM25, words

TEXTS = [
    "The cat sat on the mat, and the cat slept.",
    "A dog chased the cat around the house.",
    "Dogs sleep; dogs bark.",
    "",
    "Nothing of this kind stands here: snow, rain, and wind over the old house by the sea.",
]
QUERIES = ["the cat", "cat cat dog", "snow in the house", "unheard"]


def formula(query, document, documents, k1, b):
    """BM25 as its formula reads, from scratch for each pair."""
    mean = sum(len(d) for d in documents) / len(documents)
    total = 0.0
    for word in query:
        n = sum(word in d for d in documents)
        f = document.count(word)
        idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
        if f:  # without a single word in all documents, mean is 0
            total += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(document) / mean))
    return total


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.3), (2.0, 0.0), (0.9, 1.0)])
def test_bm25_equals_its_formula(k1, b):
    documents = [words(text) for text in TEXTS]
    index = BM25(documents, k1, b)
    for query in map(words, QUERIES):
        expected = [formula(query, document, documents, k1, b) for document in documents]
        np.testing.assert_allclose(index.scores(query), expected, rtol=0, atol=1e-12)
        for i, score in enumerate(expected):
            assert sum(index.shares(query, i).values()) == pytest.approx(score, abs=1e-12)


def test_bm25_equals_scikit_learn_s_counts_put_into_the_formula():
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(list("abcdefghij"), random.integers(1, 30))) for _ in range(37)]
    counter = CountVectorizer(analyzer=words)
    counts = counter.fit_transform(texts).toarray()  # (N, V)
    n, lengths = (counts > 0).sum(axis=0), counts.sum(axis=1, keepdims=True)
    idf = np.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
    weights = idf * counts * 2.2 / (counts + 1.2 * (0.25 + 0.75 * lengths / lengths.mean()))
    queries = ["a c c x", "j", "b d f h"]
    index = BM25([words(text) for text in texts])
    expected = counter.transform(queries).toarray() @ weights.T
    np.testing.assert_allclose([index.scores(words(q)) for q in queries], expected, rtol=0, atol=1e-12)


def test_words_are_of_any_script():
    assert words("Don’t PANIC: naïve_Bayes, 3.14 电影 🎬!") == "don t panic naïve bayes 3 14 电影".split()


@pytest.mark.parametrize(
    ("documents", "options"), [([], {}), ([[], []], {}), ([["a"]], {"k1": -1}), ([["a"]], {"b": 2})]
)
def test_bm25_refuses(documents, options):
    with pytest.raises(ValueError, match="BM25: expected"):
        BM25(documents, **options)


def test_first_ranks_by_sorting():
    random = np.random.default_rng(0)
    scores = random.normal(size=(17, 23))
    relevant = [set(random.choice(23, random.integers(1, 4), replace=False).tolist()) for _ in range(17)]
    expected = [
        1 + min(np.argsort(-row).tolist().index(item) for item in items)
        for row, items in zip(scores, relevant, strict=True)
    ]
    assert ranking.first_ranks(scores, relevant).tolist() == expected


def test_ties_do_not_flatter():
    assert ranking.first_ranks(np.zeros((1, 5)), [[2]]).tolist() == [5]
    assert ranking.first_ranks([[1.0, 1.0, 0.0]], [[0, 1]]).tolist() == [1]


def test_reciprocal_ranks_by_hand():
    np.testing.assert_allclose(ranking.reciprocal_ranks([1, 2, 10, 11]), [1, 0.5, 0.1, 0])
    np.testing.assert_allclose(ranking.reciprocal_ranks([3, 4], cutoff=3), [1 / 3, 0])


def test_standardized_rows():
    scores = np.random.default_rng(1).normal(3, 5, size=(4, 9))
    np.testing.assert_allclose(retrieval.standardized(scores), scipy.stats.zscore(scores, axis=1), atol=1e-12)
    assert retrieval.standardized(np.full((2, 3), 7.0)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: ranking.first_ranks(np.zeros((2, 3)), [[0]]),
        lambda: ranking.first_ranks(np.zeros((1, 3)), [[]]),
        lambda: ranking.first_ranks(np.zeros((1, 3)), [[3]]),
        lambda: ranking.reciprocal_ranks([0]),
        lambda: ranking.reciprocal_ranks([1], cutoff=0),
        lambda: retrieval.best_of_groups(np.zeros((2, 3)), ["a"]),
    ],
)
def test_rankings_refuse(call):
    with pytest.raises(ValueError, match="expected"):
        call()


@pytest.fixture(scope="module")
def index():
    encoder, tokenizer = load_model("reviews-bert")
    return retrieval.TextIndex(TEXTS[:3] + TEXTS[4:], encoder, tokenizer, 32)


def test_index_scores(index):
    by_meaning = index.scores(QUERIES)
    assert by_meaning.shape == (4, 4)
    u, v = index.embed([QUERIES[1]])[0], index.embed([TEXTS[1]])[0]
    assert by_meaning[1, 1] == pytest.approx(float(torch.dot(u, v) / (u.norm() * v.norm())), abs=1e-5)
    np.testing.assert_array_equal(index.scores(QUERIES, "words")[0], index.bm25.scores(words(QUERIES[0])))
    both = 1.5 * scipy.stats.zscore(by_meaning, axis=1) + np.nan_to_num(
        scipy.stats.zscore(index.scores(QUERIES, "words"), axis=1)
    )
    np.testing.assert_allclose(index.scores(QUERIES, "both"), both, atol=1e-12)


def test_search_gives_the_best_first(index):
    found = index.search("a cat and a dog", k=3, method="words")
    assert [i for i, _ in found] == sorted((i for i, _ in found), key=lambda i: -dict(found)[i])
    assert index.search("unheard", method="words") == []
    assert len(index.search("unheard", k=2)) == 2


@pytest.mark.parametrize("query", ["", "   ", "?!", "🎬", "\x00\x07"])
def test_a_question_without_words_is_one_clear_error(index, query):
    for method in retrieval.METHODS:
        with pytest.raises(ValueError, match="at least one letter or digit"):
            index.search(query, method=method)


def test_index_refuses(index):
    with pytest.raises(ValueError, match="a method of"):
        index.scores(["cat"], "magic")
    with pytest.raises(ValueError, match="at least one text"):
        retrieval.TextIndex([], index.encoder, index.tokenizer)
    with pytest.raises(ValueError, match="a group for each of 2"):
        retrieval.TextIndex(["a", "b"], index.encoder, index.tokenizer, groups=[1])


def test_best_of_groups():
    scores, names = retrieval.best_of_groups([[1, 5, 3], [2, 0, 9]], ["x", "y", "x"])
    assert names == ["x", "y"]
    assert scores.tolist() == [[2, 5], [5.5, 0]]  # a mean of two, or of the one there is
    assert retrieval.best_of_groups([[1, 5, 3], [2, 0, 9]], ["x", "y", "x"], 1)[0].tolist() == [[3, 5], [9, 0]]


def test_closest_sentence_is_the_sentence_itself(index):
    best, cosines = retrieval.closest_sentence(index, TEXTS[2], TEXTS[:3])
    assert best == 2
    assert float(cosines[2]) == pytest.approx(1, abs=1e-5)


def test_groups_join_words_and_average_the_two_best_vectors(index):
    groups = ["x", "y", "x", "x"]
    grouped = retrieval.TextIndex(index.texts, index.encoder, index.tokenizer, 32, groups)
    assert grouped.names == ["x", "y"]
    joined = BM25([words(" ".join(index.texts[i] for i in rows)) for rows in ((0, 2, 3), (1,))])
    expected = [joined.scores(words(query)) for query in QUERIES]
    np.testing.assert_allclose(grouped.scores(QUERIES, "words"), expected, atol=1e-12)
    by_text = index.scores(QUERIES)
    three = by_text[:, [0, 2, 3]]
    expected = np.stack([(three.sum(1) - three.min(1)) / 2, by_text[:, 1]], 1)
    np.testing.assert_allclose(grouped.scores(QUERIES), expected, atol=1e-6)


def test_asking_the_course(index):
    passages = [
        Passage("01_x.ipynb", "1. X", f"H{i // 2}", f"s{i // 2}", f"c{i}", text) for i, text in enumerate(index.texts)
    ]
    over_sections = retrieval.course_index(passages, index.encoder, index.tokenizer)
    for method in retrieval.METHODS:
        found = retrieval.ask_course(over_sections, passages, "Dogs bark.", 2, method)
        assert len({one.passage.section for one in found}) == len(found) <= 2
        assert found[0].where.startswith("1. X › H") and 0 <= found[0].best < len(found[0].sentences)
    found = retrieval.ask_course(over_sections, passages, "dogs bark", 1, "words")[0]
    assert found.passage.section == "s1"
    with pytest.raises(ValueError, match="at most 300 characters"):
        retrieval.ask_course(over_sections, passages, "word " * 61)


def test_expected_questions_lead_to_their_section(index):
    passages = [Passage("01_x.ipynb", "1. X", f"H{i}", f"s{i}", f"c{i}", text) for i, text in enumerate(index.texts)]
    expected = {"s2": ["Where do zebras sleep?"], "gone": ["Where do lions sleep?"]}
    expanded = retrieval.course_index(passages, index.encoder, index.tokenizer, expected)
    assert expanded.names == ["s0", "s1", "s2", "s3"] and len(expanded.texts) == len(passages) + 1
    for method in retrieval.METHODS:
        found = retrieval.ask_course(expanded, passages, "Where do zebras sleep?", 1, method)[0]
        assert found.passage == passages[2]  # what is shown is the section's passage, not the question
        assert retrieval.ask_course(expanded, passages, passages[3].text, 1, method)[0].passage == passages[3]
    assert retrieval.ask_course(expanded, passages, "lions", 4, "words") == []
