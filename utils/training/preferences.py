"""Preference tuning: which of two answers is better, learned directly from the answers' probabilities (DPO)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.data.batches import IGNORE, Batch
from utils.data.packing import padded_batch
from utils.training.objectives import Objective


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, as token ids; the first was preferred."""

    prompt: list[int]
    preferred: list[int]
    other: list[int]


def answers_batch(prompts: Sequence[list[int]], answers: Sequence[list[int]], pad_id: int) -> Batch:
    """Prompt and answer a row; only the answer's tokens are targets. Shapes: input_ids and targets (B, T)."""
    texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return padded_batch(texts, pad_id, [len(prompt) for prompt in prompts])


def answer_log_probs(model: nn.Module, input_ids: Tensor, targets: Tensor) -> Tensor:
    """log p(answer | prompt) of each row, summed over its targets. Shapes: (B, T), (B, T) -> (B,)."""
    logits = model(input_ids).float()  # (B, T, V)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none")
    return -losses.view(targets.shape).sum(dim=1)


def implicit_rewards(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """beta log(pi / pi_ref): the reward that a policy is the optimum of, up to a constant of the prompt.

    Shapes: log-probabilities (N,), (N,) -> (N,).
    Source: Rafailov et al. 2023, equation 5.
    """
    return beta * (policy - reference)


def dpo_losses(preferred: Tensor, other: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta (preferred - other)) in nats, from how each answer's log-probability changed.

    Shapes: log(pi / pi_ref) of the preferred and of the other answer, (P,) each -> (P,).
    Raises: ValueError unless beta is above 0.
    Source: Rafailov et al. 2023, equation 7.
    """
    if not beta > 0:
        raise ValueError(f"dpo: expected beta above 0, got {beta}; beta weighs the distance to the reference model")
    return -F.logsigmoid(beta * (preferred - other))


def dpo(beta: float) -> Objective:
    """Direct preference optimization, as an objective over the batches of `preference_batches`.

    Raises: ValueError unless beta is above 0.
    Source: Rafailov et al. 2023, equation 7.
    """
    dpo_losses(torch.zeros(1), torch.zeros(1), beta)

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        changes = answer_log_probs(model, batch["input_ids"], batch["answers"]) - batch["reference"]
        preferred, other = changes.chunk(2)
        return dpo_losses(preferred, other, beta).sum(), len(preferred)

    return objective


def pairs_batch(pairs: Sequence[Pair], reference: Tensor, pad_id: int) -> Batch:
    """Pairs as one batch: all preferred answers, then all others.

    Shapes: input_ids and answers (2 P, T) with -100 outside of the answer, reference (2 P,), targets (P,): one a pair.
    """
    prompts = [pair.prompt for pair in pairs] * 2
    answers = [pair.preferred for pair in pairs] + [pair.other for pair in pairs]
    batch = answers_batch(prompts, answers, pad_id)
    targets = torch.zeros(len(pairs), dtype=torch.long)
    return {"input_ids": batch["input_ids"], "answers": batch["targets"], "reference": reference, "targets": targets}


@torch.no_grad()
def reference_log_probs(model: nn.Module, pairs: Sequence[Pair], pad_id: int, batch_size: int = 8) -> Tensor:
    """log p(answer | prompt) of preferred and other answers under a model in evaluation mode. Shapes: (P, 2)."""
    rows = []
    for i in range(0, len(pairs), batch_size):
        some = pairs[i : i + batch_size]
        batch = pairs_batch(some, torch.zeros(2 * len(some)), pad_id)
        rows.append(torch.stack(answer_log_probs(model, batch["input_ids"], batch["answers"]).chunk(2), dim=1))
    return torch.cat(rows)


def preference_batches(
    pairs: Sequence[Pair], reference: Tensor, pad_id: int, batch_size: int = 16, seed: int = 0
) -> Iterator[Batch]:
    """Endless batches of pairs, shuffled anew each epoch; `reference` (P, 2) are the reference's log-probabilities.

    Raises: ValueError for no pairs, or log-probabilities of another number of pairs.
    """
    if not pairs or reference.shape != (len(pairs), 2):
        raise ValueError(
            f"preferences: expected at least one pair and the reference's log-probabilities of shape ({len(pairs)}, 2),"
            f" got {tuple(reference.shape)}; compute them with reference_log_probs"
        )
    epoch = 0
    while True:
        order = np.random.default_rng([seed, 5, epoch]).permutation(len(pairs))
        epoch += 1
        for i in range(0, len(order), batch_size):
            rows = order[i : i + batch_size]
            yield pairs_batch([pairs[row] for row in rows], reference[torch.from_numpy(rows)].T.flatten(), pad_id)


@torch.no_grad()
def sequence_kl(policy: nn.Module, reference: nn.Module, input_ids: Tensor, targets: Tensor) -> Tensor:
    """KL(policy || reference) along answers that the policy wrote, summed over their tokens.

    Each token's term is the exact divergence of the two distributions there, so the mean over answers estimates the
    divergence of whole answers with little noise. Shapes: (B, T), (B, T) with -100 outside of the answer -> (B,).
    """
    p, q = (model(input_ids).float().log_softmax(dim=-1) for model in (policy, reference))
    each = (p.exp() * (p - q)).sum(dim=-1)  # (B, T)
    return each.masked_fill(targets == IGNORE, 0.0).sum(dim=1)
