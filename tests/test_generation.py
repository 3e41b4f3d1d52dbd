"""Generation and scoring: against Hugging Face's logits processors and GPT-2, and cached against uncached."""

import math

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from utils.data.batches import pad
from utils.models.config import TransformerConfig
from utils.models.generation import (
    choose,
    filter_logits,
    generate,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    next_probs,
    penalize_repetition,
    scale_by_temperature,
)
from utils.models.hugging_face import gpt2_config, gpt2_settings, gpt2_weights, to_gpt2_weights
from utils.models.pretrained import fit_weights
from utils.models.scoring import document_log_probs, token_log_probs, windows
from utils.models.transformer import GPT


def small_gpt(seed: int = 0, **changes) -> GPT:
    """A random GPT of odd sizes whose logits differ enough to have one clear maximum."""
    torch.manual_seed(seed)
    sizes = dict(vocab_size=97, context_length=37, d_model=24, n_layers=3, n_heads=3)
    model = GPT(TransformerConfig(**{**sizes, **changes}))
    for parameter in model.parameters():
        parameter.data *= 5
    return model.eval()


@pytest.mark.parametrize("seed", range(5))
def test_filters_equal_hugging_face(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 211, generator=generator, dtype=torch.float64)
    for temperature in (0.1, 0.7, 1.0, 2.5):
        torch.testing.assert_close(
            scale_by_temperature(logits, temperature), TemperatureLogitsWarper(temperature)(None, logits)
        )
    for k in (1, 2, 17, 211, 500):
        torch.testing.assert_close(keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits), rtol=0, atol=0)
    for p in (1e-9, 0.1, 0.5, 0.9, 0.999, 1.0):
        expected = logits if p == 1.0 else TopPLogitsWarper(p)(None, logits)
        torch.testing.assert_close(keep_top_p(logits, p), expected, rtol=0, atol=0)
    for p in (0.0, 1e-6, 0.05, 0.3, 1.0):
        torch.testing.assert_close(keep_min_p(logits, p), MinPLogitsWarper(p)(None, logits), rtol=0, atol=0)
    together = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(40)(None, TemperatureLogitsWarper(0.7)(None, logits)))
    torch.testing.assert_close(filter_logits(logits, 0.7, 40, 0.8), together, rtol=0, atol=0)
    together = MinPLogitsWarper(0.1)(None, together)
    torch.testing.assert_close(filter_logits(logits, 0.7, 40, 0.8, 0.1), together, rtol=0, atol=0)
    ids = torch.randint(211, (5, 30), generator=generator)
    for penalty in (0.5, 1.0, 1.3, 7.0):
        found = penalize_repetition(logits, torch.zeros(5, 211, dtype=torch.bool).scatter(1, ids, True), penalty)
        expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_top_p_by_hand():
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    for p, kept in ((0.4, [1]), (0.5, [1]), (0.6, [1, 3]), (0.8, [1, 2, 3]), (1.0, [0, 1, 2, 3])):
        assert keep_top_p(logits, p)[0].isfinite().nonzero().flatten().tolist() == kept, p


def test_min_p_by_hand():
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    for p, kept in ((1.0, [1]), (0.51, [1]), (0.49, [1, 3]), (0.29, [1, 2, 3]), (0.0, [0, 1, 2, 3])):
        assert keep_min_p(logits, p)[0].isfinite().nonzero().flatten().tolist() == kept, p


def test_temperature_0_puts_all_on_the_likeliest():
    assert next_probs(torch.tensor([[0.0, 2.0, 1.0]]), 0, top_k=2).tolist() == [[0.0, 1.0, 0.0]]


def test_ties_and_minus_infinity():
    assert keep_top_k(torch.tensor([[1.0, 2.0, 2.0, 0.0]]), 1).isfinite().sum() == 2
    logits = torch.tensor([[0.0, -math.inf, 1.0]])
    assert keep_top_p(logits, 0.99).isfinite().tolist() == [[True, False, True]]
    assert filter_logits(logits, 0.5, top_k=3).isfinite().tolist() == [[True, False, True]]


def test_draws_follow_the_probabilities():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(40_000, 4)
    drawn = choose(logits, 0.8, top_k=3, generator=torch.Generator().manual_seed(0))
    found = torch.bincount(drawn.flatten(), minlength=4) / len(logits)
    expected = filter_logits(logits[:1], 0.8, top_k=3).softmax(-1)[0]
    assert found[3] == 0
    torch.testing.assert_close(found, expected, rtol=0, atol=0.012)  # four standard errors


