"""Properties for lab 16: BM25, pooled vectors, and the mean reciprocal rank."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from utils.checks.evaluation_scores import WORDS
from utils.checks.plain_values import is_close, is_number
from utils.checks.properties import is_equal, is_finite, is_tensor
from utils.text.bm25 import BM25

K1, B = 1.2, 0.75


# Exercise 4: BM25


def _documents(draw) -> list[list[str]]:
    """Documents of very different lengths over few words."""
    lengths = [draw.number(3, 6), draw.number(20, 30), draw.number(8, 12), 1, draw.number(12, 18)]
    return [[WORDS[draw.number(0, 9)] for _ in range(length)] for length in lengths]


def _scores(documents: list[list[str]], query: list[str], k1: float, b: float, idf=None, clip=False) -> torch.Tensor:
    """BM25 by numbers that may be wrong on purpose: another idf, or each query word once."""
    N, mean = len(documents), sum(map(len, documents)) / len(documents)
    totals = []
    for document in documents:
        total = 0.0
        for word in sorted(set(query)) if clip else query:
            f, n = document.count(word), sum(word in other for other in documents)
            weight = math.log(1 + (N - n + 0.5) / (n + 0.5)) if idf is None else idf(N, n)
            total += weight * f * (k1 + 1) / (f + k1 * (1 - b + b * len(document) / mean)) if f else 0.0
        totals.append(total)
    return torch.tensor(totals, dtype=torch.float64)


def _bm25(answer, documents: list[list[str]], query: list[str], problem: str) -> float:
    expected = torch.from_numpy(BM25(documents, K1, B).scores(query))
    got = is_tensor(
        answer(query, documents),
        (len(documents),),
        letters="(N,)",
        hint="Return `torch.tensor` of one score a document.",
    )
    is_finite(got, problem="A score is not finite.", hint="A word that no document holds adds nothing.")
    counts = torch.tensor([float(sum(d.count(w) for w in query)) for d in documents])
    return is_equal(
        got,
        expected,
        problem=problem,
        hint="For each word of the query: idf times f (k1 + 1) / (f + k1 (1 - b + b |d| / mean length)).",
        slips={
            "The 1 inside of the logarithm is missing.": _scores(
                documents, query, K1, B, lambda N, n: math.log((N - n + 0.5) / (n + 0.5))
            ),
            "The idf is missing: a rare word must count more.": _scores(documents, query, K1, B, lambda N, n: 1.0),
            "The idf is that of TF-IDF, ln(N / n).": _scores(
                documents, query, K1, B, lambda N, n: math.log(N / n) if n else 0.0
            ),
            "The document's length is left out.": _scores(documents, query, K1, 0.0),
            "A word that stands twice in the query counts twice.": _scores(documents, query, K1, B, clip=True),
            "This counts words. Repetition must count less and less.": counts,
        },
    )


def bm25_single(answer, draw):
    """One word of the query that some documents hold."""
    documents = _documents(draw)
    _bm25(answer, documents, [documents[1][0]], "For a query of one word, the scores are wrong.")


def bm25_several(answer, draw):
    """Several words, one of them twice."""
    documents = _documents(draw)
    query = [documents[0][0], documents[1][1], documents[2][2], documents[1][1]]
    _bm25(answer, documents, query, "For a query of several words, the scores are wrong.")


def bm25_unseen(answer, draw):
    """Words that no document holds."""
    documents = _documents(draw)
    worst = _bm25(answer, documents, ["unheard", documents[2][0]], "A word that no document holds changes the scores.")
    return f"Largest difference from the course's index: {worst:.1e}."


# Exercise 5a: pooled vectors


def _hidden(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (B, T, D) with large numbers in the padding, and a mask whose rows differ in length."""
    rows, length, width = draw.sizes(3, of=(3, 5, 7, 11))
    lengths = torch.randint(1, length, (rows,), generator=draw.generator)
    lengths[0] = length
    mask = torch.arange(length)[None] < lengths[:, None]
    hidden = draw.normal(rows, length, width)
    return torch.where(mask[:, :, None], hidden, 50 + 10 * hidden), mask


def embed_value(answer, draw):
    """Each row equals the mean of its own real tokens, of length 1."""
    hidden, mask = _hidden(draw)
    means = torch.stack([row[keep].mean(dim=0) for row, keep in zip(hidden, mask, strict=True)])
    got = is_tensor(answer(hidden, mask), tuple(means.shape), letters="(B, D)")
    is_finite(got, problem="A vector is not finite.", hint="Divide by the number of real tokens, then by the length.")
    worst = is_equal(
        got,
        F.normalize(means, dim=1),
        problem="A vector is not the normalized mean of its real tokens.",
        hint="Sum the hidden states where the mask is True, divide by how many those are, then by the vector's length.",
        slips={
            "The padding is in the mean: use the mask.": F.normalize(hidden.mean(dim=1), dim=1),
            "The vectors do not have length 1 yet.": means,
            "This is the first token's vector. Take the mean over the real ones.": F.normalize(hidden[:, 0], dim=1),
            "Each feature was normalized over the batch. A vector's length runs over its features.": F.normalize(
                means, dim=0
            ),
            "Divide by the root of the sum of squares: this makes the absolute values sum to 1.": F.normalize(
                means, p=1, dim=1
            ),
        },
    )
    return f"Largest difference: {worst:.1e}."


def embed_alone(answer, draw):
    """A text's vector does not depend on the padding beside it."""
    hidden, mask = _hidden(draw)
    got = is_tensor(answer(hidden, mask), (hidden.shape[0], hidden.shape[2]), letters="(B, D)")
    row = int(mask.sum(dim=1).argmin())
    keep = int(mask[row].sum())
    alone = is_tensor(answer(hidden[row : row + 1, :keep], mask[row : row + 1, :keep]), (1, hidden.shape[2]))
    is_equal(
        got[row : row + 1],
        alone,
        problem="A text alone has another vector than beside longer ones.",
        hint="Nothing of the padding may reach the sum or the count.",
    )


# Exercise 5b: MRR


def _ranking(draw, rows: int, items: int) -> tuple[torch.Tensor, list[list[int]]]:
    """Scores (Q, N) without ties, and for each query one to three relevant items."""
    scores = torch.stack([torch.randperm(items, generator=draw.generator) for _ in range(rows)]).double() / items
    relevant = [torch.randperm(items, generator=draw.generator)[: draw.number(1, 3)].tolist() for _ in range(rows)]
    return scores, relevant


def _mrr(answer, scores: torch.Tensor, relevant: list[list[int]], cutoff: int, problem: str) -> None:
    order = np.argsort(-scores.numpy(), axis=1).tolist()
    ranks = [[row.index(item) + 1 for item in items] for row, items in zip(order, relevant, strict=True)]

    def mean(pick, limit=cutoff, shift=0) -> float:
        return float(np.mean([1 / (pick(r) + shift) if pick(r) <= limit else 0.0 for r in ranks]))

    got = is_number(answer(scores, relevant, cutoff), name="The mean reciprocal rank")
    is_close(
        got,
        mean(min),
        tolerance=1e-6,
        problem=problem,
        hint="For each query: 1 / rank of the best relevant item, 0 if that rank is beyond the cutoff. Then the mean.",
        slips={
            "The cutoff is not used.": mean(min, 10**9),
            "The best rank is 1, not 0.": mean(min, shift=1),
            "Take the best of the relevant items, not the worst.": mean(max),
            "Take the best of the relevant items, not the first in the list.": mean(lambda r: r[0]),
            "This is the share of queries with an answer above the cutoff.": float(
                np.mean([min(r) <= cutoff for r in ranks])
            ),
            "Higher scores are better: the order is upside down.": float(
                np.mean(
                    [
                        1 / (scores.shape[1] + 1 - max(r)) if scores.shape[1] + 1 - max(r) <= cutoff else 0.0
                        for r in ranks
                    ]
                )
            ),
        },
    )


def mrr_value(answer, draw):
    """All ranks count."""
    scores, relevant = _ranking(draw, draw.number(7, 11), 9)
    relevant = [items[:1] for items in relevant]
    _mrr(answer, scores, relevant, 9, "With one relevant item a query, the mean is wrong.")


def mrr_cutoff(answer, draw):
    """Several relevant items, and ranks beyond the cutoff."""
    scores, relevant = _ranking(draw, draw.number(15, 25), 23)
    _mrr(answer, scores, relevant, 4, "With several relevant items and a cutoff of 4, the mean is wrong.")
    return "As sorting finds it."
