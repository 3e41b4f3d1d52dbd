"""How good a short answer is: equal to the true one, or how many words it shares with it, as SQuAD counts."""

import re
import string
from collections import Counter

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(answer: str) -> str:
    """An answer in lower case, without punctuation, articles or spaces beyond one.

    Source: the evaluation script of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, section 6.1).
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, truth: str) -> float:
    """1.0 if both are the same after `normalized`, else 0.0; "" means "no answer"."""
    return float(normalized(answer) == normalized(truth))


def token_f1(answer: str, truth: str) -> float:
    """Harmonic mean of precision and recall over the words of both, each as often as it stands in both.

    If one of them says "no answer", it is 1.0 when both do, else 0.0.
    Source: Rajpurkar et al. 2016, section 6.1; Rajpurkar et al. 2018 for questions without an answer.
    """
    got, true = normalized(answer).split(), normalized(truth).split()
    if not got or not true:
        return float(got == true)
    shared = sum((Counter(got) & Counter(true)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(got), shared / len(true)
    return 2 * precision * recall / (precision + recall)