@pytest.mark.parametrize("options", [{}, {"n_kv_heads": 1}, {"positions": "rotary"}, {"norm_position": "post"}])
@pytest.mark.parametrize("temperature", [0, 1.3])
def test_cached_equals_uncached_token_for_token(options, temperature):
    model = small_gpt(**options)
    prompt = torch.randint(97, (3, 5), generator=torch.Generator().manual_seed(1))
    runs = [
        generate(model, prompt, 32, temperature, top_k=50, top_p=0.95, use_cache=use_cache,
                 generator=torch.Generator().manual_seed(2))
        for use_cache in (True, False)
    ]  # fmt: skip
    assert runs[0].shape == (3, 37)
    assert torch.equal(*runs)
    assert torch.equal(runs[0][:, :5], prompt)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_equals_hugging_face_gpt2(seed):
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=101, n_positions=40, n_embd=36, n_layer=3, n_head=3, attn_pdrop=0, resid_pdrop=0,
                        embd_pdrop=0, bos_token_id=0, eos_token_id=None, initializer_range=0.3)  # fmt: skip
    theirs = GPT2LMHeadModel(config).eval()
    ours = GPT(gpt2_config(config.to_dict()))
    fit_weights(ours, gpt2_weights(theirs.state_dict()))
    prompt = torch.randint(101, (2, 7))
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=33, do_sample=False, pad_token_id=0
    )
    assert torch.equal(generate(ours, prompt, 33, temperature=0), expected)


@pytest.mark.parametrize("penalty", [0.7, 1.2, 3.0])
def test_the_repetition_penalty_equals_hugging_faces_token_for_token(penalty):
    ours = small_gpt()
    theirs = GPT2LMHeadModel(GPT2Config(**gpt2_settings(ours.config))).eval()
    theirs.load_state_dict(to_gpt2_weights(ours.state_dict()))
    prompt = torch.randint(97, (3, 7), generator=torch.Generator().manual_seed(0))
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=29, do_sample=False,
                               repetition_penalty=penalty, pad_token_id=0)  # fmt: skip
    assert torch.equal(generate(ours, prompt, 29, temperature=0, repetition_penalty=penalty), expected)


def test_weights_go_to_hugging_face_and_back():
    ours = small_gpt()
    theirs = GPT2LMHeadModel(GPT2Config(**gpt2_settings(ours.config))).eval()
    theirs.load_state_dict(to_gpt2_weights(ours.state_dict()))
    back = gpt2_weights(theirs.state_dict())
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, back[name]) for name, tensor in ours.state_dict().items())
    ids = torch.randint(97, (2, 31), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), rtol=0, atol=2e-4)
    assert gpt2_config(theirs.config.to_dict()) == TransformerConfig(**{**ours.config.to_dict(), "d_ff": 96})
    with pytest.raises(ValueError, match="positions='rotary'.*n_kv_heads=1"):
        gpt2_settings(small_gpt(positions="rotary", d_model=18, n_kv_heads=1).config)


PROMPTS = [[3, 14, 15, 92, 65], [35], [8, 97 - 18, 32], [3, 84, 62, 64, 33, 83, 27]]


@pytest.mark.parametrize("options", [{}, {"n_kv_heads": 1}, {"positions": "rotary", "d_model": 30}, {"n_layers": 1}])
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_rows_padded_on_the_left_equal_their_single_runs(options, use_cache, penalty):
    model = small_gpt(**options)
    ids, mask = pad(PROMPTS, pad_id=1, left=True)
    assert ids[1].tolist() == [1] * 6 + [35] and mask.sum(dim=1).tolist() == [5, 1, 3, 7]
    found = generate(model, ids, 25, 0, attention_mask=mask, use_cache=use_cache, repetition_penalty=penalty)
    for row, prompt in zip(found, PROMPTS, strict=True):
        alone = generate(model, torch.tensor([prompt]), 25, 0, repetition_penalty=penalty)
        assert torch.equal(row[7 - len(prompt) :], alone[0])


def test_logits_of_padded_rows_equal_those_of_single_rows_and_ignore_what_the_padding_holds():
    model = small_gpt()
    for pad_id in (0, 50):
        ids, mask = pad(PROMPTS, pad_id, left=True)
        with torch.no_grad():
            logits = model(ids, mask, first_position=mask.sum(dim=1) - 7)
            for row, prompt in zip(logits, PROMPTS, strict=True):
                torch.testing.assert_close(row[7 - len(prompt) :], model(torch.tensor([prompt]))[0], rtol=0, atol=2e-5)


def test_hugging_face_pads_on_the_left_as_we_do():
    ours = small_gpt()
    theirs = GPT2LMHeadModel(GPT2Config(**gpt2_settings(ours.config))).eval()
    theirs.load_state_dict(to_gpt2_weights(ours.state_dict()))
    ids, mask = pad(PROMPTS, pad_id=1, left=True)
    expected = theirs.generate(ids, attention_mask=mask.long(), max_new_tokens=25, do_sample=False, pad_token_id=1)
    assert torch.equal(generate(ours, ids, 25, 0, attention_mask=mask), expected)


