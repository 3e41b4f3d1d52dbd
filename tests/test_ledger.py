"""The ledger of the source documents: its rows are sound, and each is dealt with in the chapters that exist."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "utils" / "assets" / "ledger.json"
FIELDS = ("id", "document", "section", "kind", "says", "verdict", "correct", "chapters")
DOCUMENTS = ("all", "D0", "D1", "D2", "D3", "D4")
VERDICTS = {"holds", "imprecise", "wrong", "untestable"}
KINDS = {
    *("application", "challenge", "claim", "diagram", "environment", "formula", "glossary", "heading"),
    *("metric", "question", "resource", "snippet", "training task", "trend", "worked example"),
}
CHAPTERS = (
    *("00_start_here", "01_language_models", "02_tokenization", "03_neural_networks", "04_recurrent_networks"),
    *("05_attention", "06_transformer", "07_pretraining", "08_fine_tuning", "09_losses", "10_optimizers"),
    *("11_mixed_precision", "12_training_at_scale", "13_generation", "14_evaluation", "15_compression"),
    *("16_understanding", "17_generation_tasks", "18_speech", "19_scaling", "20_interpretability_and_robustness"),
    *("21_privacy_and_safety", "22_multilingual_and_multimodal", "23_questions_and_answers"),
)
REFERENCE = re.compile(r"\b(?:D[0-4]-[A-Z]\d+[a-d]?|ENV-\d+)\b")

ROWS = json.loads(LEDGER.read_text(encoding="utf-8"))
IDS = {row["id"] for row in ROWS}


def ledger_tags(notebook: Path) -> set[str]:
    """Return the row ids that the cells of a notebook carry as `ledger:ID` tags."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
    return {tag.removeprefix("ledger:") for tag in tags if tag.startswith("ledger:")}


def untagged(rows: list[dict], tags: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return, by written chapter, the rows that no written chapter of theirs has tagged; `tags` maps chapter to ids."""
    missing = {chapter: [] for chapter in tags}
    for row in rows:
        written = [chapter for chapter in row["chapters"] if chapter in tags]
        if any(row["id"] in tags[chapter] for chapter in written):
            continue
        for chapter in written:
            missing[chapter].append(row["id"])
    return missing


def notebooks(folder: str) -> list[Path]:
    """Return the notebooks directly inside a folder of the repository, in reading order."""
    return sorted((ROOT / folder).glob("*.ipynb"))


WRITTEN = [path for path in notebooks("chapters") if path.stem in CHAPTERS]
TAGGABLE = [path for folder in ("chapters", "labs/source", "labs") for path in notebooks(folder)]


def test_rows_have_the_same_fields_as_text():
    for row in ROWS:
        assert tuple(row) == FIELDS, row["id"]
        assert all(isinstance(row[field], str) for field in FIELDS[:-1]), row["id"]
        assert row["says"].strip() and row["section"].strip(), row["id"]


def test_ids_are_unique_and_name_their_document():
    assert len(ROWS) == 514 == len(IDS)
    for row in ROWS:
        assert re.fullmatch(REFERENCE, row["id"]), row["id"]
        assert row["id"].split("-")[0].replace("ENV", "all") == row["document"], row["id"]


def test_rows_stand_in_the_order_of_the_documents():
    order = [DOCUMENTS.index(row["document"]) for row in ROWS]
    assert order == sorted(order)


def test_kinds_and_verdicts_are_known():
    assert {row["kind"] for row in ROWS} == KINDS
    assert {row["verdict"] for row in ROWS} == VERDICTS


def test_what_is_wrong_or_imprecise_is_put_right():
    assert not [row["id"] for row in ROWS if row["verdict"] in {"wrong", "imprecise"} and not row["correct"].strip()]


def test_chapters_are_those_of_the_course():
    for row in ROWS:
        assert row["chapters"] and len(set(row["chapters"])) == len(row["chapters"]), row["id"]
        assert set(row["chapters"]) <= set(CHAPTERS), row["id"]
    assert {chapter for row in ROWS for chapter in row["chapters"]} == set(CHAPTERS)


def test_rows_refer_to_other_rows_that_exist():
    for row in ROWS:
        assert set(REFERENCE.findall(row["says"] + " " + row["correct"])) <= IDS - {row["id"]}, row["id"]


def test_the_file_has_one_row_a_line_and_stays_small():
    lines = LEDGER.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "[" and lines[-1] == "]"
    assert [json.loads(line.removesuffix(",")) for line in lines[1:-1]] == ROWS
    assert LEDGER.stat().st_size < 170_000


@pytest.mark.parametrize("notebook", TAGGABLE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_tag_is_a_row(notebook):
    assert ledger_tags(notebook) <= IDS


@pytest.mark.parametrize("chapter", [path.stem for path in WRITTEN])
def test_a_written_chapter_deals_with_its_rows(chapter):
    tags = {path.stem: ledger_tags(path) for path in WRITTEN}
    missing = untagged(ROWS, tags)[chapter]
    assert not missing, f"{chapter} has no cell tagged ledger:ID for {', '.join(missing)}"


def test_a_row_of_several_chapters_needs_one_tag():
    rows = [
        {"id": "one", "kind": "claim", "chapters": ["05_attention"]},
        {"id": "two", "kind": "formula", "chapters": ["05_attention", "06_transformer"]},
        {"id": "later", "kind": "claim", "chapters": ["09_losses"]},
    ]
    assert untagged(rows, {}) == {}
    assert untagged(rows, {"05_attention": set()}) == {"05_attention": ["one", "two"]}
    assert untagged(rows, {"05_attention": {"one"}, "06_transformer": {"two"}}) == {
        "05_attention": [],
        "06_transformer": [],
    }
    # A tag in a chapter that the row is not assigned to does not count.
    assert untagged(rows, {"05_attention": {"two"}, "09_losses": {"one"}}) == {
        "05_attention": ["one"],
        "09_losses": ["later"],
    }


def test_tags_are_read_from_the_cells(tmp_path):
    cells = [{"metadata": {"tags": ["explorer", "ledger:D0-F1", "ledger:D3-X3a"]}}, {"metadata": {}}]
    notebook = tmp_path / "05_attention.ipynb"
    notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert ledger_tags(notebook) == {"D0-F1", "D3-X3a"}
