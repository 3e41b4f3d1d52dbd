"""Properties for lab 13: drawing a token, and the filters of logits, beside those of transformers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_equal, is_finite, is_tensor

N_CHANCES = 400
NO_IDS = torch.zeros(1, 1, dtype=torch.long)  # the library's filters take the text, and do not look at it
SAME = "One logit for each token: set what is left out to -inf, and leave the rest in its place."


def _logits(draw, scale: float = 1.5) -> Tensor:
    """Logits (B, V) in fp64, so that no rounding decides which token stays."""
    batch_size, vocab_size = draw.number(2, 4), 2 * draw.number(4, 7) + 1
    return scale * draw.normal(batch_size, vocab_size, dtype=torch.float64)


def _filtered(got, logits: Tensor) -> Tensor:
    return is_tensor(got, logits.shape, letters="(B, V)", name="the logits", hint=SAME)


def _only(logits: Tensor, kept: Tensor) -> Tensor:
    return logits.masked_fill(~kept, -math.inf)


# Exercise 1: a draw


def _drawn(answer, logits: Tensor, temperature: float, u: Tensor) -> Tensor:
    """The ids (B,) that the student draws."""
    hint = "One id a row: count or search along the last axis."
    got = is_tensor(answer(logits, temperature, u), u.shape, letters="(B,)", name="the ids", hint=hint)
    if got.is_floating_point() or got.dtype == torch.bool:
        raise NotYet("The ids are not whole numbers.", {"expected": "dtype int64", "got": describe(got)}, hint)
    wrong = (got < 0) | (got >= logits.shape[1])
    if wrong.any():
        raise NotYet("An id is no token.", {"expected": f"ids from 0 to {logits.shape[1] - 1}",
                                            "got": str(got[wrong][0].item())},
                     "Probabilities add up to 1: divide by their sum before you add them up.")
    return got


def _frequencies(answer, draw, temperature: float) -> tuple[Tensor, Tensor, float]:
    """How often each token comes (V,) when the chances are spread evenly, and the logits (V,) it was drawn from."""
    logits = _logits(draw)[0]
    u = (torch.arange(N_CHANCES, dtype=torch.float64) + 0.5) / N_CHANCES
    u = u[torch.randperm(N_CHANCES, generator=draw.generator)]
    got = _drawn(answer, logits.repeat(N_CHANCES, 1), temperature, u)
    return got.bincount(minlength=len(logits)) / N_CHANCES, logits, 1.01 / N_CHANCES


def draw_shape(answer, draw):
    """One id a row."""
    logits = _logits(draw)
    _drawn(answer, logits, 1.0, torch.rand(len(logits), generator=draw.generator, dtype=torch.float64))


def draw_often(answer, draw):
    """At temperature 1, each token's share of evenly spread chances is its probability."""
    got, logits, tolerance = _frequencies(answer, draw, 1.0)
    greedy = torch.zeros_like(got)
    greedy[logits.argmax()] = 1
    is_equal(got, logits.softmax(0), tolerance=tolerance,
             problem=f"Over {N_CHANCES} evenly spread u, the tokens' shares are not their probabilities.",
             hint="Lay the probabilities side by side from 0 to 1. The token drawn is the one on which u falls.",
             slips={"The likeliest token came every time: u has no effect.": greedy,
                    "All tokens came equally often: the logits have no effect.": torch.full_like(got, 1 / len(got)),
                    "The token after the right one was taken: count the sums that are at most u.":
                        logits.softmax(0).roll(1),
                    "The least likely tokens came most often.": (-logits).softmax(0)})


def draw_temperature(answer, draw):
    """The same at other temperatures."""
    temperature = (0.4, 0.6, 1.7, 2.5)[draw.number(0, 3)]
    got, logits, tolerance = _frequencies(answer, draw, temperature)
    probs = logits.softmax(0)
    is_equal(got, _warped("TemperatureLogitsWarper", logits[None], temperature)[0].softmax(0), tolerance=tolerance,
             problem=f"At temperature {temperature}, the tokens' shares are not their probabilities.",
             hint="The temperature divides the logits, before the softmax.",
             slips={"The temperature has no effect.": probs,
                    "The logits were multiplied by the temperature: divide them.": (logits * temperature).softmax(0),
                    "The probabilities were divided, and normalized again: nothing is left of the temperature.": probs})


def draw_cold(answer, draw):
    """Near temperature 0, the likeliest token comes for every u."""
    logits = _logits(draw)
    u = torch.rand(len(logits), generator=draw.generator, dtype=torch.float64)
    best, second = logits.topk(2, dim=1).values.T
    temperature = min(1e-3, (best - second).min().item() / 50)
    is_equal(_drawn(answer, logits, temperature, u), logits.argmax(1),
             problem=f"At temperature {temperature:.1g}, the likeliest token should come every time.",
             hint="exp of a large number is infinite, and infinity over infinity is NaN. torch.softmax subtracts "
                  "the largest logit first.")


