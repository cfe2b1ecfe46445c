"""The server's process: Bokeh's application behind the gate, on a socket that was bound before it started."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import panel
from tornado.ioloop import IOLoop
from tornado.websocket import WebSocketClosedError

from trainctl.panel.auth.access import ROLE_HEADER, WHO_HEADER, Access
from trainctl.panel.auth.front import Front
from trainctl.panel.auth.gate import Gate, prove
from trainctl.panel.auth.password import Credentials
from trainctl.panel.auth.proxy import Proxy
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.compare import compare_page
from trainctl.panel.pages.run import run_page
from trainctl.panel.pages.session import failed
from trainctl.panel.pages.sweep import overview_page
from trainctl.panel.server._bokeh import BaseServer, application_of, is_open
from trainctl.panel.server.lifetime import Lifetime, step_back_as_session
from trainctl.panel.server.limits import BoundedServer, Listener, log_handler
from trainctl.panel.server.state import PanelDir

log = logging.getLogger("trainctl.panel")

MAX_BODY = 2**20
MAX_HEADER = 32 * 2**10
RELOAD_MS = 15_000  # for a page to reconnect; Bokeh keeps its session as long


def run(start: Mapping[str, Any]) -> int:
    """Serve until the page is no longer used. `start` comes from `trainctl.panel.server.launch`."""
    os.umask(0o077)  # for the log files that are started later
    logging.basicConfig(level=logging.WARNING, handlers=[log_handler(PanelDir(Path(start["root"])).log)])
    logging.getLogger("trainctl").setLevel(logging.INFO)
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)  # browsers leave all the time
    asyncio.run(_serve(start))
    log.info("ended")
    return 0


async def _serve(start: Mapping[str, Any]) -> None:
    place = PanelDir(Path(start["root"]))
    access = _access_of(start)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.set_exception_handler(_pass_over_closed)
    watcher = Watcher(place.root)
    panel.extension(notifications=False, exception_handler=failed)
    application = application_of(pages_of(watcher), access.prefix, [ROLE_HEADER, WHO_HEADER])
    gate = Gate(application, access)
    await prove(gate, access)
    http = BoundedServer(gate, max_body_size=MAX_BODY, max_header_size=MAX_HEADER, ssl_options=_tls(start))
    gate.admitted = http.admitted
    server = BaseServer(IOLoop.current(), application, http)
    server.start()
    watcher.start()

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    Lifetime(place, start["lock"], lambda: is_open(application, RELOAD_MS), stop).start()
    listener = Listener(fileno=start["socket"])
    listener.server = http
    listener.setblocking(False)
    http.add_socket(listener)
    step_back_as_session()
    log.info("serving %s", place.root)
    if start["open"]:
        await loop.run_in_executor(None, webbrowser.open, place.write_opener(start["url"]))
    await stopped.wait()
    watcher.close()
    server.stop()
    await http.close_all_connections()


def _access_of(start: Mapping[str, Any]) -> Access:
    known, named = start.get("credentials"), start.get("proxy")
    credentials = Credentials(**known) if known else None
    proxy = Proxy.from_dict(named) if named else None
    front = Front.from_dict(start["front"]) if "front" in start else None
    return Access.of_url(start["url"], start.get("names", ()), credentials, proxy, front)


def _tls(start: Mapping[str, Any]) -> ssl.SSLContext | None:
    if not (files := start.get("certificate")):
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files["cert"], files["key"])
    return context


def _pass_over_closed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report errors of the event loop, other than a browser leaving while it is being sent something."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def pages_of(watcher: Watcher) -> dict[str, Callable[[], None]]:
    """Return the pages by route. A run's name may hold slashes; in a URL they are `%2F`, so it is one part of it."""

    def overview() -> None:
        _serve_document(overview_page(watcher))

    def run() -> None:
        _serve_document(run_page(watcher))

    def compare() -> None:
        _serve_document(compare_page(watcher))

    return {"/": overview, "/compare": compare, r"/run/(?P<name>[^/]+)": run}


def _serve_document(page: Any) -> None:
    """Put a page into the session's document under its own title."""
    page.server_doc(panel.state.curdoc, title=page.title, location=True)
