"""Properties for lab 01: interpolation, Kneser-Ney, and the model of the capstone."""

import functools
import math
import weakref

import numpy as np

from utils.checks import ngram_oracle as oracle
from utils.checks.calls import NotYet, describe
from utils.checks.language_models_counts import LETTERS, letters
from utils.checks.plain_values import TOLERANCE, is_close, is_number
from utils.data import corpora

NEVER_SEEN = ord("z")
GOOD, TARGET = 3.0, 2.45  # bits per byte of held-out reviews
HELD_OUT_REVIEWS, TRAINING_REVIEWS = 12, 50
CAPSTONE_SECONDS = 60.0  # counting and scoring take two seconds or so, on a busy machine many more


@functools.cache
def training_text() -> bytes:
    """The reviews that the capstone counts: the first fifty of the training split."""
    return "\n\n".join(corpora.reviews("imdb", "train")["text"][:TRAINING_REVIEWS]).encode()


@functools.cache
def held_out_text() -> bytes:
    """The reviews that judge the capstone: the first twelve of the test split."""
    return "\n\n".join(corpora.reviews("imdb", "test")["text"][:HELD_OUT_REVIEWS]).encode()


def _contexts(draw, text, order):
    """Contexts out of the text and others: longer than the tables', as long, short, none, ending with an unseen byte.

    The longest come first: there most slips differ.
    """
    place = draw.number(order + 1, len(text) - 1)
    lengths = {0, 1, order - 1, order + 1}
    seen = [text[place - length : place] for length in sorted(lengths, reverse=True)]
    return [*seen, letters(draw, 3, order), letters(draw, 3, 2) + b"z"]


def _sum_to_one(answer, tables, contexts, number, hints):
    """Check that over all bytes the probabilities sum to one; `hints` are for a sum below and above one."""
    for context in contexts:
        probs = {byte: is_number(answer(byte, context, tables, number, oracle.VOCAB_SIZE),
                                 hint="Return one number: the probability of `token`.")
                 for byte in {*LETTERS, *b"\n", NEVER_SEEN}}
        # All bytes that were never seen are alike: one stands for them.
        total = sum(probs.values()) + (oracle.VOCAB_SIZE - len(probs)) * probs[NEVER_SEEN]
        if min(probs.values()) <= 0:
            raise NotYet("A probability is not above 0.", {"where": f"after {context!r}"},
                         "The mix ends at 1 / V, which leaves nothing at 0. Contexts that were never seen have no row.")
        is_close(total, 1.0, problem=f"After {context!r} the probabilities of all bytes do not sum to one.",
                 hint=hints[total > 1])


def _same_numbers(answer, tables, contexts, number, expected, slips, problem, hint):
    """Check some bytes after each context against `expected(context)`; `slips` are functions alike.

    A slip's hint is shown when it fits all answers: several may give the same number here and there.
    """
    pairs = [(context, byte) for context in contexts for byte in (*LETTERS[:3], NEVER_SEEN)]
    gots = [is_number(answer(byte, context, tables, number, oracle.VOCAB_SIZE)) for context, byte in pairs]

    def values(function):
        distributions = {context: function(context) for context in contexts}
        return [distributions[context][byte] for context, byte in pairs]

    truths = values(expected)
    if not np.allclose(gots, truths, rtol=0, atol=TOLERANCE):
        fitting = (why for why, slip in slips.items() if np.allclose(gots, values(slip), rtol=0, atol=TOLERANCE))
        hint = next(fitting, hint)
    for (context, byte), got, truth in zip(pairs, gots, truths, strict=True):
        is_close(got, truth, problem=f"{problem} ({bytes([byte])!r} after {context!r})", hint=hint)
    return f"Largest difference: {np.abs(np.subtract(gots, truths)).max():.1e}."


# Exercise 4: interpolation


def _counted(draw, low, high):
    order = draw.number(low, high)
    return letters(draw, 3, draw.number(40, 60)), order, (10 * draw.number(2, 9) - 5) / 100


