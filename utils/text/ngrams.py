"""Count-based n-gram language models over integer token ids: add-k, linear interpolation, Kneser-Ney.

How a document begins: one begin symbol stands before its first token and is never predicted. Every token of the
document is predicted exactly once, given the begin symbol and its predecessors, of which the model sees the last
`order - 1`. A GPT that is fed `bos` first sees the same, so both can be scored on the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from utils.text.ngram_counts import CountTable, count_ngrams

_FALLBACK_MODIFIED = (0.5, 1.0, 1.5)  # KenLM's --discount_fallback
_FALLBACK_SINGLE = 0.75


class NGramModel:
    """What all count-based models share: counting, walking up the orders, scoring. Subclasses say how orders mix.

    order: n of the n-grams, at least 1. vocab_size: V, the ids are 0 to V - 1.
    bos: the id of the begin symbol when it is one of the vocabulary; None takes a symbol outside of it.
    Raises: ValueError for an order or vocabulary size below 1 or a bos outside the vocabulary.
    """

    def __init__(self, order: int, vocab_size: int, *, bos: int | None = None):
        if order < 1 or vocab_size < 1:
            raise ValueError(f"order and vocab_size must be at least 1, got order={order}, vocab_size={vocab_size}")
        if bos is not None and not 0 <= bos < vocab_size:
            raise ValueError(f"bos must be None or an id from 0 to {vocab_size - 1}, got {bos}")
        self.order, self.vocab_size = order, vocab_size
        self.bos = vocab_size if bos is None else bos
        self.tables: list[CountTable] = []

    def fit(self, documents: Iterable) -> NGramModel:
        """Count the n-grams of the documents, each a 1-D array, list or tensor of token ids; returns the model itself.

        Raises: ValueError for a corpus without a token, or ids that are not integers from 0 to V - 1.
        """
        streams = [self._stream(document) for document in documents]
        lengths = np.array([len(stream) for stream in streams], dtype=np.int64)
        if lengths.sum() == len(streams):
            raise ValueError(f"expected at least one token to count, got {len(streams)} documents with none")
        stream = np.concatenate(streams)
        starts = np.zeros(len(stream), dtype=bool)
        starts[np.cumsum(lengths) - lengths] = True
        base = max(self.vocab_size, self.bos + 1)
        self._prepare(*count_ngrams(stream, starts, self.order, base, self.bos))
        return self

    def log_probs(self, document) -> np.ndarray:
        """Natural log of the probability of each token given its predecessors in the document: (T,) float64.

        Raises: ValueError before `fit`, or for ids that are not integers from 0 to V - 1.
        """
        stream = self._stream(document)
        probs = np.full(len(stream) - 1, 1 / self.vocab_size)
        for level, table, contexts, ngrams in self._walk(stream):
            first = max(0, level - 1)  # tokens before it have fewer than `level` predecessors
            contexts, ngrams = contexts[first:-1], ngrams[first:]
            probs[first:] = self._mix(level, probs[first:], table.counts[ngrams], table.totals[contexts], contexts)
        with np.errstate(divide="ignore"):  # without smoothing log 0 = -inf is the true answer
            return np.log(probs)

    def next_distribution(self, context, *, from_start: bool = True) -> np.ndarray:
        """Probability of each possible next token: (V,) float64, sums to one.

        context: the tokens so far, 1-D. from_start: whether the context is the beginning of a document (as in
        `log_probs`) or a piece out of the middle, which may then be shorter than order - 1.
        Raises: ValueError before `fit`, or for ids that are not integers from 0 to V - 1.
        """
        stream = self._stream(context)[0 if from_start else 1 :]
        stream = stream[max(0, len(stream) - self.order + 1) :]
        probs = np.full(self.vocab_size, 1 / self.vocab_size)
        for level, table, contexts, _ in self._walk(stream):
            if level > len(stream):
                break
            context_id = contexts[-1] if level else 0
            tokens, row_counts = table.row(context_id)
            counts = np.zeros(table.base, dtype=np.int64)
            counts[tokens] = row_counts
            probs = self._mix(level, probs, counts[: self.vocab_size], table.totals[context_id], context_id)
        return probs

    def _stream(self, document) -> np.ndarray:
        """A document as int64 ids with the begin symbol in front: (T + 1,)."""
        tokens = np.asarray(document)
        if tokens.ndim != 1 or (tokens.size and not np.issubdtype(tokens.dtype, np.integer)):
            raise ValueError(f"expected a 1-D sequence of integer ids, got shape {tokens.shape}, type {tokens.dtype}")
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.vocab_size:
            raise ValueError(
                f"expected ids from 0 to {self.vocab_size - 1}, got {tokens.min()} to {tokens.max()}: "
                "tokenize with the vocabulary that vocab_size counts"
            )
        return np.append(self.bos, tokens).astype(np.int64)

    def _walk(self, stream: np.ndarray):
        """For each level, its table, the context numbers (N,) of the `level` tokens that end at each position of the
        stream (N,), and the n-gram numbers (N - 1,) of such a context with the token after it."""
        if not self.tables:
            raise ValueError("this model has counted nothing yet: call fit(documents) first")
        contexts = np.zeros(len(stream), dtype=np.int64)
        for level, table in enumerate(self.tables):
            ngrams = table.find(contexts[:-1], stream[1:])
            yield level, table, contexts, ngrams
            contexts = np.append(-1, ngrams) if level else stream

    def _prepare(self, tables: list[CountTable], continuations: list[np.ndarray]) -> None:
        """Take the counts; a subclass adds what it derives from them."""
        self.tables = tables

    def _mix(self, level: int, lower, counts, totals, contexts):
        """Probabilities at order level + 1, from those one order below, this order's counts of the n-grams, the totals
        of their contexts and the contexts' numbers; elementwise, the totals and contexts may be single numbers."""
        raise NotImplementedError


