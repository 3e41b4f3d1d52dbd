"""One JupyterLab and one browser for all browser tests."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-cells", action="store_true", help="run every cell, not just the explorers and their needs")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect the browser tests only where they are asked for by name: they need a browser, and minutes."""
    asked = [Path(str(argument).split("::")[0]).resolve() for argument in config.args]
    return None if any(path == HERE or HERE in path.parents for path in asked) else True


@pytest.fixture(scope="session")
def server():
    """JupyterLab on a copy of chapters, labs and the fixtures."""
    from tests.browser.server import NOTEBOOK_FOLDERS, REPOSITORY, JupyterServer

    # An end from outside unwinds like an error, so that server and browser are closed.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    folders = {name: REPOSITORY / name for name in NOTEBOOK_FOLDERS} | {"fixtures": HERE / "fixtures"}
    with JupyterServer(folders) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    from tests.browser.page import browser as start

    with start() as running:
        yield running
