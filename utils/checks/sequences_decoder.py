"""Properties for lab 04: attention over an encoder's states, clipping, and a decoder that writes digits."""

import functools
import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results, is_equal, is_finite, is_tensor
from utils.data import number_words
from utils.models.recurrent import RecurrentSeq2Seq

DIGITS, WANTED, STEPS, BATCH_SIZE, PEAK = 6, 90, 320, 80, 8e-3

# Exercise 5: attention over the encoder's states


def _memory(draw) -> tuple[Tensor, ...]:
    """state (B, D), memory (B, S, D), read (B, S), A (D, D); rows of different lengths."""
    batch_size, length, d_hidden = draw.sizes(3, of=(3, 5, 7))
    lengths = torch.tensor([length, *(draw.number(1, length) for _ in range(batch_size - 2)), 1])
    read = torch.arange(length) < lengths[:, None]
    return draw.normal(batch_size, d_hidden), draw.normal(batch_size, length, d_hidden), read, draw.normal(
        d_hidden, d_hidden
    ) / math.sqrt(d_hidden)


def _attended(answer, state, memory, read, A) -> tuple[Tensor, Tensor]:
    context, weights = are_results(answer(state, memory, read, A), 2, "context, weights")
    context = is_tensor(context, tuple(state.shape), name="the context", letters="(B, D)", hint="A sum over S states.")
    return context, is_tensor(
        weights, tuple(read.shape), name="the weights", letters="(B, S)", hint="One weight a source word."
    )


def _by_library(queries: Tensor, memory: Tensor, values: Tensor, read: Tensor, scale: float = 1.0) -> Tensor:
    """PyTorch's attention of one query a row, (B, D) -> (B, Dv)."""
    return F.scaled_dot_product_attention(queries[:, None], memory, values, read[:, None], scale=scale)[:, 0]


def _weights_by_library(queries: Tensor, memory: Tensor, read: Tensor, scale: float = 1.0) -> Tensor:
    identity = torch.eye(memory.shape[1]).expand(len(memory), -1, -1)
    return _by_library(queries, memory, identity, read, scale)


def attend_shapes(answer, draw):
    """Context (B, D), weights (B, S)."""
    _attended(answer, *_memory(draw))


def attend_open(answer, draw):
    """Rows sum to one over the words that were read."""
    state, memory, read, A = _memory(draw)
    _, weights = _attended(answer, state, memory, read, A)
    if (weights[~read] != 0).any():
        raise NotYet(
            "Padding gets some weight.",
            {"expected": "exactly 0 where `read` is False", "got": f"up to {weights[~read].abs().max():.4f}"},
            "Set its scores to minus infinity, before the softmax.",
        )
    is_equal(
        weights.sum(dim=-1),
        torch.ones(len(state)),
        problem="The weights of a row do not sum to one.",
        hint="Close the padding before the softmax: then the open words share the whole.",
    )


def attend_weights(answer, draw):
    """Equal to PyTorch's."""
    state, memory, read, A = _memory(draw)
    _, weights = _attended(answer, state, memory, read, A)
    q = state @ A
    is_equal(
        weights,
        _weights_by_library(q, memory, read),
        problem="The weights are not the softmax of the scores.",
        hint="The score of word j is state · A · memory_j.",
        slips={
            "A is transposed: the state stands on its left.": _weights_by_library(state @ A.T, memory, read),
            "A is missing.": _weights_by_library(state, memory, read),
            "The scores were divided by the root of D: here they are not.": _weights_by_library(
                q, memory, read, memory.shape[2] ** -0.5
            ),
        },
    )


def attend_sum(answer, draw):
    """Equal to PyTorch's."""
    state, memory, read, A = _memory(draw)
    context, weights = _attended(answer, state, memory, read, A)
    is_equal(
        context,
        _by_library(state @ A, memory, memory, read),
        problem="The weights are right, the context is not their sum of states.",
        hint="Multiply each state by its weight, and add up over the source words.",
        slips={"This is a mean: the weights have not been used.": memory.mean(dim=1)},
    )


# Exercise 6: clipping


def _gradients(draw, length: float) -> dict[str, Tensor]:
    """Three gradients by name whose common length is `length`."""
    a, b, c = draw.sizes(3, of=(3, 5, 7))
    found = {"W": draw.normal(a, b), "U": 0.2 * draw.normal(a, c), "b": 3 * draw.normal(a)}
    total = math.sqrt(sum(g.square().sum().item() for g in found.values()))
    return {name: g * (length / total) for name, g in found.items()}


