"""The connections of the server: some hundred of strangers at most, whoever opens how many.

A connection is a stranger's until a request on it was let in. Where too many wait, the one that has waited longest is
closed: a browser sends its request with the connection, and is let in before a hundred others have come.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import time
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream

from trainctl.panel.server._bokeh import stream_of

MOST_STRANGERS = 256
IDLE_S = 60.0  # for the headers of a request, and between two requests
BODY_S = 10.0
_MOST_DESCRIPTORS = 8192
_AT_ONCE = 16  # connections accepted before the requests that were accepted earlier have their turn
_PAUSE_S = 0.05  # where no connection of a stranger can be closed for a new one


class BoundedServer(HTTPServer):
    """An HTTP server that closes the longest waiting connection of a stranger when there are too many."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"idle_connection_timeout": IDLE_S, "body_timeout": BODY_S}
        super().initialize(*args, **kwargs)
        self._strangers: dict[IOStream, None] = {}  # in the order in which they came
        self._most = min(MOST_STRANGERS, raised_limit() // 4)

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
        if self._in_a_row > _AT_ONCE:
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
                time.sleep(_PAUSE_S)  # nothing can be done until something else is closed: do not spin meanwhile
            raise BlockingIOError(errno.EAGAIN, "no room for another connection") from error


def raised_limit() -> int:
    """Raise the number of files that this process may have open as far as it may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft
