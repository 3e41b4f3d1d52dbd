"""Properties for lab 13: speculative sampling, and the capstone: greedy writing with fewer calls of the model."""

import functools
import weakref

import torch
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results, is_equal, is_finite, is_tensor
from utils.data import corpora
from utils.models.attention import KVCache
from utils.models.pretrained import load_model

TARGET = 2.0  # tokens a call of the model, on average
N_NEW, N_PROMPT, N_TEXTS = 96, 24, 3
SECONDS = 120.0
NEAR = 1e-3  # logits so close count as equal: a longer input may round them another way
# Held-out IMDB reviews after whose beginnings the model's greedy writing repeats itself.
REVIEWS = (0, 1, 2, 6, 7, 8, 10, 11, 12, 15, 19, 20, 22, 23, 25, 27, 28, 30, 31, 32, 33, 34, 35, 40, 42, 45, 46, 48,
           50, 52, 53, 55, 59)

_RESULTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # the same texts serve all properties and draws

# Exercise 6: speculative sampling


def _two(draw) -> tuple[Tensor, Tensor]:
    """The model's probabilities p and the draft's q (V,); each has a 0 where the other has none."""
    vocab_size = 2 * draw.number(3, 6) + 1
    logits = 1.5 * draw.normal(2, vocab_size, dtype=torch.float64)
    order = torch.randperm(vocab_size, generator=draw.generator)
    logits[0, order[0]] = logits[1, order[1]] = -torch.inf
    return tuple(logits.softmax(1))


