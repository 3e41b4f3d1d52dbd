"""One name for questions made by rule and for SQuAD."""

import datasets
import pytest

from utils import environment
from utils.data import reading
from utils.data.sources import SourceError
from utils.data.span_questions import span_questions


def rows(n=40):
    """Rows as SQuAD 2.0 has them."""
    passage = "Kestrel was founded in 1962 in Riga."
    return [
        {
            "title": f"article {i % 20:02}",
            "context": passage if i % 7 else passage * 40,
            "question": f" Question {i}?",
            "answers": {"text": [], "answer_start": []} if i % 3 == 0 else {"text": ["1962"], "answer_start": [23]},
        }
        for i in range(n)
    ]


@pytest.fixture
def squad(monkeypatch):
    asked = []

    def load(name, split, download_config):
        asked.append((name, split))
        return datasets.Dataset.from_list(rows())

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_made_questions_pass_through():
    assert reading.reading_questions("made", 9, "test", 4) == span_questions(9, "test", 4)


def test_squad_rows_become_questions(squad):
    found = reading.reading_questions("squad", 10, "test")
    assert squad == [("rajpurkar/squad_v2", "validation")]
    assert found == reading.reading_questions("squad", 10, "test") != reading.reading_questions("squad", 10, "test", 1)
    for q in found:
        assert q.question == q.question.strip() and len(q.passage) <= reading.MOST_CHARACTERS
        assert (q.passage[q.start : q.start + 4] == q.answer == "1962") if q.answerable else q.answer == ""


def test_questions_to_the_course():
    found = reading.reading_questions("course", 24, "test")
    assert len({q.question for q in found}) == 24 and 5 <= sum(not q.answerable for q in found) <= 12
    for q in found:
        assert q.passage[q.start : q.start + len(q.answer)] == q.answer or not q.answerable
    with pytest.raises(ValueError, match="at most 0 questions of train"):
        reading.reading_questions("course", 1, "train")


def test_train_and_validation_share_no_article(squad):
    train, validation = (
        {q.kind for q in reading.reading_questions("squad", n, s)} for n, s in ((25, "train"), (2, "validation"))
    )
    assert validation <= {"squad: article 09", "squad: article 19"} and not train & validation


def test_a_wrong_place_and_too_few_rows_are_refused(squad, monkeypatch):
    with pytest.raises(ValueError, match="expected at most"):
        reading.reading_questions("squad", 999, "test")
    wrong = {**rows()[1], "answers": {"text": ["1962"], "answer_start": [3]}}
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.Dataset.from_list([wrong]))
    with pytest.raises(ValueError, match="found other text"):
        reading.reading_questions("squad", 1, "test")


def test_offline_says_what_to_do(monkeypatch):
    monkeypatch.setattr(environment, "online", lambda timeout=2.0: False)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(SourceError, match="take the source 'made'"):
        reading.reading_questions("squad", 1, "train")
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(("source", "n", "split"), [("web", 1, "test"), ("squad", 0, "test"), ("squad", 1, "exam")])
def test_refuses(source, n, split):
    with pytest.raises(ValueError, match="reading_questions: expected"):
        reading.reading_questions(source, n, split)
