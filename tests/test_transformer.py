"""The Transformer: the cache, causality, padding, the loss in pieces, windows over long documents, configurations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from utils.models.attention import KVCache
from utils.models.config import TransformerConfig
from utils.models.losses import LOSS_CHUNK, summed_cross_entropy
from utils.models.scoring import token_log_probs
from utils.models.transformer import BERT, GPT

SIZES = dict(vocab_size=37, context_length=19, d_model=24, n_layers=3, n_heads=3)
GPTS = {
    "learned": TransformerConfig(**SIZES),
    "rotary": TransformerConfig(**SIZES, positions="rotary"),
    "post-norm": TransformerConfig(**SIZES, norm_position="post", activation="relu"),
    "one kv head": TransformerConfig(**SIZES, n_kv_heads=1, d_ff=31, activation="gelu"),
    "llama": TransformerConfig(
        **SIZES,
        positions="rotary",
        rotary_base=500.0,
        norm="rms",
        gated=True,
        activation="silu",
        bias=False,
        tied=False,
    ),
    "experts": TransformerConfig(**SIZES, n_experts=3, gated=True, activation="silu", norm="rms"),
}
BERT_CONFIG = TransformerConfig(**SIZES, n_segments=2, norm_position="post", activation="gelu")


def spread(model):
    """The model with weights so large that every part matters, in evaluation mode."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def tokens(*shape, seed=0, vocab_size=37):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=GPTS, ids=str)
def gpt(request):
    return spread(GPT(GPTS[request.param]))


@pytest.mark.parametrize("pieces", [[1] * 19, [7, 1, 1, 10], [18, 1]])
@torch.inference_mode()
def test_cached_logits_equal_uncached_token_for_token(gpt, pieces):
    input_ids, cache = tokens(2, 19), KVCache()
    cached = torch.cat([gpt(piece, cache=cache) for piece in input_ids.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(cached, gpt(input_ids), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_last_logits_alone_equal_the_last_of_all(gpt):
    input_ids = tokens(2, 19)
    torch.testing.assert_close(gpt(input_ids, last_only=True), gpt(input_ids)[:, -1:], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_greedy_generation_with_the_cache_picks_the_same_tokens(gpt):
    input_ids, cache = tokens(1, 3), KVCache()
    fresh = input_ids
    while fresh.shape[1] < 19:
        logits = gpt(fresh[:, len(cache) :], cache=cache)[:, -1]
        assert torch.equal(logits.argmax(-1), gpt(fresh)[:, -1].argmax(-1))
        fresh = torch.cat([fresh, logits.argmax(-1, keepdim=True)], dim=1)


@torch.inference_mode()
def test_a_causal_model_does_not_see_the_future_and_sees_all_of_the_past(gpt):
    first = tokens(1, 11)
    second = first.clone()
    second[0, 6] = (second[0, 6] + 1) % 37
    changed = (gpt(first) - gpt(second)).abs().amax(-1)[0]
    assert (changed[:6] == 0).all() and (changed[6:] > 1e-4).all()


@torch.inference_mode()
def test_an_encoder_sees_both_sides_and_no_padding():
    model = spread(BERT(BERT_CONFIG))
    ids, mask = tokens(2, 9), torch.arange(9) < torch.tensor([[9], [5]])
    other = ids.clone()
    other[1, 5:] = 3
    hidden, changed = model.encode(ids, mask), model.encode(other, mask)
    torch.testing.assert_close(changed[1, :5], hidden[1, :5], rtol=0, atol=0)
    torch.testing.assert_close(model.encode(ids[1:, :5])[0], hidden[1, :5], rtol=0, atol=1e-5)
    other = ids.clone()
    other[0, 8] = (other[0, 8] + 1) % 37
    assert ((model.encode(other, mask) - hidden)[0].abs().amax(-1) > 1e-4).all()


@torch.no_grad()
def test_a_rows_positions_can_begin_anywhere():
    model = spread(BERT(TransformerConfig(37, 11, 12, n_layers=2, n_heads=2, n_segments=2)))
    ids, first = tokens(3, 5), torch.tensor([0, 4, 6])
    found = model.encode(ids, first_position=first)
    table = model.transformer.position_embedding.weight
    kept = table.detach().clone()
    for row, start in enumerate(first.tolist()):
        table.data = kept.roll(-start, 0)
        torch.testing.assert_close(found[row], model.encode(ids[row : row + 1])[0], rtol=0, atol=1e-6)
    assert not torch.allclose(found[1], found[0])


@pytest.mark.parametrize("family, config", [(GPT, GPTS["rotary"]), (BERT, BERT_CONFIG)])
@torch.inference_mode()
def test_attention_weights_come_for_every_layer_and_sum_to_one(family, config):
    model = spread(family(config))
    weights = model.attention_weights(tokens(2, 7))
    assert [tuple(w.shape) for w in weights] == [(2, 3, 7, 7)] * 3
    torch.testing.assert_close(torch.stack(weights).sum(-1), torch.ones(3, 2, 3, 7))
    if family is GPT:
        assert all((w.triu(1) == 0).all() for w in weights)


def test_the_spelled_out_attention_gives_the_same_hidden_states_as_the_fused_one(gpt):
    ids = tokens(2, 13)
    torch.testing.assert_close(gpt.transformer(ids, need_weights=True)[0], gpt.transformer(ids)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [1, LOSS_CHUNK - 1, LOSS_CHUNK, 2 * LOSS_CHUNK + 7])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_loss_in_pieces_equals_cross_entropy_and_its_gradients(n, with_bias):
    generator = torch.Generator().manual_seed(n)
    ours = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((n, 5), (11, 5), (11,))]
    targets = torch.randint(11, (n,), generator=generator)
    targets[torch.rand(n, generator=generator) < 0.3] = -100
    ours = [tensor.requires_grad_() for tensor in ours]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    loss = summed_cross_entropy(ours[0], ours[1], targets, ours[2] if with_bias else None)
    # The pieces are cast to fp32 on purpose, so the oracle is computed in fp32 behind the product.
    logits = F.linear(theirs[0], theirs[1], theirs[2] if with_bias else None)
    expected = F.cross_entropy(logits, targets, reduction="sum", ignore_index=-100)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    expected.backward()
    for a, b in zip(ours[: 2 + with_bias], theirs, strict=False):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)


def test_a_loss_without_any_target_is_zero_with_zero_gradients():
    model = BERT(BERT_CONFIG)
    loss, _ = model(tokens(2, 7), targets=torch.full((2, 7), -100))
    loss.backward()
    assert loss == 0 and all((p.grad is None or (p.grad == 0).all()) for p in model.parameters())


@pytest.mark.parametrize("family, config", [(GPT, GPTS["learned"]), (BERT, BERT_CONFIG)])
def test_the_loss_of_a_model_equals_cross_entropy_over_its_logits(family, config):
    model, ids, targets = spread(family(config)), tokens(3, 8), tokens(3, 8, seed=1)
    targets[:, ::3] = -100
    loss, logits = model(ids, targets=targets), model(ids)
    if family is BERT:
        torch.testing.assert_close(loss[1], logits[1])
        loss, logits = loss[0], logits[0]
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))