def test_stop_ends_a_row_and_fills_it_up():
    model, prompt = small_gpt(), torch.tensor([[3, 14], [15, 92], [65, 35]])
    free = generate(model, prompt, 20, temperature=0)
    stop = int(free[1, 6])
    stopped = generate(model, prompt, 20, temperature=0, stop=stop)
    for row, whole in zip(stopped, free, strict=True):
        places = (whole[2:] == stop).nonzero().flatten()
        end = int(places[0]) + 3 if len(places) else 22
        assert torch.equal(row[:end], whole[: len(row[:end])])
        assert (row[end:] == stop).all()
    alone = generate(model, prompt[1:2], 20, temperature=0, stop=stop)
    assert alone.shape[1] <= 7 and alone[0, -1] == stop


def test_generation_leaves_the_model_as_it_was():
    model = small_gpt(dropout=0.5).train()
    first, second = (generate(model, torch.tensor([[1]]), 9, temperature=0) for _ in range(2))
    assert model.training
    assert torch.equal(first, second), "dropout must be off while generating"


def test_seeds_repeat_and_differ():
    model, prompt = small_gpt(), torch.tensor([[1, 2, 3]])
    a, b, c = (generate(model, prompt, 20, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"top_k": 0}, "top_k=0"),
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.1}, "top_p=1.1"),
        ({"min_p": -0.1}, "min_p=-0.1"),
        ({"min_p": 1.1}, "min_p=1.1"),
        ({"repetition_penalty": 0}, "repetition_penalty=0"),
        ({"attention_mask": torch.ones(1, 2)}, "attention_mask of shape (1, 2)"),
        ({"attention_mask": torch.tensor([[1, 1, 0]])}, "padding on the right"),
        ({"attention_mask": torch.tensor([[1, 0, 1]])}, "with gaps"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"input_ids": torch.zeros(1, 38, dtype=torch.long)}, "context_length=37"),
        ({"max_new_tokens": 35}, "context_length=37"),
        ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, "at least one token"),
        ({"input_ids": torch.zeros(4, dtype=torch.long)}, "batch and time"),
    ],
)
def test_bad_requests_get_one_clear_error(changes, words):
    request = {"input_ids": torch.tensor([[1, 2, 3]]), "max_new_tokens": 5, **changes}
    with pytest.raises(ValueError, match="generate: expected in brackets") as caught:
        generate(small_gpt(), **request)
    assert words in str(caught.value)


def test_all_problems_stand_in_one_message():
    with pytest.raises(ValueError, match=r"max_new_tokens=0 .*top_k=0 .*top_p=2"):
        generate(small_gpt(), torch.tensor([[1]]), 0, top_k=0, top_p=2)


@pytest.mark.parametrize("call", [lambda x: scale_by_temperature(x, 0), lambda x: keep_top_k(x, 0),
                                  lambda x: keep_top_p(x, 0), lambda x: keep_top_p(x, 1.5),
                                  lambda x: keep_min_p(x, -0.1), lambda x: keep_min_p(x, 1.1),
                                  lambda x: penalize_repetition(x, x > 0, 0)])  # fmt: skip
def test_filters_refuse_what_makes_no_sense(call):
    with pytest.raises(ValueError, match="expected"):
        call(torch.zeros(1, 4))


def test_windows_score_each_token_once():
    for n_tokens, context, stride in ((1, 8, 4), (8, 8, 4), (9, 8, 4), (23, 8, 3), (40, 8, 8), (5, 8, 1)):
        found = windows(n_tokens, context, stride)
        scored = [place for _, end, done in found for place in range(done, end)]
        assert scored == list(range(n_tokens))
        assert all(end - first <= context and first <= done for first, end, done in found)


def test_scores_equal_a_plain_forward_pass():
    model, random = small_gpt(), np.random.default_rng(0)
    documents = [random.integers(1, 97, length) for length in (1, 5, 37, 36, 2, 11)]
    for found, tokens in zip(document_log_probs(model, documents, separator=0), documents, strict=True):
        ids = torch.tensor([[0, *tokens]])
        with torch.no_grad():
            expected = model(ids[:, :-1]).log_softmax(-1)[0].gather(1, ids[0, 1:, None])[:, 0]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_long_documents_slide():
    model, tokens = small_gpt(), np.random.default_rng(0).integers(1, 97, 90)
    found = token_log_probs(model, tokens, separator=0, stride=10)
    ids = torch.tensor([0, *tokens])
    for t in (0, 36, 37, 46, 47, 89):
        start = 0 if t < 37 else 10 * math.ceil((t - 36) / 10)
        with torch.no_grad():
            expected = model(ids[None, start : t + 1]).log_softmax(-1)[0, -1, ids[t + 1]]
        assert found[t] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("documents, stride", [([[]], None), ([[1, 2], []], None), ([[1]], 0), ([[1]], 38)])
def test_scoring_refuses_what_makes_no_sense(documents, stride):
    with pytest.raises(ValueError, match="expected at least one token a document and a stride from 1 to 37"):
        document_log_probs(small_gpt(), [np.array(d, dtype=np.int64) for d in documents], 0, stride)
