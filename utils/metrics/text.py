"""How well a language model predicts text: perplexity and bits per byte."""

from __future__ import annotations

import math


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens): the number of equally likely tokens that would leave the model as unsure as it was.

    nats: the summed negative log-likelihood, natural log, of the text. tokens: how many tokens were predicted.
    Perplexities compare only over the same tokens; bits per byte compare over the same text.
    Raises: ValueError for negative or undefined nats, or no tokens.
    Source: Jelinek et al. (1977).
    """
    _check(nats, tokens, "tokens")
    return math.exp(nats / tokens) if nats / tokens < 709 else math.inf


def bits_per_byte(nats: float, n_bytes: int) -> float:
    """nats / (ln 2 x n_bytes): what the text would cost if the model compressed it; the same unit for every tokenizer.

    nats: the summed negative log-likelihood, natural log, of the text. n_bytes: the text's length in UTF-8.
    Raises: ValueError for negative or undefined nats, or no bytes.
    Source: Gao et al. (2020), The Pile, section 3.1.
    """
    _check(nats, n_bytes, "bytes")
    return float(nats / (math.log(2) * n_bytes))


def _check(nats: float, count: int, unit: str) -> None:
    if not nats >= 0:
        raise ValueError(f"nats must be at least 0, got {nats}: pass the sum of -log p, not of log p")
    if not 0 < count < math.inf:
        raise ValueError(f"expected at least one of the predicted {unit}, got {count}")