def _clipped(answer, gradients, longest) -> dict[str, Tensor]:
    got = answer(gradients, longest)
    if not isinstance(got, dict) or set(got) != set(gradients):
        raise NotYet(
            "The result is not a dictionary with the same names.",
            {"expected": f"a dictionary with the names {sorted(gradients)}", "got": describe(got)},
            "Make it with a comprehension over `gradients.items()`.",
        )
    return {name: is_tensor(got[name], tuple(g.shape), name=f"gradient {name}") for name, g in gradients.items()}


def _all(gradients: dict[str, Tensor], names) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in names])


def clip_shapes(answer, draw):
    """The same names and shapes."""
    _clipped(answer, _gradients(draw, 4.0), 1.0)


def clip_short(answer, draw):
    """Unchanged."""
    gradients = _gradients(draw, 0.3)
    is_equal(
        _all(_clipped(answer, gradients, 0.7), gradients),
        _all(gradients, gradients),
        problem="Gradients that are short enough were changed.",
        hint="The factor is at most 1: clipping never makes a gradient longer.",
    )


def clip_long(answer, draw):
    """Equal to clip_grad_norm_."""
    length, longest = float(draw.number(3, 9)), 0.5 + draw.number(0, 3) / 2
    gradients = _gradients(draw, length)
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_norm_(parameters, longest)
    each = {name: g * min(1.0, longest / g.norm().item()) for name, g in gradients.items()}
    squared = sum(g.square().sum().item() for g in gradients.values())
    is_equal(
        _all(_clipped(answer, gradients, longest), gradients),
        torch.cat([parameter.grad.flatten() for parameter in parameters]),
        problem="The gradients are not scaled back to the longest length allowed.",
        hint="One length for all of them: the root of the sum of all squares. Then one factor for all.",
        slips={
            "Each gradient was clipped by its own length. Then the direction changes: take one length for all.": _all(
                each, gradients
            ),
            "The numbers were cut off one by one. Then the direction changes: scale them all by one factor.": _all(
                gradients, gradients
            ).clamp(-longest, longest),
            "The root is missing: the length is the root of the sum of squares.": _all(gradients, gradients)
            * (longest / squared),
            "They have length 1 now; `longest` is wanted.": _all(gradients, gradients) / length,
        },
    )


def clip_zero(answer, draw):
    """No NaN from zeros."""
    gradients = {name: torch.zeros_like(g) for name, g in _gradients(draw, 1.0).items()}
    got = is_finite(
        _all(_clipped(answer, gradients, 1.0), gradients),
        problem="Gradients that are all zero became NaN.",
        hint="Their length is 0, and 0/0 is NaN. Divide only where the length is above the limit.",
    )
    is_equal(got, _all(gradients, gradients), problem="Zeros did not stay zeros.")


# Capstone: a decoder that writes


def plain_weights(model: RecurrentSeq2Seq) -> dict[str, Tensor]:
    """The weights of a recurrent encoder-decoder with attention, by the names that the lab uses."""
    weights = {
        "source_embedding": model.source_embedding.weight,
        "target_embedding": model.target_embedding.weight,
        "A": model.score.weight.T,
        "C": model.combine.weight,
        "C_bias": model.combine.bias,
        "head": model.head.weight,
        "head_bias": model.head.bias,
    }
    for name, layer in (("encoder", model.encoder), ("decoder", model.decoder)):
        weights[f"{name}_W"], weights[f"{name}_U"] = layer.weight_ih_l0, layer.weight_hh_l0
        weights[f"{name}_b"] = layer.bias_ih_l0 + layer.bias_hh_l0
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _random_model(draw) -> tuple[RecurrentSeq2Seq, Tensor, Tensor]:
    """A model with large random weights, sources (B, S) of different lengths, and what it writes: (B, T).

    Drawn again until some rows end early, some do not end, and many different tokens are written.
    """
    n_source, n_target, d_hidden, d_embed = *draw.sizes(2, of=(11, 13, 17)), *draw.sizes(2, of=(5, 7, 9))
    length, rows, steps = draw.number(4, 7), 23, 7
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw.number(0, 2**31))
            model = RecurrentSeq2Seq(n_source, n_target, d_hidden, d_embed).requires_grad_(False)
            for parameter in model.parameters():
                nn.init.normal_(parameter, std=1.0 if parameter.dim() == 2 else 0.5)
            sources = torch.randint(1, n_source, (rows, length))
            lengths = torch.randint(1, length, (rows, 1))
        lengths[:9] = length  # without padding, so that a card can say where the fault is
        sources[torch.arange(length) >= lengths] = 0
        ids = model.greedy(sources, 0, 1, steps).ids
        ended = (ids == 1).any(dim=1).sum()
        if ids.shape[1] == steps and 3 <= ended <= rows - 3 and len(ids.unique()) >= 5:
            return model, sources, ids


