"""Speculative decoding: greedy equals greedy, drawn texts have the model's own distribution, whatever the draft."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from tests.test_generation import small_gpt
from utils.models.generation import generate, next_probs
from utils.models.speculative import CountDraft, ModelDraft, accept, first_layers, speculate
from utils.text.ngrams import KneserNey


def drafts(model):
    """A draft of each kind: first layers, another model, counts of the model's own texts, and the model itself."""
    V = model.config.vocab_size
    texts = generate(model, torch.randint(V, (40, 1), generator=torch.Generator().manual_seed(5)), 20)
    return {
        "first layer": ModelDraft(first_layers(model, 1)),
        "another": ModelDraft(small_gpt(seed=9, vocab_size=V)),
        "counts": CountDraft(KneserNey(3, V, bos=0).fit(list(texts.numpy()))),
        "itself": ModelDraft(model),
    }


@pytest.mark.parametrize("name", ["first layer", "another", "counts", "itself"])
def test_greedy_equals_plain_greedy(name):
    for seed, n_draft in itertools.product(range(2), (1, 2, 5, 50)):
        model = small_gpt(seed)
        draft = drafts(model)[name]
        for length in (1, 4):
            prompt = torch.randint(97, (1, length), generator=torch.Generator().manual_seed(seed))
            found = speculate(model, draft, prompt, 30, n_draft, temperature=0)
            assert torch.equal(found.ids, generate(model, prompt, 30, temperature=0))
            assert found.n_accepted <= found.n_judged <= found.n_drafted and found.n_runs + found.n_accepted == 30
            assert found.n_judged <= found.n_accepted + found.n_runs
            if name == "itself":
                assert found.n_accepted == found.n_judged == found.n_drafted and found.n_runs == -(-30 // (n_draft + 1))


def test_the_rule_gives_exactly_the_models_distribution():
    """Summed over all drafted tokens: q(x) min(1, p(x)/q(x)) + P(rejected) residual(x) = p(x)."""
    generator = torch.Generator().manual_seed(0)
    for V, sharpness in itertools.product((2, 5, 11), (0.3, 3.0, 30.0)):
        p, q = (torch.randn(2, V, generator=generator, dtype=torch.float64) * sharpness).softmax(-1)
        kept = torch.minimum(p, q)
        residual = (p - q).clamp(min=0)
        total = kept + (1 - kept.sum()) * residual / residual.sum()
        torch.testing.assert_close(total, p, rtol=0, atol=1e-14)
        assert float(kept.sum()) == pytest.approx(1 - 0.5 * float((p - q).abs().sum()), abs=1e-14)


def test_accepted_tokens_follow_the_rule():
    generator = torch.Generator().manual_seed(1)
    p, q = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.1, 0.6, 0.1, 0.2])
    found, n_kept = np.zeros(4), 0
    for _ in range(20_000):
        token, kept = accept(p, q, int(torch.multinomial(q, 1, generator=generator)), generator)
        found[token] += 1
        n_kept += kept
    assert found[3] == 0
    assert stats.chisquare(found[:3], 20_000 * p[:3].numpy().astype(float)).pvalue > 1e-3
    assert n_kept / 20_000 == pytest.approx(0.5, abs=0.015)  # 1 - total variation distance


@pytest.mark.parametrize("name", ["first layer", "another", "counts"])
def test_drawn_texts_have_the_models_distribution(name):
    model = small_gpt(vocab_size=4)
    for parameter in model.parameters():
        parameter.data /= 3
    draft, prompt, n = drafts(model)[name], torch.tensor([[1, 2]]), 1500
    options = dict(temperature=1.5, top_p=0.97)
    expected = {}
    for tokens in itertools.product(range(4), repeat=3):
        ids, prob = prompt, 1.0
        for token in tokens:
            with torch.no_grad():
                prob *= float(next_probs(model(ids)[0, -1], **options)[token])
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
        expected[tokens] = prob
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)
    generator = torch.Generator().manual_seed(3)
    found = dict.fromkeys(expected, 0)
    for _ in range(n):
        ids = speculate(model, draft, prompt, 3, n_draft=2, generator=generator, **options).ids
        found[tuple(ids[0, 2:].tolist())] += 1
    common = [tokens for tokens, prob in expected.items() if n * prob >= 5]
    rare = [tokens for tokens in expected if tokens not in common]
    counts = [found[tokens] for tokens in common] + [sum(found[tokens] for tokens in rare)]
    probs = [expected[tokens] for tokens in common] + [sum(expected[tokens] for tokens in rare)]
    if probs[-1] == 0:
        counts, probs = counts[:-1], probs[:-1]
    assert len(common) > 6
    assert stats.chisquare(counts, n * np.array(probs) / sum(probs)).pvalue > 1e-3


def test_it_ends_at_the_stop_token():
    model, prompt = small_gpt(), torch.tensor([[3, 14]])
    whole = generate(model, prompt, 20, temperature=0)
    stop = int(whole[0, 9])
    expected = whole[:, : whole[0, 2:].tolist().index(stop) + 3]
    for draft in drafts(model).values():
        assert torch.equal(speculate(model, draft, prompt, 20, 6, temperature=0, stop=stop).ids, expected)
    # A prompt that ends with it is continued all the same.
    assert speculate(model, draft, expected, 3, temperature=0, stop=stop).ids.shape[1] > expected.shape[1]


def test_the_first_layers_share_the_tensors_and_compute_what_the_stack_computes_there():
    model, ids = small_gpt(), torch.tensor([[3, 14, 15]])
    shallow = first_layers(model, 2)
    assert all(a.data_ptr() == dict(model.named_parameters())[n].data_ptr() for n, a in shallow.named_parameters())
    kept = model.transformer.blocks
    with torch.no_grad():
        found = shallow(ids)
        model.transformer.blocks = kept[:2]
        torch.testing.assert_close(found, model(ids), rtol=0, atol=0)
    model.transformer.blocks = kept
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"expected from 1 to 3 layers, got {n}"):
            first_layers(model, n)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"draft": ModelDraft(small_gpt(vocab_size=96))}, "a draft with 96 tokens (the model's vocabulary, 97"),
        ({"draft": CountDraft(KneserNey(2, 98).fit([[1, 2, 3]]))}, "a draft with 98 tokens"),
        ({"draft": ModelDraft(small_gpt(context_length=7))}, "8 tokens in all (at most 7"),
        ({"n_draft": 0}, "n_draft=0"),
        ({"temperature": -1}, "temperature=-1"),
        ({"min_p": 1.5}, "min_p=1.5"),
        ({"max_new_tokens": 35}, "context_length=37"),
        ({"input_ids": torch.zeros(2, 3, dtype=torch.long)}, "2 prompts"),
        ({"input_ids": torch.zeros(3, dtype=torch.long)}, "batch and time"),
    ],
)
def test_bad_requests_get_one_clear_error(changes, words):
    model = small_gpt()
    request = {"draft": ModelDraft(model), "input_ids": torch.tensor([[1, 2, 3]]), "max_new_tokens": 5, **changes}
    with pytest.raises(ValueError, match="speculate: expected in brackets") as caught:
        speculate(model, **request)
    assert words in str(caught.value)