def interpolate_sum(answer, draw):
    """A distribution after any context."""
    text, order, weight = _counted(draw, 2, 3)
    _sum_to_one(answer, oracle.tables(text, order), _contexts(draw, text, order), weight, {
        False: "Something was lost: `weight` of the counts' share and 1 - `weight` of the shorter context make a "
               "whole. Where a context was never seen, the shorter one has the whole say.",
        True: "Something came twice: `weight` of the counts' share and 1 - `weight` of the shorter context make a "
              "whole.",
    })


def interpolate_single(answer, draw):
    """Order 1: the share of the byte, mixed with 1 / V."""
    text, _, weight = _counted(draw, 1, 1)
    # A weight for the counts, and the other way round.
    _same_numbers(answer, oracle.tables(text, 1), [b""], weight,
                  lambda context: oracle.interpolated(text, context, 1, weight),
                  {"The weight belongs to the counts, 1 - weight to the uniform 1 / V.":
                      lambda context: oracle.interpolated(text, context, 1, 1 - weight)},
                  "With a single table the probability is wrong.",
                  "Weight times the share of the byte in the row, plus 1 - weight times 1 / V.")


def interpolate_library(answer, draw):
    """Orders 3 and 4: the course's model."""
    text, order, weight = _counted(draw, 3, 4)

    def mixed(values):
        return lambda context: oracle.interpolated(text, context, order, values)

    def longest_alone(context):
        last = min(len(context), order - 1)
        return oracle.interpolated(text, context, order, [weight * (level == last) for level in range(order)])

    def without_single(context):
        weights = [weight * (level > 0 or not context) for level in range(order)]
        return oracle.interpolated(text, context, order, weights)

    slips = {
        "The weight belongs to the counts, 1 - weight to the shorter context.": mixed(1 - weight),
        "The table of single bytes was not found. Its only context is b\"\", but context[-0:] is the whole context.":
            without_single,
        "Only the longest context is mixed with 1 / V. The shorter ones have a say, too.": longest_alone,
        "Only the table of single bytes was used.": lambda context: oracle.interpolated(text, b"", order, weight),
    }
    return _same_numbers(answer, oracle.tables(text, order), _contexts(draw, text, order), weight, mixed(weight), slips,
                         "The probability is wrong.",
                         "Begin with 1 / V. For each table in turn, mix in what it says after the last bytes of the "
                         "context, if it has seen them.")


# Exercise 5b: Kneser-Ney


def _kneser_ney(draw, low, high):
    text, order, discount = _counted(draw, low, high)
    return (b"\n" if order > 1 else b"") + text, order, discount


def kneser_ney_sum(answer, draw):
    """A distribution after any context."""
    text, order, discount = _kneser_ney(draw, 2, 3)
    _sum_to_one(answer, oracle.kneser_ney_tables(text, order), _contexts(draw, text, order), discount, {
        False: "More was taken than handed on. Each kind of byte in the row gave up one discount: hand on discount "
               "times the number of kinds, divided by the sum of the row. A context without a row hands on everything.",
        True: "More was handed on than taken. Is the discount taken off every count of the row, and does it hand on "
              "discount times the number of kinds, divided by the sum of the row?",
    })


def kneser_ney_single(answer, draw):
    """Order 1: discounted shares, and the rest spread evenly."""
    text, _, discount = _kneser_ney(draw, 1, 1)
    _same_numbers(answer, oracle.kneser_ney_tables(text, 1), [b""], discount,
                  lambda context: oracle.kneser_ney(text, context, 1, discount),
                  {"This is interpolation with the discount as its weight.":
                       lambda context: oracle.interpolated(text, context, 1, discount),
                   "This is interpolation with 1 - discount as its weight.":
                       lambda context: oracle.interpolated(text, context, 1, 1 - discount)},
                  "With a single table the probability is wrong.",
                  "The count minus the discount, never below 0, over the sum of the row; plus the discount for each "
                  "kind of byte in the row, over the same sum, times 1 / V.")


