"""Run a command with the network cut off: `python tests/offline.py COMMAND ...`.

Two walls: a guard inside every Python process, kernels included (tests/network_guard), and, where Linux allows it,
a network namespace of its own, which holds for code in C++ and Rust too. Loopback works behind both.
"""

import functools
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

GUARD = Path(__file__).resolve().parent / "network_guard"
# An address that is not loopback, given to the namespace's own interface: the guard's test needs one (RFC 5737).
NAMESPACE_ADDRESS = "198.51.100.1"


def environment() -> dict[str, str]:
    """The variables of a process that is cut off: guard on PYTHONPATH, libraries told so, one thread a process."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(GUARD)]
    settings = {
        "PYTHONPATH": os.pathsep.join([str(GUARD), *paths]),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "COURSE_NETWORK": os.environ.get("COURSE_NETWORK", "guard"),
    }
    # Gloo looks up the host's name to choose an interface; cut off, only loopback answers.
    interface = {"Linux": "lo", "Darwin": "lo0"}.get(platform.system())
    if interface:
        settings["GLOO_SOCKET_IFNAME"] = interface
    return {**os.environ, **settings}


@functools.cache
def namespace() -> list[str]:
    """The command that opens a network namespace, or an empty list where this machine does not allow one."""
    if platform.system() != "Linux" or not shutil.which("unshare") or os.environ.get("COURSE_NETWORK") == "namespace":
        return []
    for flags in ("--net", "--map-root-user --net"):
        command = ["unshare", *flags.split()]
        answer = subprocess.run([*command, sys.executable, __file__, "--inside", "true"], capture_output=True)
        if answer.returncode == 0:
            return command
    return []


def offline_command(command: list[str]) -> list[str]:
    """`command` behind the second wall, where there is one. Run it with `env=environment()`."""
    wall = namespace()
    return [*wall, sys.executable, __file__, "--inside", *command] if wall else command


def run_inside(command: list[str]) -> None:
    """In the fresh namespace: switch loopback on, give it a second address, and become `command`."""
    import fcntl  # Linux and macOS only
    import socket
    import struct

    def interface_request(name: str, body: bytes) -> bytes:
        return struct.pack("16s", name.encode()) + body

    set_flags, set_address, up_and_running = 0x8914, 0x8916, 0x1 | 0x40
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(NAMESPACE_ADDRESS))
        fcntl.ioctl(control, set_flags, interface_request("lo", struct.pack("H14x", up_and_running)))
        fcntl.ioctl(control, set_address, interface_request("lo:1", address))
    os.execvpe(command[0], command, {**os.environ, "COURSE_NETWORK": "namespace"})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        run_inside(sys.argv[2:])
    elif not sys.argv[1:]:
        sys.exit(__doc__)
    else:
        sys.exit(subprocess.run(offline_command(sys.argv[1:]), env=environment()).returncode)
