"""Move every control of an explorer, by pointer and by keyboard, and see whether anything changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import ElementHandle, Error

from tests.browser.faults import Watcher
from tests.browser.page import NotebookPage

PROBE = Path(__file__).with_name("explorer.js")
APPEAR_SECONDS = 15
REST_SECONDS = 8
# A "reset" has an effect only after others have moved, a "back" only after a "next": what changed nothing is
# tried again.
ROUNDS_SECONDS = (3, 6)
KEY_SECONDS = 1
MOST_BUTTONS = 24  # of an explorer with more (a bit or a token each), these many, evenly spread
SLIDERS = {"range", "role slider"}
Move = Callable[[], None]


class Explorer:
    """The controls in the output of one cell. A control is a dict: number, kind, label, nth."""

    def __init__(self, shown: NotebookPage, cell_id: str, watcher: Watcher):
        self.shown, self.page, self.cell_id, self.watcher = shown, shown.page, cell_id, watcher
        self.page.evaluate(PROBE.read_text(encoding="utf-8"))
        self.cell = shown.node(cell_id)

    def _ask(self, function: str, *arguments: object) -> object:
        """Call a function of explorer.js on the cell."""
        return self.page.evaluate(
            "([cell, name, rest]) => window.explorerProbe[name](cell, ...rest)", [self.cell, function, list(arguments)]
        )

    def controls(self) -> list[dict]:
        """Return the controls that show now; wait for the first to appear."""
        for _ in range(APPEAR_SECONDS * 5):
            found = self._ask("find")
            if found:
                return found
            self.page.wait_for_timeout(200)
        return []

    def element(self, control: dict) -> ElementHandle | None:
        """Return the control's element, or None when the explorer has taken it away."""
        handle = self.page.evaluate_handle(
            "([cell, control]) => window.explorerProbe.locate(cell, control)", [self.cell, control]
        )
        return handle.as_element()

    def exercise(self) -> int:
        """Move all controls, write down those without label or effect, and return how many there were."""
        controls = self.controls()
        if not controls:
            self.watcher.add("control", f"the explorer shows no control within {APPEAR_SECONDS} s")
        self._rest()
        seen = waiting = spread(controls, MOST_BUTTONS)
        known = set(map(self._key, controls)) | {control["number"] for control in controls}
        problems: list[tuple[dict, str]] = []
        for seconds in ROUNDS_SECONDS:
            tried = [(control, self._problem(control, seconds)) for control in waiting]
            problems = [(control, problem) for control, problem in tried if problem]
            waiting = [control for control, _problem in problems]
            if seconds == ROUNDS_SECONDS[0]:
                fresh = [new for new in self._ask("find") if self._key(new) not in known and new["number"] not in known]
                fresh = spread(fresh, MOST_BUTTONS - sum(control["kind"] == "button" for control in seen))
                seen, waiting = seen + fresh, waiting + fresh
        for control, problem in problems:
            self.watcher.add("control", f"{self._name(control)} {problem}")
        for control in seen:
            if not control["label"]:
                self.watcher.add("control", f"{self._name(control)} has no label")
        return len(seen)

    @staticmethod
    def _key(control: dict) -> tuple:
        return control["kind"], control["label"], control["nth"]

    @staticmethod
    def _name(control: dict) -> str:
        nth = f" ({control['nth']})" if control["nth"] > 1 else ""
        return f"{control['kind']} {control['label']!r}{nth}"

    def _rest(self) -> bool:
        return bool(self._ask("rests", REST_SECONDS * 1000))

    def _problem(self, control: dict, seconds: float) -> str | None:
        """Move one control; return what is wrong with it, or None."""
        element = self._in_view(control)
        if element is None:
            return None
        if not element.is_enabled():
            return "is always disabled"
        try:
            if not self._has_effect(control, pointer_moves(element, control["kind"]), seconds):
                return "changes nothing when it is moved"
            if control["kind"] in SLIDERS:
                return self._keyboard_problem(control, seconds)
        except Error as error:
            return f"cannot be moved: {error.message.splitlines()[0]}"
        return None

    def _in_view(self, control: dict, tries: int = 3) -> ElementHandle | None:
        """Return the control's element, scrolled into view; looked up anew when a late answer has just redrawn it."""
        element = self.element(control)
        try:
            if element is not None:
                element.scroll_into_view_if_needed()
            return element
        except Error:
            if tries == 1:
                raise
        self._rest()
        return self._in_view(control, tries - 1)

    def _has_effect(self, control: dict, moves: Iterator[Move], seconds: float, by_keyboard: bool = False) -> bool:
        """Make moves until one changes something outside the control, and wait until the explorer rests again."""
        for move in moves:
            self._ask("remember", control)
            move()
            if by_keyboard and not self._ask("moved", control, KEY_SECONDS * 1000):
                continue
            if self._ask("changed", control, seconds * 1000):
                if not self._rest():
                    self._stop(control)
                return True
        return False

    def _stop(self, control: dict) -> None:
        """Press what started an animation once more; one that cannot be stopped is a fault."""
        element = self.element(control)
        if element is not None and control["kind"] == "button":
            element.click()
        if not self._rest():
            self.watcher.add("control", f"{self._name(control)}: the explorer does not come to rest")

    def _keyboard_problem(self, control: dict, seconds: float) -> str | None:
        element = self.element(control)
        if element is None:
            return None
        element.focus()
        if not element.evaluate("(node) => node.getRootNode().activeElement === node"):
            return "cannot be focused"
        if not self._has_effect(control, key_moves(element, self.page.keyboard.press), seconds, by_keyboard=True):
            # An arrow key that JupyterLab took may have folded a section away.
            self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:expand-all-headings')")
            return "changes nothing on the arrow keys (JupyterLab takes them: see tests/browser/README.md)"
        return None


