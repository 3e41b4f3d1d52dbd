"""Cuts the network off from Python code. The interpreter loads this file by itself when its folder is on PYTHONPATH.

An audit hook sees every connection and look-up that Python's own socket module makes, in all libraries and threads, and
cannot be removed. Code in C++ or Rust does not pass here: tests/offline.py adds a network namespace where it may.
"""

import ipaddress
import platform
import sys


class NetworkGuardError(ConnectionError):
    """A connection or look-up beyond this machine was tried while the network is cut off."""


def is_local(host) -> bool:
    """Whether `host`, a name or an address, is this machine by loopback."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not host or host == "localhost" or host.endswith(".localhost") or host == platform.node():
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def guard(event, arguments):
    """Raise NetworkGuardError on a socket event that leaves the machine."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        target = arguments[1]
        # Unix sockets have a path, netlink sockets two numbers: neither is the network.
        host = target[0] if isinstance(target, tuple) and isinstance(target[0], (str, bytes)) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if not is_local(host):
        raise NetworkGuardError(
            f"The tests run with the network cut off, and {event} was asked for {host!r}. "
            "Use packaged data or weights, or a loopback address."
        )


sys.addaudithook(guard)
