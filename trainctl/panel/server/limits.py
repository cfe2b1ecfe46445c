"""What the server limits, whatever others do: connections of strangers, requests by a rate, and the lines of its log.

A connection is a stranger's until a request on it has been admitted. When too many wait, the one that has waited
longest is closed: a browser sends its request along with the connection, and is admitted before a hundred others come.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import sys
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream

from trainctl.panel.server._bokeh import stream_of

_MOST_STRANGERS = 256
_IDLE_S = 60.0  # for the headers of a request, and between two requests
_BODY_S = 10.0
_MOST_DESCRIPTORS = 8192
_ACCEPTED_AT_ONCE = 16  # connections accepted before the requests that were accepted earlier have their turn
_PAUSE_S = 0.05  # while no stranger's connection can be closed for a new one
_LOG_BYTES = 2**20
_LOG_LINES_AT_ONCE, _LOG_LINES_PER_S = 50, 1
_LONGEST_LOG_LINE = 4096
_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}


class Bucket:
    """A rate limit: holds `size` turns and regains `per_s` of them each second.

    >>> bucket = Bucket(2, 0.0)
    >>> [bucket.take() for _ in range(3)]
    [True, True, False]
    """

    def __init__(self, size: float, per_s: float) -> None:
        self._size, self._per_s = size, per_s
        self._left = size
        self._seen = time.monotonic()

    def take(self) -> bool:
        """Take a turn; False when none is left."""
        now = time.monotonic()
        self._left = min(self._size, self._left + (now - self._seen) * self._per_s)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class BoundedServer(HTTPServer):
    """An HTTP server that closes the stranger's connection that has waited longest when there are too many."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"idle_connection_timeout": _IDLE_S, "body_timeout": _BODY_S}
        super().initialize(*args, **kwargs)
        self._strangers: dict[IOStream, None] = {}  # in the order in which they came
        self._most = min(_MOST_STRANGERS, raised_limit() // 4)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> Any:
        """Serve a new connection."""
        self._strangers[stream] = None
        if len(self._strangers) > self._most:
            self._strangers = {each: None for each in self._strangers if not each.closed()}
        if len(self._strangers) > self._most:
            self.close_stranger()
        return super().handle_stream(stream, address)

    def admitted(self, request: HTTPServerRequest) -> None:
        """Take note that a request was let in: its connection counts as trusted."""
        self._strangers.pop(stream_of(request), None)

    def close_stranger(self) -> bool:
        """Close the connection that has waited longest; False if there is none."""
        while self._strangers:
            stream = next(iter(self._strangers))
            del self._strangers[stream]
            if not stream.closed():
                stream.close()
                return True
        return False


class Listener(socket.socket):
    """A listening socket that makes room when the process has no descriptor left for a new connection.

    Its reader, Tornado, would accept 128 connections in a row. Two such rows are as many strangers as there may be, and
    a request that is only half way through its gate would be closed with the oldest of them.
    """

    server: BoundedServer | None = None
    _in_a_row = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; BlockingIOError, which its reader expects, where there is none, no room, or no turn."""
        self._in_a_row += 1
        if self._in_a_row > _ACCEPTED_AT_ONCE:
            self._in_a_row = 0
            raise BlockingIOError(errno.EAGAIN, "others have their turn first")
        try:
            return super().accept()
        except BlockingIOError:
            self._in_a_row = 0
            raise
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            if self.server is None or not self.server.close_stranger():
                time.sleep(_PAUSE_S)  # until something else is closed: no busy loop
            raise BlockingIOError(errno.EAGAIN, "no room for another connection") from error


def raised_limit() -> int:
    """Raise this process's limit of open files as far as allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def log_handler(path: Path) -> logging.Handler:
    """Return the handler of the log, which starts a new file when it is long; `panel.log.1` is the one before."""
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(_Short("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_Sparing())
    return handler


class _Short(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if len(text) <= _LONGEST_LOG_LINE else f"{text[:_LONGEST_LOG_LINE]} …"


class _Sparing(logging.Filter):
    """Passes a burst of lines, then one a second; the next line says how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = Bucket(_LOG_LINES_AT_ONCE, _LOG_LINES_PER_S)
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._turns.take():
            self._left_out += 1
            return False
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} ({self._left_out} lines were left out before)", ()
            self._left_out = 0
        return True


def client_of(connection: socket.socket) -> str:
    """Return the address of the peer; each local user counts as a separate client.

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
    """Return the owner of the peer's socket, from the kernel's list: `sl local remote st tx:rx tr:tm retr uid …`."""
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
