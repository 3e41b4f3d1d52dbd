"""Reading spans: pairs and their targets, no answer, batches, and the reader's command in small."""

import itertools
import json

import numpy as np
import pytest
import torch

from utils.data.span_questions import span_questions
from utils.experiments import answer_spans
from utils.models import adapters, spans
from utils.models.config import TransformerConfig
from utils.models.heads import SpanExtractor
from utils.models.pretrained import load_model
from utils.models.transformer import BERT

PASSAGE = "The Mercer Tower, finished in 1931, is 84 meters high. Its architect was Ines Okafor."


@pytest.fixture(scope="module")
def tokenizer():
    return load_model("all-minilm-l6-v2")[1]


@pytest.fixture
def tiny(tokenizer, monkeypatch):
    """A small random encoder in place of the packaged one."""
    config = TransformerConfig(tokenizer.get_vocab_size(), 256, 16, n_layers=1, n_heads=2, n_segments=2)

    def load(name):
        torch.manual_seed(0)
        return BERT(config), tokenizer

    monkeypatch.setattr(answer_spans, "load_model", load)
    return load


@pytest.mark.parametrize("answer", ["1931", "84 meters", "Ines Okafor", "The Mercer Tower", "high", "Okafor"])
def test_targets_give_the_answer_back(tokenizer, answer):
    pair = spans.encode_pair(tokenizer, "Who was it?", PASSAGE)
    first, last = spans.span_targets(pair, PASSAGE.index(answer), answer)
    assert PASSAGE[pair.offsets[first][0] : pair.offsets[last][1]] == answer
    assert pair.in_passage[first] and pair.in_passage[last]
    logits = torch.zeros(len(pair.input_ids), 2)
    logits[first, 0] = logits[last, 1] = 5.0
    assert spans.reading_of(pair, logits).answer == answer


def test_every_made_question_keeps_its_answer(tokenizer):
    questions = span_questions(300, "train", 2) + span_questions(300, "test", 2)
    pairs, targets = spans.encode_questions(tokenizer, questions)
    for q, pair, (first, last) in zip(questions, pairs, targets, strict=True):
        text = pair.passage[pair.offsets[first][0] : pair.offsets[last][1]] if q.answerable else ""
        assert text == q.answer and last - first < spans.LONGEST_ANSWER
        assert q.answerable == bool(pair.in_passage[first]) == ((first, last) != (0, 0))


def test_no_answer_wins_when_it_scores_as_much(tokenizer):
    pair = spans.encode_pair(tokenizer, "How high is it?", PASSAGE)
    logits = torch.full((len(pair.input_ids), 2), -3.0)
    first, last = spans.span_targets(pair, PASSAGE.index("84"), "84 meters")
    logits[first, 0] = logits[last, 1] = logits[0, 0] = logits[0, 1] = 2.0
    assert spans.reading_of(pair, logits).answer == ""
    assert spans.reading_of(pair, logits, margin=-0.1).answer == "84 meters"
    logits[1] = 100.0  # a token of the question is never an answer
    assert spans.reading_of(pair, logits, margin=-0.1).answer == "84 meters"


def test_probabilities_by_brute_force(tokenizer):
    pair = spans.encode_pair(tokenizer, "Who?", PASSAGE)
    T = len(pair.input_ids)
    logits = torch.randn(T, 2, generator=torch.Generator().manual_seed(4)) * 2
    places = [t for t in range(T) if pair.in_passage[t]]
    scores = {
        (a, b): float(logits[a, 0].double() + logits[b, 1].double())
        for a, b in itertools.product(places, places)
        if 0 <= b - a < spans.LONGEST_ANSWER
    }
    total = sum(map(np.exp, scores.values())) + np.exp(float(logits[0].double().sum()))
    best, none = spans.likely_spans(pair, logits, 4)
    ranked = sorted(scores, key=scores.get, reverse=True)[:4]
    assert [span[:2] for span in best] == ranked
    np.testing.assert_allclose([p for *_, p in best], [np.exp(scores[span]) / total for span in ranked], rtol=1e-5)
    assert none == pytest.approx(np.exp(float(logits[0].double().sum())) / total, rel=1e-5)
    ends = spans.end_probs(pair, logits)
    kept = logits[[0, *places]].softmax(dim=0)
    torch.testing.assert_close(ends[places], kept[1:], rtol=0, atol=1e-6)
    assert float(ends[~pair.in_passage].abs().sum()) == 0


