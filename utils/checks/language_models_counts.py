"""Properties for lab 01: counts of what comes next, what comes before, and add-k."""

from collections.abc import Mapping

import torch

from utils.checks import ngram_oracle as oracle
from utils.checks.calls import NotYet, describe
from utils.checks.plain_values import is_close, is_number

LETTERS = b"abcde"


def letters(draw, n_kinds: int, length: int) -> bytes:
    """A random text of the first `n_kinds` letters, the earlier ones more frequent."""
    weights = torch.arange(n_kinds, 0, -1).float()
    places = torch.multinomial(weights, length, replacement=True, generator=draw.generator)
    return bytes(LETTERS[place] for place in places.tolist())


def _table(got, length: int) -> dict[tuple[bytes, int], int]:
    """The counts of a table as one dictionary, (context, byte) to count, its zeros left out."""
    wanted = f"a dictionary from contexts of {length} bytes to counts"
    if not isinstance(got, Mapping):
        raise NotYet("The result is not a dictionary.", {"expected": wanted, "got": describe(got)})
    flat = {}
    for context, row in got.items():
        if not isinstance(context, bytes) or len(context) != length:
            raise NotYet("A key is not a context of the right length.", {"expected": wanted, "got": repr(context)},
                         f"A context is a slice of the text: bytes, here {length} of them.")
        if not isinstance(row, Mapping):
            raise NotYet("A value is not a table of counts.", {"expected": "a Counter", "got": describe(row)},
                         "Each context has a Counter of its own.")
        for token, count in row.items():
            if not isinstance(token, int):
                raise NotYet("A Counter's key is not a single byte.",
                             {"expected": "a whole number, such as 97", "got": repr(token)},
                             "text[place] is a number, text[place : place + 1] is a slice.")
            flat[context, token] = count
    return {key: count for key, count in flat.items() if count}


def _same_table(got, expected: oracle.Table, length: int, *, problem: str, hint: str,
                slips: Mapping[str, oracle.Table]) -> None:
    got, wanted = _table(got, length), _table(expected, length)
    if got == wanted:
        return
    hint = next((why for why, table in slips.items() if got == _table(table, length)), hint)
    context, token = next(key for key in [*wanted, *got] if got.get(key, 0) != wanted.get(key, 0))
    raise NotYet(problem, {"where": f"the count of {bytes([token])!r} after {context!r}",
                           "expected": str(wanted.get((context, token), 0)),
                           "got": str(got.get((context, token), 0))}, hint)


# Exercise 1: what comes next


def next_form(answer, draw):
    """Contexts of the wanted length, with counts of bytes."""
    length = draw.number(0, 3)
    got = _table(answer(letters(draw, 3, 30), length), length)
    if not got:
        raise NotYet("The result holds no counts.", {"expected": "some counts", "got": "none"})


def next_single(answer, draw):
    """Without context, the counts of the bytes."""
    text = b"e" + letters(draw, 4, draw.number(20, 40))  # it does not end as it begins
    expected = oracle.next_counts(text, 0)
    _same_table(answer(text, 0), expected, 0, problem="These are not the counts of the text's bytes.",
                hint="With length 0 there is one context, the empty one. Every byte of the text follows it.", slips={
                    "The last byte of the text was not counted.": oracle.next_counts(text[:-1], 0),
                    "The first byte of the text was not counted.": oracle.next_counts(text[1:], 0),
                    "Each byte was counted only once.": {b"": dict.fromkeys(expected[b""], 1)},
                })


def next_library(answer, draw):
    """With contexts of one to four bytes, scikit-learn's counts of runs."""
    text, length = letters(draw, 3, draw.number(40, 60)), draw.number(1, 4)
    expected = oracle.next_counts(text, length)
    backwards = {context[::-1]: row for context, row in oracle.next_counts(text[::-1], length).items()}
    _same_table(answer(text, length), expected, length, problem="The counts are not those of scikit-learn.",
                hint="Every place of the text from `length` on has a context: the bytes just before it.", slips={
                    "The last run of the text was not counted.": oracle.next_counts(text[:-1], length),
                    "The first run of the text was not counted.": oracle.next_counts(text[1:], length),
                    "Each run was counted only once.":
                        {context: dict.fromkeys(row, 1) for context, row in expected.items()},
                    "These are the bytes before each context. Count those after it.": backwards,
                })


