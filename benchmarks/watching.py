"""Pages that are open without a browser: websocket sessions such as Bokeh's code in a browser holds.

By them it is known what the server takes, apart from what browsers take.
`python benchmarks/watching.py URL COUNT SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from urllib.parse import urlsplit

from bokeh.protocol import Protocol
from bokeh.protocol.message import Message
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

READY = {
    "kind": "MessageSent",
    "msg_type": "bokeh_event",
    "msg_data": {"type": "event", "name": "document_ready", "values": {"type": "map"}},
}


async def open_page(url: str) -> WebSocketClientConnection:
    """Open a page as a browser does: fetch it, connect, take its document, and say that it is drawn."""
    parts = urlsplit(url)
    plain = url.partition("?")[0]
    known = {"Authorization": f"Bearer {url.rpartition('token=')[2]}"}
    page = await AsyncHTTPClient().fetch(HTTPRequest(plain, headers=known, request_timeout=300))
    found = re.search(r'"token":"([^"]+)"', page.body.decode())
    assert found is not None
    headers = {**known, "Origin": f"{parts.scheme}://{parts.netloc}"}
    address = plain.replace("http", "ws", 1).rstrip("/") + "/ws"
    connection = await websocket_connect(HTTPRequest(address, headers=headers), subprotocols=["bokeh", found[1]])
    await _take(connection)
    await _send(connection, Protocol().create("PULL-DOC-REQ"))
    await _take(connection)
    ready: Message[object] = Protocol().create("PULL-DOC-REQ")  # a header; what it says is replaced
    ready.header["msgtype"] = "PATCH-DOC"
    ready.content = {"events": [READY]}
    await _send(connection, ready)
    return connection


async def take_all(connection: WebSocketClientConnection, seconds: float) -> tuple[int, int]:
    """Read for so long; return how many messages came, and their bytes."""
    loop = asyncio.get_running_loop()
    end, messages, size = loop.time() + seconds, 0, 0
    while (left := end - loop.time()) > 0:
        try:
            message = await asyncio.wait_for(connection.read_message(), left)
        except asyncio.TimeoutError:
            break
        if message is None:
            raise RuntimeError("the server has closed the page")
        messages, size = messages + 1, size + len(message)
    connection.close()
    return messages, size


async def _send(connection: WebSocketClientConnection, message: Message[object]) -> None:
    for part in (message.header, message.metadata, message.content):
        await connection.write_message(json.dumps(part))


async def _take(connection: WebSocketClientConnection) -> None:
    """Read one whole message: a header that may announce buffers, metadata, content, the buffers."""
    header = json.loads(await connection.read_message() or "null")
    for _ in range(2 + 2 * int(header.get("num_buffers", 0))):
        await connection.read_message()


async def main(url: str, count: int, seconds: float) -> None:
    """Open so many pages, say so, and after the time say what came to them all."""
    connections = [await open_page(url) for _ in range(count)]
    print(json.dumps({"open": count}), flush=True)
    found = await asyncio.gather(*(take_all(connection, seconds) for connection in connections))
    print(json.dumps({"messages": sum(one[0] for one in found), "bytes": sum(one[1] for one in found)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
