"""DPO: its loss against the formula, its gradient against a closed form, its optimum against brute force."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from utils.data.batches import IGNORE
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import preferences
from utils.training.loop import TrainConfig, Trainer

VOCAB = 23


def tiny(seed=0):
    torch.manual_seed(seed)
    model = GPT(TransformerConfig(VOCAB, 16, 12, n_layers=2, n_heads=3)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.fixture(scope="module")
def pairs():
    random = np.random.default_rng(1)
    ids = lambda low, high: random.integers(1, VOCAB, size=int(random.integers(low, high))).tolist()  # noqa: E731
    return [preferences.Pair([0, *ids(1, 5)], ids(1, 7), ids(1, 7)) for _ in range(13)]


def by_hand(model, prompt, answer):
    """log p(answer | prompt), a token at a time."""
    total, ids = 0.0, list(prompt)
    for token in answer:
        total = total + model(torch.tensor([ids]))[0, -1].log_softmax(-1)[token]
        ids.append(token)
    return total


def test_answers_are_scored_alone_and_whole(pairs):
    model = tiny()
    with torch.no_grad():
        found = preferences.reference_log_probs(model, pairs, pad_id=0, batch_size=5)
        expected = [[by_hand(model, p.prompt, answer) for answer in (p.preferred, p.other)] for p in pairs]
    torch.testing.assert_close(found.double(), torch.tensor(expected), rtol=0, atol=1e-4)  # log-probabilities in fp32


def test_targets_are_the_answers_tokens_counted_by_hand(pairs):
    batch = preferences.pairs_batch(pairs, torch.zeros(2 * len(pairs)), pad_id=0)
    answers = [pair.preferred for pair in pairs] + [pair.other for pair in pairs]
    shown = batch["answers"] != IGNORE
    assert shown.sum(dim=1).tolist() == [len(answer) for answer in answers]
    assert [row[mask].tolist() for row, mask in zip(batch["answers"], shown, strict=True)] == answers
    assert len(batch["targets"]) == len(pairs)


def test_the_loss_is_the_formula_and_log_2_at_the_start(pairs):
    model, beta = tiny(), 0.3
    reference = preferences.reference_log_probs(tiny(5), pairs, 0)
    loss, count = preferences.dpo(beta)(model, preferences.pairs_batch(pairs, reference.T.flatten(), 0))
    with torch.no_grad():
        changes = [[by_hand(model, p.prompt, a) - r for a, r in zip((p.preferred, p.other), row, strict=True)]
                   for p, row in zip(pairs, reference.double(), strict=True)]  # fmt: skip
    expected = sum(-math.log(1 / (1 + math.exp(-beta * (w - lost)))) for w, lost in changes)
    assert count == len(pairs) and float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    own = preferences.reference_log_probs(model, pairs, 0)
    start, _ = preferences.dpo(beta)(model, preferences.pairs_batch(pairs, own.T.flatten(), 0))
    assert float(start.detach()) == pytest.approx(len(pairs) * math.log(2), rel=1e-5)


def test_gradient_equals_the_closed_form():
    # d loss / d log-probs: -beta sigmoid(-beta margin) for the preferred, the opposite for the other.
    torch.manual_seed(2)
    preferred, other = (torch.randn(17, dtype=torch.float64, requires_grad=True) for _ in range(2))
    beta = 0.7
    preferences.dpo_losses(preferred, other, beta).sum().backward()
    weight = beta * torch.sigmoid(-beta * (preferred - other)).detach()
    torch.testing.assert_close(preferred.grad, -weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.grad, weight, rtol=1e-12, atol=1e-12)


def test_training_on_all_preferences_reaches_the_kl_regularized_optimum():
    # Preferences of all pairs in exactly the shares that Bradley and Terry's model gives: DPO's minimum is the policy
    # that maximizes E[r] - beta KL, pi* = pi_ref exp(r / beta) / Z, found here without any training.
    torch.manual_seed(3)
    n, beta = 6, 0.5
    reference, rewards = torch.randn(n, dtype=torch.float64).log_softmax(0), torch.randn(n, dtype=torch.float64)
    best = (reference + rewards / beta).log_softmax(0)
    wins = torch.sigmoid(rewards[:, None] - rewards[None, :])
    logits = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    options = dict(max_iter=400, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe")
    optimizer = torch.optim.LBFGS([logits], **options)

    def closure():
        optimizer.zero_grad()
        change = logits.log_softmax(0) - reference
        i, j = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        losses = preferences.dpo_losses(change[i.flatten()], change[j.flatten()], beta)
        loss = (wins.flatten() * losses).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logits.detach().log_softmax(0), best, rtol=0, atol=1e-5)
    value = lambda p: (p.exp() * (rewards - beta * (p - reference))).sum()  # noqa: E731
    others = (best + 0.3 * torch.randn(2000, n, dtype=torch.float64)).log_softmax(1)
    assert (torch.stack([value(p) for p in others]) <= value(best) + 1e-12).all()


def test_kl_of_answers_is_summed_over_their_tokens(pairs):
    policy, reference = tiny(1), tiny(2)
    batch = preferences.answers_batch([p.prompt for p in pairs], [p.preferred for p in pairs], 0)
    found = preferences.sequence_kl(policy, reference, batch["input_ids"], batch["targets"])
    for pair, value in zip(pairs, found, strict=True):
        expected = 0.0
        for i in range(len(pair.preferred)):
            ids = torch.tensor([pair.prompt + pair.preferred[:i]])
            with torch.no_grad():
                p, q = (model(ids)[0, -1].log_softmax(-1) for model in (policy, reference))
            expected += float(F.kl_div(q, p, log_target=True, reduction="sum"))
        assert float(value) == pytest.approx(expected, rel=1e-4)
    assert float(preferences.sequence_kl(policy, policy, batch["input_ids"], batch["targets"]).abs().max()) == 0


def test_a_policy_learns_its_pairs_and_batches_follow_from_the_seed(pairs):
    model = tiny().float()
    reference = preferences.reference_log_probs(model, pairs, 0)
    batches = preferences.preference_batches(pairs, reference, 0, batch_size=5, seed=4)
    config = TrainConfig(max_steps=60, learning_rate=3e-3)
    losses = [r.loss for r in Trainer(model, preferences.dpo(0.5), config, torch.device("cpu")).fit(batches)]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4) and np.mean(losses[-5:]) < 0.3
    a, b = (preferences.preference_batches(pairs, reference, 0, 5, seed=4) for _ in range(2))
    firsts = [next(a)["input_ids"].tolist() for _ in range(3)]
    assert firsts == [next(b)["input_ids"].tolist() for _ in range(3)] and firsts[0] != firsts[1]


def test_refuses_what_makes_no_sense(pairs):
    for beta in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="beta above 0"):
            preferences.dpo(beta)
    with pytest.raises(ValueError, match="shape \\(13, 2\\)"):
        next(preferences.preference_batches(pairs, torch.zeros(13), 0))
    with pytest.raises(ValueError, match="at least one pair"):
        next(preferences.preference_batches([], torch.zeros(0, 2), 0))
    with pytest.raises(ValueError, match="at least one token behind"):
        preferences.pairs_batch([preferences.Pair([0, 1], [], [2])], torch.zeros(2), 0)
