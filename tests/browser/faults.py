"""What can be wrong with a notebook in a browser, and the watcher that writes it down."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Route, WebSocket

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
LOCAL_SCHEMES = {"data", "blob", "about", "chrome", "devtools"}
WIDGET_ERRORS = (
    "Error displaying widget",
    "Failed to load model",
    "Error creating widget",
    "Could not create a view",
)
# Console errors that are JupyterLab's own and harm nobody: the exact start of the message, and why it is let pass.
HARMLESS: dict[str, str] = {}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. `kind` is one of cell, console, page, request, widget, control."""

    kind: str
    cell: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind:8} {self.cell}: {self.message}"


def is_foreign(url: str) -> bool:
    """Tell whether an address leads off this machine."""
    parts = urlsplit(url)
    return parts.scheme not in LOCAL_SCHEMES and parts.hostname not in LOOPBACK


def is_echo(fault: Fault) -> bool:
    """Tell whether a fault is the console's copy of a widget that could not be shown."""
    return fault.kind == "console" and fault.message.startswith("Error: widget model not found")


@dataclass
class Watcher:
    """Collects faults of a page; `cell` is the id of the cell that is running or being moved."""

    cell: str = "(opening)"
    faults: list[Fault] = field(default_factory=list)

    def add(self, kind: str, message: str) -> None:
        """Write down a fault of the present cell, once."""
        fault = Fault(kind, self.cell, message[:600])
        if kind == "widget":
            # The widget manager also writes a widget's error on the console; it is one fault.
            self.faults[:] = [old for old in self.faults if not (old.cell == self.cell and is_echo(old))]
        if fault not in self.faults:
            self.faults.append(fault)

    def watch(self, context: BrowserContext, page: Page) -> None:
        """Listen to the page's console, errors, requests and sockets; requests to other hosts are refused."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.add("page", str(error)))
        page.on("crash", lambda _page: self.add("page", "the page crashed"))
        page.on("websocket", self._socket)
        context.on("request", self._request)
        context.route(is_foreign, lambda route: self._refuse(route))

    def _request(self, request: Request) -> None:
        if is_foreign(request.url):
            self.add("request", f"asked another host for {request.url}")

    def _socket(self, socket: WebSocket) -> None:
        if is_foreign(socket.url):
            self.add("request", f"opened a socket to another host: {socket.url}")

    def _refuse(self, route: Route) -> None:
        route.abort("blockedbyclient")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error" or any(message.text.startswith(start) for start in HARMLESS):
            return
        url = (message.location or {}).get("url") or "about:blank"
        failed = message.text.startswith("Failed to load resource")
        # The browser also complains of each refused request, which is written down as a request already.
        if not (failed and is_foreign(url)):
            self.add("console", f"{message.text} {url}" if failed else message.text)
