"""Our GPT and BERT against Hugging Face's with the same weights; weights in and out, and damaged ones."""

import json

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from utils.data import sources
from utils.experiments.pretraining import train_byte_bpe
from utils.models import hugging_face, pretrained
from utils.models.config import TransformerConfig
from utils.models.pretrained import WeightsError
from utils.models.transformer import BERT, GPT

TOLERANCE = dict(rtol=0, atol=1e-5)
GPT2 = dict(
    vocab_size=53, n_positions=29, n_embd=30, n_layer=3, n_head=5, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
)
HF_BERT = dict(
    vocab_size=53,
    max_position_embeddings=29,
    hidden_size=30,
    num_hidden_layers=3,
    num_attention_heads=5,
    intermediate_size=41,
    type_vocab_size=2,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
LLAMA = dict(
    vocab_size=53,
    max_position_embeddings=29,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=10,
    num_key_value_heads=5,
    intermediate_size=37,
    rms_norm_eps=1e-4,
    rope_parameters={"rope_type": "default", "rope_theta": 700.0},
)
LLAMAS = {"untied": {}, "tied": {"tie_word_embeddings": True}, "biases": {"attention_bias": True, "mlp_bias": True}}
SENTENCES = [
    "A film that trusts its audience.",
    "I wanted my two hours back; nobody in this picture seems to know why it was made, and it shows.",
    "Großartig! 10/10",
    "Not bad.",
]


def shaken(model):
    """The model with weights, biases and norms far from their initial values, so that no part can hide."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def gpt_pair():
    torch.manual_seed(0)
    theirs = shaken(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)))
    ours = GPT(hugging_face.gpt2_config(theirs.config.to_dict()))
    pretrained.fit_weights(ours, hugging_face.gpt2_weights(theirs.state_dict()))
    return ours, theirs


def bert_pair():
    torch.manual_seed(0)
    theirs = shaken(transformers.BertForPreTraining(transformers.BertConfig(**HF_BERT)))
    ours = BERT(hugging_face.bert_config(theirs.config.to_dict()))
    pretrained.fit_weights(ours, hugging_face.bert_weights(theirs.state_dict()))
    return ours, theirs


def llama_pair(options):
    torch.manual_seed(0)
    theirs = shaken(transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, **options)))
    ours = GPT(hugging_face.llama_config(theirs.config.to_dict()))
    pretrained.fit_weights(ours, hugging_face.llama_weights(theirs.state_dict()))
    return ours, theirs


def inputs(T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(53, (3, T), generator=generator)
    return ids, torch.arange(T) < torch.tensor([[T], [1], [T - T // 3]]), torch.randint(2, (3, T), generator=generator)


def assert_same_gradients(ours, theirs, rename):
    """All gradients equal, Hugging Face's under our names."""
    found = {name: p.grad for name, p in ours.named_parameters()}
    expected = rename({name: p.grad for name, p in theirs.named_parameters()})
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def assert_same_logits(ours, theirs, T, padded, record_property):
    """A GPT of ours and one of Hugging Face's give the same logits at all real tokens."""
    ids, mask, _ = inputs(T)
    with torch.inference_mode():
        found = ours(ids, mask if padded else None)
        expected = theirs(ids, attention_mask=mask.long() if padded else None).logits
    difference = (found - expected)[mask if padded else ...].abs().max()
    record_property("largest difference of logits", float(difference))
    assert expected.std() > 0.5 and difference < 1e-5


def assert_same_language_gradients(ours, theirs, rename):
    """The next token's loss has the same gradients in a GPT of ours and one of Hugging Face's."""
    ids, _, _ = inputs(13)
    ours(ids[:, :-1], targets=ids[:, 1:]).div(ids[:, 1:].numel()).backward()
    logits = theirs(ids[:, :-1]).logits
    F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    assert_same_gradients(ours, theirs, rename)


@pytest.mark.parametrize("T", [1, 7, 29])
@pytest.mark.parametrize("padded", [False, True])
def test_our_gpt_equals_hugging_faces_gpt2_with_the_same_weights(T, padded, record_property):
    ours, theirs = (model.eval() for model in gpt_pair())
    assert_same_logits(ours, theirs, T, padded, record_property)


def test_our_gpts_gradients_equal_hugging_faces():
    ours, theirs = gpt_pair()
    assert_same_language_gradients(ours, theirs, hugging_face.gpt2_weights)


@pytest.mark.parametrize("T", [1, 7, 29])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", LLAMAS)
def test_our_gpt_as_a_llama_equals_hugging_faces_with_the_same_weights(kind, T, padded, record_property):
    ours, theirs = (model.eval() for model in llama_pair(LLAMAS[kind]))
    assert_same_logits(ours, theirs, T, padded, record_property)


def test_our_llamas_gradients_equal_hugging_faces():
    ours, theirs = llama_pair({})
    assert_same_language_gradients(ours, theirs, hugging_face.llama_weights)


@pytest.mark.parametrize(
    "options",
    [
        {"head_dim": 6},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0}},
    ],
)
def test_a_llama_that_ours_cannot_be_is_one_clear_error(options):
    with pytest.raises(ValueError, match="Llama: expected .* got .*; take a Llama 2"):
        hugging_face.llama_config(transformers.LlamaConfig(**{**LLAMA, **options}).to_dict())