# Exercise 2: what may be drawn


def _warped(name: str, logits: Tensor, value) -> Tensor:
    """What a filter of transformers makes of logits (B, V)."""
    import transformers

    return getattr(transformers, name)(value)(NO_IDS, logits)


def _like_library(answer, logits: Tensor, value, name: str, problem: str, hint: str, slips: dict[str, Tensor]):
    got = _filtered(answer(logits, value), logits)
    common = {"These are probabilities. Return the logits, with -inf where a token is left out.":
                  _warped(name, logits, value).softmax(1),
              "What is left out has probability 0 when its logit is -inf, not 0.":
                  _warped(name, logits, value).masked_fill(_warped(name, logits, value) == -math.inf, 0.0)}
    is_equal(got, _warped(name, logits, value), problem=problem, hint=hint, tolerance=1e-9, slips={**slips, **common})


def top_k_library(answer, draw):
    """Equal to TopKLogitsWarper where no logits are equal."""
    logits = _logits(draw)
    k = draw.number(2, logits.shape[1] - 4)
    ordered = logits.sort(dim=1, descending=True).values
    _like_library(answer, logits, k, "TopKLogitsWarper", f"Not exactly the {k} largest logits of each row are kept.",
                  "Find each row's k-th largest logit, and compare.",
                  {"One token too few is kept: the k-th stays.": _only(logits, logits > ordered[:, k - 1, None]),
                   "One token too many is kept.": _only(logits, logits >= ordered[:, k, None]),
                   "The smallest logits are kept.": _only(logits, logits <= ordered[:, -k, None]),
                   "The k largest of the whole batch are kept: each row has its own.":
                       _only(logits, logits >= logits.flatten().topk(k).values[-1])})


def top_k_ties(answer, draw):
    """Equal to TopKLogitsWarper with ties, and with a k larger than the vocabulary."""
    logits = _logits(draw).round()
    k = draw.number(2, logits.shape[1] - 4)
    value = draw.number(0, 3) + 0.5
    logits[:, : k - 1] = value + 1 + torch.arange(k - 1)
    logits[:, k - 1 :] = logits[:, k - 1 :].clamp(max=value - 1)
    logits[:, k - 1 : k + 2] = value  # three tokens share the place k
    logits = logits[:, torch.randperm(logits.shape[1], generator=draw.generator)]
    exactly = torch.full_like(logits, -math.inf).scatter(1, *reversed(logits.topk(k)))
    _like_library(answer, logits, k, "TopKLogitsWarper", "Of tokens with equal logits, some stay and some do not.",
                  "Nothing tells equal logits apart: whatever equals the k-th largest stays.",
                  {"Exactly k are kept, and which of the equal ones is an accident of the sorting.": exactly,
                   "All that share the k-th place are gone: they stay.": _only(logits, logits > value)})
    _like_library(answer, logits, logits.shape[1] + draw.number(1, 9), "TopKLogitsWarper",
                  "With k above the size of the vocabulary, every token stays.", "`min` may help.", {})


def top_p_library(answer, draw):
    """Equal to TopPLogitsWarper."""
    logits, p = _logits(draw), draw.number(40, 90) / 100
    ordered, order = logits.sort(dim=1, descending=True)
    probs = ordered.softmax(1)
    sums = probs.cumsum(1)

    def back(kept: Tensor, to: Tensor = order) -> Tensor:
        return _only(logits, torch.zeros_like(kept).scatter(1, to, kept))

    _like_library(answer, logits, p, "TopPLogitsWarper",
                  f"Not exactly the fewest tokens that reach {p} together are kept.",
                  "Sort each row, add up the probabilities, and keep a token if those before it have not reached p.",
                  {"The token that crosses p is gone. Without it, the others do not reach p: it stays.":
                       back(sums <= p),
                   "The result is sorted: bring each token back to its place.": _only(ordered, sums - probs < p),
                   "What to keep was decided in sorted order, but applied in the order of the vocabulary.":
                       _only(logits, sums - probs < p),
                   "The rarest tokens are kept: sort with descending=True.":
                       back(probs.flip(1).cumsum(1) - probs.flip(1) < p, order.flip(1)),
                   "Each token was compared with p alone. Add them up.": _only(logits, logits.softmax(1) >= p)})


def top_p_one(answer, draw):
    """A tiny p keeps the likeliest token; p = 1 keeps all."""
    logits = _logits(draw)
    likeliest = _only(logits, logits == logits.amax(1, keepdim=True))
    is_equal(_filtered(answer(logits, 1e-6), logits), likeliest,
             problem="With p near 0, exactly the likeliest token of each row stays.",
             hint="Its own probability reaches p. Something must always be left to draw.",
             slips={"Nothing is left to draw.": torch.full_like(logits, -math.inf)})
    is_equal(_filtered(answer(logits, 1.0), logits), logits, problem="With p = 1, every token stays.",
             hint="Only what comes after the sum has reached p goes.")


