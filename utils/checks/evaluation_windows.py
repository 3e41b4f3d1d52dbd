"""Properties for lab 14: perplexity with sliding windows."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.plain_values import is_close, is_number
from utils.data import corpora
from utils.models.pretrained import load_model

GPT_WINDOW, GPT_STRIDE, GPT_TOKENS = 24, 7, 45


class Nats:
    """What a model says about a window: for T tokens, the T - 1 losses in nats of all but the first.

    A stand-in for a model: a token's loss follows from the token and from how many tokens come before it.
    """

    def __init__(self, longest: int):
        self.longest = longest

    def __repr__(self) -> str:
        return f"<a model for windows of at most {self.longest} tokens>"

    def __call__(self, window: Tensor) -> Tensor:
        """Raises ValueError for a window of the wrong size."""
        if window.dim() != 1 or not 2 <= len(window) <= self.longest:
            raise ValueError(f"expected a window of 2 to {self.longest} tokens, got shape {tuple(window.shape)}")
        return self.of(window[1:], torch.arange(1, len(window)))

    @staticmethod
    def of(tokens: Tensor, context: Tensor) -> Tensor:
        """Losses of tokens, each after so many others."""
        return 0.1 + tokens.double() / 50 + 3 / (1 + context.double())


class GPTNats(Nats):
    """The same from the course's GPT of reviews."""

    def __call__(self, window: Tensor) -> Tensor:
        super().__call__(window)
        model, _ = gpt()
        with torch.no_grad():
            return F.cross_entropy(model(window[None, :-1])[0].double(), window[1:], reduction="none")


@functools.cache
def gpt():
    """The course's GPT of reviews, and its tokenizer."""
    model, tokenizer = load_model("reviews-gpt")
    return model.eval(), tokenizer


@functools.cache
def review() -> Tensor:
    """The tokens (N,) of a long held-out review."""
    texts = corpora.reviews("imdb", "validation")["text"][:40]
    return torch.tensor(gpt()[1].encode(max(texts, key=len)).ids)


def _context(n: int, length: int, stride: int) -> Tensor:
    """How many tokens each token but the first has before it, in the first window that reaches it."""
    places = torch.arange(1, n)
    moves = ((places + 1 - length).clamp(min=0) + stride - 1) // stride  # windows passed until one reaches the place
    return places - moves * stride


def _total(answer, nats_of: Nats, ids: Tensor, length: int, stride: int) -> float:
    return is_number(answer(nats_of, ids, length, stride), name="The sum of nats")


def _slips(ids: Tensor, length: int, stride: int) -> dict[str, float]:
    """Sums of nats by likely misconceptions."""
    n, nats = len(ids), Nats(length)
    begins = range(0, max(1, n - length + stride), stride)
    windows = [nats(ids[i : i + length]) for i in begins if len(ids[i : i + length]) > 1]
    apart = [nats(ids[i : i + length]).sum() for i in range(0, n, length) if len(ids[i : i + length]) > 1]
    places = torch.arange(1, n)
    return {
        "Tokens in the overlap of two windows were counted twice.": float(sum(one.sum() for one in windows)),
        "The windows do not overlap, and the first token of each is not scored.": float(sum(apart)),
        "This takes the tokens of the first window alone.": float(windows[0].sum()),
        "Every token has all the context that fits: these are windows that move by one.": float(
            nats.of(ids[1:], places.clamp(max=length - 1)).sum()
        ),
        "This is the mean. Return the sum.": float(nats.of(ids[1:], _context(n, length, stride)).mean()),
    }


def _windows(answer, draw, n: int, length: int, stride: int, what: str) -> None:
    ids = torch.randint(100, (n,), generator=draw.generator)
    is_close(
        _total(answer, Nats(length), ids, length, stride),
        float(Nats.of(ids[1:], _context(n, length, stride)).sum()),
        tolerance=1e-6,
        problem=f"{what} ({n} tokens, windows of {length}, stride {stride}): the sum of nats is wrong.",
        hint="Windows begin at 0, stride, 2 stride, ... Of each, score only the tokens that no window before it has "
        "reached; stop with the window that reaches the end.",
        slips=_slips(ids, length, stride),
    )


def windows_short(answer, draw):
    """A text that fits into one window."""
    length = draw.number(9, 14)
    _windows(answer, draw, draw.number(4, length), length, draw.number(2, 5), "The text fits into one window")


def windows_long(answer, draw):
    """Texts of several windows; the last one may be cut short, or end exactly with the text."""
    for stride in (draw.number(2, 4), draw.number(5, 7)):
        length = draw.number(8, 12)
        n = length + stride * draw.number(2, 5)
        _windows(answer, draw, n, length, stride, "The last window ends with the text")
        _windows(answer, draw, n + draw.number(1, stride - 1), length, stride, "The last window is cut short")


def windows_gpt(answer, draw):
    """On the course's GPT, each token has its loss after its own context."""
    whole = review()
    start = draw.number(0, len(whole) - GPT_TOKENS)
    ids = whole[start : start + GPT_TOKENS]
    model, _ = gpt()
    context = _context(len(ids), GPT_WINDOW, GPT_STRIDE).tolist()
    expected = 0.0
    with torch.no_grad():
        for size in sorted(set(context)):  # one batch for all tokens with as much context
            places = torch.tensor([place for place, one in enumerate(context, 1) if one == size])
            rows = torch.stack([ids[place - size : place] for place in places.tolist()])
            losses = F.cross_entropy(model(rows)[:, -1].double(), ids[places], reduction="none")
            expected += losses.sum().item()
    got = _total(answer, GPTNats(GPT_WINDOW), ids, GPT_WINDOW, GPT_STRIDE)
    is_close(
        got,
        expected,
        tolerance=1e-4,
        problem="On the course's GPT the sum is not that of its losses, token by token.",
        hint="The check runs the model on each token's own context.",
    )
    return f"Perplexity of {GPT_TOKENS} tokens of a held-out review: {torch.tensor(got / (len(ids) - 1)).exp():.1f}."
