"""Generation: choosing the next token from a causal model's logits, again and again.

Letters in shape comments: B batch, T time, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from utils.models.attention import KVCache


def scale_by_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by the temperature: below 1 sharper, above 1 flatter. Shapes: (..., V) -> (..., V).

    Raises: ValueError unless the temperature is above 0 (greedy choice, its limit at 0, needs no logits scaled).
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature: expected a number above 0, got {temperature}; for the likeliest token use 0 in "
            f"generate(), which then draws nothing"
        )
    return logits / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k largest logits; all others -inf. Ties with the k-th stay. Shapes: (..., V) -> (..., V).

    Raises: ValueError for k below 1.
    Source: Fan et al. 2018, section 5.3.
    """
    if k < 1:
        raise ValueError(f"top_k: expected a whole number from 1, got {k}; use None to keep every token")
    smallest = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The fewest tokens whose probabilities reach p together, and at least one; all others -inf.

    Shapes: (..., V) -> (..., V).
    Raises: ValueError unless 0 < p <= 1.
    Source: Holtzman et al. 2020, section 3.1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p: expected a number above 0 and at most 1, got {p}; use None to keep every token")
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probs = ordered.softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs  # what the likelier tokens reach without this one
    # With p = 1 rounding must drop nothing.
    dropped = (before >= p) if p < 1 else torch.zeros_like(before, dtype=torch.bool)
    dropped[..., 0] = False
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -math.inf)


def filter_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Temperature, then top-k, then top-p on what is left. Shapes: (..., V) -> (..., V)."""
    logits = scale_by_temperature(logits, temperature)
    logits = logits if top_k is None else keep_top_k(logits, top_k)
    return logits if top_p is None else keep_top_p(logits, top_p)


def choose(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The next token of each row: the likeliest at temperature 0, else one drawn. Shapes: (B, V) -> (B, 1)."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    probs = filter_logits(logits.float(), temperature, top_k, top_p).softmax(dim=-1)
    return torch.multinomial(probs, 1, generator=generator)


def check_request(
    input_ids: Tensor,
    context_length: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> None:
    """Raise one ValueError that names everything about a request to `generate` that cannot be done."""
    problems = []
    if input_ids.dim() != 2 or input_ids.shape[1] < 1:
        problems.append(
            f"input_ids of shape {tuple(input_ids.shape)} (batch and time, at least one token: begin with "
            f"the separator)"
        )
    elif input_ids.shape[1] + max_new_tokens > context_length:
        problems.append(
            f"a prompt of {input_ids.shape[1]} tokens and max_new_tokens={max_new_tokens} (together at most "
            f"context_length={context_length}: cut the prompt on the left, or ask for fewer)"
        )
    if max_new_tokens < 1:
        problems.append(f"max_new_tokens={max_new_tokens} (a whole number from 1)")
    if not 0 <= temperature < math.inf:
        problems.append(f"temperature={temperature} (a number from 0; 0 takes the likeliest token)")
    if top_k is not None and top_k < 1:
        problems.append(f"top_k={top_k} (a whole number from 1, or None to keep every token)")
    if top_p is not None and not 0 < top_p <= 1:
        problems.append(f"top_p={top_p} (above 0, at most 1, or None to keep every token)")
    if problems:
        raise ValueError("generate: expected in brackets, got " + "; ".join(problems))


@torch.inference_mode()
def generate(
    model: nn.Module,
    input_ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    stop: int | None = None,
) -> Tensor:
    """Continue each row of `input_ids`, a token at a time; returns the prompt and what follows it.

    Ends early when every row has produced `stop`; a row that ended before the others is filled up with it.
    Prompt and new tokens must fit the context together: positions beyond it were never trained, and a window that
    slides would change what the model sees without a word.
    Shapes: input_ids (B, T), rows of one length -> (B, T + n) with 1 <= n <= max_new_tokens.
    Raises: ValueError for a request that cannot be done, before anything is computed.
    """
    check_request(input_ids, model.config.context_length, max_new_tokens, temperature, top_k, top_p)
    was_training = model.training
    model.eval()
    cache = KVCache() if use_cache else None
    ids, fed = input_ids, input_ids
    ended = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)
    try:
        for _ in range(max_new_tokens):
            logits = model(fed, cache=cache)[:, -1]  # (B, V)
            chosen = choose(logits, temperature, top_k, top_p, generator)
            if stop is not None:
                chosen = chosen.masked_fill(ended, stop)
                ended = ended | (chosen == stop)
            ids = torch.cat([ids, chosen], dim=1)
            fed = chosen if use_cache else ids
            if ended.all():
                break
    finally:
        model.train(was_training)
    return ids
