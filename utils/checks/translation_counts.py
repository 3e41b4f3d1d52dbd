"""Properties for lab 17: one step of IBM's first model, beside the course's, which has arrays instead of loops."""

import math

import torch

from utils.checks.calls import NotYet, describe
from utils.checks.plain_values import is_close, is_number
from utils.checks.properties import are_results, is_equal
from utils.text.word_translation import NULL, WordTranslation


def _corpus(draw) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences of random letters; sources begin with NULL, words may repeat."""
    count = draw.number(5, 9)
    sources = [[NULL, *("abcde"[draw.number(0, 4)] for _ in range(draw.number(1, 4)))] for _ in range(count)]
    targets = [["uvwxyz"[draw.number(0, 5)] for _ in range(draw.number(1, 5))] for _ in range(count)]
    return sources, targets


def _table(model: WordTranslation) -> dict[tuple[str, str], float]:
    return {(e, f): p for e, best in model.table(len(model.target_words)).items() for f, p in best}


def _model(sources, targets, steps: int) -> tuple[WordTranslation, dict]:
    model = WordTranslation([source[1:] for source in sources], targets)
    for _ in range(steps):
        model.step()
    return model, _table(model)


def _stepped(answer, t, sources, targets) -> tuple[dict, float]:
    table, likelihood = are_results(answer(t, sources, targets), 2, "table, log_likelihood")
    if not isinstance(table, dict) or set(table) != set(t):
        missing = sorted(set(t) - set(table))[:3] if isinstance(table, dict) else describe(table)
        raise NotYet("The first result is no table over the same pairs of words.",
                     {"expected": f"a dictionary with {len(t)} keys (e, f)", "got": f"missing or different: {missing}"},
                     "Every pair that stands together in some sentence keeps its entry.")
    numbers = {pair: is_number(p, name=f"the probability of {pair}") for pair, p in table.items()}
    return numbers, is_number(likelihood, name="the log-likelihood")


def step_form(answer, draw):
    """The right form."""
    sources, targets = _corpus(draw)
    _stepped(answer, _model(sources, targets, 0)[1], sources, targets)


def step_table(answer, draw):
    """The new probabilities."""
    sources, targets = _corpus(draw)
    for steps in (0, 2):
        model, t = _model(sources, targets, steps)
        got, _ = _stepped(answer, t, sources, targets)
        model.step()
        right = _table(model)
        by_target = _shares(t, sources, targets, normalize="f")
        is_equal(as_tensor(got), as_tensor(right), tolerance=1e-9,
                 problem="The new probabilities are not those of IBM model 1.",
                 hint="Each target word of a sentence is shared out among its source words, in proportion to t; then "
                      "the shares of each source word are divided by their sum.",
                 slips={"Divide by the total of the source word e, not by that of f.": as_tensor(by_target),
                        "These are the shares. Divide those of each source word by their total.":
                            as_tensor(_shares(t, sources, targets, normalize="")),
                        "Every pair counts 1 here. Share each target word out: its shares add up to 1.":
                            as_tensor(_shares(t, sources, targets, normalize="e", even=True)),
                        "Nothing has changed.": as_tensor(t)})


def as_tensor(table: dict) -> torch.Tensor:
    """The numbers of a table, in the order of its pairs."""
    return torch.tensor([table[pair] for pair in sorted(table)], dtype=torch.float64)


def _shares(t, sources, targets, normalize: str, even: bool = False) -> dict:
    """Shares of target words; divided by the totals of "e" or of "f", or as they are."""
    counts = dict.fromkeys(t, 0.0)
    for source, target in zip(sources, targets, strict=True):
        for f in target:
            z = sum(t[e, f] for e in source)
            for e in source:
                counts[e, f] += 1.0 if even else t[e, f] / z
    if not normalize:
        return counts
    which = 0 if normalize == "e" else 1
    totals: dict[str, float] = {}
    for pair, count in counts.items():
        totals[pair[which]] = totals.get(pair[which], 0.0) + count
    return {pair: count / totals[pair[which]] for pair, count in counts.items()}


def step_likelihood(answer, draw):
    """The log-likelihood before the step."""
    sources, targets = _corpus(draw)
    model, t = _model(sources, targets, 1)
    got = _stepped(answer, t, sources, targets)[1]
    n = sum(len(target) * math.log(len(source)) for source, target in zip(sources, targets, strict=True))
    before, after = model.step(), model.step()
    is_close(got, before, tolerance=1e-9, problem="This is not the log-likelihood.",
             hint="For each target word the logarithm of: the sum of t over its source words, divided by their number.",
             slips={"This is the likelihood after the step: use the table that came in.": after,
                    "The number of source words, NULL included, is missing in the denominator.": before + n,
                    "The sign is wrong: the logarithm of a probability is negative.": -before,
                    "Take the natural logarithm.": before / math.log(2),
                    "This is the likelihood itself; take its logarithm, word by word.": math.exp(before)})
