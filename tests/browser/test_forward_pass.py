"""A new text is redrawn, whole, by the forward-pass explorer in JupyterLab; how long that takes is printed."""

from __future__ import annotations

import pytest

from tests.browser.needs import cells_to_run
from tests.browser.page import VIEWPORT, NotebookPage
from tests.browser.server import REPOSITORY

NOTEBOOK = REPOSITORY / "chapters" / "06_transformer.ipynb"
CELL = "transformer-forward-explorer"
TEXTS = (
    "It was not a good film",
    "It was not a good film at all",
    "A good",
    "The plot was thin and the acting was worse, so",
)
NEVER = 10_000  # milliseconds; what EDIT answers when it gives up
# From the change of the text to the first frame in which every picture and the table of guesses are others than before.
EDIT = """async ([cell, text]) => {
    const root = cell.querySelector('.explorer.forward_pass');
    const seen = () => [...root.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL());
    const [before, table] = [seen(), root.querySelector('table').textContent];
    const input = root.querySelector('input[type=text]');
    const begun = performance.now();
    input.value = text;
    input.dispatchEvent(new Event('input', { bubbles: true }));
    while (performance.now() - begun < 10000) {
        await new Promise((drawn) => requestAnimationFrame(drawn));
        const now = performance.now() - begun;
        if (root.classList.contains('busy') || root.querySelector('table').textContent === table) continue;
        const after = seen();
        if (after.every((picture, i) => picture !== before[i])) return now;
    }
    return 10000;
}"""


@pytest.mark.timeout(300)
def test_a_new_text_is_redrawn_whole(server, browser):
    page = browser.new_context(viewport=VIEWPORT).new_page()
    shown = NotebookPage(page, NOTEBOOK)
    shown.open(server.url, server.token, NOTEBOOK.relative_to(REPOSITORY).as_posix())
    for cell_id in cells_to_run(shown.cells, [CELL]):
        assert shown.run(cell_id) is None
    shown.settle(2000)
    milliseconds = []
    for text in TEXTS:
        milliseconds.append(page.evaluate(EDIT, [shown.node(CELL), text]))
        shown.settle(500)
    # Printed, not asserted: a time says as much of what else the machine does. The aim is 500 ms on two cores.
    print("\nmilliseconds from a new text to the redrawn view:", [round(ms) for ms in milliseconds])
    assert max(milliseconds) < NEVER, "a text was not redrawn"