@pytest.mark.parametrize(
    ("question", "passage", "message"),
    [
        ("", PASSAGE, "a question with at least one word"),
        ("Who?", " \n\t", "a passage with at least one word"),
        ("Who?", "\x00\x07\x1b", "a passage with at least one word"),
        ("Who?", "🎬🎬 🍿", "a passage in the script"),
        ("ᚠᚢᚦ ᚨᚱᚲ", PASSAGE, "a question in the script"),
        ("Who?", "word " * 300, "at most 256 tokens"),
    ],
)
def test_bad_input_is_one_clear_error(tokenizer, question, passage, message):
    with pytest.raises(ValueError, match=message):
        spans.encode_pair(tokenizer, question, passage)


def test_targets_refuse_what_does_not_stand_there(tokenizer):
    pair = spans.encode_pair(tokenizer, "Who?", PASSAGE)
    with pytest.raises(ValueError, match="found other text there"):
        spans.span_targets(pair, 3, "1931")


def test_batches_cover_an_epoch_and_answers_come_back_in_order(tokenizer, tiny):
    questions = span_questions(23, "train", 1)
    pairs, targets = spans.encode_questions(tokenizer, questions)
    batches = list(itertools.islice(spans.span_batches(pairs, targets, 5, seed=2), 5))
    seen = sorted(tuple(map(int, row)) for batch in batches for row in batch["targets"])
    assert seen == sorted(targets)
    model = SpanExtractor(tiny("")[0]).train()
    together = spans.read_pairs(model, pairs, batch_size=7)
    assert model.training
    for pair, reading in zip(pairs, together, strict=True):
        alone = spans.read_pairs(model, [pair])[0]
        torch.testing.assert_close(reading.logits, alone.logits, rtol=0, atol=1e-5)
        assert reading.span_text == alone.span_text


def test_command_in_small(tmp_path, tiny, monkeypatch):
    for name, n in {"N_TRAIN": 48, "N_VALIDATION": 20, "N_TEST": 30}.items():
        monkeypatch.setattr(answer_spans, name, n)
    where = answer_spans.answer_spans(tmp_path)
    result = answer_spans.RESULT.read(tmp_path)
    assert result["command"] == "python -m utils.launch answer-spans" and result["test"]["n"] == 30
    assert set(result["test"]["systems"]) == {"reader", "word overlap", "always no answer"}
    reader, tokenizer = answer_spans.load_reader(where)
    questions = span_questions(30, "test", answer_spans.SEED)
    exact = answer_spans.judge(answer_spans.reader_answers(reader, tokenizer, questions), questions)["exact_match"]
    assert result["test"]["systems"]["reader"]["all"]["exact_match"][0] == pytest.approx(exact.mean(), abs=1e-4)
    card = json.loads((where / "card.json").read_text())
    assert card["base"] == "all-minilm-l6-v2" and len(card["loss_nats"]) == 1
    assert adapters.count_parameters(reader)[0] > 0


def test_best_share_and_summary():
    questions = span_questions(200, "train", 5)
    share = answer_spans.best_share(questions)
    scores = [
        answer_spans.judge(answer_spans.overlap_answers(questions, s), questions)["f1"].mean()
        for s in answer_spans.SHARES_TRIED
    ]
    assert share == answer_spans.SHARES_TRIED[int(np.argmax(scores))]
    found = answer_spans.summary(questions, {"right": [q.answer for q in questions], "none": [""] * 200})
    assert found["systems"]["right"]["all"]["f1"][0] == 1.0
    share_without = sum(not q.answerable for q in questions) / 200
    assert found["systems"]["none"]["all"]["exact_match"][0] == pytest.approx(share_without, abs=1e-4)
    assert found["differences"]["none"]["exact_match"][0] == pytest.approx(1 - share_without, abs=1e-4)


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_missing_and_damaged_results_are_one_clear_error(tmp_path, text):
    path = tmp_path / "answer_spans.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match="python -m utils.launch answer-spans"):
        answer_spans.RESULT.read(tmp_path, needs=("test",))


def test_the_shipped_reader_is_as_good_as_its_results_say():
    reader, tokenizer = answer_spans.load_reader()
    result, n = answer_spans.RESULT.read()["test"], 150
    questions = span_questions(result["n"], "test", answer_spans.SEED)[:n]
    exact = answer_spans.judge(answer_spans.reader_answers(reader, tokenizer, questions), questions)["exact_match"]
    _, low, high = result["systems"]["reader"]["all"]["exact_match"]
    assert low - 0.06 < exact.mean() < high + 0.06
    assert result["differences"]["word overlap"]["exact_match"][1] > 0.3