def min_p_library(answer, draw):
    """Equal to MinPLogitsWarper."""
    while True:
        logits, share = _logits(draw), draw.number(10, 40) / 100
        probs = logits.softmax(1)
        limit = share * probs.amax(1, keepdim=True)
        right = probs >= limit
        wrong = {"The limit is min_p itself. It is min_p times the probability of the likeliest token.": probs >= share,
                 "The logits were compared. Compare probabilities: a logit of twice the size means nothing.":
                     logits >= share * logits.amax(1, keepdim=True),
                 "One limit for the whole batch: each row has its own likeliest token.":
                     probs >= share * probs.max()}
        if len({str(kept.tolist()) for kept in (right, *wrong.values())}) == 1 + len(wrong):
            break  # other draws would not tell these apart
    _like_library(answer, logits, share, "MinPLogitsWarper",
                  f"Not exactly the tokens with {share} of the largest probability or more are kept.",
                  "Compare each probability with min_p times the largest one of its row.",
                  {**{hint: _only(logits, kept) for hint, kept in wrong.items()},
                   "The likely tokens are gone, and the others kept.": _only(logits, ~right)})


# Exercise 3: a penalty


def _penalized(answer, logits: Tensor, input_ids: Tensor, penalty: float) -> Tensor:
    return is_finite(_filtered(answer(logits, input_ids, penalty), logits), problem="A logit is NaN or infinite.",
                     hint="Nothing is left out here: some logits only get smaller.")


def _penalty_case(draw) -> tuple[Tensor, Tensor, float]:
    """Logits, and a text for each row: with a repeated token, tokens of both signs, and others than its neighbors'."""
    logits = _logits(draw)
    batch_size, vocab_size = logits.shape
    orders = torch.stack([torch.randperm(vocab_size, generator=draw.generator) for _ in range(batch_size)])
    orders[1] = orders[0].roll(3)
    sign = torch.where(torch.arange(vocab_size) % 2 == 0, 1.0, -1.0).double()
    logits = torch.zeros_like(logits).scatter(1, orders, (logits.abs() + 0.3) * sign)
    seen = orders[:, : draw.number(3, 5)]
    return logits, torch.cat([seen, seen[:, :2]], dim=1), draw.number(12, 30) / 10


def _penalty_slips(logits: Tensor, ids: Tensor, penalty: float, punish: Callable) -> dict[str, Tensor]:
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, ids, True)
    counts = torch.zeros_like(logits).scatter_add(1, ids, torch.ones(ids.shape, dtype=logits.dtype))
    last = torch.zeros_like(seen).scatter(1, ids[:, -1:], True)
    return {"A negative logit came closer to 0, which makes its token likelier: multiply it.":
                torch.where(seen, logits / penalty, logits),
            "A token that stands there twice was punished twice. Once is enough.":
                torch.where(logits > 0, logits / penalty**counts, logits * penalty**counts),
            "All rows were punished for each other's tokens.":
                torch.where(seen.any(0), punish(logits), logits),
            "Only the newest token was punished.": torch.where(last, punish(logits), logits),
            "The tokens that did not appear were punished.": torch.where(seen, logits, punish(logits)),
            "The penalty was subtracted: divide or multiply by it.": torch.where(seen, logits - penalty, logits),
            "The repeated tokens became likelier: divide positive logits, multiply negative ones.":
                torch.where(seen, torch.where(logits > 0, logits * penalty, logits / penalty), logits)}


def penalty_library(answer, draw):
    """Equal to RepetitionPenaltyLogitsProcessor."""
    from transformers import RepetitionPenaltyLogitsProcessor

    logits, ids, penalty = _penalty_case(draw)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    is_equal(_penalized(answer, logits, ids, penalty), expected, tolerance=1e-9,
             problem="These are not the logits of the library's repetition penalty.",
             hint="Of each row's own tokens, a positive logit is divided by the penalty, a negative one multiplied.",
             slips=_penalty_slips(logits, ids, penalty,
                                  lambda x: torch.where(x > 0, x / penalty, x * penalty)))


def penalty_lowers(answer, draw):
    """Every token of the text has a smaller logit than before, every other token the same."""
    logits, ids, penalty = _penalty_case(draw)
    got = _penalized(answer, logits, ids, penalty)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, ids, True)
    is_equal((got - logits).sign(), -seen.double(), tolerance=0,
             problem="Not exactly the tokens of each row's text became less likely (-1: smaller, 0: the same).",
             hint="A token of the text gets a smaller logit, whatever its sign; the others keep theirs.",
             slips={"A negative logit came closer to 0, which makes its token likelier: multiply it.":
                        torch.where(seen, -logits.sign(), 0.0),
                    "All rows were punished for each other's tokens.": -seen.any(0).double().expand_as(logits),
                    "The tokens that did not appear were punished.": seen.double() - 1})
