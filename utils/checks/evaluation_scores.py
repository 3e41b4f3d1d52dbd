"""Properties for lab 14: F1 from a confusion matrix, and the word error rate."""

import torch

from utils.checks.plain_values import is_close, is_number
from utils.checks.properties import are_results

WORDS = tuple("the a cat dog film story plays runs well badly old new and of slow fast never always".split())


def results_of(answer, arguments: tuple, names: str) -> list[float]:
    """The numbers that the student's function returns, in order."""
    labels = names.split(", ")
    got = are_results(answer(*arguments), len(labels), names)
    return [is_number(one, name=f"`{name}`") for one, name in zip(got, labels, strict=True)]


def sentence(draw, length: int, n_words: int) -> list[str]:
    """So many words, drawn from the first `n_words` of WORDS."""
    return [WORDS[draw.number(0, n_words - 1)] for _ in range(length)]


# Exercise 1: F1


def _labels(draw, n_classes: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and predictions (N,) with classes of very different sizes, every class among both."""
    shares = 0.5 ** torch.arange(n_classes)
    targets = torch.multinomial(shares, count, replacement=True, generator=draw.generator)
    wrong = torch.randint(n_classes, (count,), generator=draw.generator)
    predictions = torch.where(torch.rand(count, generator=draw.generator) < 0.6, targets, wrong)
    every = torch.arange(n_classes)
    return torch.cat([targets, every, every]), torch.cat([predictions, every, every.roll(1)])


def _confusion(targets: torch.Tensor, predictions: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Counts (C, C): rows are targets, columns predictions; by scikit-learn."""
    from sklearn.metrics import confusion_matrix

    return torch.from_numpy(confusion_matrix(targets, predictions, labels=range(n_classes)))


def _f1(answer, targets: torch.Tensor, predictions: torch.Tensor, n_classes: int, problem: str) -> None:
    from sklearn.metrics import f1_score, precision_score, recall_score

    options = {"labels": range(n_classes), "zero_division": 0}
    macro, micro = (f1_score(targets, predictions, average=one, **options) for one in ("macro", "micro"))
    got = results_of(answer, (_confusion(targets, predictions, n_classes),), "macro, micro")
    precision, recall = (
        score(targets, predictions, average="macro", **options) for score in (precision_score, recall_score)
    )
    is_close(
        got[0],
        macro,
        tolerance=1e-6,
        problem=f"{problem}: the macro F1 is not scikit-learn's.",
        hint="Precision, recall and F1 for each class; macro is the plain mean of the classes' F1.",
        slips={
            "This is the micro F1: macro and micro have changed places.": micro,
            "This is the F1 of the mean precision and the mean recall. Take the mean of the F1.": 2
            * precision
            * recall
            / (precision + recall),
            "Classes count by their size here. In the macro mean all classes count alike.": f1_score(
                targets, predictions, average="weighted", **options
            ),
            "This is the mean precision.": precision,
            "This is the mean recall.": recall,
        },
    )
    is_close(
        got[1],
        micro,
        tolerance=1e-6,
        problem=f"{problem}: the micro F1 is not scikit-learn's.",
        hint="Micro adds up the hits, false alarms and misses of all classes first, and takes one F1 of the sums.",
        slips={"This is the macro F1.": macro},
    )


def f1_library(answer, draw):
    """Both F1 of classes of different sizes."""
    n_classes = draw.number(3, 6)
    _f1(answer, *_labels(draw, n_classes, draw.number(40, 90)), n_classes, f"With {n_classes} classes")


def f1_missing(answer, draw):
    """Classes that are never predicted, or never occur, or both, have an F1 of 0."""
    n_classes = draw.number(3, 5)
    targets, predictions = _labels(draw, n_classes, draw.number(30, 60))
    what = "With a class that is never predicted"
    _f1(answer, targets, predictions.where(predictions != 0, torch.ones_like(predictions)), n_classes, what)
    _f1(answer, targets, predictions, n_classes + 1, "With a class that neither occurs nor is predicted")
    return "Both equal sklearn.metrics.f1_score with zero_division=0."


# Exercise 4: the word error rate


def _spoken(draw, count: int) -> tuple[list[list[str]], list[list[str]]]:
    """References, and what a hasty recognizer makes of them: words dropped, replaced and added."""
    references = [sentence(draw, draw.number(4, 14), 12) for _ in range(count)]
    hypotheses = []
    for words in references:
        heard = []
        for word in words:
            luck = draw.number(1, 10)
            heard += [] if luck == 1 else [WORDS[draw.number(0, 11)]] if luck < 4 else [word]
            heard += [WORDS[draw.number(0, 11)]] if draw.number(1, 8) == 1 else []
        hypotheses.append(heard or [words[0]])
    return references, hypotheses


def _wer(answer, references: list[list[str]], hypotheses: list[list[str]], problem: str, hint: str) -> float:
    import jiwer

    found = jiwer.process_words([" ".join(one) for one in references], [" ".join(one) for one in hypotheses])
    each = [jiwer.wer(" ".join(r), " ".join(h)) for r, h in zip(references, hypotheses, strict=True)]
    total = sum(map(len, references))
    edits = found.substitutions + found.deletions + found.insertions
    pairs = [list(zip(r, h, strict=False)) for r, h in zip(references, hypotheses, strict=True)]
    by_place = sum(a != b for one in pairs for a, b in one) + sum(
        abs(len(r) - len(h)) for r, h in zip(references, hypotheses, strict=True)
    )
    is_close(
        is_number(answer(references, hypotheses), name="The rate"),
        found.wer,
        problem=problem,
        hint=hint,
        slips={
            "This is the number of edits, not the rate.": edits,
            "Each sentence counts alike here. Add up edits and words over all sentences first.": sum(each) / len(each),
            "This divides by the words of the hypotheses. The reference is the yardstick.": edits
            / sum(map(len, hypotheses)),
            "Words are compared place by place: one lost word shifts all that follow. Align first.": by_place / total,
            "A substitution is one edit, not a deletion and an insertion.": (edits + found.substitutions) / total,
            "A rate above 1 is possible: a hypothesis may add any number of words.": min(1.0, found.wer),
        },
    )
    return found.wer


def wer_one(answer, draw):
    """One sentence at a time."""
    for _ in range(4):
        _wer(answer, *_spoken(draw, 1), "For one sentence, the rate is not jiwer's.",
             "The smallest number of words to replace, drop and add, over the number of words in the reference.")


def wer_corpus(answer, draw):
    """Several sentences of different lengths."""
    _wer(answer, *_spoken(draw, draw.number(4, 7)), "Over several sentences, the rate is not jiwer's.",
         "All edits over all words of the references.")


def wer_extremes(answer, draw):
    """Nothing right, everything right, and far too many words."""
    words = sentence(draw, draw.number(3, 6), 12)
    for heard in (words, ["what"] * len(words), words[:1] + ["what"] * 3 * len(words)):
        rate = _wer(answer, [words], [heard], "In an extreme case, the rate is not jiwer's.",
                    "Equal sentences have a rate of 0; nothing limits it to 1.")
    return f"The rate is jiwer's; the last one was {rate:.2f}."
