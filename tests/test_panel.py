"""The panel: its tasks are what they say, its scores equal plain forms, and its command keeps every answer."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from utils import launch
from utils.data import corpora, tasks
from utils.experiments import panel
from utils.metrics.intervals import wilson
from utils.models.pretrained import load_model
from utils.models.scoring import token_log_probs


@pytest.mark.parametrize("name", tasks.LABELLED)
def test_labelled_tasks_are_balanced_repeatable_and_their_splits_apart(name):
    one, again = (tasks.make_labelled(name, "test", 41, 3) for _ in range(2))
    assert one.texts == again.texts and (one.labels == again.labels).all()
    assert {len(column) for column in one.texts} == {41} and set(one.labels.tolist()) == {0, 1}
    if "sentiment" not in name:
        assert one.labels.sum() in (20, 21)
    assert one.texts != tasks.make_labelled(name, "test", 41, 4).texts
    training = tasks.make_labelled(name, "train", 41, 3)
    assert not set(one.texts[0]) & set(training.texts[0])


def test_constructed_tasks_are_what_they_say():
    known = " ".join(" ".join(corpora.reviews("imdb", "test")["text"]).split())
    order = tasks.make_labelled("word order", "test", 30, 0)
    assert all((text in known) == bool(label) for text, label in zip(order.texts[0], order.labels, strict=True))
    pairs = tasks.make_labelled("sentence order", "test", 30, 0)
    for first, second, label in zip(*pairs.texts, pairs.labels, strict=True):
        in_order = [" ".join(part.split()) for part in ((first, second) if label else (second, first))]
        assert " ".join(in_order) in known
    same = tasks.make_labelled("same review", "test", 30, 0)
    reviews = [" ".join(text.split()) for text in corpora.reviews("imdb", "test")["text"]]
    for begin, end, label in zip(*same.texts, same.labels, strict=True):
        assert label == any(text.startswith(begin) and text.endswith(end) for text in reviews)


def test_choices_differ_as_they_say():
    for name in tasks.CHOICES:
        choice = tasks.make_choices(name, "test", 25, 0)
        assert len(choice.options) == len(choice.contexts) == 25 and 3 < choice.answers.sum() < 22
        for context, options, answer in zip(choice.contexts, choice.options, choice.answers, strict=True):
            real, foil = options[answer].split(), options[1 - answer].split()
            assert real != foil and bool(context) == (name == "right sequel")
            if name == "right word":
                assert len(real) == len(foil) and sum(a != b for a, b in zip(real, foil, strict=True)) == 1
            if name == "right word order":
                assert Counter(real) == Counter(foil) and sum(a != b for a, b in zip(real, foil, strict=True)) == 2


def test_swapping_and_cutting():
    random = np.random.default_rng(0)
    assert tasks.swap_neighbors("The so good. End", random) is None
    assert tasks.swap_neighbors("a b c", random) == "a c b"
    cut = ["It ends.", '"So soon?" he asked!', "Then e.g. this"]
    assert tasks.sentences(" ".join(cut)) == cut


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: tasks.make_labelled("poetry", "test", 5, 0), "expected one of .*'word order'"),
        (lambda: tasks.make_choices("word order", "test", 5, 0), "'right sequel'"),
        (lambda: tasks.make_labelled("word order", "test", 1, 0), "at least 2 examples"),
        (lambda: tasks.make_labelled("sentiment, short", "test", 5000, 0), "at most 1000"),
        (lambda: panel.right_answers(("GPT-9",)), "expected some of .* got \\['GPT-9'\\]"),
        (lambda: panel.right_answers(()), "got none"),
    ],
)
def test_bad_input_gets_one_clear_error(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_causal_scores_equal_one_text_at_a_time():
    model, tokenizer = load_model("reviews-gpt")
    separator = tokenizer.token_to_id("<|endoftext|>")
    alone = tasks.Choice(["", ""], [("A fine film.", "A film fine."), ("Yes", "No no no")], np.array([0, 1]))
    found = panel.choose_causally(model, tokenizer, alone)
    for row, options in zip(found, alone.options, strict=True):
        for score, text in zip(row, options, strict=True):
            ids = np.array(tokenizer.encode(text).ids)
            assert score == pytest.approx(token_log_probs(model, ids, separator).sum(), abs=1e-3)
    behind = tasks.Choice(["It was late."], [("We slept.", "The cat is a bank.")], np.array([0]))
    context, found = tokenizer.encode("It was late.").ids, panel.choose_causally(model, tokenizer, behind)
    for score, text in zip(found[0], behind.options[0], strict=True):
        ids = tokenizer.encode(" " + text).ids
        given = token_log_probs(model, np.array(context + ids), separator)[len(context) :].sum()
        assert score == pytest.approx(given - token_log_probs(model, np.array(ids), separator).sum(), abs=1e-3)


def test_masked_scores_equal_a_plain_form():
    model, tokenizer = load_model("reviews-bert")
    options = ("The film was not bad at all.", "The film not was bad at all.")
    found = panel.choose_with_masks(model, tokenizer, tasks.Choice([""], [options], np.array([0])))[0]
    for score, text in zip(found, options, strict=True):
        ids = tokenizer.encode(text).ids
        places = [i for i, token in enumerate(tokenizer.encode(text).tokens) if token in ("was", "not")]
        masked = [tokenizer.token_to_id("[MASK]") if i in places else token for i, token in enumerate(ids)]
        with torch.inference_mode():
            log_probs = model(torch.tensor([masked]))[0][0].log_softmax(dim=-1)
        assert score == pytest.approx(sum(log_probs[i, ids[i]].item() for i in places), abs=1e-3)
    sequel = tasks.Choice(["It ended."], [("We left.", "A cat")], np.array([0]))
    behind = panel.choose_with_masks(model, tokenizer, sequel)
    pair = tokenizer.encode("It ended.", "We left.")
    with torch.inference_mode():
        logits = model(torch.tensor([pair.ids]), segment_ids=torch.tensor([pair.type_ids]))[1][0]
    assert behind[0, 0] == pytest.approx((logits[0] - logits[1]).item(), abs=1e-4)


@pytest.mark.parametrize(
    "ids, other, span",
    [
        ("abcd", "abxd", (2, 3)),
        ("abc", "abc", (3, 3)),
        ("aab", "ab", (1, 2)),
        ("ab", "aab", (1, 1)),
        ("abcd", "acbd", (1, 3)),
        ("ab", "cd", (0, 2)),
    ],
)
def test_differing_span(ids, other, span):
    assert panel.differing_span(ids, other) == slice(*span)


def test_vectors_of_a_causal_model_do_not_depend_on_the_batch():
    model, tokenizer = load_model("reviews-gpt")
    texts = ["Short.", "A somewhat longer text about a film.", "Mid length text"]
    together = panel.vectors(model, tokenizer, texts)
    alone = np.concatenate([panel.vectors(model, tokenizer, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_ties_are_decided_by_a_coin():
    scores = np.array([[1.0, 2.0], [2.0, 1.0]] * 3 + [[3.0, 3.0]] * 400)
    found = panel.chosen(scores, 0)
    assert found[:6].tolist() == [1, 0] * 3 and 150 < found[6:].sum() < 250


def test_the_command_keeps_every_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(panel, "MODELS", ("unigrams", "TF-IDF"))
    small = (panel.MODELS, ("word order",), ("right word",), 20, 11, 20, 0)
    monkeypatch.setattr(panel.right_answers, "__defaults__", small)
    monkeypatch.setattr(panel, "N_TEST", 11)
    launch.main(["evaluate-panel", "--folder", str(tmp_path)])
    result = panel.load_panel(tmp_path)
    assert "panel.json" in capsys.readouterr().out and result["command"] == panel.RESULT.run
    assert set(result["right"]["word order"]) == {"unigrams", "TF-IDF"}
    assert set(result["right"]["right word"]) == {"unigrams"}
    assert all(row.shape == (11,) and row.dtype == bool for rows in result["right"].values() for row in rows.values())
    before = (tmp_path / "panel.json").read_text()
    monkeypatch.setattr(panel, "contestant", lambda *given: pytest.fail("what is in the file is not asked again"))
    launch.main(["evaluate-panel", "--folder", str(tmp_path)])
    assert (tmp_path / "panel.json").read_text() == before


def test_the_shipped_result_is_whole():
    result = panel.load_panel()
    assert set(result["right"]) == {*tasks.LABELLED, *tasks.CHOICES}
    for task, rows in result["right"].items():
        assert set(rows) == set(panel.MODELS if task in tasks.LABELLED else panel.WITH_WORDS)
    # A bag of words cannot see an order: were it above chance, the task would leak.
    for task in ("word order", "right word order"):
        assert not wilson(int(result["right"][task]["unigrams"].sum()), result["n_test"], level=0.999).excludes(0.5)
    assert panel.RESULT.path().stat().st_size < 30_000


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"right": {"a": {"b": "zz"}}, "n_test": 4})])
def test_a_damaged_result_names_the_command(content, tmp_path):
    path = tmp_path / "panel.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="python -m utils.launch evaluate-panel"):
        panel.load_panel(tmp_path)
