"""How much a text shares with a reference: BLEU for translations, ROUGE for summaries, chrF for either."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from utils.metrics.classification import PrecisionRecallF1

SMOOTHING = ("none", "floor", "exp")
FLOOR = 0.1
_RULES_13A = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


class BLEU(NamedTuple):
    """score: 0 to 100. precisions: 0 to 1, one an order, after smoothing. Lengths in tokens, summed over the corpus."""

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


def tokenize_13a(text: str) -> list[str]:
    """Words and punctuation marks by the rules of mteval-v13a: Western languages; numbers keep their points and commas.

    Source: NIST's mteval-v13a.pl, in sacrebleu's form (Post 2018).
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "  # a rule needs a neighbor on either side
    for rule, replacement in _RULES_13A:
        text = rule.sub(replacement, text)
    return text.split()


def tokenize_rouge(text: str) -> list[str]:
    """Runs of a to z and 0 to 9, lower-cased, unstemmed: all else separates words, letters with accents as well.

    Source: Lin (2004), as the package rouge-score reads it with use_stemmer=False.
    """
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(tokens: Sequence, n: int) -> Counter:
    """How often each run of `n` tokens occurs; tokens: a list, or a string for runs of characters."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    max_order: int = 4,
    smoothing: str = "exp",
    tokenize: Callable[[str], list[str]] = tokenize_13a,
    effective_order: bool = False,
) -> BLEU:
    """BLEU of a corpus: brevity penalty times the geometric mean of the n-gram precisions, counts summed over texts.

    references: for each hypothesis one text or several. tokenize: `tokenize_13a`, or `str.split` for texts that are
    tokenized already. smoothing of an order without matches: "none" (the score is 0), "floor" (0.1 matches), "exp"
    (1/2, 1/4, ... of a match, as mteval does). effective_order: average only over the orders that the texts are long
    enough for. An empty hypothesis matches nothing.
    Raises: ValueError for no texts, unequal numbers, no reference or an empty one, or an unknown option.
    Source: Papineni et al. (2002), section 2.3; Post (2018); Chen and Cherry (2014), methods 1 and 3.
    """
    counts = bleu_counts(hypotheses, references, max_order=max_order, tokenize=tokenize)
    return bleu_from_counts(counts.sum(axis=0), smoothing=smoothing, effective_order=effective_order)


def sentence_bleu(hypothesis: str, references: str | Sequence[str], **options) -> BLEU:
    """BLEU of a single text, over the orders it is long enough for; options as of `bleu`.

    Raises: ValueError as `bleu`.
    Source: Chen and Cherry (2014); sacrebleu's sentence_bleu, which sets effective_order as well.
    """
    return bleu([hypothesis], [references], **{"effective_order": True, **options})


def bleu_counts(
    hypotheses: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    max_order: int = 4,
    tokenize: Callable[[str], list[str]] = tokenize_13a,
) -> np.ndarray:
    """What BLEU needs of each text: (N, 2 + 2 max_order) int64, so that a bootstrap can draw rows and add them.

    Columns: length, length of the reference closest in length (the shorter of two), matches of orders 1 and up, each
    n-gram counted at most as often as in the reference that has most of it; n-grams of orders 1 and up.
    Raises: ValueError as `bleu`.
    Source: Papineni et al. (2002), sections 2.1 and 2.2.
    """
    hypotheses, references = _paired(hypotheses, references)
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, got {max_order}")
    rows = np.zeros((len(hypotheses), 2 + 2 * max_order), dtype=np.int64)
    for i, (row, hypothesis, several) in enumerate(zip(rows, hypotheses, references, strict=True)):
        tokens, texts = tokenize(hypothesis), [tokenize(reference) for reference in several]
        if not all(texts):
            raise ValueError(f"reference {i} is empty: expected at least one token in each, drop the example")
        row[0] = len(tokens)
        row[1] = min((abs(len(text) - len(tokens)), len(text)) for text in texts)[1]
        for n in range(1, max_order + 1):
            found, allowed = ngrams(tokens, n), Counter()
            for text in texts:
                allowed |= ngrams(text, n)
            row[1 + n] = (found & allowed).total()
            row[1 + max_order + n] = found.total()
    return rows


def bleu_from_counts(counts: np.ndarray, *, smoothing: str = "exp", effective_order: bool = False) -> BLEU:
    """BLEU of summed counts (2 + 2 max_order,), as rows of `bleu_counts` add up to.

    Raises: ValueError for an unknown smoothing.
    """
    if smoothing not in SMOOTHING:
        raise ValueError(f"smoothing must be one of {SMOOTHING}, got {smoothing!r}")
    length, reference_length = int(counts[0]), int(counts[1])
    matches, totals = np.split(np.asarray(counts[2:], dtype=np.float64), 2)
    penalty = 1.0 if length >= reference_length else math.exp(1 - reference_length / length) if length else 0.0
    precisions, halved = [0.0] * len(matches), 1.0
    if not matches.any():
        return BLEU(0.0, tuple(precisions), penalty, length, reference_length)
    long_enough = int((totals > 0).sum())
    for n in range(long_enough):
        credit = matches[n]
        if credit == 0 and smoothing == "exp":
            halved /= 2
            credit = halved
        elif credit == 0 and smoothing == "floor":
            credit = FLOOR
        precisions[n] = float(credit / totals[n])
    averaged = precisions[:long_enough] if effective_order else precisions
    mean = math.exp(sum(map(math.log, averaged)) / len(averaged)) if all(averaged) else 0.0
    return BLEU(100 * penalty * mean, tuple(precisions), penalty, length, reference_length)


def rouge_n(hypothesis: str, reference: str, n: int) -> PrecisionRecallF1:
    """ROUGE-N: shared runs of `n` words over those of the hypothesis (precision) and of the reference (recall).

    Words as `tokenize_rouge` has them; 0 for an empty hypothesis, or where either text has fewer than `n` words.
    Raises: ValueError for a reference without words, or n below 1.
    Source: Lin (2004), section 2.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    found, wanted = ngrams(tokenize_rouge(hypothesis), n), ngrams(_words(reference), n)
    return _scores((found & wanted).total(), found.total(), wanted.total())


