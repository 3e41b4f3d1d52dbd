"""Speculative decoding: a cheap draft guesses several tokens, the model checks them all in one run.

The text has exactly the distribution that the model alone would give it, whatever the draft.
Letters in shape comments: K drafted tokens, V vocabulary.
Source: Leviathan, Kalman and Matias 2023, algorithm 1; Chen et al. 2023, algorithm 2.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from utils.models.attention import KVCache
from utils.models.config import TransformerConfig
from utils.models.generation import check, next_probs, problems_of_prompt, problems_of_sampling
from utils.models.transformer import GPT
from utils.text.ngrams import NGramModel


class Speculation(NamedTuple):
    """A text (1, T + n) and what it took: runs of the model, and guesses of the draft.

    Of those drafted, the ones up to the first rejection of each run were judged; n_accepted / n_judged is the
    acceptance rate.
    """

    ids: Tensor
    n_runs: int
    n_drafted: int
    n_judged: int
    n_accepted: int


class Draft(Protocol):
    """What guesses: `propose` continues a text by K tokens, and gives the probabilities (K, V) it drew them from."""

    vocab_size: int

    def propose(
        self, ids: list[int], n_tokens: int, to_probs: Callable[[Tensor], Tensor], generator: torch.Generator | None
    ) -> tuple[list[int], Tensor]: ...


class ModelDraft:
    """A draft by a smaller causal model, with a cache of its own. `model` has a `config` as the target does."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.vocab_size = model.eval(), model.config.vocab_size
        self.cache, self.held = KVCache(), []

    def propose(self, ids, n_tokens, to_probs, generator):
        """Draw token after token; the cache keeps what it shares with the text before."""
        same = 0
        while same < min(len(self.held), len(ids) - 1) and self.held[same] == ids[same]:
            same += 1
        self.cache.trim(same)
        device = next(self.model.parameters()).device
        text, probs = list(ids), []
        for _ in range(n_tokens):
            fed = torch.tensor([text[len(self.cache) :]], device=device)
            probs.append(to_probs(self.model(fed, cache=self.cache)[0, -1]))
            text.append(int(torch.multinomial(probs[-1], 1, generator=generator)))
        self.held = text[: len(self.cache)]
        return text[len(ids) :], torch.stack(probs)


class CountDraft:
    """A draft by an n-gram model of the same vocabulary; the text's first token is the model's begin symbol."""

    def __init__(self, model: NGramModel) -> None:
        self.model, self.vocab_size = model, model.vocab_size

    def propose(self, ids, n_tokens, to_probs, generator):
        """Draw token after token from the counts."""
        text, probs, order = list(ids), [], self.model.order
        for _ in range(n_tokens):
            counted = self.model.next_distribution(text[1:][-order:], from_start=len(text) <= order)
            with np.errstate(divide="ignore"):
                probs.append(to_probs(torch.from_numpy(np.log(counted))))
            text.append(int(torch.multinomial(probs[-1], 1, generator=generator)))
        return text[len(ids) :], torch.stack(probs)


def first_layers(model: GPT, n_layers: int) -> GPT:
    """A GPT made of a GPT's first layers, its embeddings and its last norm: the same tensors, nothing is copied.

    Raises: ValueError for more layers than there are, or none.
    """
    if not 1 <= n_layers <= model.config.n_layers:
        raise ValueError(f"first_layers: expected from 1 to {model.config.n_layers} layers, got {n_layers}")
    settings = {**model.config.to_dict(), "n_layers": n_layers}
    with torch.device("meta"):
        shallow = GPT(TransformerConfig(**settings))
    names = shallow.state_dict().keys()
    shallow.load_state_dict({name: p for name, p in model.named_parameters() if name in names}, assign=True)
    return shallow.train(model.training)


