"""Properties for lab 04's capstone: a decoder that reads numbers in words and writes them in digits."""

import functools
import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_equal, is_tensor
from utils.data import number_words
from utils.models.recurrent import RecurrentSeq2Seq

DIGITS, WANTED, STEPS, BATCH_SIZE, PEAK = 6, 90, 320, 80, 8e-3


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
