"""Properties for lab 01: perplexity, bits per byte, and drawing the next token."""

import math

import numpy as np
import torch
from scipy import stats

from utils.checks.calls import NotYet, describe
from utils.checks.plain_values import is_close, is_number

# Exercise 3: how good is a model?


def _probabilities(draw, count):
    """Probabilities that a model gave to the tokens of a text."""
    # Each below 1 / e: then a mean surprise is above 1, and a number below 1 shows a wrong sign.
    return (0.02 + 0.33 * torch.rand(count, generator=draw.generator, dtype=torch.float64)).tolist()


def _perplexity(answer, probabilities):
    return is_number(answer(probabilities), hint="Return one number for the whole text.")


def perplexity_number(answer, draw):
    """A number of at least 1."""
    got = _perplexity(answer, _probabilities(draw, draw.number(3, 9)))
    if got < 1:
        raise NotYet("A perplexity is never below 1.", {"got": f"{got:g}"},
                     "Logarithms of probabilities are negative: turn the sign before you take the exponential.")


def perplexity_library(answer, draw):
    """One over SciPy's geometric mean."""
    probabilities = _probabilities(draw, draw.number(3, 9))
    logs, count = np.log(probabilities), len(probabilities)
    worst = is_close(
        _perplexity(answer, probabilities), 1 / stats.gmean(probabilities),
        problem="This is not the perplexity.",
        hint="The mean of the logarithms, its sign turned, and the exponential of that.", slips={
            "This is the sum of the surprises: take their mean, so that long texts compare with short ones.":
                float(-logs.sum()),
            "This is the exponential of the sum. Take the mean.": float(np.exp(-logs.sum())),
            "This is the mean surprise: its exponential is missing.": float(-logs.mean()),
            "This is one over the mean of the probabilities. Perplexity takes the geometric mean.":
                float(1 / np.mean(probabilities)),
            "This is the mean of one over the probabilities.": float(np.mean(1 / np.array(probabilities))),
            "Two bases are mixed: e goes with the natural logarithm, 2 with the one to base 2.":
                float(2 ** (-logs.sum() / count)),
            "Two bases are mixed: 2 goes with the logarithm to base 2, e with the natural one.":
                float(np.exp(-np.log2(probabilities).mean())),
        })
    return f"Largest difference to SciPy: {worst:.1e}."


def perplexity_long(answer, draw):
    """No underflow in a long text."""
    probabilities = _probabilities(draw, draw.number(4_000, 6_000))
    got = _perplexity(answer, probabilities)
    is_close(got, 1 / stats.gmean(probabilities), tolerance=1e-8, problem="For a long text the perplexity is wrong.",
             hint="A product of thousands of small numbers is 0 in a computer. A sum of their logarithms is not.")


TEXTS = ("naïve", "Größe", "¡Olé!", "电影很好", "5 €", "café")


def _bits(answer, probabilities, text):
    got = is_number(answer(probabilities, text), hint="Return one number for the whole text.")
    if got < 0:
        raise NotYet("Bits per byte are never below 0.", {"got": f"{got:g}"},
                     "The logarithm of a probability is negative: turn its sign.")
    return got


def _powers(draw, count):
    """Whole numbers of bits, and the probabilities that cost so much: their answer is exact."""
    bits = [draw.number(1, 12) for _ in range(count)]
    return bits, [0.5**one for one in bits]


def bits_number(answer, draw):
    """A number of at least 0."""
    _bits(answer, _powers(draw, 5)[1], "hello")


def bits_plain(answer, draw):
    """With ASCII text and a token a byte: the mean number of bits."""
    text = "a plain text"[: draw.number(4, 12)]
    bits, probabilities = _powers(draw, len(text))
    total = sum(bits)
    is_close(_bits(answer, probabilities, text), total / len(text),
             problem="These are not the bits per byte.",
             hint="A token of probability 1/8 costs three bits: minus the logarithm to base 2.", slips={
                 "These are nats: take the logarithm to base 2.": total * math.log(2) / len(text),
                 "This is the sum: divide it by the number of bytes.": float(total),
                 "This is the perplexity.": 2 ** (total / len(text)),
             })


