"""What one browser's session is about: what its URL asks for, who it is, and what it does while it is open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import panel

from trainctl.panel.access import ROLE_HEADER

MAX_ARGUMENT = 4000


def tick_while_open(tick: Callable[[], None], interval_ms: int, open_things: ExitStack) -> None:
    """Call `tick` while the page is open in a browser, and close `open_things` when it is closed.

    The first tick comes when the browser has drawn the page: updates before that leave widgets with old values.
    """
    callbacks: list[Any] = []

    def loaded() -> None:
        callbacks.append(panel.state.add_periodic_callback(tick, period=interval_ms))

    def destroyed(_context: Any) -> None:
        open_things.close()

    panel.state.onload(loaded)
    panel.state.on_session_destroyed(destroyed)


def argument(name: str) -> str:
    """Return what the page's URL says of a name; empty when it says nothing."""
    given = (panel.state.session_args or {}).get(name) or [b""]
    return bytes(given[0]).decode(errors="replace")[:MAX_ARGUMENT]


def remember(**arguments: str | None) -> None:
    """Write into the browser's address bar what is shown, so that the link leads there again; None takes it out."""
    location = panel.state.location
    if location is not None:
        location.update_query(**{name: value for name, value in arguments.items() if value is not None})
        gone = [name for name, value in arguments.items() if value is None]
        if gone and (kept := {name: value for name, value in location.query_params.items() if name not in gone}) != (
            location.query_params
        ):
            location.search = ""
            location.update_query(**kept)


def may_ask() -> bool:
    """Say whether this session may ask for changes. The header is the gate's own: what a browser sends is gone."""
    headers: Any = panel.state.headers or {}
    return {str(name).lower(): value for name, value in headers.items()}.get(ROLE_HEADER.lower()) == "editor"
