"""The only file that uses undocumented names of Panel, Bokeh and Tornado.

Each name has a contract test; `pyproject.toml` gives the allowed versions.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import panel
import panel.custom
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from panel.io.callbacks import PeriodicCallback
from panel.io.document import hold
from panel.io.resources import BASE_TEMPLATE
from panel.io.server import build_applications
from panel.util import edit_readonly
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import OutputTransform

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = [
    "BaseServer",
    "BokehTornado",
    "OutputTransform",
    "PeriodicCallback",
    "application_of",
    "edit_readonly",
    "extended_template",
    "hold",
    "is_open",
    "stream_of",
    "tell",
    "unfollowed_busy",
]

MAX_MESSAGE = 4 * 2**20


def application_of(pages: Mapping[str, Callable[[], None]], prefix: str, headers: list[str]) -> BokehTornado:
    """Return Bokeh's application. Sessions are signed; of a request they keep only the given headers, and no cookie.

    It takes a websocket from wherever it comes: the gate before it knows the page's own sites.

    Args:
        pages: what makes the page of a route.
        prefix: the first part of every path.
        headers: the names of request headers that a page may read.
    """
    return BokehTornado(
        build_applications(dict(pages), title="trainctl"),
        prefix=prefix,
        extra_websocket_origins=["*"],
        sign_sessions=True,
        secret_key=secrets.token_bytes(32),
        include_headers=headers,
        include_cookies=[],
        use_index=False,
        websocket_max_message_size_bytes=MAX_MESSAGE,
        check_unused_sessions_milliseconds=5000,  # a closed page goes on ticking until it is noticed
    )


def stream_of(request: HTTPServerRequest) -> IOStream:
    """Return the connection of a request whose headers have just been read."""
    stream: IOStream = request.connection.stream  # type: ignore[union-attr]
    return stream


def is_open(application: BokehTornado, within_ms: int) -> bool:
    """Whether somebody has a page open, or had one within the last milliseconds."""
    sessions = [session for path in application.app_paths for session in application.get_sessions(path)]
    return any(
        session.connection_count or session.milliseconds_since_last_unsubscribe < within_ms for session in sessions
    )


@contextmanager
def unfollowed_busy() -> Iterator[None]:
    """Keep components made in the context from following the process-wide busy state.

    They would be kept for as long as the process lives, and redrawn at every update of any session.
    """
    before = _followers_of_busy()
    yield
    for watcher in _followers_of_busy():
        if watcher not in before:
            panel.state.param.unwatch(watcher)


def _followers_of_busy() -> list[Any]:
    return list(panel.state.param.watchers.get("busy", {}).get("value", []))


def extended_template(text: str) -> Template:
    """Return a template in which `base` is Panel's own page template."""
    made: Template = BASE_TEMPLATE.environment.from_string(text, globals={"base": BASE_TEMPLATE})
    return made


def tell(component: panel.custom.ReactiveESM, message: object) -> None:
    """Send a message to a component in the browsers that show it; it arrives as `msg:custom`, in order."""
    component._send_msg(message)
