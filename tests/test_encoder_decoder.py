"""The encoder-decoder: equal to nn.Transformer with the same weights, its masks, its cache, generation, saving."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from utils.experiments.pretraining import train_byte_bpe
from utils.models import pretrained
from utils.models.attention import KVCache
from utils.models.config import TransformerConfig
from utils.models.encoder_decoder import EncoderDecoder
from utils.models.generation import generate

SIZES = dict(vocab_size=31, context_length=17, d_model=20, n_layers=3, n_heads=4, d_ff=37, activation="relu")
MODELS = {
    "pre": {},
    "post": dict(norm_position="post"),
    "untied": dict(tied=False),
    "modern": dict(
        norm="rms", gated=True, activation="silu", positions="rotary", n_heads=2, n_kv_heads=1, bias=False, tied=False
    ),
}
EXACT = dict(rtol=0, atol=1e-5)


def ids(*shape, seed=0):
    return torch.randint(31, shape, generator=torch.Generator().manual_seed(seed))


def shaken(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.eval()


def build(name):
    return shaken(EncoderDecoder(TransformerConfig(**{**SIZES, **MODELS[name]})))


def copy_attention(ours, theirs):
    """Our attention's weights into nn.MultiheadAttention."""
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())


@torch.no_grad()
def library_twin(model):
    """nn.Transformer with the same weights; its norm after the last layer stays in pre-norm only, as in the paper."""
    config = model.config
    pre = config.norm_position == "pre"
    theirs = nn.Transformer(
        config.d_model, config.n_heads, config.n_layers, config.n_layers, config.width_ff, 0.0, config.activation,
        layer_norm_eps=config.norm_epsilon, batch_first=True, norm_first=pre,
    ).eval()  # fmt: skip
    for ours, stack in ((model.encoder, theirs.encoder), (model.decoder, theirs.decoder)):
        stack.norm.load_state_dict(ours.norm.state_dict()) if pre else setattr(stack, "norm", None)
        for block, layer in zip(ours.blocks, stack.layers, strict=True):
            norms = [block.attention_norm, block.feed_forward_norm]
            copy_attention(block.attention, layer.self_attn)
            if block.cross:
                copy_attention(block.cross_attention, layer.multihead_attn)
                norms.insert(1, block.cross_norm)
            layer.linear1.load_state_dict(block.feed_forward.expand.state_dict())
            layer.linear2.load_state_dict(block.feed_forward.contract.state_dict())
            for i, norm in enumerate(norms, start=1):
                getattr(layer, f"norm{i}").load_state_dict(norm.state_dict())
    return theirs


def library_logits(model, theirs, source, target, real):
    """What nn.Transformer gives with our embeddings around it."""
    inputs = []
    for stack, tokens in ((model.encoder, source), (model.decoder, target)):
        x = stack.embed(tokens, token_embedding=model.target_embedding if stack is model.decoder else None)
        inputs.append(x if model.config.norm_position == "pre" else stack.norm(x))
    causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
    hidden = theirs(
        *inputs, tgt_mask=causal, tgt_is_causal=True, src_key_padding_mask=~real, memory_key_padding_mask=~real
    )
    return F.linear(hidden, model.target_embedding.weight)


