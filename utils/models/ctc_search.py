"""From a CTC model's frames to labels: greedy, and prefix beam search, with a language model beside it if wanted.

Source: Graves et al. 2006, section 3.2; Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition
using Bi-Directional Recurrent DNNs", algorithm 1.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from utils.models.ctc import collapse
from utils.text.ngrams import NGramModel

Prefix = tuple[int, ...]
# Log-probabilities of each next label and, last, of the end, after a prefix.
NextLabel = Callable[[Prefix], np.ndarray]


@dataclass(frozen=True)
class Hypothesis:
    """Labels with the log-probability of all paths found to them, that of the language model, and the ranking score."""

    labels: Prefix
    log_prob: float
    language: float
    score: float


def greedy(log_probs: Tensor, blank: int) -> list[int]:
    """The labels of the likeliest path: each frame's best class, collapsed. Shapes: log_probs (T, C)."""
    return collapse(log_probs.argmax(dim=-1).tolist(), blank)


def ngram_language(model: NGramModel) -> NextLabel:
    """A count-based model over labels 0 to V - 2 and the end V - 1, as `beam_search` asks it; answers are kept."""
    memory = model.order - 1

    @functools.lru_cache(maxsize=100_000)
    def next_label(recent: Prefix, from_start: bool) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(model.next_distribution(list(recent), from_start=from_start))

    return lambda prefix: next_label(prefix[max(0, len(prefix) - memory) :], len(prefix) < memory)


def _added(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def beam_search(
    log_probs: Tensor,
    blank: int,
    width: int = 16,
    language: NextLabel | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
    threshold: float = -12.0,
) -> list[Hypothesis]:
    """The best label sequences, each with all its paths added up, best first.

    log_probs: (T, C). `language` adds `weight` times its log-probability of the labels (and, at the end, of ending),
    and `bonus` for each label. Labels whose log-probability in a frame is below `threshold` are not tried there.
    The blank must be the last class, so that labels are numbered alike in both models.
    Raises: ValueError for a width below 1, or a blank that is not the last class.
    """
    n_classes = log_probs.shape[-1]
    if width < 1 or blank != n_classes - 1:
        raise ValueError(
            f"beam_search: expected a width of at least 1 and the blank as last class ({n_classes - 1}), "
            f"got {width} and {blank}"
        )
    # For each prefix: log-probability of its paths that end in the blank, and of those that end in its last label.
    beams: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}
    languages: dict[Prefix, float] = {(): 0.0}

    def ranked(prefix: Prefix, ends: tuple[float, float]) -> float:
        return _added(*ends) + weight * languages[prefix] + bonus * len(prefix)

    for frame in log_probs.double().tolist():
        tried = [label for label in range(n_classes - 1) if frame[label] >= threshold]
        found: dict[Prefix, list[float]] = {}
        for prefix, (in_blank, in_label) in beams.items():
            _extend(found, prefix, in_blank, in_label, frame, tried, blank)
        for prefix in found:
            if prefix not in languages:
                step = 0.0 if language is None else float(language(prefix[:-1])[prefix[-1]])
                languages[prefix] = languages[prefix[:-1]] + step
        best = sorted(found.items(), key=lambda one: -ranked(one[0], tuple(one[1])))[:width]
        beams = {prefix: (ends[0], ends[1]) for prefix, ends in best}
    hypotheses = []
    for prefix, ends in beams.items():
        total = languages[prefix] + (0.0 if language is None else float(language(prefix)[-1]))
        score = _added(*ends) + weight * total + bonus * len(prefix)
        hypotheses.append(Hypothesis(prefix, _added(*ends), total, score))
    return sorted(hypotheses, key=lambda one: -one.score)


def _extend(
    found: dict[Prefix, list[float]],
    prefix: Prefix,
    in_blank: float,
    in_label: float,
    frame: list[float],
    tried: list[int],
    blank: int,
) -> None:
    """Add what one frame makes of one prefix: it stays (a blank, or its last label again), or a label is added."""
    either = _added(in_blank, in_label)
    stays = found.setdefault(prefix, [-math.inf, -math.inf])
    stays[0] = _added(stays[0], either + frame[blank])
    if prefix:
        stays[1] = _added(stays[1], in_label + frame[prefix[-1]])
    for label in tried:
        # The same label again is a new one only after a blank.
        before = in_blank if prefix and label == prefix[-1] else either
        if before > -math.inf:
            longer = found.setdefault((*prefix, label), [-math.inf, -math.inf])
            longer[1] = _added(longer[1], before + frame[label])
