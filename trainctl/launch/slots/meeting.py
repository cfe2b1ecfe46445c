"""Where the ranks of a job of several devices meet: an address and a port that no other job has."""

from __future__ import annotations

import contextlib
import socket

_LOOPBACK = "127.0.0.1"


def meeting_point(nodes: int = 1) -> dict[str, str]:
    """Return the variables that PyTorch reads, and those by which torchrun takes the same port where it is told none.

    Args:
        nodes: how many machines the ranks run on, of which this is the first.
    """
    address = _LOOPBACK if nodes == 1 else own_address()
    port = str(_free_port())
    found = {"MASTER_ADDR": address, "MASTER_PORT": port}
    return found if nodes > 1 else found | {f"PET_{name}": value for name, value in found.items()}


def own_address() -> str:
    """Return by what other machines reach this one: its name if it is known, else the address of its routes."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        socket.getaddrinfo(name, None)
        return name
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737): a datagram socket that connects sends nothing
        return str(probe.getsockname()[0])
    return _LOOPBACK


def _free_port() -> int:
    """Return a port that the system has just given us; it gives others first, so two jobs do not get the same."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
