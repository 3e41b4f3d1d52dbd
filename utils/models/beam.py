"""Beam search: the best few beginnings are continued side by side, the others dropped.

Letters in shape comments: N beams, V vocabulary.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.models.attention import KVCache
from utils.models.generation import check, problems_of_prompt

KEPT, FINISHED, DROPPED = "kept", "finished", "dropped"


class Hypothesis(NamedTuple):
    """A continuation: its tokens (with the stop token if it ended there), its log-probability in nats, its score."""

    tokens: tuple[int, ...]
    log_prob: float
    score: float


class Candidate(NamedTuple):
    """A continuation by one token that a step looked at: which beam it continues, and what became of it.

    `parent` counts the beams that the step before kept, best first; `log_prob` is that of all its tokens.
    """

    parent: int
    tokens: tuple[int, ...]
    log_prob: float
    fate: str


def length_normalized(log_prob: float, length: int, length_penalty: float) -> float:
    """The score log_prob / length^length_penalty: 0 compares sums, 1 means; above 1 favors long ones.

    Source: Wu et al. 2016, section 7 (whose divisor is ((5 + length) / 6)^alpha); this one is Hugging Face's.
    """
    return log_prob / length**length_penalty


@torch.inference_mode()
def beam_steps(
    model: nn.Module, input_ids: Tensor, max_new_tokens: int, n_beams: int, stop: int | None = None
) -> Iterator[list[Candidate]]:
    """The steps of a beam search: for each the best 2N continuations, best first, with their fates.

    The best N that do not end are kept. One that ends is finished if it is among the first N, dropped if not.
    With 2N looked at, N are left to continue even if all of the first N end. At `max_new_tokens` all of the first N
    are finished.
    Shapes: input_ids (1, T).
    Raises: ValueError for a request that cannot be done.
    """
    problems = problems_of_prompt(input_ids, model.config.context_length, max_new_tokens)
    if n_beams < 1:
        problems.append(f"n_beams={n_beams} (a whole number from 1)")
    if input_ids.dim() == 2 and len(input_ids) != 1:
        problems.append(f"{len(input_ids)} prompts (one: the beams are the batch)")
    check("beam search", problems)
    was_training = model.training
    model.eval()
    try:
        yield from _steps(model, input_ids, max_new_tokens, n_beams, stop)
    finally:
        model.train(was_training)


def _steps(model, input_ids: Tensor, max_new_tokens: int, n_beams: int, stop: int | None) -> Iterator[list[Candidate]]:
    cache, fed = KVCache(input_ids.shape[1] + max_new_tokens), input_ids
    beams, totals = [()], torch.zeros(1, device=input_ids.device)
    for step in range(max_new_tokens):
        log_probs = model(fed, cache=cache)[:, -1].float().log_softmax(dim=-1)  # (N, V)
        V = log_probs.shape[-1]
        best, places = (totals[:, None] + log_probs).flatten().topk(min(2 * n_beams, log_probs.numel()))
        candidates, rows = [], []
        for rank, (log_prob, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            parent, token = divmod(place, V)
            if step == max_new_tokens - 1 or token == stop:
                fate = FINISHED if rank < n_beams else DROPPED
            else:
                fate = KEPT if len(rows) < n_beams else DROPPED
                if fate == KEPT:
                    rows.append(rank)
            candidates.append(Candidate(parent, (*beams[parent], token), log_prob, fate))
        yield candidates
        if not rows:
            return
        beams, totals = [candidates[rank].tokens for rank in rows], best[rows]
        cache.reorder(places[rows] // V)
        fed = (places[rows] % V)[:, None]


def beam_search(
    model: nn.Module,
    input_ids: Tensor,
    max_new_tokens: int,
    n_beams: int,
    length_penalty: float = 1.0,
    stop: int | None = None,
    early_stopping: bool | str = False,
) -> list[Hypothesis]:
    """The finished continuations with the highest scores, at most N, best first.

    When N are finished, the search ends: at once if `early_stopping`; if False, when the best beam's score as it is
    does not beat the worst of them; if "never", when no continuation of it could.
    Shapes: input_ids (1, T).
    Raises: ValueError for a request that cannot be done.
    Source: Sutskever et al. 2014, section 3.2; the stopping rules are Hugging Face's.
    """
    if early_stopping not in (True, False, "never"):
        raise ValueError(f'early_stopping: expected True, False or "never", got {early_stopping!r}')
    finished: list[Hypothesis] = []
    for length, candidates in enumerate(beam_steps(model, input_ids, max_new_tokens, n_beams, stop), start=1):
        finished += [
            Hypothesis(one.tokens, one.log_prob, length_normalized(one.log_prob, length, length_penalty))
            for one in candidates
            if one.fate == FINISHED
        ]
        finished = sorted(finished, key=lambda one: -one.score)[:n_beams]
        running = [one.log_prob for one in candidates if one.fate == KEPT]
        if len(finished) < n_beams or not running:
            continue
        reach = max_new_tokens if early_stopping == "never" and length_penalty > 0 else length
        if early_stopping is True or length_normalized(running[0], reach, length_penalty) <= finished[-1].score:
            break
    return finished
