"""Every chapter and lab in a real browser: no error, no request to another host, every control has an effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.check import check_notebook
from tests.browser.server import NOTEBOOK_FOLDERS, REPOSITORY

SCREENSHOTS = Path(__file__).resolve().parent / "screenshots"
NOTEBOOKS = sorted(
    path.relative_to(REPOSITORY).as_posix() for name in NOTEBOOK_FOLDERS for path in (REPOSITORY / name).glob("*.ipynb")
)


def test_there_are_notebooks():
    assert NOTEBOOKS, f"expected notebooks in {NOTEBOOK_FOLDERS}, found none"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook(path, server, browser, pytestconfig):
    everything = pytestconfig.getoption("--all-cells")
    folder = SCREENSHOTS / Path(path).parent.name
    findings = check_notebook(browser, server, path, everything=everything, pictures=folder)
    moved = ", ".join(f"{cell} ({count})" for cell, count in findings.controls.items()) or "none"
    print(f"\n{path}: {len(findings.cells)} cells run; explorers and their controls: {moved}")
    assert not findings.faults, f"{path}:\n" + "\n".join(f"  {fault}" for fault in findings.faults)