def kneser_ney_library(answer, draw):
    """Orders 2 to 4: the course's model with one discount."""
    text, order, discount = _kneser_ney(draw, 2, 4)
    contexts = [context for context in _contexts(draw, text, order) if b"\n" not in context]
    return _same_numbers(answer, oracle.kneser_ney_tables(text, order), contexts, discount,
                         lambda context: oracle.kneser_ney(text, context, order, discount),
                         {"Only the table of single bytes was used.":
                             lambda context: oracle.kneser_ney(text, b"", order, discount)},
                         "The probability is wrong.",
                         "Begin with 1 / V. Each table in turn discounts its row after the last bytes of the context, "
                         "and hands on what it took to the probability so far.")


# Capstone: a model of film reviews


def _predicted(answer, train, text):
    got = answer(train, text)
    got = got.tolist() if isinstance(got, np.ndarray) or hasattr(got, "detach") else got
    if not isinstance(got, list | tuple) or len(got) != len(text):
        kind = f"{len(got)} entries" if isinstance(got, list | tuple) else describe(got)
        raise NotYet("There must be one probability for each byte of the text.",
                     {"expected": f"a list of {len(text)} numbers", "got": kind},
                     "The first bytes have a short context, or none: they are predicted, too.")
    numbers = np.array([is_number(one, name="An entry") for one in got])
    if numbers.min() <= 0 or numbers.max() > 1 + 1e-9:
        raise NotYet("An entry is no probability above 0.", {"got": f"from {numbers.min():g} to {numbers.max():g}"},
                     "Return probabilities, not their logarithms, and leave none at 0.")
    return numbers


def predict_form(answer, draw):
    """One probability a byte."""
    _predicted(answer, letters(draw, 4, 60), letters(draw, 5, draw.number(1, 20)))


def predict_sum(answer, draw):
    """After a beginning, seen or not, all 256 next bytes share one."""
    train = letters(draw, 3, 50)
    start = draw.number(0, 40)
    beginning = train[start : start + draw.number(0, 8)] if draw.number(0, 1) else letters(draw, 5, draw.number(1, 8))
    seen = {byte: _predicted(answer, train, beginning + bytes([byte]))[-1] for byte in (*LETTERS, NEVER_SEEN)}
    total = sum(seen.values()) + (oracle.VOCAB_SIZE - len(seen)) * seen[NEVER_SEEN]
    is_close(total, 1.0, tolerance=1e-6,
             problem=f"After {beginning!r} the probabilities of the 256 bytes do not sum to one.",
             hint="Use your function from 4 or 5b with V = 256. Count in `train` only: a text that was counted itself "
                  "finds itself too likely.")


def predict_causal(answer, draw):
    """Another ending leaves the beginning's probabilities as they are."""
    train, beginning = letters(draw, 3, 50), letters(draw, 4, 7)
    length = draw.number(1, 6)
    one, other = (_predicted(answer, train, beginning + ending)[:7] for ending in (b"a" * length, b"zb" * length))
    place = int(np.abs(one - other).argmax())
    is_close(float(one[place]), float(other[place]), hint="A byte's context ends just before it.",
             problem=f"Another end of the text changed the probability of byte {place}.")


_BITS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _held_out_bits(answer) -> float:
    """Bits per byte on the held-out reviews; always the same task, so measured once a check."""
    if answer not in _BITS:
        answer.seconds = CAPSTONE_SECONDS
        text = held_out_text()
        _BITS[answer] = float(-np.log2(_predicted(answer, training_text(), text)).sum() / len(text))
    return _BITS[answer]


def _at_most(answer, limit, hint):
    bits = _held_out_bits(answer)
    if bits > limit:
        raise NotYet(f"The held-out reviews cost {bits:.3f} bits a byte.",
                     {"expected": f"at most {limit:g}", "got": f"{bits:.3f}"}, hint)
    return bits


def predict_good(answer, draw):
    """Fewer than 3 bits a byte."""
    _at_most(answer, math.nextafter(GOOD, 0), "Longer contexts, and a mix that trusts the rare ones less.")


def predict_target(answer, draw):
    """At most 2.35 bits a byte."""
    bits = _at_most(answer, TARGET, "Kneser-Ney with contexts of four to six bytes gets there. Try several discounts "
                                    "below 1 on the validation reviews.")
    return f"{HELD_OUT_REVIEWS} held-out reviews: {bits:.3f} bits per byte (target: at most {TARGET:g})."
