"""Beam search: against Hugging Face's, against trying every continuation, and against greedy choice."""

import itertools

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.test_generation import small_gpt
from utils.models.beam import DROPPED, FINISHED, KEPT, beam_search, beam_steps, length_normalized
from utils.models.generation import generate
from utils.models.hugging_face import gpt2_config, gpt2_weights
from utils.models.pretrained import fit_weights
from utils.models.transformer import GPT

STOP = 7


def pair(seed, vocab_size=53):
    """A random GPT-2 of Hugging Face's, far from uniform, and ours with its weights."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=vocab_size, n_positions=40, n_embd=36, n_layer=2, n_head=3, attn_pdrop=0,
                        resid_pdrop=0, embd_pdrop=0, bos_token_id=STOP, eos_token_id=STOP,
                        initializer_range=0.25)  # fmt: skip
    theirs = GPT2LMHeadModel(config).eval()
    ours = GPT(gpt2_config(config.to_dict()))
    fit_weights(ours, gpt2_weights(theirs.state_dict()))
    return theirs, ours


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length_penalty", [-0.7, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
def test_equals_hugging_face_token_for_token(seed, length_penalty, early_stopping):
    theirs, ours = pair(seed)
    prompt = torch.randint(8, 53, (1, 5), generator=torch.Generator().manual_seed(seed))
    for n_beams, new in ((2, 9), (5, 13)):
        expected = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, num_beams=n_beams, do_sample=False,
            length_penalty=length_penalty, early_stopping=early_stopping, num_return_sequences=n_beams,
            pad_token_id=STOP, eos_token_id=STOP, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        found = beam_search(ours, prompt, new, n_beams, length_penalty, STOP, early_stopping)
        scores = expected.sequences_scores.tolist()
        for one, row, score in zip(found, expected.sequences[:, 5:].tolist(), scores, strict=False):
            assert list(one.tokens) == row[: len(one.tokens)] and set(row[len(one.tokens) :]) <= {STOP}
            assert one.score == pytest.approx(score, rel=1e-5, abs=1e-5)
        assert len(found) == sum(score > -1e8 for score in scores)


def all_continuations(model, prompt, new, stop):
    """Every continuation by at most `new` tokens that ends at the first stop token, with its log-probability."""
    V, found = model.config.vocab_size, {}
    for tokens in itertools.product(range(V), repeat=new):
        ended = tokens[: tokens.index(stop) + 1] if stop in tokens else tokens
        if ended not in found:
            ids = torch.cat([prompt, torch.tensor([ended])], dim=1)
            log_probs = model(ids)[0].log_softmax(-1)
            found[ended] = float(sum(log_probs[prompt.shape[1] + i - 1, token] for i, token in enumerate(ended)))
    return found


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.0])
@torch.no_grad()
def test_a_beam_as_wide_as_all_beginnings_is_exhaustive_search(length_penalty):
    model, prompt = small_gpt(vocab_size=5), torch.tensor([[1, 3]])
    for new, n_beams in ((2, 5), (3, 25)):
        everything = all_continuations(model, prompt, new, stop=2)
        ranked = sorted(everything, key=lambda one: -length_normalized(everything[one], len(one), length_penalty))
        best, *_ = beam_search(model, prompt, new, n_beams, length_penalty, stop=2, early_stopping="never")
        assert best.tokens == ranked[0]
        assert best.log_prob == pytest.approx(everything[ranked[0]], abs=1e-5)


def test_without_a_stop_token_all_of_the_best_are_found():
    model, prompt = small_gpt(vocab_size=6), torch.tensor([[1, 3]])
    with torch.no_grad():
        everything = all_continuations(model, prompt, 3, stop=None)
    found = beam_search(model, prompt, 3, 36)
    assert [one.tokens for one in found] == sorted(everything, key=lambda one: -everything[one])[:36]


@pytest.mark.parametrize("options", [{}, {"n_kv_heads": 1}, {"positions": "rotary"}])
def test_one_beam_is_greedy_choice(options):
    model, prompt = small_gpt(**options), torch.tensor([[3, 14, 15]])
    greedy = generate(model, prompt, 20, temperature=0)
    assert list(beam_search(model, prompt, 20, 1)[0].tokens) == greedy[0, 3:].tolist()


def test_a_wider_beam_finds_a_likelier_text_here():
    model, prompt = small_gpt(seed=3), torch.tensor([[3, 14]])
    log_probs = [beam_search(model, prompt, 8, n)[0].log_prob for n in (1, 4, 16)]
    assert log_probs[0] < log_probs[1] <= log_probs[2] + 1e-6


def test_steps_tell_the_fate_of_every_candidate():
    model, prompt = small_gpt(vocab_size=11), torch.tensor([[3, 4]])
    beams = [()]
    for step, candidates in enumerate(beam_steps(model, prompt, 6, 3, stop=5)):
        assert len(candidates) == 6
        assert all(a.log_prob >= b.log_prob for a, b in itertools.pairwise(candidates))
        assert all(one.tokens[:-1] == beams[one.parent] for one in candidates)
        for rank, one in enumerate(candidates):
            if step == 5 or one.tokens[-1] == 5:
                assert one.fate == (FINISHED if rank < 3 else DROPPED)
        beams = [one.tokens for one in candidates if one.fate == KEPT]
        assert len(beams) == (0 if step == 5 else 3)


def test_the_model_is_left_as_it_was_even_when_the_steps_are_not_used_up():
    model = small_gpt(dropout=0.4).train()
    first = next(steps := beam_steps(model, torch.tensor([[1]]), 5, 2))
    steps.close()
    assert model.training and first == next(beam_steps(model, torch.tensor([[1]]), 5, 2))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"n_beams": 0}, "n_beams=0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"input_ids": torch.zeros(2, 3, dtype=torch.long)}, "2 prompts"),
        ({"max_new_tokens": 36}, "context_length=37"),
        ({"input_ids": torch.zeros(3, dtype=torch.long)}, "batch and time"),
        ({"early_stopping": "sometimes"}, "early_stopping"),
    ],
)
def test_bad_requests_get_one_clear_error(changes, words):
    request = {"input_ids": torch.tensor([[1, 2, 3]]), "max_new_tokens": 5, "n_beams": 2, **changes}
    with pytest.raises(ValueError, match="expected") as caught:
        beam_search(small_gpt(), **request)
    assert words in str(caught.value)
