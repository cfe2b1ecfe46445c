"""Prove the gate before the server answers anybody: a request without the token must get 403 wherever it goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from trainctl.errors import TrainctlError
from trainctl.panel.auth.access import Access

if TYPE_CHECKING:
    from trainctl.panel.auth.gate import Gate

ROUTES = ("", "ws", "autoload.js", "metadata", "static/js/bokeh.min.js", "components/os/x/_css/y", "run", "run/ws")


class GateError(TrainctlError, RuntimeError):
    """The gate let something through that it must not; nothing is served."""


async def prove(gate: Gate, access: Access) -> None:
    """Ask the gate over a real connection, on a port that nobody knows, and be content only with the right answers.

    Raises:
        GateError: an answer was not the one that it must be.
    """
    server = HTTPServer(gate)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    host = min(access.hosts)
    try:
        for route in ROUTES:
            target = f"/{access.prefix}/{route}"
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": f"{access.scheme}://{host}"}
            extra = upgrade if route.endswith("ws") else {}
            await _expect(port, target, {"Host": host, **extra}, _refusal(access, route))
            await _expect(port, target, {"Host": "rebound.example", "Authorization": f"Bearer {access.token}"}, 421)
            foreign = {"Host": host, "Origin": "http://foreign.example", "Authorization": f"Bearer {access.token}"}
            await _expect(port, target, foreign, 403)
        await _expect(port, f"/{access.prefix}/static/js/bokeh.min.js", _bearer(host, access), 200)
    finally:
        server.stop()
        await server.close_all_connections()


def _refusal(access: Access, route: str) -> int:
    """Return how a stranger is refused: a person on the way to a page may be led to a login."""
    if access.oauth is not None and route in ("", "run"):
        return 302
    return 403 if access.credentials is None else 401


def _bearer(host: str, access: Access) -> dict[str, str]:
    return {"Host": host, "Authorization": f"Bearer {access.token}"}


async def _expect(port: int, target: str, headers: dict[str, str], wanted: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if "Connection" not in headers:
            lines.append("Connection: close")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        answer = (await asyncio.wait_for(reader.readline(), timeout=10)).decode(errors="replace").split(" ")
    finally:
        writer.close()
    if answer[1:2] != [str(wanted)]:
        raise GateError(f"the gate answered {answer[1:2]} to {target!r} and must answer {wanted}; nothing is served")
