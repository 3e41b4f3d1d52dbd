"""Check one notebook in the browser: run it, move its explorers, keep pictures, return what is wrong."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Error

from tests.browser.controls import Explorer
from tests.browser.faults import WIDGET_ERRORS, Fault, Watcher
from tests.browser.needs import TAG, cells_to_run, code_cells, tags
from tests.browser.page import THEMES, VIEWPORT, NotebookPage
from tests.browser.server import JupyterServer

MAY_RAISE = "raises-exception"
LOADING = "Loading widget"
LOADING_SECONDS = 15


@dataclass
class Findings:
    """What a check found: the faults, and what it did so that an empty list of faults means something."""

    faults: list[Fault] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    controls: dict[str, int] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)


def check_notebook(
    running: Browser,
    server: JupyterServer,
    path: str,
    everything: bool = False,
    pictures: Path | None = None,
) -> Findings:
    """Check the notebook `path` of the server: its explorers and what they need, or all its cells.

    Pictures of each explorer after moving and of the whole notebook, light and dark, go to the folder `pictures`.
    """
    watcher = Watcher()
    context = running.new_context(viewport=VIEWPORT)
    page = context.new_page()
    watcher.watch(context, page)
    shown = NotebookPage(page, server.root / path)
    findings = Findings(faults=watcher.faults)
    try:
        shown.open(server.url, server.token, path)
        explorers = [cell["id"] for cell in shown.cells if TAG in tags(cell)]
        findings.cells = code_cells(shown.cells) if everything else cells_to_run(shown.cells)
        _run(shown, watcher, findings, explorers)
        watcher.cell = "(pictures)"
        if pictures is not None:
            findings.pictures = _keep_pictures(shown, explorers, pictures)
    except Error as error:
        watcher.add("page", f"the check could not go on: {error.message.splitlines()[0]}")
    finally:
        context.close()
        end_kernels(server)
    return findings


def _run(shown: NotebookPage, watcher: Watcher, findings: Findings, explorers: list[str]) -> None:
    """Run the cells in order and move each explorer right after it was shown."""
    may_raise = {cell["id"] for cell in shown.cells if MAY_RAISE in tags(cell)}
    for cell_id in findings.cells:
        watcher.cell = cell_id
        raised = shown.run(cell_id)
        if raised and cell_id not in may_raise:
            watcher.add("cell", raised)
        elif cell_id in explorers:
            findings.controls[cell_id] = 0
            if not _widget_error(shown, watcher):
                findings.controls[cell_id] = Explorer(shown, cell_id, watcher).exercise()
        _widget_error(shown, watcher)


def _widget_error(shown: NotebookPage, watcher: Watcher) -> bool:
    """Write down an error that stands where the present cell's widget should."""
    text = shown.output_text(watcher.cell)
    for _ in range(LOADING_SECONDS * 5):
        if LOADING not in text:
            break
        shown.page.wait_for_timeout(200)
        text = shown.output_text(watcher.cell)
    for mark in (*WIDGET_ERRORS, LOADING):
        if mark in text:
            line = next(line for line in text.splitlines() if mark in line)
            watcher.add("widget", line.strip())
            return True
    return False


def _keep_pictures(shown: NotebookPage, explorers: list[str], folder: Path) -> list[Path]:
    """Take the pictures in both themes and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = shown.notebook.stem
    taken: list[Path] = []
    for theme in THEMES:
        shown.set_theme(theme)
        for cell_id in explorers:
            taken.append(folder / f"{stem}-{theme}-{cell_id}.png")
            shown.picture_of_cell(cell_id, taken[-1])
        taken += shown.pictures(folder, f"{stem}-{theme}")
    return taken


def end_kernels(server: JupyterServer) -> None:
    """Shut every kernel of the server down, so that one notebook's memory is free before the next."""
    address = f"{server.url}/api/sessions"
    headers = {"Authorization": f"token {server.token}"}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{address}/{session['id']}", headers=headers, method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()