def spread(controls: list[dict], most: int) -> list[dict]:
    """Return all the controls, but of the buttons at most `most`, evenly spread."""
    buttons = [control for control in controls if control["kind"] == "button"]
    if len(buttons) <= most:
        return controls
    kept = {buttons[round(index * (len(buttons) - 1) / max(most - 1, 1))]["number"] for index in range(most)}
    return [control for control in controls if control["kind"] != "button" or control["number"] in kept]


def key_moves(element: ElementHandle, press: Callable[[str], None]) -> Iterator[Move]:
    """Yield moves of a focused slider, away from the end where it stands: a step, and more for a coarse effect."""
    at_end = element.evaluate(
        "(node) => Number(node.value ?? node.ariaValueNow) >= Number(node.max ?? node.ariaValueMax)"
    )
    key = "ArrowLeft" if at_end else "ArrowRight"
    for steps in (1, 5, 20):
        yield lambda steps=steps: [press(key) for _ in range(steps)] and None


def pointer_moves(element: ElementHandle, kind: str) -> Iterator[Move]:
    """Yield ways to move a control, the likeliest first."""
    if kind in {"range", "plotly slider"}:
        box = element.bounding_box()
        for share in (0.8, 0.3):
            yield lambda share=share: element.click(
                position={"x": box["width"] * share, "y": box["height"] / 2}, force=kind != "range"
            )
    elif kind == "role slider":
        yield lambda: _drag(element, 60)
        yield lambda: _drag(element, -60)
    elif kind == "select":
        options = element.evaluate("(node) => [...node.options].map((option) => !option.disabled)")
        now = element.evaluate("(node) => node.selectedIndex")
        for index in [index for index, enabled in enumerate(options) if enabled and index != now][:5]:
            yield lambda index=index: element.select_option(index=index) and None
    elif kind in {"text", "search", "number", "textarea"}:
        for value in other_values(element, kind):
            yield lambda value=value: _type(element, value)
            yield lambda: _press_next_button(element)
    elif kind == "color":
        yield lambda: element.fill("#123456")
    else:
        yield lambda: _click(element)


def other_values(element: ElementHandle, kind: str) -> list[str]:
    """Return values to type that differ from the present one and are as valid."""
    now = element.input_value()
    if kind == "number":
        bounds = element.evaluate("(node) => [node.min, node.max, node.step].map((text) => parseFloat(text))")
        low, high, step = (None if bound is None or bound != bound else bound for bound in bounds)
        step = step or 1
        tries = [float(now or 0) + step, float(now or 0) - step, float(now or 0) + 5 * step]
        return [f"{value:g}" for value in tries if (low is None or value >= low) and (high is None or value <= high)]
    try:
        float(now)
    except ValueError:
        words = now.split()
        return [f"{now} indeed", " ".join(reversed(words)) if len(words) > 1 else "one small dog"]
    return ["3.25", "-7"]


def _click(element: ElementHandle) -> None:
    """Click; a box that its own label covers is clicked by the page itself."""
    try:
        element.click(timeout=3000)
    except Error:
        element.evaluate("(node) => node.click ? node.click() : node.dispatchEvent(new MouseEvent('click'))")


def _type(element: ElementHandle, value: str) -> None:
    element.fill(value)
    element.press("Tab" if element.evaluate("(node) => node.tagName") == "TEXTAREA" else "Enter")


def _press_next_button(element: ElementHandle) -> None:
    """Press the first button after a text field: some explorers compute only then."""
    element.evaluate(
        """(node) => {
            const buttons = [...node.closest('.jp-OutputArea-output').querySelectorAll('button')];
            buttons.find((button) => node.compareDocumentPosition(button) & Node.DOCUMENT_POSITION_FOLLOWING)?.click();
        }"""
    )


def _drag(element: ElementHandle, pixels: float) -> None:
    box = element.bounding_box()
    mouse = element.owner_frame().page.mouse
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + pixels, y, steps=4)
    mouse.up()