def bits_bytes(answer, draw):
    """With several letters a token and several bytes a letter: still by the bytes."""
    text = " ".join(TEXTS[draw.number(0, len(TEXTS) - 1)] for _ in range(4))
    bits, probabilities = _powers(draw, draw.number(2, 7))
    total, n_bytes = sum(bits), len(text.encode())
    is_close(_bits(answer, probabilities, text), total / n_bytes,
             problem="For this text the bits per byte are wrong.",
             hint="Divide by the number of bytes, text.encode().", slips={
                 "This is bits per token: what a token is differs from model to model.": total / len(bits),
                 "This is bits per letter: ï has two bytes, 电 has three. Encode the text first.": total / len(text),
             })


# Exercise 6: draw


def _drawn(answer, probabilities, u):
    got = answer(probabilities, u)
    if isinstance(got, np.integer) or isinstance(got, torch.Tensor) and got.dtype == torch.int64 and got.numel() == 1:
        got = int(got)
    if not isinstance(got, int) or isinstance(got, bool) or not 0 <= got < len(probabilities):
        raise NotYet("The result is not the number of a token.",
                     {"expected": f"a whole number from 0 to {len(probabilities) - 1}", "got": describe(got)},
                     "Return the place in the list, not the probability.")
    return got


def _distribution(draw, zeros=True):
    """A distribution over a few tokens, some of which are impossible: the first and the last among them."""
    weights = torch.rand(draw.number(4, 9), generator=draw.generator, dtype=torch.float64) + 0.05
    if zeros:
        weights[[0, 2, -1]] = 0
    return (weights / weights.sum()).tolist()


def draw_possible(answer, draw):
    """Never a token of probability 0, at u = 0 neither."""
    for u in (0.0, *_random(draw, 6)):
        probabilities = _distribution(draw)
        if probabilities[_drawn(answer, probabilities, u)] == 0:
            raise NotYet("A token of probability 0 was drawn.", {"u": f"{u:g}"},
                         "Stop at the first token where the sum so far is larger than u, not equal to it.")


class _Known(np.random.RandomState):
    """NumPy's generator, whose next random number is known."""

    u = 0.0

    def random_sample(self, size=None):
        return np.full(size, self.u) if size else self.u


def _numpys(probabilities, u):
    generator = _Known()
    generator.u = u
    return int(generator.choice(len(probabilities), p=probabilities))


def draw_library(answer, draw):
    """NumPy's choice for the same random number."""
    cases = [(_distribution(draw, zeros=False), u) for u in _random(draw, 12)]
    gots = [_drawn(answer, probabilities, u) for probabilities, u in cases]
    expected = [_numpys(probabilities, u) for probabilities, u in cases]
    slips = {
        "This is the likeliest token: then every draw is the same.": [int(np.argmax(probs)) for probs, _ in cases],
        "The probabilities were added up from the right. NumPy begins on the left.":
            [len(probs) - 1 - _numpys(probs[::-1], u) for probs, u in cases],
        "All tokens were taken as equally likely.": [int(u * len(probs)) for probs, u in cases],
        "This is one token too early: the sum must have passed u.": [max(right - 1, 0) for right in expected],
    }
    hint = next((why for why, tokens in slips.items() if tokens == gots),
                "Add up the probabilities from the left. The token at which the sum passes u is drawn.")
    for got, right, (probabilities, u) in zip(gots, expected, cases, strict=True):
        if got != right:
            where = f"u = {u:.3f}, probabilities = {[round(one, 3) for one in probabilities]}"
            raise NotYet("This is not the token that NumPy draws.",
                         {"where": where, "expected": str(right), "got": str(got)}, hint)


def draw_gap(answer, draw):
    """The largest u, for probabilities whose sum is just below 1, draws the last possible token."""
    count = 10
    probabilities = [1 / count] * count + [0.0] * draw.number(1, 3)
    u = math.nextafter(1.0, 0.0)
    try:
        got = _drawn(answer, probabilities, u)
    except NotYet as problem:
        raise NotYet("With ten times 0.1 and the largest u below 1, nothing was drawn.", problem.facts,
                     "The sum of ten times 0.1 is 0.9999999999999999 in a computer, and u may be just that. Then the "
                     "last token with a probability above 0 is meant.") from problem
    if got != count - 1:
        raise NotYet("With ten times 0.1 and the largest u below 1, the wrong token was drawn.",
                     {"expected": str(count - 1), "got": str(got)},
                     "When the sum never passes u, the last token with a probability above 0 is meant.")


def _random(draw, count):
    return torch.rand(count, generator=draw.generator, dtype=torch.float64).tolist()
