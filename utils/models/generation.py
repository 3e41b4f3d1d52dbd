"""Generation: choosing the next token from a causal model's logits, again and again.

Letters in shape comments: B batch, T time, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from utils.models.attention import KVCache
from utils.models.memory_layout import generating
from utils.models.transformer import GPT


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


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """The tokens at least p times as probable as the likeliest one; all others -inf. Shapes: (..., V) -> (..., V).

    Raises: ValueError unless 0 <= p <= 1.
    Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling", section 3.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"min_p: expected a number from 0 to 1, got {p}; use None (or 0) to keep every token")
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < p * probs.amax(dim=-1, keepdim=True), -math.inf)


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits of tokens that occurred, made smaller: positive ones divided by the penalty, negative ones multiplied.

    Shapes: logits (..., V), seen (..., V) bool -> (..., V).
    Raises: ValueError unless the penalty is above 0 (1 changes nothing, below 1 rewards repetition).
    Source: Keskar et al. 2019, "CTRL", section 4.1; the product for negative logits is Hugging Face's.
    """
    if not 0 < penalty < math.inf:
        raise ValueError(f"repetition_penalty: expected a number above 0, got {penalty}; 1 changes nothing")
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def tokens_seen(input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int) -> Tensor:
    """Which tokens occur in each row, its padding left out. Shapes: (B, T), mask (B, T) or None -> (B, V) bool."""
    seen = torch.zeros(len(input_ids), vocab_size, dtype=torch.bool, device=input_ids.device)
    for row, ids in enumerate(input_ids):
        seen[row, ids if attention_mask is None else ids[attention_mask[row].bool()]] = True
    return seen


def filter_logits(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Temperature, then top-k, top-p and min-p, each on what is left. Shapes: (..., V) -> (..., V)."""
    logits = scale_by_temperature(logits, temperature)
    logits = logits if top_k is None else keep_top_k(logits, top_k)
    logits = logits if top_p is None else keep_top_p(logits, top_p)
    return logits if min_p is None else keep_min_p(logits, min_p)


def next_probs(logits: Tensor, temperature: float = 1.0, **filters: float | None) -> Tensor:
    """The probabilities that the next token is drawn with; all on the likeliest at temperature 0.

    Shapes: (..., V) -> (..., V), fp32. `filters` are those of `filter_logits`.
    """
    if temperature == 0:
        return nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
    return filter_logits(logits.float(), temperature, **filters).softmax(dim=-1)


def choose(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    min_p: float | None = None,
) -> Tensor:
    """The next token of each row: the likeliest at temperature 0, else one drawn. Shapes: (B, V) -> (B, 1)."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    probs = next_probs(logits, temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    return torch.multinomial(probs, 1, generator=generator)


def problems_of_prompt(input_ids: Tensor, context_length: int, max_new_tokens: int) -> list[str]:
    """What about a prompt and a number of new tokens cannot be done, in words."""
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
    return problems


def problems_of_sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
) -> list[str]:
    """Which settings of the sampling make no sense, in words."""
    problems = []
    if not 0 <= temperature < math.inf:
        problems.append(f"temperature={temperature} (a number from 0; 0 takes the likeliest token)")
    if top_k is not None and top_k < 1:
        problems.append(f"top_k={top_k} (a whole number from 1, or None to keep every token)")
    if top_p is not None and not 0 < top_p <= 1:
        problems.append(f"top_p={top_p} (above 0, at most 1, or None to keep every token)")
    if min_p is not None and not 0 <= min_p <= 1:
        problems.append(f"min_p={min_p} (from 0 to 1, or None to keep every token)")
    if not 0 < repetition_penalty < math.inf:
        problems.append(f"repetition_penalty={repetition_penalty} (above 0; 1 changes nothing)")
    return problems


def problems_of_mask(input_ids: Tensor, attention_mask: Tensor) -> list[str]:
    """Whether a mask is anything but padding on the left, in words."""
    if attention_mask.shape != input_ids.shape:
        return [f"attention_mask of shape {tuple(attention_mask.shape)} (that of input_ids, {tuple(input_ids.shape)})"]
    mask = attention_mask.bool()
    if not mask[:, -1].all() or (mask[:, :-1] & ~mask[:, 1:]).any():
        return ["an attention_mask with gaps or padding on the right (pad on the left: batches.pad(..., left=True))"]
    return []


def check(caller: str, problems: list[str]) -> None:
    """Raise one ValueError that names all problems, if there are any."""
    if problems:
        raise ValueError(f"{caller}: expected in brackets, got " + "; ".join(problems))


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
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Continue each row of `input_ids`, a token at a time; returns the prompt and what follows it.

    Ends early when every row has produced `stop`; a row that ended before the others is filled up with it. Prompts of
    several lengths are padded on the left, and `attention_mask` (B, T) is True at their real tokens.
    Prompt and new tokens must fit the context together: positions beyond it were never trained, and a window that
    slides would change what the model sees without a word.
    Shapes: input_ids (B, T) -> (B, T + n) with 1 <= n <= max_new_tokens.
    Raises: ValueError for a request that cannot be done, before anything is computed.
    """
    problems = problems_of_prompt(input_ids, model.config.context_length, max_new_tokens)
    problems += problems_of_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    check("generate", problems + ([] if attention_mask is None else problems_of_mask(input_ids, attention_mask)))
    B, T = input_ids.shape
    ids = torch.cat([input_ids, input_ids.new_zeros(B, max_new_tokens)], dim=1)
    options = {"last_only": True} if isinstance(model, GPT) else {}
    mask = None
    if attention_mask is not None and not attention_mask.all():
        options["first_position"] = attention_mask.sum(dim=1) - T
        mask = torch.cat([attention_mask.bool(), torch.ones_like(ids[:, T:], dtype=torch.bool)], dim=1)
    seen = None if repetition_penalty == 1 else tokens_seen(input_ids, attention_mask, model.config.vocab_size)
    cache = KVCache(T + max_new_tokens) if use_cache else None
    ended = torch.zeros(B, 1, dtype=torch.bool, device=ids.device)
    with generating(model, max_new_tokens if use_cache else 0, B):
        for end in range(T, T + max_new_tokens):
            if mask is not None:
                options["attention_mask"] = mask[:, :end]
            fed = ids[:, len(cache) : end] if use_cache else ids[:, :end]
            logits = model(fed, cache=cache, **options)[:, -1]  # (B, V)
            if seen is not None:
                logits = penalize_repetition(logits, seen, repetition_penalty)
            chosen = choose(logits, temperature, top_k, top_p, generator, min_p)
            if seen is not None:
                seen.scatter_(1, chosen, True)
            if stop is not None:
                chosen = chosen.masked_fill(ended, stop)
                ended = ended | (chosen == stop)
            ids[:, end : end + 1] = chosen
            if stop is not None and ended.all():
                break
    return ids[:, : end + 1]