def test_older_llama_configurations_name_their_rotary_base_beside_the_rest():
    settings = transformers.LlamaConfig(**LLAMA).to_dict()
    settings.pop("rope_parameters")
    assert hugging_face.llama_config({**settings, "rope_theta": 300.0, "rope_scaling": None}).rotary_base == 300.0
    assert hugging_face.llama_config(settings).rotary_base == 10_000.0


@pytest.mark.parametrize("T", [1, 7, 29])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_our_bert_equals_hugging_faces_with_the_same_weights(T, padded, segments, record_property):
    ours, theirs = (model.eval() for model in bert_pair())
    ids, mask, types = inputs(T)
    mask, types = mask if padded else None, types if segments else None
    with torch.inference_mode():
        words, pairs = ours(ids, mask, types)
        expected = theirs(ids, None if mask is None else mask.long(), types)
    difference = (words - expected.prediction_logits)[mask if padded else ...].abs().max()
    record_property("largest difference of logits", float(difference))
    assert expected.prediction_logits.std() > 0.5 and difference < 1e-5
    torch.testing.assert_close(pairs, expected.seq_relationship_logits, **TOLERANCE)


def test_our_berts_gradients_equal_hugging_faces():
    ours, theirs = bert_pair()
    ids, mask, types = inputs(13)
    targets = torch.where(torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.4, ids, -100)
    targets = targets.masked_fill(~mask, -100)
    follows = torch.tensor([0, 1, 1])
    loss, pairs = ours(ids, mask, types, targets=targets)
    (loss / (targets != -100).sum() + F.cross_entropy(pairs, follows)).backward()
    theirs(ids, mask.long(), types, labels=targets, next_sentence_label=follows).loss.backward()
    assert_same_gradients(ours, theirs, hugging_face.bert_weights)


def test_weights_with_the_older_names_of_bert_base_uncased_fit_too():
    ours, theirs = bert_pair()
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in theirs.state_dict().items()
    }
    again = BERT(ours.config)
    pretrained.fit_weights(again, hugging_face.bert_weights(older))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ours.parameters(), strict=True))


@pytest.fixture(scope="module")
def encoder():
    return pretrained.load_model("all-minilm-l6-v2")


def test_our_bert_equals_the_packaged_encoder_on_real_sentences(encoder, record_property):
    model, tokenizer = encoder
    theirs = transformers.BertModel.from_pretrained(sources.model_folder("all-minilm-l6-v2")).eval()
    tokenizer.enable_padding()
    batch = tokenizer.encode_batch(SENTENCES)
    tokenizer.no_padding()
    ids, mask, types = (
        torch.tensor([getattr(one, name) for one in batch]) for name in ("ids", "attention_mask", "type_ids")
    )
    with torch.inference_mode():
        found, expected = model.encode(ids, mask.bool(), types), theirs(ids, mask, types)
    difference = (found - expected.last_hidden_state)[mask.bool()].abs().max()
    record_property("largest difference of hidden states", float(difference))
    assert difference < 1e-4
    with torch.inference_mode():
        alone = model.encode(torch.tensor([tokenizer.encode(SENTENCES[0]).ids]))
    torch.testing.assert_close(alone[0], found[0, : alone.shape[1]], rtol=0, atol=1e-4)


def test_the_packaged_tokenizer_equals_transformers_from_the_same_folder(encoder):
    theirs = transformers.AutoTokenizer.from_pretrained(sources.model_folder("all-minilm-l6-v2"))
    for sentence in SENTENCES:
        assert encoder[1].encode(sentence).ids == theirs(sentence)["input_ids"]


CONFIG = TransformerConfig(vocab_size=270, context_length=11, d_model=12, n_layers=2, n_heads=2)


@pytest.fixture
def saved(tmp_path):
    """A GPT with its tokenizer, saved; the folder and the model."""
    tokenizer = train_byte_bpe([" ".join(SENTENCES)], 270)
    model = shaken(GPT(CONFIG))
    folder = tmp_path / "model"
    pretrained.save_model(folder, model, tokenizer, "gpt", {"name": "tiny"})
    return folder, model