# Exercise 2: add k


def _probability(answer, row, token, k, vocab_size):
    return is_number(answer(row, token, k, vocab_size), hint="Return one number: the probability of `token`.")


def _row(draw):
    """The counts after a context, some tokens without any, and a k."""
    vocab_size = draw.number(5, 9)
    row = next(iter(oracle.next_counts(letters(draw, 3, draw.number(10, 30)), 0).values()))
    row = type(row)({token - LETTERS[0]: count for token, count in row.items()})
    return row, vocab_size, draw.number(1, 30) / 20


def add_k_sum(answer, draw):
    """A distribution over the vocabulary."""
    row, vocab_size, k = _row(draw)
    probs = [_probability(answer, row, token, k, vocab_size) for token in range(vocab_size)]
    if min(probs) <= 0:
        raise NotYet("A probability is not above 0.", {"got": f"{min(probs):g}"},
                     "Every token gets k on top, those never seen, too.")
    is_close(sum(probs), 1.0, problem=f"Over the {vocab_size} tokens the probabilities do not sum to one.",
             hint="What is added to the counts above must be added below, too: k for each token of the vocabulary.")


def add_k_library(answer, draw):
    """Equal to scikit-learn's; 1 / V after a context that was never seen."""
    row, vocab_size, k = _row(draw)
    expected, total, ones = oracle.add_k(row, k, vocab_size), sum(row.values()), oracle.add_k(row, 1.0, vocab_size)
    worst = 0.0
    for token in range(vocab_size):
        got = _probability(answer, row, token, k, vocab_size)
        worst = max(worst, is_close(
            got, expected[token], problem="The probability is not that of scikit-learn.",
            hint="Count plus k, divided by the sum of all these.", slips={
                "k was not used: this is k = 1.": ones[token],
                "This is 1 / V: the counts were not used.": 1 / vocab_size,
                "This is the share alone: k was not used.": row[token] / total,
            }))
    empty = _probability(answer, type(row)(), 0, k, vocab_size)
    is_close(empty, 1 / vocab_size, problem="After a context that was never seen, all tokens must be equally likely.",
             hint="An empty Counter has the count 0 for every token, and the sum 0.")
    return f"Largest difference to scikit-learn: {worst:.1e}."


# Exercise 5a: what comes before


def continuation_form(answer, draw):
    """Contexts one byte shorter."""
    length = draw.number(0, 2)
    got = _table(answer(oracle.next_counts(letters(draw, 3, 40), length + 1)), length)
    if not got:
        raise NotYet("The result holds no counts.", {"expected": "some counts", "got": "none"})


def continuation_library(answer, draw):
    """Numbers of different bytes before, from the set of scikit-learn's runs."""
    text, length = letters(draw, 4, draw.number(40, 70)), draw.number(0, 2)
    expected = oracle.continuation_counts(text, length)
    longer = oracle.runs(text, length + 2)
    summed, forward = {}, {}
    for run, count in longer.items():
        summed.setdefault(run[1:-1], {}).setdefault(run[-1], 0)
        summed[run[1:-1]][run[-1]] += count
        forward.setdefault(run[:-2], {}).setdefault(run[-1], 0)
        forward[run[:-2]][run[-1]] += 1
    _same_table(answer(oracle.next_counts(text, length + 1)), expected, length,
                problem="These are not the numbers of different bytes before.",
                hint="Every context of the longer table with this next byte counts once.", slips={
                    "The counts were added up. Each context counts once, however often it came.": summed,
                    "Every count is 1: add them up over the longer contexts.":
                        {context: dict.fromkeys(row, 1) for context, row in expected.items()},
                    "The last byte of the context was dropped. Drop the first one.": forward,
                })
