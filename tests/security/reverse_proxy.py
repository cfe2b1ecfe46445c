"""A small reverse proxy: `reverse_proxy.py [NAME: VALUE]…` sets headers and passes all else on, both ways.

It prints its port, reads the page's HOST:PORT and says `ready`. A header that it sets is taken out of what the browser
sends; one whose name begins with `+` is added to that.
"""

from __future__ import annotations

import asyncio
import sys

upstream: list[str] = []


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass bytes on until there are none; a websocket's too."""
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass one request on, one a connection: `Connection: close` unless it is a websocket's."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    added = [line.removeprefix("+") for line in sys.argv[1:]]
    replaced = {line.partition(":")[0].lower() for line in sys.argv[1:] if not line.startswith("+")}
    if "\r\nupgrade:" not in head.decode("latin-1").lower():
        added, replaced = [*added, "Connection: close"], {*replaced, "connection"}
    kept = [line for line in lines if line.partition(":")[0].lower() not in replaced]
    up_reader, up_writer = await asyncio.open_connection(*upstream)
    up_writer.write("\r\n".join([first, *kept, *added, "", ""]).encode("latin-1"))
    await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    upstream.extend((await asyncio.to_thread(sys.stdin.readline)).strip().split(":"))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
