"""Questions made by rule, answers as SQuAD counts them, and the word-overlap baseline."""

import json
import string

import pytest

from utils.data import span_questions as made
from utils.data.sources import SourceError
from utils.metrics import answers
from utils.text.overlap_answers import overlap_answer


@pytest.mark.parametrize("split", made.SPLITS)
def test_answers_stand_where_they_are_said_to(split):
    questions = made.span_questions(600, split, seed=3)
    assert questions == made.span_questions(600, split, seed=3) != made.span_questions(600, split, seed=4)
    for q in questions:
        assert "{" not in q.passage + q.question
        assert q.passage[0].isupper() or q.passage[0].isdigit()
        assert q.answerable == bool(q.answer)
        if q.answerable:
            end = q.start + len(q.answer)
            assert q.passage[q.start : end] == q.answer
            before, after = q.passage[q.start - 1 : q.start], q.passage[end : end + 1]
            assert not before.isalnum() and not after.isalnum()
    share = sum(q.answerable for q in questions) / 600
    assert 0.6 < share < 0.74
    assert len({q.kind for q in questions}) == 24


def test_the_wanted_value_is_often_the_other_subject_s():
    """Without an answer the passage still mostly holds a value of the wanted kind: the kind alone decides nothing."""
    numbers = [q for q in made.span_questions(2000, "train", 1) if q.kind.endswith(("founded", "opened", "published"))]
    without = [q for q in numbers if not q.answerable]
    held = [any(word.strip(string.punctuation).isdigit() for word in q.passage.split()) for q in without]
    assert sum(held) / len(held) > 0.7


def test_no_wording_name_or_value_stands_in_two_splits():
    templates = json.loads(made.TEMPLATES.read_text(encoding="utf-8"))
    for relations in templates["domains"].values():
        for wordings in relations.values():
            for what in ("statements", "questions"):
                assert not set(wordings["train"][what]) & set(wordings["test"][what])
                assert len(wordings["train"][what]) >= 3 and len(wordings["test"][what]) == 2
    for kinds in templates["values"].values():
        values = sum(kinds.values(), [])
        assert len(values) == len(set(values)) and set(kinds) == set(made.SPLITS)
    found = {split: {q.answer for q in made.span_questions(3000, split)} - {""} for split in made.SPLITS}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not found[one] & found[other]


@pytest.mark.parametrize(("n", "split"), [(0, "train"), (3, "exam")])
def test_refuses(n, split):
    with pytest.raises(ValueError, match="span_questions: expected"):
        made.span_questions(n, split)


@pytest.mark.parametrize("text", ["{", "[]", '{"domains": {}}'])
def test_missing_and_damaged_templates_are_clear_errors(tmp_path, monkeypatch, text):
    monkeypatch.setattr(made, "TEMPLATES", tmp_path / "span_templates.json")
    made._templates.cache_clear()
    try:
        with pytest.raises(SourceError, match=r"span_templates\.json"):
            made.span_questions(1, "train")
        (tmp_path / "span_templates.json").write_text(text)
        with pytest.raises(ValueError, match="expected wordings and values"):
            made.span_questions(1, "train")
    finally:
        made._templates.cache_clear()


# Computed once with the functions of SQuAD 2.0's evaluation script (normalize_answer, compute_exact, compute_f1).
FROZEN = [
    ("The Harbor Authority.", "harbor authority", 1.0, 1.0),
    ("in 1979", "1979", 0.0, 2 / 3),
    ("the a an", "", 1.0, 1.0),
    ("", "Lisbon", 0.0, 0.0),
    ("Lisbon", "", 0.0, 0.0),
    ("", "", 1.0, 1.0),
    ("a big big dog", "the big dog dog", 0.0, 2 / 3),
    ("1,250 people", "1250", 0.0, 2 / 3),
    ("An  Apple\tpie", "apple pie", 1.0, 1.0),
    ("theater", "the ater", 0.0, 0.0),
    ("O'Neill's", "oneills", 1.0, 1.0),
    ("red, green and blue", "green", 0.0, 0.4),
]


@pytest.mark.parametrize(("answer", "truth", "exact", "f1"), FROZEN)
def test_measures_equal_frozen_values(answer, truth, exact, f1):
    assert answers.exact_match(answer, truth) == exact
    assert answers.token_f1(answer, truth) == pytest.approx(f1, abs=1e-12)
    assert answers.token_f1(truth, answer) == pytest.approx(f1, abs=1e-12)


def test_overlap_baseline_reads_the_sentence_that_shares_most():
    passage = (
        "Kestrel makes tin toys. It employs 1,250 people. Lumina was founded by Ines Okafor. Lumina sells rain coats."
    )
    assert overlap_answer("Who founded Lumina?", passage) == "Ines Okafor"
    assert overlap_answer("How many people does Kestrel employ?", passage) == "1,250"
    assert overlap_answer("What does Lumina sell?", passage) in ("sells rain coats", "founded by Ines Okafor")
    assert overlap_answer("When did the volcano erupt?", passage) == ""
    assert overlap_answer("", "") == ""