def _speculated(answer, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    got = are_results(answer(p, q), 2, "accept, replacement")
    for name, one in zip(("accept", "replacement"), got, strict=True):
        is_tensor(one, p.shape, letters="(V,)", name=f"`{name}`", hint="Both have one number for each token.")
    return tuple(one.detach() for one in got)


def speculate_shapes(answer, draw):
    """Two tensors (V,)."""
    _speculated(answer, *_two(draw))


def speculate_accept(answer, draw):
    """min(1, p / q), where the draft may propose the token."""
    p, q = _two(draw)
    got, drafted = _speculated(answer, p, q)[0], q > 0
    is_finite(got[drafted], problem="`accept` holds NaN or infinity.", hint="At most 1, and p is never infinite.")
    is_equal(got[drafted], (p / q).clamp(max=1)[drafted], tolerance=1e-9,
             problem="A drafted token is accepted with the wrong probability.",
             hint="If the model gives a token at least the draft's probability, keep it always; else p of q times.",
             slips={"A probability is at most 1.": (p / q)[drafted],
                    "The ratio is upside down: p is the model's, q the draft's.": (q / p).clamp(max=1)[drafted],
                    "The model's probability alone is too strict: the draft has proposed the token already, "
                    "with probability q.": p[drafted]})


def speculate_replacement(answer, draw):
    """What p has more than q, normalized."""
    p, q = _two(draw)
    got, missing = _speculated(answer, p, q)[1], (p - q).clamp(min=0)
    negative = (q - p).clamp(min=0)
    is_equal(got, missing / missing.sum(), tolerance=1e-9,
             problem="The distribution of the replacement is wrong.",
             hint="Accepted tokens come min(p, q) of the time. What is missing to p? Make its sum 1.",
             slips={"It does not add up to 1.": missing,
                    "The replacement is drawn from p: tokens that the draft likes come too often then.": p,
                    "A probability is never below 0: where q is larger, nothing is missing.": (p - q) / (p - q).sum(),
                    "These are absolute differences: where q is larger, nothing is missing.":
                        (p - q).abs() / (p - q).abs().sum(),
                    "p and q have changed places.": negative / negative.sum()})


def speculate_exact(answer, draw):
    """Drafted, accepted and replaced tokens together come exactly as often as p says; also when p equals q."""
    p, q = _two(draw)
    same = is_finite(torch.stack(_speculated(answer, p, p)), problem="When p equals q, the result is NaN or infinite.",
                     hint="Then nothing is missing to p, and 0/0 is NaN. No token is rejected, so any distribution "
                          "will do: return p.")
    is_equal(same[1].sum(), torch.ones((), dtype=p.dtype), tolerance=1e-9,
             problem="When p equals q, the replacement does not add up to 1.",
             hint="It is never needed then, but it must still be a distribution: return p.")
    accept, replacement = (one.nan_to_num() for one in _speculated(answer, p, q))
    kept = torch.where(q > 0, q * accept, 0.0)
    total = kept + (1 - kept.sum()) * replacement
    worst = is_equal(total, p, tolerance=1e-9, hint="Both results together must give p.",
                     problem="Accepted and replaced tokens together do not come as often as p says.")
    return f"The tokens come as often as p says, up to {worst:.1e}."


# Capstone: greedy writing with a draft


class Counted:
    """A model as the capstone has it, ids (1, T) to logits (1, T, V), which counts its calls.

    What the last call's ids have in common with this one's is not computed again.
    """

    def __init__(self, model: torch.nn.Module):
        self.model, self.calls = model, 0
        self.ids: list[int] = []
        self.cache, self.logits = KVCache(), torch.empty(1, 0, 0)

    def __repr__(self) -> str:
        return "<reviews-gpt: ids (1, T) to logits (1, T, V)>"

    def __call__(self, input_ids: Tensor) -> Tensor:
        """The logits. Raises ValueError for anything but one text that fits the model's context."""
        limit = self.model.config.context_length
        if not isinstance(input_ids, Tensor) or input_ids.dim() != 2 or len(input_ids) != 1:
            raise ValueError(f"expected ids of shape (1, T), got {describe(input_ids)}")
        if not 1 <= input_ids.shape[1] <= limit:
            raise ValueError(f"expected 1 to {limit} ids, got {input_ids.shape[1]}")
        self.calls += 1
        ids = input_ids[0].tolist()
        # At least the last token is fed, so that there is something to compute.
        same = next((i for i, (a, b) in enumerate(zip(ids, self.ids, strict=False)) if a != b),
                    min(len(ids) - 1, len(self.ids)))
        self.cache.trim(same)
        with torch.no_grad():
            new = self.model(input_ids[:, same:], cache=self.cache)
        self.ids, self.logits = ids, torch.cat([self.logits[:, :same], new], dim=1) if same else new
        return self.logits.clone()


@functools.cache
def _reviews_gpt():
    """The trained model, its tokenizer, and the held-out reviews."""
    model, tokenizer = load_model("reviews-gpt")
    return model.eval(), tokenizer, corpora.reviews("imdb", "test")["text"][: max(REVIEWS) + 1]


def counted() -> Counted:
    """A fresh counter around `reviews-gpt`."""
    return Counted(_reviews_gpt()[0])


def prompt(number: int) -> list[int]:
    """The separator and the first tokens of a held-out review, by its number from 0 to 32."""
    _, tokenizer, texts = _reviews_gpt()
    ids = tokenizer.encode(texts[REVIEWS[number]], add_special_tokens=False).ids
    return [tokenizer.token_to_id("<|endoftext|>"), *ids[:N_PROMPT]]


def decode(ids: list[int]) -> str:
    """The text of ids, without separators."""
    return _reviews_gpt()[1].decode(ids)


def _written(answer, draw) -> tuple[list[tuple[list[int], list[int]]], int]:
    """Prompts, each with the text that the student's function writes, and how often the model was called."""
    if answer not in _RESULTS:
        answer.seconds = SECONDS
        order = torch.randperm(len(REVIEWS), generator=draw.generator)[:N_TEXTS].tolist()
        model = counted()
        _RESULTS[answer] = [(ids, _text(answer(model, ids, N_NEW), ids)) for ids in map(prompt, order)], model.calls
    return _RESULTS[answer]


def _text(got, ids: list[int]) -> list[int]:
    if isinstance(got, Tensor):
        got = got.flatten().tolist()
    if not isinstance(got, list) or not all(isinstance(one, int) for one in got):
        raise NotYet("The result is not a list of ids.", {"expected": "a list of ints", "got": describe(got)},
                     "`tensor.tolist()` makes plain numbers of a tensor.")
    if len(got) != len(ids) + N_NEW or got[: len(ids)] != ids:
        extra = "a round may write more than is asked for: draft less near the end, or cut"
        raise NotYet("The result is not the prompt and n_new tokens after it.",
                     {"expected": f"{len(ids)} ids of the prompt, then {N_NEW} new ones", "got": f"{len(got)} ids"},
                     f"Return prompt and new tokens together; {extra}.")
    return got


def write_shape(answer, draw):
    """The prompt, and n_new tokens."""
    _written(answer, draw)


def write_greedy(answer, draw):
    """Each new token is the likeliest one after all before it."""
    model, tokenizer, _ = _reviews_gpt()
    for ids, text in _written(answer, draw)[0]:
        with torch.inference_mode():
            logits = model(torch.tensor([text[:-1]]))[0, len(ids) - 1 :].clone()  # (n_new, V)
        chosen = logits.gather(1, torch.tensor(text[len(ids) :])[:, None])[:, 0]
        wrong = (chosen < logits.amax(1) - NEAR).nonzero()
        if len(wrong):
            first = int(wrong[0])
            words = [repr(tokenizer.decode([one])) for one in (int(logits[first].argmax()), text[len(ids) + first])]
            before = repr(tokenizer.decode(text[: len(ids) + first][-8:]))
            raise NotYet(f"New token number {first + 1} is not the one that greedy decoding writes.",
                         {"expected": words[0], "got": words[1], "after": before},
                         "The logits at a position are for the token after it: the first drafted token is judged by "
                         "those at the last known one. Keep drafted tokens up to the first that the model would not "
                         "write; there, take the model's own.")


def write_target(answer, draw):
    """At least two tokens a call."""
    texts, calls = _written(answer, draw)
    each = len(texts) * N_NEW / max(1, calls)
    if each < TARGET:
        raise NotYet("The text is right, but the model was called too often.",
                     {"expected": f"at least {TARGET:g} tokens a call, on average over {len(texts)} texts",
                      "got": f"{each:.2f} tokens a call"},
                     "One call judges a whole draft, and gives one token more: the model's own after the last that "
                     "was kept. With drafts of one token there are at most two tokens a call, so draft more.")
    return f"{each:.2f} tokens a call (target {TARGET:g}): {calls} calls for {len(texts) * N_NEW} tokens."
