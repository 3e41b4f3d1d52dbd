"""Heads: pooling, classifier, embeddings and answer spans against Hugging Face's models and brute force."""

import itertools

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from utils.models import heads, hugging_face, pretrained
from utils.models.heads import SequenceClassifier, SpanExtractor
from utils.models.transformer import BERT

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "film", "of", "great", "beauty", "dull", "and", "long", "the", "end"]


@pytest.fixture
def tokenizer():
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture
def settings():
    return transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=22,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=31,
        max_position_embeddings=19,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def copied(theirs):
    """Our encoder with the weights of a Hugging Face BERT."""
    encoder = BERT(hugging_face.bert_config(theirs.config.to_dict()))
    weights = hugging_face.bert_weights(theirs.state_dict())
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith(("classifier", "qa_outputs"))}
    pretrained.fit_weights(encoder, weights, optional=("word_", "next_sentence", "pooler"))
    return encoder.eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(4, 13, dtype=torch.bool)
    mask[1, 7:], mask[3, 1:] = False, False
    return {
        "input_ids": torch.randint(4, len(WORDS), (4, 13), generator=generator),
        "attention_mask": mask,
        "segment_ids": torch.randint(0, 2, (4, 13), generator=generator),
    }


def hugging_face_inputs(batch):
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"].long(),
        "token_type_ids": batch["segment_ids"],
    }


def test_cls_classifier_equals_hugging_face(settings, batch):
    torch.manual_seed(0)
    theirs = transformers.BertForSequenceClassification(settings).eval()
    ours = SequenceClassifier(copied(theirs), 3, pooling="cls").eval()
    ours.head.load_state_dict(theirs.classifier.state_dict())
    torch.testing.assert_close(ours(**batch), theirs(**hugging_face_inputs(batch)).logits, atol=1e-5, rtol=0)


def test_mean_pooling_leaves_padding_out(batch):
    hidden = torch.randn(4, 13, 5)
    pooled = heads.mean_pool(hidden, batch["attention_mask"])
    for row in range(4):
        torch.testing.assert_close(pooled[row], hidden[row, batch["attention_mask"][row]].mean(0))
    torch.testing.assert_close(heads.mean_pool(hidden), hidden.mean(1))
    with pytest.raises(ValueError, match="padding only"):
        heads.mean_pool(hidden, torch.zeros(4, 13, dtype=torch.bool))


def test_sentence_embeddings_equal_hugging_face(settings, tokenizer):
    torch.manual_seed(1)
    theirs = transformers.BertModel(settings).eval()
    texts = ["a film of great beauty", "dull", "the long and dull end of the film", "great and long and great"]
    ours = heads.sentence_embeddings(copied(theirs), tokenizer, texts, batch_size=3)
    for row, text in enumerate(texts):
        ids = torch.tensor([tokenizer.encode(text).ids])
        hidden = theirs(ids).last_hidden_state[0].detach()
        torch.testing.assert_close(ours[row], torch.nn.functional.normalize(hidden.mean(0), dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.norm(dim=-1), torch.ones(4))


def test_predictions_come_back_in_order_and_keep_the_mode(settings, tokenizer):
    torch.manual_seed(2)
    model = SequenceClassifier(BERT(hugging_face.bert_config(settings.to_dict())), 2, dropout=0.5).train()
    texts = ["the long and dull end of the film", "dull", "a film", "great and long"]
    together = heads.predict_probs(model, tokenizer, texts, batch_size=3)
    alone = torch.cat([heads.predict_probs(model, tokenizer, [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.sum(-1), torch.ones(4))
    assert model.training


def test_encode_texts_keeps_the_closing_separator(tokenizer):
    ids = heads.encode_texts(tokenizer, ["a film of great beauty", "dull"], max_length=5)
    assert ids == [[2, 4, 5, 6, 3], [2, 9, 3]]
    with pytest.raises(ValueError, match="at least 3"):
        heads.encode_texts(tokenizer, ["a"], max_length=2)


def test_span_logits_and_loss_equal_hugging_face(settings, batch):
    torch.manual_seed(4)
    settings.num_labels = 2
    theirs = transformers.BertForQuestionAnswering(settings).eval()
    ours = SpanExtractor(copied(theirs)).eval()
    ours.head.load_state_dict(theirs.qa_outputs.state_dict())
    targets = torch.tensor([[2, 5], [0, 0], [11, 12], [0, 0]])
    out = theirs(**hugging_face_inputs(batch), start_positions=targets[:, 0], end_positions=targets[:, 1])
    logits = ours(**batch)
    torch.testing.assert_close(logits[..., 0], out.start_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[..., 1], out.end_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(heads.span_loss(logits, targets), out.loss, atol=1e-5, rtol=0)
    total, count = heads.span_extraction(ours, {**batch, "targets": targets})
    assert count == 8
    torch.testing.assert_close(total / count, out.loss, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_best_span_equals_brute_force(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(17, 2, generator=generator)
    allowed = torch.rand(17, generator=generator) < 0.6
    spans = [
        (float(logits[i, 0] + logits[j, 1]), i, j)
        for i, j in itertools.product(range(17), repeat=2)
        if i <= j < i + 4 and allowed[i] and allowed[j]
    ]
    score, i, j = max(spans)
    start, end, found = heads.best_span(logits, allowed, max_tokens=4)
    assert (start, end) == (i, j) and found == pytest.approx(score)


def test_best_span_refuses_nothing_to_choose_from():
    with pytest.raises(ValueError, match="0 allowed"):
        heads.best_span(torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="max_tokens=0"):
        heads.best_span(torch.zeros(3, 2), torch.ones(3, dtype=torch.bool), max_tokens=0)


def test_refuses_unknown_pooling_and_one_class(settings):
    encoder = BERT(hugging_face.bert_config(settings.to_dict()))
    with pytest.raises(ValueError, match="'max'"):
        SequenceClassifier(encoder, pooling="max")
    with pytest.raises(ValueError, match="n_classes"):
        SequenceClassifier(encoder, n_classes=1)


def test_refuses_a_tokenizer_without_padding(settings):
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    model = SequenceClassifier(BERT(hugging_face.bert_config(settings.to_dict())))
    with pytest.raises(ValueError, match=r"\[PAD\]"):
        heads.predict_probs(model, tokenizer, ["film"])