def test_a_saved_model_comes_back_in_half_precision_with_its_tokenizer(saved):
    folder, model = saved
    again, tokenizer = pretrained.load_model(folder)
    assert not again.training and again.config == model.config
    for a, b in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b.half().float())
    assert tokenizer.decode(tokenizer.encode(SENTENCES[2]).ids) == SENTENCES[2]
    card = json.loads((folder / "card.json").read_text())
    assert card == {"name": "tiny", "weights_sha256": sources.sha256(folder / "model.safetensors")}


def damage(folder, kind):
    weights, config = folder / "model.safetensors", folder / "config.json"
    tensors = load_file(weights)
    settings = json.loads(config.read_text())
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "one bit":
        content = bytearray(weights.read_bytes())
        content[-9] ^= 1
        weights.write_bytes(content)
    elif kind == "garbage":
        weights.write_bytes(b"\x00\x01not weights")
    elif kind == "absent":
        weights.unlink()
    elif kind == "missing tensor":
        tensors.pop("transformer.blocks.1.attention.key.bias")
        save_file(tensors, weights)
    elif kind == "extra tensor":
        save_file({**tensors, "transformer.blocks.2.attention.key.bias": torch.zeros(12)}, weights)
    elif kind == "other shape":
        config.write_text(json.dumps({**settings, "d_model": 14}))
    elif kind == "unknown family":
        config.write_text(json.dumps({**settings, "family": "t5"}))
    elif kind == "unknown field":
        config.write_text(json.dumps({**settings, "hidden_size": 12}))
    elif kind == "no config":
        config.unlink()
    elif kind == "broken config":
        config.write_text("{")


@pytest.mark.parametrize(
    "kind, named",
    [
        ("truncated", "damaged"),
        ("garbage", "damaged"),
        ("one bit", "damaged or was replaced"),
        ("absent", "missing or damaged"),
        ("missing tensor", "missing transformer.blocks.1.attention.key.bias"),
        ("extra tensor", "unexpected transformer.blocks.2.attention.key.bias"),
        ("other shape", r"\(270, 12\) instead of \(270, 14\)"),
        ("unknown family", "course model"),
        ("unknown field", "hidden_size"),
        ("no config", "config.json"),
        ("broken config", "config.json"),
    ],
)
def test_damaged_or_foreign_weights_are_one_clear_error(saved, kind, named):
    damage(saved[0], kind)
    with pytest.raises(WeightsError, match=named):
        pretrained.load_model(saved[0])


def test_weights_that_do_not_fit_leave_the_model_as_it_was(saved):
    _, model = saved
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrong = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    wrong.pop("transformer.norm.bias")
    with pytest.raises(WeightsError, match="missing transformer.norm.bias"):
        pretrained.fit_weights(model, wrong)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


DISTILBERT = dict(vocab_size=270, max_position_embeddings=29, dim=30, n_layers=3, n_heads=5, hidden_dim=41, dropout=0.0)
SAVED_BY_THE_LIBRARY = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**GPT2, "vocab_size": 270})),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, "vocab_size": 270})),
    "tied llama": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**LLAMA, "vocab_size": 270}, tie_word_embeddings=True)
    ),
    "bert": lambda: transformers.BertForPreTraining(transformers.BertConfig(**{**HF_BERT, "vocab_size": 270})),
    "bert without heads": lambda: transformers.BertModel(transformers.BertConfig(**{**HF_BERT, "vocab_size": 270})),
    "distilbert": lambda: transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(**DISTILBERT)),
}


@pytest.mark.parametrize("kind", SAVED_BY_THE_LIBRARY)
def test_a_folder_in_hugging_faces_format_loads_as_our_model(kind, tmp_path):
    torch.manual_seed(0)
    theirs = shaken(SAVED_BY_THE_LIBRARY[kind]()).eval()
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(train_byte_bpe([" ".join(SENTENCES)], 270).to_str())
    ours, tokenizer = pretrained.load_model(tmp_path)
    ids = torch.tensor([tokenizer.encode(SENTENCES[3] * 3).ids])
    with torch.inference_mode():
        expected = theirs(ids)[0]
        found = ours.encode(ids) if kind == "bert without heads" else ours(ids)
    assert not ours.training
    torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, expected, **TOLERANCE)


def test_another_library_models_folder_says_which_can_be_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(WeightsError, match=r"model_type bert, distilbert, gpt2, llama\) in .*, got: KeyError\('t5'\)"):
        pretrained.load_model(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path, saved):
    _, model = saved
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match="choose a folder you may write to"):
        pretrained.save_model(tmp_path / "file" / "model", model, train_byte_bpe(["a b"], 270), "gpt", {})


def test_saving_over_a_model_is_whole_or_not_at_all(saved, monkeypatch):
    folder, model = saved
    before = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(pretrained, "save", lambda tensors: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(WeightsError, match="No space left"):
        pretrained.save_model(folder, shaken(GPT(CONFIG)), train_byte_bpe(["a b"], 270), "gpt", {})
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
