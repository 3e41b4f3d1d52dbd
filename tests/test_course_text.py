"""The course's text as passages, and the fifty questions."""

import json

import pytest

from utils.data import course_text
from utils.data.sources import SourceError
from utils.text.bm25 import words


def notebook(*cells):
    """A notebook of Markdown cells (id, text)."""
    return json.dumps({"cells": [{"cell_type": "markdown", "id": i, "source": text} for i, text in cells]})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "04_tiny.ipynb").write_text(
        notebook(
            ("title", "# 4. Tiny\n\nA claim."),
            ("goals", "**After this chapter** you can do nothing."),
            ("one", "## First things\n\nSee [chapter 05](05_x.ipynb): $$x = 1$$ *two* words of `code` and $d_k$."),
            ("one-more", "More of it."),
            ("two", "### Second things\n\nText.\n\n| a | b |\n|---|---|\n| 1 | 2 |"),
            ("recap", "## Recap\n\n- All of it."),
            ("references", "## References\n\n- A paper."),
        )
    )
    return tmp_path


def test_passages_know_their_section(folder):
    found = course_text.course_passages(folder=folder)
    assert [(p.cell, p.section, p.heading) for p in found] == [
        ("one", "one", "First things"),
        ("one-more", "one", "First things"),
        ("two", "two", "Second things"),
    ]
    assert found[0].text == "See chapter 05: two words of code and d_k ."
    assert found[2].text == "Text. a b 1 2"
    assert found[1].titled == "4. Tiny. First things. More of it."


def test_no_chapters_is_a_clear_error(folder, tmp_path, monkeypatch):
    with pytest.raises(SourceError, match="chapters 7 to 9"):
        course_text.course_passages(7, 9, folder)
    monkeypatch.setattr(course_text, "__file__", str(tmp_path / "site" / "utils" / "data" / "course_text.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="clone the course's repository"):
        course_text.chapters_folder()


@pytest.mark.parametrize("text", ["", "{", '{"cells": [{"cell_type": "markdown"}]}', '{"cells": []}'])
def test_damaged_notebook_is_a_clear_error(folder, text):
    (folder / "04_tiny.ipynb").write_text(text)
    with pytest.raises(ValueError, match="expected a chapter's notebook"):
        course_text.course_passages(folder=folder)


def test_fifty_questions_point_at_headings_that_exist():
    questions = course_text.course_questions()
    sections = {p.section: p for p in course_text.course_passages(0, 15)}
    others = course_text.course_questions("development")
    assert len(questions) == len({q.text for q in questions}) == 50 and len(others) == 45
    assert not {q.text for q in questions} & {q.text for q in others}
    assert {s for q in others for s in q.sections} <= set(sections)
    assert {q.chapter[:2] for q in questions} == {f"{n:02}" for n in range(1, 16)}
    for question in questions:
        assert set(question.sections) <= set(sections)
        assert sections[question.sections[0]].chapter == question.chapter


def test_headings_in_the_file_are_those_of_the_chapters():
    rows = json.loads(course_text.QUESTIONS.read_text(encoding="utf-8"))["questions"]
    headings = {p.section: p.heading for p in course_text.course_passages(0, 15)}
    assert all(course_text.plain(a["heading"]) == headings[a["cell"]] for row in rows for a in row["answers"])


def test_expected_questions_are_five_a_section_and_none_of_the_fifty():
    expected = course_text.expected_questions()
    assert list(expected) == list(dict.fromkeys(p.section for p in course_text.course_passages(0, 15)))
    written = [question for some in expected.values() for question in some]
    assert {len(some) for some in expected.values()} == {5} and len(set(written)) == len(written)
    for asked in course_text.course_questions():
        own = set(words(asked.text))
        for question in written:
            other = set(words(question))
            assert len(own & other) <= 0.5 * len(own | other), f"too near to a question that judges: {question}"


@pytest.mark.parametrize("text", ["[]", "{", '{"sections": []}', '{"sections": {"one": 5}}'])
def test_damaged_expected_questions_are_a_clear_error(tmp_path, monkeypatch, text):
    monkeypatch.setattr(course_text, "EXPECTED", tmp_path / "expected.json")
    with pytest.raises(SourceError, match="expected.json"):
        course_text.expected_questions()
    (tmp_path / "expected.json").write_text(text)
    with pytest.raises(ValueError, match="reinstall the course"):
        course_text.expected_questions()


@pytest.mark.parametrize("text", ["[]", "{", '{"questions": [{"question": "What?", "answers": []}]}'])
def test_damaged_questions_are_a_clear_error(tmp_path, monkeypatch, text):
    monkeypatch.setattr(course_text, "QUESTIONS", tmp_path / "questions.json")
    with pytest.raises(SourceError, match=r"questions\.json"):
        course_text.course_questions()
    (tmp_path / "questions.json").write_text(text)
    with pytest.raises(ValueError, match="expected questions and the cells"):
        course_text.course_questions()


def test_sentences_are_all_of_the_text():
    text = "One. Two? See section 3.2 of it! (Three, e.g. this.) Four"
    assert course_text.sentences(text) == ["One.", "Two?", "See section 3.2 of it!", "(Three, e.g. this.)", "Four"]
    assert course_text.sentences("") == []
