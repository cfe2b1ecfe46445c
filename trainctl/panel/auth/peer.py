"""Who is at the other end of a connection: an address, and for one of this machine the user as well."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


def client_of(connection: socket.socket) -> str:
    """Return the address of the other end; of this machine's own users each is a client of its own.

    All who are logged in here come from 127.0.0.1, as do the tunnels of ssh, which are their owner's processes.
    """
    with contextlib.suppress(OSError):
        there, here = connection.getpeername(), connection.getsockname()
        if there[0] != here[0]:
            return str(there[0])
        uid = _uid(connection.family, there, here)
        return str(there[0]) if uid is None else f"{there[0]} of uid {uid}"
    return ""


def _uid(family: int, there: tuple[str, int], here: tuple[str, int]) -> int | None:
    """Return whose socket the other end is, as the kernel lists it: `sl local remote st tx:rx tr:tm retr uid …`."""
    ends = [_written(family, there), _written(family, here)]
    for line in _lines(_TABLES.get(socket.AddressFamily(family), "")):
        words = line.split()
        if words[1:3] == ends:
            return int(words[7])
    return None


def _lines(path: str) -> Iterator[str]:
    with contextlib.suppress(OSError), open(path) as table:
        yield from table


def _written(family: int, end: tuple[str, int]) -> str:
    """Return an address as the kernel writes it: words of four bytes in the machine's order, a colon, the port."""
    packed = socket.inet_pton(family, end[0])
    words = [packed[place : place + 4] for place in range(0, len(packed), 4)]
    return "".join(word[:: -1 if sys.byteorder == "little" else 1].hex() for word in words).upper() + f":{end[1]:04X}"
