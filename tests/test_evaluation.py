"""The held-out evaluation: its numbers against plain arithmetic, and the result file as a whole."""

import json
import math

import numpy as np
import pytest
import torch

from utils import launch
from utils.data import batches, corpora, masking
from utils.experiments import evaluation, pretraining
from utils.models.config import TransformerConfig
from utils.models.scoring import token_log_probs
from utils.models.transformer import BERT, GPT
from utils.text.ngrams import AddK
from utils.training.checkpoints import CheckpointError

SIZES = dict(context_length=64, d_model=16, n_layers=1, n_heads=2)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return corpora.reviews("imdb", "validation")["text"][:120]


@pytest.fixture(scope="module")
def gpt(texts):
    tokenizer = pretraining.train_byte_bpe(texts, 400)
    torch.manual_seed(0)
    return GPT(TransformerConfig(vocab_size=tokenizer.get_vocab_size(), **SIZES)).eval(), tokenizer


@pytest.fixture(scope="module")
def bert(texts):
    tokenizer = pretraining.train_wordpiece(texts, 600)
    torch.manual_seed(0)
    return BERT(TransformerConfig(vocab_size=tokenizer.get_vocab_size(), n_segments=2, **SIZES)).eval(), tokenizer


def test_nats_of_both_kinds_of_model(gpt, texts):
    model, tokenizer = gpt
    corpus = batches.tokenize(texts[:5], tokenizer)
    expected = [-token_log_probs(model, corpus.document(i), separator=0).sum() for i in range(5)]
    np.testing.assert_allclose(evaluation.document_nats(model, corpus, 0), expected, rtol=1e-6)
    uniform = AddK(1, 400, k=1e12, bos=0).fit([corpus.document(0)])
    expected = np.diff(corpus.offsets) * math.log(400)
    np.testing.assert_allclose(evaluation.document_nats(uniform, corpus), expected, rtol=1e-6)


def test_bits_per_byte_count_bytes_not_letters():
    texts = ["café", "naïve", "plain"]  # 5 + 6 + 5 bytes
    found = evaluation.bits_per_byte_difference(np.full(3, 16 * math.log(2) / 3), np.zeros(3), texts)
    assert found.estimate == pytest.approx(1.0)


def test_causal_evaluation(gpt, texts):
    model, tokenizer = gpt
    found = evaluation.evaluate_causal(model, tokenizer, texts[:80], texts[80:])
    bits = {name: entry["estimate"] for name, entry in found["bits_per_byte"].items()}
    assert found["documents"] == 40 and found["bytes"] == sum(len(text.encode()) for text in texts[80:])
    assert bits["kneser_ney_5"] < bits["unigram"] < bits["model"], "a random model is worse than counting"
    difference = found["model_minus_kneser_ney_5"]
    assert difference["estimate"] == pytest.approx(bits["model"] - bits["kneser_ney_5"], abs=2e-4)
    assert difference["low"] > 0
    nats = found["nats_per_token"]["model"] * found["tokens"]
    assert bits["model"] == pytest.approx(nats / math.log(2) / found["bytes"], abs=1e-3)


def test_masked_evaluation_equals_a_plain_loop(bert, texts, monkeypatch):
    monkeypatch.setattr(evaluation, "MASKED_TOKENS_PER_BATCH", 512)
    model, tokenizer = bert
    found = evaluation.evaluate_masked(model, tokenizer, texts[:80], texts[80:], length=64, n=3)
    corpus = batches.tokenize(texts[80:], tokenizer)
    ids, ends = pretraining.masking_ids(tokenizer), pretraining.sentence_ends(tokenizer)
    right = masked = pairs = frequent = 0
    most_frequent = np.bincount(batches.tokenize(texts[:80], tokenizer).tokens).argmax()
    for batch in masking.masked_pair_batches(corpus, ids, ends, 64, 512, pretraining.SEED, n=3):
        with torch.no_grad():
            words, next_sentence = model(batch["input_ids"], segment_ids=batch["segment_ids"])
        chosen = batch["targets"] != -100
        right += int((words.argmax(-1) == batch["targets"])[chosen].sum())
        frequent += int((batch["targets"][chosen] == most_frequent).sum())
        masked += int(chosen.sum())
        pairs += int((next_sentence.argmax(-1) == batch["next_sentence"]).sum())
    assert (found["rows"], found["masked_words"]) == (24, masked)
    accuracy = {name: entry["estimate"] for name, entry in found["masked_accuracy"].items()}
    assert accuracy == {"model": round(right / masked, 4), "unigram": round(frequent / masked, 4)}
    assert found["next_sentence_accuracy"]["estimate"] == round(pairs / 24, 4)
    assert found["most_frequent_word"] == tokenizer.id_to_token(int(most_frequent))


@pytest.fixture
def small_course(gpt, bert, texts, monkeypatch):
    """The shipped models and the splits, in small."""
    monkeypatch.setattr(evaluation, "load_model", lambda name: {"reviews-gpt": gpt, "reviews-bert": bert}[name])
    monkeypatch.setattr(evaluation, "load_card", lambda name: {"steps": 7})
    monkeypatch.setattr(evaluation, "MASKED_TOKENS_PER_BATCH", 512)
    monkeypatch.setattr(evaluation, "MASKED_LENGTH", 64)
    parts = {"train": {"text": texts[:80]}, "test": {"text": texts[80:]}}
    monkeypatch.setattr(corpora, "reviews", lambda name, split: parts[split])


def test_the_command_writes_one_small_file(small_course, tmp_path, capsys):
    launch.main(["evaluate-pretrained", "--folder", str(tmp_path / "results")])
    (path,) = (tmp_path / "results").iterdir()
    assert str(path) in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["command"] == "python -m utils.launch evaluate-pretrained"
    assert found["seed"] == pretraining.SEED and found["hardware"]
    assert found["reviews-gpt"]["trained_steps"] == 7
    assert found["reviews-bert"]["row_length"] == 64
    assert path.stat().st_size < 10_000
    again = evaluation.evaluate_pretrained(tmp_path)
    assert again.read_text() == path.read_text(), "the same command gives the same file"


def test_no_place_to_write_is_one_clear_error(small_course, tmp_path):
    (tmp_path / "pretraining.json" / "in the way").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="expected to write"):
        evaluation.evaluate_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pretraining.json"]