def _written(answer, model, sources, begin, end, most) -> Tensor:
    got = is_tensor(
        answer(sources, plain_weights(model), begin, end, most),
        (len(sources), most),
        letters="(B, max_length)",
        hint="Write max_length tokens for every row; after its end, a row holds the end token.",
    )
    if got.is_floating_point() or got.dtype == torch.bool:
        raise NotYet("The result holds no token ids.", {"expected": "whole numbers", "got": describe(got)}, "")
    return got


def write_shape(answer, draw):
    """(B, max_length) whole numbers."""
    model, sources, ids = _random_model(draw)
    _written(answer, model, sources, 0, 1, ids.shape[1])


def write_first(answer, draw):
    """The first token of each row."""
    model, sources, ids = _random_model(draw)
    got = _written(answer, model, sources, 0, 1, ids.shape[1])
    full = (sources != 0).all(dim=1)
    where = "Even rows without padding differ." if (got[full, 0] != ids[full, 0]).any() else "Rows with padding differ."
    is_equal(
        got[:, 0],
        ids[:, 0],
        problem=f"The first tokens are not the library's. {where}",
        hint="Read to each row's own last word and no further: behind it, state and cell stay as they are. Then one "
        "step with the begin token, attention, C with its tanh, and the head.",
    )


def write_all(answer, draw):
    """Every token up to the end."""
    model, sources, ids = _random_model(draw)
    got = _written(answer, model, sources, 0, 1, ids.shape[1])
    before_end = ((ids == 1).cumsum(dim=1) - (ids == 1).long()) == 0
    is_equal(
        got[before_end],
        ids[before_end],
        problem="The first tokens are right, later ones are not.",
        hint="At each step the decoder reads the token that it wrote last, and goes on from its own state and cell.",
    )


def write_end(answer, draw):
    """Nothing but the end token after the end."""
    model, sources, ids = _random_model(draw)
    is_equal(
        _written(answer, model, sources, 0, 1, ids.shape[1]),
        ids,
        problem="Rows go on after their end.",
        hint="Remember which rows have ended, and let them write the end token.",
    )


@functools.cache
def _trained() -> RecurrentSeq2Seq:
    """A speller of numbers up to 999,999, trained here in a few seconds; once a process."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = RecurrentSeq2Seq(len(number_words.SOURCE), len(number_words.TARGET), d_hidden=64, d_embed=24)
        optimizer, numbers = torch.optim.AdamW(model.parameters(), lr=PEAK), random.Random(0)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = PEAK * min((step + 1) / 30, 0.5 + 0.5 * math.cos(math.pi * step / STEPS))
            drawn = [number_words.draw(numbers, of_test=False, most=DIGITS) for _ in range(BATCH_SIZE)]
            source, inputs, targets = number_words.batch_of(drawn)
            loss = F.cross_entropy(model(source, inputs).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model.requires_grad_(False)


def write_target(answer, draw):
    """Exact match on held-out numbers."""
    numbers = random.Random(draw.seed)
    drawn = [number_words.draw(numbers, of_test=True, digits=2 + i % (DIGITS - 1)) for i in range(100)]
    source = number_words.source_ids([number_words.spell(n) for n in drawn])
    got = _written(answer, _trained(), source, number_words.BEGIN, number_words.END, DIGITS + 1)
    texts = number_words.digits_of(got)
    right = sum(text == str(n) for text, n in zip(texts, drawn, strict=True))
    if right < WANTED:
        n, text = next((n, text) for n, text in zip(drawn, texts, strict=True) if text != str(n))
        raise NotYet(
            f"Only {right} of 100 numbers are right.",
            {"words": " ".join(number_words.spell(n)), "expected": str(n), "got": text},
            "Your function equals the library on random weights: run the check again.",
        )
    return f"{right} of 100 numbers that the model has never seen are exactly right."
