"""One notebook in a real browser: open it in JupyterLab, run cells, switch themes, take pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, ElementHandle, Page, sync_playwright

VIEWPORT = {"width": 1400, "height": 1000}
CELL_SECONDS = 600
OPEN_SECONDS = 90
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
# Nothing but loopback can be looked up, whatever a page asks for.
FLAGS.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost")
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
OVERLAP = 60  # pixels of a page that are seen again on the next one

IS_OPEN = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return Boolean(panel?.context?.isReady && panel.content?.widgets?.length
        && panel.sessionContext?.session?.kernel?.status === 'idle');
}"""
START_CELL = """(id) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const index = notebook.widgets.findIndex((cell) => cell.model.id === id);
    if (index < 0) throw new Error('no cell ' + id);
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    window.cellRun = null;
    window.jupyterapp.commands.execute('notebook:run-cell').then(
        () => { window.cellRun = {}; }, (error) => { window.cellRun = {error: String(error)}; });
}"""
CELL_NODE = """(id) => window.jupyterapp.shell.currentWidget.content.widgets
    .find((cell) => cell.model.id === id).node"""
CELL_OUTPUTS = """(id) => window.jupyterapp.shell.currentWidget.content.widgets
    .find((cell) => cell.model.id === id).model.outputs.toJSON()"""
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


def chromium() -> str:
    """Return the path of the browser. Raises RuntimeError, with what to install, where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError("expected Chromium on the PATH and found none: apt-get install chromium")
    return path


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a headless Chromium with a fresh profile, and end it."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=FLAGS, headless=True)
        try:
            yield running
        finally:
            running.close()


class NotebookPage:
    """An open notebook. `page` is Playwright's page; cells are named by their ids."""

    def __init__(self, page: Page, notebook: Path):
        self.page = page
        self.notebook = notebook
        self.cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]

    def open(self, url: str, token: str, path: str) -> None:
        """Open the notebook `path` of the server and wait for its kernel."""
        self.page.goto(f"{url}/lab/tree/{quote(path)}?reset&token={token}")
        self.page.wait_for_function(IS_OPEN, timeout=OPEN_SECONDS * 1000)
        self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        self.settle()

    def settle(self, milliseconds: int = 150) -> None:
        """Wait until the page was drawn, and a little for what draws itself later (formulas, diagrams)."""
        self.page.evaluate(SETTLED)
        self.page.wait_for_timeout(milliseconds)

    def node(self, cell_id: str) -> ElementHandle:
        """Return the cell's element in the page."""
        return self.page.evaluate_handle(CELL_NODE, cell_id).as_element()

    def outputs(self, cell_id: str) -> list[dict]:
        """Return the cell's outputs, in the notebook format."""
        return self.page.evaluate(CELL_OUTPUTS, cell_id)

    def output_text(self, cell_id: str) -> str:
        """Return what the cell's outputs say in the page, a widget's included."""
        return self.node(cell_id).evaluate(
            "(cell) => [...cell.querySelectorAll('.jp-OutputArea-output')].map((area) => area.innerText).join('\\n')"
        )

    def run(self, cell_id: str) -> str | None:
        """Run one cell; return what it raised, or None."""
        self.page.evaluate(START_CELL, cell_id)
        self.page.wait_for_function("() => window.cellRun !== null", timeout=CELL_SECONDS * 1000)
        refused = self.page.evaluate("() => window.cellRun.error")
        errors = [f"{out['ename']}: {out['evalue']}" for out in self.outputs(cell_id) if out["output_type"] == "error"]
        self.settle(30)
        return errors[0] if errors else refused

    def set_theme(self, theme: str) -> None:
        """Switch JupyterLab to "light" or "dark"."""
        self.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", THEMES[theme]
        )
        is_light = "true" if theme == "light" else "false"
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{is_light}'", timeout=20_000)
        self.settle(400)

    def picture_of_cell(self, cell_id: str, target: Path) -> None:
        """Take a picture of one cell, as high as it is."""
        node = self.node(cell_id)
        height = node.evaluate("(cell) => cell.getBoundingClientRect().height")
        if height + 200 > VIEWPORT["height"]:
            self.page.set_viewport_size({**VIEWPORT, "height": min(int(height) + 200, 6000)})
            self.settle()
        node.scroll_into_view_if_needed()
        node.screenshot(path=str(target))
        self.page.set_viewport_size(VIEWPORT)

    def pictures(self, folder: Path, stem: str) -> list[Path]:
        """Take pictures of the whole notebook, a viewport a picture: STEM-01.png and on."""
        for old in folder.glob(f"{stem}-[0-9][0-9].png"):
            old.unlink()
        scroller = self.page.query_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer")
        scroller.evaluate("(node) => { node.scrollTop = 0; }")
        self.settle(300)
        taken: list[Path] = []
        while True:
            target = folder / f"{stem}-{len(taken) + 1:02d}.png"
            scroller.screenshot(path=str(target))
            taken.append(target)
            moved = scroller.evaluate(
                """(node, overlap) => {
                    const before = node.scrollTop;
                    node.scrollTop = before + node.clientHeight - overlap;
                    return node.scrollTop > before + 20;
                }""",
                OVERLAP,
            )
            if not moved or len(taken) >= 99:
                return taken
            self.settle()
