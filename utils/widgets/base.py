"""What every explorer shares: loading its JavaScript, answering its requests, and a still picture in saved outputs.

An explorer NAME is two files, NAME.py and NAME.js, with no build step. The pattern:

- NAME.py declares a subclass of `Explorer` with `_esm = source("NAME")` and its data as synced traits: strings and
  small lists as they are, arrays as `Bytes` made by `packed()`. All of them travel in one message (`hold_sync`).
- NAME.js follows shared.js in one ES module, so it calls the helpers there directly, keeps all state inside `render`,
  and ends with `export default { render }`. A view never touches anything outside its own element: the same widget may
  be displayed twice, and many widgets live on one page.
- What the browser can do alone, it does (17 ms a move). What needs the model, sets a trait such as `text`; a method
  that observes it calls `self.answer(...)`, which turns a ValueError into a message in the widget.
- `still()` returns HTML that stands where a widget cannot run (the book, exports); `says()` returns the same in words.
- A public function `explore_NAME(...)` makes the widget and returns it, so that the cell ends with it and keeps no
  global.
"""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

FOLDER = Path(__file__).parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def source(name: str) -> str:
    """The JavaScript module of an explorer: shared.js, then NAME.js.

    As text, not as a path: anywidget watches a path for changes, with a thread and a package that learners need not
    have.
    """
    parts = (FOLDER / "shared.js", FOLDER / f"{name}.js")
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def packed(values: Any) -> bytes:
    """A tensor or array of any shape as little-endian float32 bytes, in row order."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


class Explorer(anywidget.AnyWidget):
    """Base of all explorers: shared style, an error line, and a still picture beside the live view."""

    _css = (FOLDER / "shared.css").read_text(encoding="utf-8")
    error = traitlets.Unicode("").tag(sync=True)
    # Counts Python's answers, so that the page redraws once an answer, after all its parts have arrived.
    answers = traitlets.Int(0).tag(sync=True)

    def answer(self, compute: Callable[[], dict[str, Any]]) -> None:
        """Set the traits that `compute()` returns, or, when it raises, the error line; then tell the page."""
        try:
            changes = {**compute(), "error": ""}
        except ValueError as problem:
            changes = {"error": str(problem)}
        except Exception as problem:  # A widget's callback has no cell under which a traceback would be seen.
            changes = {"error": f"{type(problem).__name__}: {problem}"}
        with self.hold_sync():
            for name, value in changes.items():
                setattr(self, name, value)
            self.answers += 1

    def says(self) -> str:
        """What the explorer shows, in words."""
        raise NotImplementedError

    def still(self) -> str:
        """What the explorer shows, as HTML without scripts."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = self.says()
        data["text/html"] = (f'<figure style="margin:0">{self.still()}<figcaption>{html.escape(self.says())} '
                             "<em>Run the cell to explore it.</em></figcaption></figure>")
        return data, metadata
