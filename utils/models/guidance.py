"""Steered generation: a model reads the text with a condition and without it, and the difference is exaggerated."""

import torch
from torch import Tensor, nn

from utils.models.attention import KVCache
from utils.models.generation import check, choose, problems_of_prompt, problems_of_sampling


def guided_logits(with_condition: Tensor, without: Tensor, weight: float) -> Tensor:
    """log p(x) + weight (log p(x | condition) - log p(x)), unnormalized: 0 ignores the condition, 1 is plain, more
    exaggerates it.

    Shapes: (..., V), (..., V) -> (..., V).
    Source: Ho & Salimans 2021, "Classifier-Free Diffusion Guidance", equation 6; Sanchez et al. 2023 for language.
    """
    plain = without.log_softmax(dim=-1)
    return plain + weight * (with_condition.log_softmax(dim=-1) - plain)


@torch.inference_mode()
def generate_guided(
    model: nn.Module,
    with_condition: Tensor,
    without: Tensor,
    max_new_tokens: int,
    weight: float = 1.0,
    temperature: float = 1.0,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """New tokens behind two forms of the same prompts, with a condition and without it.

    Shapes: (B, T), (B, U) -> (B, max_new_tokens).
    Raises: ValueError for a request that cannot be done, before anything is computed.
    """
    longest = max(with_condition, without, key=lambda ids: ids.shape[-1])
    problems = problems_of_prompt(longest, model.config.context_length, max_new_tokens)
    problems += problems_of_sampling(temperature, top_p=top_p)
    if len(with_condition) != len(without):
        problems.append(f"{len(without)} prompts without the condition (as many as with it, {len(with_condition)})")
    check("generate_guided", problems)
    fed, caches, drawn = [with_condition, without], [KVCache(), KVCache()], []
    for _ in range(max_new_tokens):
        both = [model(ids, cache=cache, last_only=True)[:, -1] for ids, cache in zip(fed, caches, strict=True)]
        chosen = choose(guided_logits(*both, weight), temperature, None, top_p, generator)
        drawn.append(chosen)
        fed = [chosen, chosen]
    return torch.cat(drawn, dim=1)