class AddK(NGramModel):
    """P(w | h) = (c(h w) + k) / (c(h) + k V), h the last order - 1 tokens. An unseen h gives the uniform distribution.

    k: at least 0; 1 is Laplace's rule, 0 the maximum likelihood estimate, which gives unseen n-grams probability 0.
    Source: Jurafsky & Martin, Speech and Language Processing (3rd ed.), chapter 3, "Add-k smoothing".
    """

    def __init__(self, order: int, vocab_size: int, k: float = 1.0, *, bos: int | None = None):
        super().__init__(order, vocab_size, bos=bos)
        if not 0 <= k < np.inf:
            raise ValueError(f"k must be a finite number of at least 0, got {k}")
        self.k = k

    def _mix(self, level, lower, counts, totals, contexts):
        # The lower order is dropped: it counts only where a document's beginning leaves no longer context.
        numerators, denominators = counts + self.k, totals + self.k * self.vocab_size
        known = denominators > 0
        return np.where(known, numerators / np.where(known, denominators, 1), 1 / self.vocab_size)


class Interpolated(NGramModel):
    """P_m(w | h) = weight_m c(h w) / c(h) + (1 - weight_m) P_{m-1}(w | shorter h), down to the uniform 1 / V.

    An order whose context was never seen has no say: P_m = P_{m-1}.
    weights: one number for all orders or one for each, orders 1 to `order`, from 0 to 1; `tune` learns them.
    Source: Jelinek & Mercer (1980); Chen & Goodman (1998), section 2.3.
    """

    def __init__(self, order: int, vocab_size: int, weights=0.5, *, bos: int | None = None):
        super().__init__(order, vocab_size, bos=bos)
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape not in ((), (order,)) or not np.all((weights >= 0) & (weights <= 1)):
            raise ValueError(f"weights must be one number or {order} numbers from 0 to 1, got {weights.tolist()}")
        self.weights = np.array(np.broadcast_to(weights, order))

    def _mix(self, level, lower, counts, totals, contexts):
        weight = np.where(totals > 0, self.weights[level], 0)
        return weight * (counts / np.maximum(totals, 1)) + (1 - weight) * lower

    def tune(self, documents: Iterable, iterations: int = 20) -> Interpolated:
        """Fit the weights to documents that were not counted, by expectation-maximization; returns the model itself.

        Raises: ValueError before `fit`, or when the documents hold no token.
        """
        counts, totals = [], []
        for document in documents:
            levels = list(self._walk(self._stream(document)))
            counts.append([table.counts[ngrams] for _, table, _, ngrams in levels])
            totals.append([table.totals[contexts[:-1]] for _, table, contexts, _ in levels])
        if not any(len(rows[0]) for rows in counts):
            raise ValueError("expected at least one held-out token to tune on, got none")
        counts, totals = np.concatenate(counts, axis=1), np.concatenate(totals, axis=1)  # (order, N)
        self.weights = np.full(self.order, 0.5)
        for _ in range(iterations):
            self.weights = self._maximize(counts, totals)
        return self

    def _maximize(self, counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """One step of expectation-maximization: the next weights (order,)."""
        probs = [np.full(counts.shape[1], 1 / self.vocab_size)]
        for level in range(self.order):
            probs.append(self._mix(level, probs[-1], counts[level], totals[level], None))
        reach, weights = np.ones(counts.shape[1]), self.weights.copy()
        for level in reversed(range(self.order)):
            seen = totals[level] > 0
            # `reach`: how likely it is, now that we know the token, that it was drawn at this order or below.
            below = np.where(seen, (1 - self.weights[level]) * probs[level] / probs[level + 1], 1) * reach
            if seen.any():
                weights[level] = 1 - below[seen].sum() / reach[seen].sum()
            reach = below
        return weights


class KneserNey(NGramModel):
    """Interpolated Kneser-Ney: P_m(w | h) = (a(h w) - D) / a(h) + gamma(h) P_{m-1}(w | shorter h), down to 1 / V.

    a is the count at the highest order. Below, it is the number of different tokens seen before the n-gram (an n-gram
    that starts with the begin symbol has none, and keeps its count). D depends on the order and on a: 1, 2, 3 or more.
    gamma(h) is what the discounts took from h.

    discounts: "modified" estimates three discounts an order from the counts of counts, "single" one, n1 / (n1 + 2 n2);
    a float from 0 to 1 is taken as it is. Where the counts of counts allow no estimate (a tiny corpus, or an order at
    which no n-gram is rare) the discounts are 0.5, 1, 1.5, or 0.75 for "single".
    After `fit`, `discounts` (order, 4) holds the discounts of the counts 0, 1, 2, 3+ of each order.
    Source: Kneser & Ney (1995); Chen & Goodman (1998), sections 2.7 and 3; the beginning of a document and the fallback
    as in KenLM (Heafield et al., 2013, section 3).
    """

    def __init__(self, order: int, vocab_size: int, discounts: str | float = "modified", *, bos: int | None = None):
        super().__init__(order, vocab_size, bos=bos)
        if discounts not in ("modified", "single") and not (isinstance(discounts, float) and 0 < discounts <= 1):
            raise ValueError(f'discounts must be "modified", "single" or a float in (0, 1], got {discounts!r}')
        self.method = discounts
        self.discounts = np.zeros((order, 4))
        self.gammas: list[np.ndarray] = []

    def _prepare(self, tables, continuations):
        self.discounts, self.gammas = np.zeros((self.order, 4)), []
        for level, table in enumerate(tables):
            if level + 1 < self.order:
                keep = table.from_start & (level > 0)
                table.set_counts(np.where(keep, table.counts[:-1], continuations[level]), len(table.totals) - 1)
            self.discounts[level, 1:] = self._estimate(table.counts)
            taken = self.discounts[level, np.minimum(table.counts[:-1], 3)]
            taken = np.bincount(table.keys // table.base, weights=taken, minlength=len(table.totals))
            # A context without counts, the -1 at the end among them, hands everything to the order below.
            self.gammas.append(np.where(table.totals > 0, taken / np.maximum(table.totals, 1), 1.0))
        self.tables = tables

    def _estimate(self, counts: np.ndarray):
        """The discounts of the counts 1, 2, 3+ of one order, from how many n-grams were counted 1 to 4 times."""
        if isinstance(self.method, float):
            return (self.method,) * 3
        n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
        if self.method == "single":
            return (n1 / (n1 + 2 * n2) if n1 and n2 else _FALLBACK_SINGLE,) * 3
        if not (n1 and n2 and n3 and n4):
            return _FALLBACK_MODIFIED
        y = n1 / (n1 + 2 * n2)
        estimates = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        return estimates if all(0 < d <= i for i, d in enumerate(estimates, 1)) else _FALLBACK_MODIFIED

    def _mix(self, level, lower, counts, totals, contexts):
        kept = counts - self.discounts[level, np.minimum(counts, 3)]
        return kept / np.maximum(totals, 1) + self.gammas[level][contexts] * lower


def sample(
    model: NGramModel,
    context,
    n: int,
    generator: np.random.Generator,
    *,
    stop: int | None = None,
    from_start: bool = True,
) -> np.ndarray:
    """Draw up to n tokens after the context, one at a time: (n,) int64; fewer when `stop` was drawn, which is kept.

    Raises: ValueError for a negative n, an unfitted model or ids outside the vocabulary.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    context, drawn = np.asarray(context).tolist(), []
    while len(drawn) < n and (stop is None or drawn[-1:] != [stop]):
        probs = model.next_distribution(context + drawn, from_start=from_start)
        drawn.append(int(generator.choice(model.vocab_size, p=probs / probs.sum())))
    return np.array(drawn, dtype=np.int64)
