"""The network is really off in the tests and in the notebooks' kernels, and the guard is what switches it off."""

import os
import socket
import subprocess
import sys
import threading

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from tests import offline

PROBE = """
import socket
with socket.socket({family}, socket.SOCK_STREAM) as probe:
    probe.settimeout(5)
    try:
        probe.connect({address!r})
        print("reached")
    except OSError as error:
        print(type(error).__name__, error)
"""


def own_address() -> str:
    """An IPv4 address of this machine that is not loopback."""
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family == socket.AF_INET and not entry.address.startswith("127."):
                return entry.address
    pytest.skip("this machine has no address but loopback")


@pytest.fixture
def listener():
    """A server on the machine's own address; yields that address."""
    with socket.create_server((own_address(), 0)) as server:
        stop = threading.Event()
        server.settimeout(0.1)

        def answer():
            while not stop.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()
        stop.set()
        thread.join()


def environment(guarded: bool) -> dict[str, str]:
    """The variables of a test process, with or without the guard."""
    variables = offline.environment()
    if not guarded:
        paths = variables["PYTHONPATH"].split(os.pathsep)
        variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path != str(offline.GUARD))
    return variables


def run_python(code: str, guarded: bool) -> str:
    """What `code` prints in a fresh interpreter."""
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=environment(guarded), capture_output=True, text=True, timeout=60)
    return answer.stdout + answer.stderr


def run_kernel(code: str, guarded: bool) -> str:
    """What `code` prints in a fresh kernel: what a notebook's cell would print."""
    manager, client = start_new_kernel(kernel_name="python3", env=environment(guarded))
    printed = []

    def collect(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    try:
        client.execute_interactive(code, output_hook=collect, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(printed)


@pytest.mark.parametrize("run", [run_python, run_kernel])
def test_guard_refuses_what_is_reached_without_it(run, listener):
    code = PROBE.format(family="socket.AF_INET", address=listener)
    assert run(code, guarded=False).strip() == "reached"
    answer = run(code, guarded=True)
    assert answer.startswith("NetworkGuardError") and listener[0] in answer


def test_guard_lets_loopback_through():
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = PROBE.format(family="socket.AF_INET", address=server.getsockname())
        assert run_python(code, guarded=True).strip() == "reached"


@pytest.mark.parametrize(
    "call",
    [
        "socket.getaddrinfo('example.org', 443)",
        "socket.gethostbyname('example.org')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('203.0.113.1', 53))",
        "socket.create_connection(('203.0.113.1', 80), timeout=5)",
        "urllib.request.urlopen('http://203.0.113.1/', timeout=5)",
    ],
)
def test_guard_refuses_lookups_and_datagrams(call):
    assert "NetworkGuardError" in run_python(f"import socket, urllib.request\n{call}", guarded=True)


@pytest.mark.parametrize("call", ["socket.getaddrinfo('localhost', 80)", "socket.getaddrinfo(None, 0)"])
def test_guard_lets_local_names_through(call):
    assert run_python(f"import socket\n{call}\nprint('fine')", guarded=True).strip() == "fine"


def test_libraries_are_told_that_they_are_offline():
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.skipif(os.environ.get("COURSE_NETWORK") != "namespace", reason="no network namespace is allowed here")
def test_namespace_holds_without_the_guard():
    code = PROBE.format(family="socket.AF_INET", address=("203.0.113.1", 80))
    assert "unreachable" in run_python(code, guarded=False)