def rouge_l(hypothesis: str, reference: str) -> PrecisionRecallF1:
    """ROUGE-L: the longest common subsequence of words, over the length of the hypothesis and of the reference.

    Raises: ValueError for a reference without words.
    Source: Lin (2004), section 3.1, equations 2 to 4 with beta = 1.
    """
    found, wanted = tokenize_rouge(hypothesis), _words(reference)
    return _scores(len(common_subsequence(wanted, found)), len(found), len(wanted))


def rouge_l_sum(hypothesis: str, reference: str) -> PrecisionRecallF1:
    """ROUGE-L of a summary of several sentences, one a line: the union of each reference line's common subsequences.

    A word counts at most as often as it occurs in both texts.
    Raises: ValueError for a reference without words.
    Source: Lin (2004), section 3.2, with the clipping of ROUGE-1.5.5 and rouge-score.
    """
    n_wanted = len(_words(reference))
    wanted, found = ([tokenize_rouge(line) for line in text.split("\n")] for text in (reference, hypothesis))
    left, hits = sum(map(Counter, wanted), Counter()) & sum(map(Counter, found), Counter()), 0
    for line in wanted:
        for i in sorted(set().union(*(common_subsequence(line, other) for other in found))):
            if left[line[i]]:
                left[line[i]] -= 1
                hits += 1
    return _scores(hits, sum(map(len, found)), n_wanted)


