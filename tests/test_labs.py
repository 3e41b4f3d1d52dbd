"""Labs as files: students' versions are made from the solved ones, run to their end, and suit nbgrader."""

import copy
import importlib
import json
from pathlib import Path

import pytest

from utils.checks import release

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "labs"
SOURCES = sorted((FOLDER / "source").glob("*.ipynb"))
STUB_LINES = 15

every_lab = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf8"))


def text_of(cell: dict) -> str:
    return "".join(cell["source"])


def grading(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


def checks_of(path: Path):
    """The module that judges a lab."""
    return importlib.import_module(f"utils.checks.{path.stem.split('_', 1)[1]}")


@pytest.fixture(autouse=True)
def _nothing_done_afterwards():
    """Other tests in this process find every lab as a student opens it."""
    yield
    for source in SOURCES:
        for check in checks_of(source).LAB.checks:
            check.verdict = None


def run(path: Path):
    """Run the code cells of a lab in this process, from top to bottom; returns its exercises with their verdicts."""
    importlib.reload(checks_of(path))  # nothing done yet
    space = {}
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "code" and "colab" not in cell["metadata"].get("tags", []):
            exec(compile(text_of(cell), cell["id"], "exec"), space)
    return space["checks"].LAB


@every_lab
def test_students_lab_is_made_from_its_source(source):
    committed = (FOLDER / source.name).read_text(encoding="utf8")
    assert committed == release.dumps(release.release(read(source))), "run `make labs` and commit what it writes"


def test_every_lab_has_a_source():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == {path.name for path in SOURCES}
    assert SOURCES


@every_lab
def test_students_lab_keeps_ids_and_shows_no_solution(source):
    solved, student = read(source), read(FOLDER / source.name)
    assert [cell["id"] for cell in solved["cells"]] == [cell["id"] for cell in student["cells"]]
    for before, after in zip(solved["cells"], student["cells"], strict=True):
        assert "### " not in text_of(after) or after["cell_type"] == "markdown"
        if not grading(before).get("solution"):
            continue
        assert "..." in text_of(after) and len(text_of(after).splitlines()) <= STUB_LINES
        hidden = text_of(before).split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
        for line in filter(None, map(str.strip, hidden.splitlines())):
            shown = [cell["id"] for cell in student["cells"] if line in text_of(cell)]
            assert not shown, f"the solution's {line!r} can be read in {shown}"


@every_lab
def test_points_and_grade_ids_agree_with_the_checks(source, capsys):
    notebook = read(source)
    graded = [cell for cell in notebook["cells"] if grading(cell).get("grade")]
    lab = run(FOLDER / source.name)
    assert [grading(cell)["points"] for cell in graded] == [check.exercise.points for check in lab.checks]
    for cell, check in zip(graded, lab.checks, strict=True):
        name = check.exercise.name
        assert grading(cell)["grade_id"] == cell["id"]
        assert text_of(cell).splitlines()[0] == f"checks.{name}({name})"
        assert text_of(cell).splitlines()[-2] == f"checks.require(checks.{name}, {name})"
    said = next(text_of(cell) for cell in notebook["cells"] if "| points |" in text_of(cell))
    assert f"| points | {lab.total} |" in said


@every_lab
def test_fresh_lab_runs_to_its_end_without_points(source, capsys):
    lab = run(FOLDER / source.name)
    assert (lab.points, lab.done) == (0, False)


@every_lab
def test_solved_lab_runs_to_its_end_with_all_points(source, capsys):
    lab = run(source)
    assert lab.done and lab.points == lab.total > 0
    assert capsys.readouterr().err == "", "nbgrader gives no points to a cell that writes to stderr"


@every_lab
def test_every_exercise_says_what_it_asks(source):
    cells = read(source)["cells"]
    for index, cell in enumerate(cells):
        if not grading(cell).get("solution"):
            continue
        task, graded, hints = text_of(cells[index - 1]), cells[index + 1], text_of(cells[index + 2])
        for words in ("Difficulty", "of 5", "minutes", f"{grading(graded)['points']} points", "**Shapes:**"):
            assert words in task, f"{cells[index - 1]['id']} does not say {words!r}"
        assert grading(graded)["grade"] and hints.count("<details><summary>Hint") == 2


@every_lab
def test_nbgrader_makes_the_same_lab(source):
    """nbgrader's own steps, wherever it is installed, with the settings that teachers get."""
    preprocessors = pytest.importorskip("nbgrader.preprocessors", reason="nbgrader is not installed")
    nbformat = pytest.importorskip("nbformat")
    from traitlets.config import Config

    config = Config()
    exec((FOLDER / "nbgrader_config.py").read_text(encoding="utf8"), {"get_config": lambda: config})
    notebook, resources = nbformat.read(source, as_version=4), {}
    for name in ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ClearHiddenTests"):
        notebook, resources = getattr(preprocessors, name)(config=config).preprocess(notebook, resources)
    ours = nbformat.read(FOLDER / source.name, as_version=4)
    assert [dict(cell) for cell in notebook.cells] == [dict(cell) for cell in ours.cells]


def small_lab() -> dict:
    """The smallest lab: one exercise and its check."""
    keys = {"locked": False, "schema_version": 3, "task": False}
    return {"metadata": {}, "nbformat": 4, "nbformat_minor": 5, "cells": [
        {"cell_type": "code", "id": "one", "outputs": [], "execution_count": None,
         "source": ["def f():\n", "    ### BEGIN SOLUTION\n", "    return 1\n", "    ### END SOLUTION"],
         "metadata": {"nbgrader": {**keys, "grade": False, "grade_id": "one", "solution": True}}},
        {"cell_type": "code", "id": "two", "outputs": [], "execution_count": None,
         "source": ["check(f)\n", "### BEGIN HIDDEN TESTS\n", "require(f)\n", "### END HIDDEN TESTS"],
         "metadata": {"nbgrader": {**keys, "grade": True, "grade_id": "two", "points": 1, "solution": False}}}]}


def test_release_of_the_smallest_lab():
    lab = small_lab()
    before = copy.deepcopy(lab)
    student = release.release(lab)
    assert lab == before
    assert text_of(student["cells"][0]) == "def f():\n    ..."
    assert text_of(student["cells"][1]) == "check(f)"
    assert student["cells"][0]["metadata"]["deletable"] is False and "editable" not in student["cells"][0]["metadata"]
    assert student["cells"][1]["metadata"]["editable"] is False


def change(place: tuple, value):
    def apply(lab):
        node = lab
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
    return apply


@pytest.mark.parametrize(("harm", "words"), [
    (change(("cells", 0, "source"), ["### BEGIN SOLUTION\n", "x"]), "expected END SOLUTION"),
    (change(("cells", 0, "source"), ["### END SOLUTION"]), "in turn"),
    (change(("cells", 0, "source"), ["### BEGIN SOLUTION\n", "### BEGIN SOLUTION\n", "### END SOLUTION"]), "in turn"),
    (change(("cells", 0, "metadata"), {}), "solution: true"),
    (change(("cells", 1, "metadata", "nbgrader", "grade"), False), "grade: true"),
    (change(("cells", 1, "metadata", "nbgrader", "grade_id"), "one"), "used once"),
    (change(("cells", 1, "metadata", "nbgrader", "points"), None), "points"),
    (change(("cells", 1, "metadata", "nbgrader", "schema_version"), 2), "schema_version 3"),
    (change(("cells", 1, "metadata", "nbgrader", "task"), None), "task"),
    (change(("cells", 1, "outputs"), [{}]), "no outputs"),
])
def test_a_source_that_nbgrader_would_refuse(harm, words, tmp_path):
    lab = small_lab()
    harm(lab)
    with pytest.raises(ValueError, match=words):
        release.release(lab)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "01_good.ipynb").write_text(json.dumps(small_lab()))
    (tmp_path / "source" / "02_bad.ipynb").write_text(json.dumps(lab))
    with pytest.raises(ValueError, match="02_bad.ipynb.*cell '(one|two)'"):
        release.write_all(tmp_path)
    assert not list(tmp_path.glob("*.ipynb")), "a bad source must leave all labs as they were"


def test_no_sources(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        release.write_all(tmp_path)


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "01_torn.ipynb").write_text('{"cells": [')
    with pytest.raises(ValueError, match="01_torn.ipynb"):
        release.write_all(tmp_path)
