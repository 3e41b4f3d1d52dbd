"""Take pictures of one notebook as JupyterLab shows it: `python -m tests.browser.look NOTEBOOK [--all] [--dark]`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.browser.needs import cells_to_run, code_cells
from tests.browser.page import VIEWPORT, NotebookPage, browser
from tests.browser.server import REPOSITORY, JupyterServer

SCREENSHOTS = Path(__file__).resolve().parent / "screenshots"


def look(notebook: Path, everything: bool, themes: list[str], width: int, only: list[str]) -> list[Path]:
    """Run the notebook's explorers (or all its cells), take its pictures, print what went wrong on the way."""
    SCREENSHOTS.mkdir(exist_ok=True)
    taken: list[Path] = []
    inside = notebook.is_relative_to(REPOSITORY)
    folder = notebook.parent.relative_to(REPOSITORY).as_posix() if inside else "notebooks"
    with JupyterServer({folder: notebook.parent}) as server, browser() as running:
        page = running.new_context(viewport={**VIEWPORT, "width": width}).new_page()
        page.on("console", lambda message: message.type == "error" and print(f"  console error: {message.text[:500]}"))
        page.on("pageerror", lambda error: print(f"  page error: {error}"))
        shown = NotebookPage(page, notebook)
        shown.open(server.url, server.token, f"{folder}/{notebook.name}")
        cells = code_cells(shown.cells) if everything else cells_to_run(shown.cells, only)
        for cell_id in cells:
            started = time.monotonic()
            raised = shown.run(cell_id)
            print(
                f"  {time.monotonic() - started:6.1f} s  {cell_id}{'  RAISED ' + raised if raised else ''}", flush=True
            )
        shown.settle(1000)
        for theme in themes:
            shown.set_theme(theme)
            for cell_id in only:
                target = SCREENSHOTS / f"{notebook.stem}-{theme}-{cell_id}.png"
                shown.picture_of_cell(cell_id, target)
                taken.append(target)
            if not only:
                taken += shown.pictures(SCREENSHOTS, f"{notebook.stem}-{theme}")
    return taken


def main() -> None:
    """Read the command line and print the paths of the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.look", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--all", action="store_true", help="run all cells, not just the explorers and what they need")
    parser.add_argument("--dark", action="store_true", help="the dark theme")
    parser.add_argument("--both", action="store_true", help="both themes")
    parser.add_argument(
        "--cell", action="append", default=[], metavar="ID", help="only this cell's picture (repeatable)"
    )
    parser.add_argument("--width", type=int, default=VIEWPORT["width"], help="width of the window in pixels")
    choice = parser.parse_args()
    if not choice.notebook.is_file():
        parser.error(f"expected a notebook, found no file {choice.notebook}")
    # An end from outside unwinds like an error, so that server and browser are closed.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _frame: sys.exit(128 + number))
    themes = ["light", "dark"] if choice.both else ["dark" if choice.dark else "light"]
    for path in look(choice.notebook.resolve(), choice.all, themes, choice.width, choice.cell):
        print(path)


if __name__ == "__main__":
    main()