def common_subsequence(first: Sequence, second: Sequence) -> list[int]:
    """Positions in `first` of one longest sequence of items that both hold in the same order.

    Source: Wagner and Fischer (1974); of several, the one that rouge-score takes.
    """
    length = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, item in enumerate(first, 1):
        for j, other in enumerate(second, 1):
            above, left = length[i - 1][j], length[i][j - 1]
            length[i][j] = length[i - 1][j - 1] + 1 if item == other else max(above, left)
    found, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.append(i)
        elif length[i][j - 1] > length[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return found[::-1]


def chrf(
    hypotheses: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    char_order: int = 6,
    word_order: int = 0,
    beta: float = 2.0,
) -> float:
    """chrF of a corpus, 0 to 100: precision and recall of runs of characters (spaces left out), averaged over orders.

    Orders that either side is too short for are left out. word_order 2 adds words and pairs of words: chrF++. The
    reference that scores best counts. beta: how much more recall weighs than precision.
    Raises: ValueError for no texts, unequal numbers, no reference or an empty one, or orders or beta out of range.
    Source: Popović (2015), equation 1; Popović (2017) for chrF++; sacrebleu's chrf.
    """
    hypotheses, references = _paired(hypotheses, references)
    if char_order < 1 or word_order < 0 or beta <= 0:
        raise ValueError(
            f"expected char_order of at least 1, word_order of at least 0 and beta above 0, got {char_order}, "
            f"{word_order} and {beta}"
        )
    total = np.zeros((char_order + word_order, 3))
    for i, (hypothesis, several) in enumerate(zip(hypotheses, references, strict=True)):
        if not all(reference.strip() for reference in several):
            raise ValueError(f"reference {i} is empty: expected at least one character in each, drop the example")
        found = _chrf_ngrams(hypothesis, char_order, word_order)
        options = [_chrf_counts(found, _chrf_ngrams(text, char_order, word_order)) for text in several]
        total += max(options, key=lambda counts: _chrf_score(counts, beta))
    return 100 * _chrf_score(total, beta)


def _chrf_ngrams(text: str, char_order: int, word_order: int) -> list[Counter]:
    characters, words = "".join(text.split()), []
    for word in text.split():  # one punctuation mark is split off: that at the end, else that at the beginning
        if len(word) > 1 and word[-1] in string.punctuation:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in string.punctuation:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return [
        *(ngrams(characters, n) for n in range(1, char_order + 1)),
        *(ngrams(words, n) for n in range(1, word_order + 1)),
    ]


def _chrf_counts(found: list[Counter], wanted: list[Counter]) -> np.ndarray:
    """By order: n-grams of the hypothesis (none where the reference has none), of the reference, and shared ones."""
    return np.array([(h.total() if r else 0, r.total(), (h & r).total()) for h, r in zip(found, wanted, strict=True)])


def _chrf_score(counts: np.ndarray, beta: float) -> float:
    found, wanted, shared = counts[(counts[:, 0] > 0) & (counts[:, 1] > 0)].T
    if not shared.sum():
        return 0.0
    precision, recall = np.mean(shared / found), np.mean(shared / wanted)
    return float((1 + beta**2) * precision * recall / (beta**2 * precision + recall))


def _scores(hits: int, found: int, wanted: int) -> PrecisionRecallF1:
    return PrecisionRecallF1(hits / max(found, 1), hits / max(wanted, 1), 2 * hits / max(found + wanted, 1))


def _words(reference: str) -> list[str]:
    words = tokenize_rouge(reference)
    if not words:
        raise ValueError(f"expected a reference with letters a to z or digits, all that ROUGE reads; got {reference!r}")
    return words


def _paired(hypotheses: Sequence[str], references: Sequence) -> tuple[list[str], list[list[str]]]:
    """Both as lists of one length, at least 1, and each hypothesis's references as a list of at least one text."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("expected lists of texts, got one text: put it in a list")
    hypotheses = list(hypotheses)
    references = [[several] if isinstance(several, str) else list(several) for several in references]
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"expected as many references as hypotheses, at least one, got {len(references)} and {len(hypotheses)}"
        )
    if not all(references):
        raise ValueError(f"expected at least one reference a hypothesis, got none for number {references.index([])}")
    return hypotheses, references