def accept(p: Tensor, q: Tensor, token: int, generator: torch.Generator | None = None) -> tuple[int, bool]:
    """Keep a token drawn from q with probability min(1, p / q), else draw another from max(0, p - q), normalized.

    The token that comes out has the distribution p. Also returns whether the drafted one was kept.
    Shapes: p, q (V,).
    """
    if torch.rand((), generator=generator, device=p.device) * q[token] < p[token]:
        return token, True
    return int(torch.multinomial((p - q).clamp(min=0), 1, generator=generator)), False


@torch.inference_mode()
def speculate(
    model: nn.Module,
    draft: Draft,
    input_ids: Tensor,
    max_new_tokens: int,
    n_draft: int = 4,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
    stop: int | None = None,
) -> Speculation:
    """Continue a prompt as `generate` does, with a draft that proposes `n_draft` tokens a run of the model.

    Shapes: input_ids (1, T) -> ids (1, T + n) with 1 <= n <= max_new_tokens; ends behind the first `stop`.
    Raises: ValueError for a request that cannot be done, or a draft of another vocabulary.
    """
    problems = problems_of_prompt(input_ids, model.config.context_length, max_new_tokens)
    problems += problems_of_sampling(temperature, top_k, top_p, min_p)
    problems += _problems_of_draft(model, draft, input_ids, max_new_tokens, n_draft)
    check("speculate", problems)
    to_probs = partial(next_probs, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    ids, end = input_ids[0].tolist(), input_ids.shape[1] + max_new_tokens
    cache, counts = KVCache(end), np.zeros(4, dtype=int)
    was_training = model.training
    model.eval()
    try:
        while len(ids) < end and (stop is None or counts[0] == 0 or ids[-1] != stop):
            n_guesses = min(n_draft, end - len(ids) - 1)
            guesses, q = draft.propose(ids, n_guesses, to_probs, generator) if n_guesses else ([], None)
            fed = torch.tensor([ids[len(cache) :] + guesses], device=input_ids.device)
            p = to_probs(model(fed, cache=cache)[0, -n_guesses - 1 :])  # (K + 1, V)
            new, n_accepted = _checked(guesses, p, q, generator)
            if stop in new:
                new = new[: new.index(stop) + 1]
            ids += new
            cache.trim(len(ids) - 1)  # what was rejected, and the newest token was not read yet
            n_accepted = min(n_accepted, len(new))
            counts += [1, n_guesses, min(n_accepted + 1, n_guesses), n_accepted]
    finally:
        model.train(was_training)
    return Speculation(torch.tensor([ids], device=input_ids.device), *counts.tolist())


def _checked(guesses: list[int], p: Tensor, q: Tensor | None, generator) -> tuple[list[int], int]:
    """The tokens that come of some guesses: those accepted and one of the model's own; and how many were accepted."""
    new = []
    for i, guess in enumerate(guesses):
        token, kept = accept(p[i], q[i].to(p.device), guess, generator)
        new.append(token)
        if not kept:
            return new, i
    return [*new, int(torch.multinomial(p[-1], 1, generator=generator))], len(guesses)


def _problems_of_draft(model, draft: Draft, input_ids: Tensor, max_new_tokens: int, n_draft: int) -> list[str]:
    """What about a draft cannot be done, in words."""
    problems = []
    if draft.vocab_size != model.config.vocab_size:
        problems.append(
            f"a draft with {draft.vocab_size} tokens (the model's vocabulary, {model.config.vocab_size}: the same "
            f"token must have the same number in both)"
        )
    if n_draft < 1:
        problems.append(f"n_draft={n_draft} (a whole number from 1)")
    if input_ids.dim() == 2 and len(input_ids) != 1:
        problems.append(f"{len(input_ids)} prompts (one: rows accept different numbers of tokens)")
    if isinstance(draft, ModelDraft) and input_ids.dim() == 2:
        length, context = input_ids.shape[1] + max_new_tokens, draft.model.config.context_length
        if length > context:
            problems.append(f"{length} tokens in all (at most {context}, the draft's context_length)")
    return problems