@pytest.mark.parametrize("name", ["pre", "post"])
@pytest.mark.parametrize("S, T", [(1, 1), (9, 5), (4, 17)])
def test_it_equals_pytorchs_transformer_with_the_same_weights(name, S, T, record_property):
    model = build(name)
    theirs = library_twin(model)
    source, target = ids(3, S), ids(3, T, seed=1)
    real = torch.arange(S) < torch.tensor([[S], [max(1, S - 2)], [max(1, S // 2)]])
    expected = library_logits(model, theirs, source, target, real)
    difference = (model(source, target, real) - expected).abs().max()
    record_property("largest difference of logits", difference.item())
    assert expected.std() > 0.5 and difference < 1e-5


def test_its_gradients_equal_pytorchs():
    model = build("pre")
    theirs = library_twin(model)
    source, target, real = ids(2, 7), ids(2, 6, seed=1), torch.ones(2, 7, dtype=torch.bool)
    targets = ids(2, 6, seed=2)
    model(source, target, real, targets=targets).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits = library_logits(model, theirs, source, target, real)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()
    for i, layer in enumerate(theirs.decoder.layers):
        expected = layer.multihead_attn.in_proj_weight.grad.chunk(3)
        for part, gradient in zip(("query", "key", "value"), expected, strict=True):
            name = f"decoder.blocks.{i}.cross_attention.{part}.weight"
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)
    shared = "encoder.token_embedding.weight"
    torch.testing.assert_close(found[shared], model.get_parameter(shared).grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_the_decoder_sees_no_future_all_of_the_source_and_no_padding(name):
    model, source, target = build(name), ids(1, 9), ids(1, 7, seed=1)
    logits = model(source, target)
    later = target.clone()
    later[0, 4] = (later[0, 4] + 1) % 31
    changed = (model(source, later) - logits).abs().amax(-1)[0]
    assert (changed[:4] == 0).all() and (changed[4:] > 1e-4).all()
    for place in range(9):
        other = source.clone()
        other[0, place] = (other[0, place] + 1) % 31
        assert ((model(other, target) - logits).abs().amax(-1) > 1e-5).all()
    real = torch.arange(9)[None] < 6
    other = source.clone()
    other[0, 6:] = 3
    torch.testing.assert_close(model(source, target, real), model(other, target, real), rtol=0, atol=0)
    torch.testing.assert_close(model(source, target, real), model(source[:, :6], target), **EXACT)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pieces", [[1] * 13, [5, 1, 7]])
@torch.inference_mode()
def test_cached_decoding_equals_decoding_at_once(name, pieces):
    model, source, target, cache = build(name), ids(2, 9), ids(2, 13, seed=1), KVCache()
    real = torch.arange(9) < torch.tensor([[9], [4]])
    given = model.given(source, real)
    cached = torch.cat([given(piece, cache=cache) for piece in target.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(cached, model(source, target, real), **EXACT)
    assert len(cache) == 13 and len(cache.contexts) == 3
    k = cache.contexts[0][0]
    assert k.shape[2] == 9, "the source's keys are computed once, and do not grow"
    cache.reorder(torch.tensor([1, 1]))
    assert torch.equal(cache.contexts[0][0], k[[1, 1]])


@pytest.mark.parametrize("name", MODELS)
def test_generate_writes_the_target_with_and_without_the_cache(name):
    model, source, start = build(name), ids(2, 9), torch.full((2, 1), 5)
    given = model.given(source)
    found = generate(given, start, max_new_tokens=9, temperature=0)
    assert found.shape == (2, 10)
    assert torch.equal(found, generate(given, start, max_new_tokens=9, temperature=0, use_cache=False))
    written = start
    for _ in range(9):
        written = torch.cat([written, model(source, written)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(found, written)
    assert not model.training


@torch.inference_mode()
def test_cross_attention_weights_are_over_the_source_and_skip_its_padding():
    model, real = build("pre"), torch.arange(9) < torch.tensor([[9], [4]])
    weights = model.attention_weights(ids(2, 9), ids(2, 7, seed=1), real)
    assert [tuple(w.shape) for w in weights] == [(2, 4, 7, 9)] * 3
    torch.testing.assert_close(torch.stack(weights).sum(-1), torch.ones(3, 2, 4, 7))
    assert all((w[1, :, :, 4:] == 0).all() for w in weights)


def test_tied_embeddings_are_one_parameter_and_untied_ones_three():
    tied, untied = build("pre"), build("untied")
    tables = [n for n, p in tied.named_parameters() if tuple(p.shape) == (31, 20)]
    assert tables == ["encoder.token_embedding.weight"]
    assert sum(tuple(p.shape) == (31, 20) for p in untied.parameters()) == 3


@pytest.mark.parametrize("name", ["pre", "untied"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_it_saves_and_comes_back(name, dtype, tmp_path):
    tokenizer = train_byte_bpe(["some text to learn from"], 270)
    config = TransformerConfig(**{**SIZES, **MODELS[name], "vocab_size": 270})
    model = shaken(EncoderDecoder(config))
    pretrained.save_model(tmp_path, model, tokenizer, "encoder_decoder", {}, dtype=dtype)
    again, _ = pretrained.load_model(tmp_path)
    assert again.config == config
    for a, b in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b.to(dtype).float())


def test_it_learns_to_reverse_a_sequence():
    torch.manual_seed(0)
    model = EncoderDecoder(TransformerConfig(12, 8, 32, n_layers=1, n_heads=2, d_ff=64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        source = torch.randint(1, 12, (64, 5))
        target = torch.cat([torch.zeros(64, 1, dtype=torch.long), source.flip(1)], dim=1)
        optimizer.zero_grad()
        loss = model(source, target[:, :-1], targets=target[:, 1:]) / 320
        loss.backward()
        optimizer.step()
    source = torch.randint(1, 12, (50, 5))
    found = generate(model.given(source), torch.zeros(50, 1, dtype=torch.long), 5, temperature=0)[:, 1:]
    assert (found == source.flip(1)).all(1).float().mean() > 0.9


def test_segments_are_refused():
    with pytest.raises(ValueError, match="n_segments=0, got 2"):
        EncoderDecoder(TransformerConfig(**SIZES, n_segments=2))
