"""The checker itself: it passes what is good, and each fixture with one fault turns it red for that fault alone."""

from __future__ import annotations

import pytest

from tests.browser.check import check_notebook
from tests.browser.needs import cells_to_run

FAULTS = {
    "console_error": ("console", "the fixture complains"),
    "widget_error": ("widget", "Error displaying widget"),
    "other_host": ("request", "http://example.invalid/x.png"),
    "dead_slider": ("control", "range 'temperature' changes nothing when it is moved"),
    "keyboard_trap": ("control", "range 'temperature' changes nothing on the arrow keys"),
    "cell_raises": ("cell", "ValueError: the fixture fails"),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported_and_nothing_else(name, server, browser):
    kind, words = FAULTS[name]
    faults = check_notebook(browser, server, f"fixtures/{name}.ipynb").faults
    assert [fault.kind for fault in faults] == [kind], faults
    assert words in faults[0].message
    assert faults[0].cell == f"{name}-explorer"


@pytest.mark.timeout(180)
def test_a_good_notebook_passes(server, browser, tmp_path):
    findings = check_notebook(browser, server, "fixtures/good.ipynb", pictures=tmp_path)
    assert findings.faults == []
    assert findings.cells == ["good-setup", "good-start", "good-change", "good-explorer"]
    assert findings.controls == {"good-explorer": 3}
    names = {path.name for path in findings.pictures}
    assert {f"good-{theme}-{part}.png" for theme in ("light", "dark") for part in ("good-explorer", "01")} <= names
    assert all(path.stat().st_size > 1000 for path in findings.pictures)


@pytest.mark.timeout(180)
def test_all_cells_are_run_when_asked(server, browser):
    findings = check_notebook(browser, server, "fixtures/good.ipynb", everything=True)
    assert [(fault.kind, fault.cell) for fault in findings.faults] == [("cell", "good-unneeded")]


@pytest.mark.timeout(180)
def test_every_kind_of_control_is_moved(server, browser):
    findings = check_notebook(browser, server, "fixtures/several.ipynb")
    assert findings.faults == []
    assert findings.controls == {"several-anywidget": 11, "several-ipywidgets": 1, "several-plotly": 1}


def code(cell_id: str, source: str, *tags: str) -> dict:
    return {"cell_type": "code", "id": cell_id, "source": source, "metadata": {"tags": list(tags)}}


def test_needs_follow_names_changes_and_tags():
    cells = [
        code("setup", "import math"),
        code("old", "a = 1"),
        code("new", "%time\na = {}"),
        code("part", "a['x'] = math.pi"),
        code("train", "fit()"),
        code("unused", "b = 2"),
        code("show", "def show(v):\n    return v + a['x']"),
        code("explorer", "show(3)", "explorer", "needs:train"),
        code("after", "a = 5"),
    ]
    assert cells_to_run(cells) == ["setup", "new", "part", "train", "show", "explorer"]
    assert cells_to_run(cells, ["part"]) == ["setup", "new", "part"]


def test_names_inside_functions_are_their_own():
    cells = [
        code("setup", "import math"),
        code("helper", "def helper(text):\n    size = len(text)\n    return size"),
        code("size", "size = 3\nsize += 1"),
        code("other", "[size for text in 'ab' for size in (1, 2)]\nclass A:\n    size = 2"),
        code("show", "def show(text):\n    return size + len(text)"),
        code("explorer", "show('a')", "explorer"),
    ]
    assert cells_to_run(cells) == ["setup", "size", "show", "explorer"]


def test_a_need_that_is_no_cell_is_an_error():
    with pytest.raises(ValueError, match="needs:gone"):
        cells_to_run([code("only", "1", "explorer", "needs:gone")])