def direct_log_probs(model, ids, separator):
    """Log-probabilities of a document that fits, in one forward pass, by softmax."""
    read = torch.cat([torch.tensor([separator]), ids])
    probs = model(read[None, :-1]).softmax(-1)[0]
    return torch.log(probs[torch.arange(len(ids)), ids]).double().numpy()


@pytest.mark.parametrize("length", [1, 2, 18, 19])
@torch.inference_mode()
def test_log_probs_of_a_document_that_fits_equal_the_direct_computation(gpt, length):
    ids = tokens(length, seed=length)
    found = token_log_probs(gpt, ids.numpy(), separator=5)
    np.testing.assert_allclose(found, direct_log_probs(gpt, ids, 5), rtol=0, atol=1e-5)
    assert found.dtype == np.float64


@pytest.mark.parametrize("length, stride", [(20, None), (61, None), (61, 1), (61, 19), (57, 7)])
@torch.inference_mode()
def test_log_probs_of_a_long_document_score_each_token_once_in_the_first_window_that_reaches_it(length, stride):
    model, ids = spread(GPT(GPTS["learned"])), tokens(length, seed=2)
    found, step = token_log_probs(model, ids.numpy(), 5, stride), stride or 19 // 2
    assert len(found) == length
    read = torch.cat([torch.tensor([5]), ids])
    for t in range(length):
        start = 0 if t < 19 else -(-(t - 18) // step) * step
        logits = model(read[None, start : t + 1])[0, -1]
        assert found[t] == pytest.approx(float(logits.log_softmax(-1)[ids[t]]), abs=1e-5)


@torch.inference_mode()
def test_the_probabilities_of_all_continuations_sum_to_one(gpt):
    start = [3, 7]
    last = [np.exp(token_log_probs(gpt, np.array([*start, token]), 5)) for token in range(37)]
    assert sum(p[-1] for p in last) == pytest.approx(1, abs=1e-5)
    pairs = [token_log_probs(gpt, np.array([3, token]), 5) for token in range(37)]
    assert sum(np.exp(pair.sum()) for pair in pairs) == pytest.approx(np.exp(pairs[0][0]), abs=1e-6)


@pytest.mark.parametrize("length, stride", [(0, None), (4, 0), (4, 20)])
def test_scoring_nothing_or_with_a_gap_between_windows_is_refused(gpt, length, stride):
    with pytest.raises(ValueError, match="stride from 1 to 19"):
        token_log_probs(gpt, np.zeros(length, dtype=np.int64), 5, stride)


@pytest.mark.parametrize("family, config", [(GPT, GPTS["learned"]), (GPT, GPTS["rotary"]), (BERT, BERT_CONFIG)])
def test_a_sequence_longer_than_the_context_is_one_clear_error(family, config):
    with pytest.raises(ValueError, match="at most context_length=19 tokens, got 20; cut the text"):
        family(config)(tokens(1, 20))


def test_a_cache_that_grows_past_the_context_is_one_clear_error(gpt):
    cache = KVCache()
    gpt(tokens(1, 19), cache=cache)
    with pytest.raises(ValueError, match="context_length=19 tokens, got 20"):
        gpt(tokens(1, 1), cache=cache)


def test_ids_without_a_batch_axis_are_refused(gpt):
    with pytest.raises(ValueError, match="add a batch axis"):
        gpt(tokens(5))


@pytest.mark.parametrize(
    "wrong, named",
    [
        (
            dict(vocab_size=0, n_layers=-1, dropout=1.5, activation="tanh"),
            ["vocab_size", "n_layers", "dropout", "tanh"],
        ),
        (dict(d_model=25), ["n_heads=3 (a divisor of d_model=25)"]),
        (dict(n_kv_heads=2), ["n_kv_heads=2"]),
        (dict(n_kv_heads=0, positions="rope"), ["n_kv_heads=0", "positions='rope'"]),
        (dict(d_model=24.0), ["d_model=24.0"]),
        (dict(d_ff=0, n_segments=-1, norm_position="none"), ["d_ff=0", "n_segments=-1", "norm_position='none'"]),
        (dict(d_model=27, positions="rotary"), ["an even d_model / n_heads"]),
        (dict(norm="batch", rotary_base=0, n_experts=-1), ["norm='batch'", "rotary_base=0", "n_experts=-1"]),
        (dict(n_experts=2, experts_per_token=3), ["experts_per_token=3 (from 1 to n_experts=2)"]),
    ],
)
def test_a_wrong_configuration_names_all_its_problems_at_once(wrong, named):
    with pytest.raises(ValueError) as caught:
        TransformerConfig(**{**SIZES, **wrong})
    assert all(name in str(caught.value) for name in named)


def test_an_untied_head_is_a_matrix_of_its_own_and_a_tied_one_none():
    tied, untied = GPT(GPTS["learned"]), GPT(TransformerConfig(**SIZES, tied=False))
    assert set(untied.state_dict()) - set(tied.state_dict()) == {"head.weight"}
    assert untied.head.weight.shape == (37, 24) and float(untied.head.weight.std()) == pytest.approx(0.02, rel=0.1)
    with pytest.raises(ValueError, match="expected tied=True"):
        BERT(TransformerConfig(**SIZES, tied=False))


@pytest.mark.parametrize("name", ["one kv head", "llama"])
def test_the_cache_holds_the_key_value_heads_alone(name):
    config, cache = GPTS[name], KVCache()
    GPT(config)(tokens(2, 7), cache=cache)
    held = sum(t.numel() for pair in cache.layers.values() for t in pair)
    assert held == 2 * config.n_layers * config.kv_heads * (config.d_model // config.n_heads) * 7 * 2


def test_branches_into_the_residual_stream_start_smaller_the_deeper_the_stack():
    for family, config in ((GPT, GPTS["experts"]), (BERT, BERT_CONFIG)):
        model = family(config)
        for name, parameter in model.named_parameters():
            if name.endswith(("attention.output.weight", "contract.weight")):
                assert float(parameter.std()) == pytest.approx(0.02 / 6**0.5, rel=0.2), name


def test_configurations_saved_before_an_option_existed_load_as_they_were():
    older = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff", "n_segments",
             "dropout", "activation", "norm_position", "norm_epsilon", "positions")  # fmt: skip
    now = TransformerConfig(**SIZES)
    then = TransformerConfig(**{name: now.to_dict()[name] for name in older})
    assert then == now and set(GPT(then).state_dict()) == set(GPT(now).state_dict())
    assert (now.norm, now.gated, now.bias, now.tied, now.n_experts) == ("layer", False, True, True, 0)
