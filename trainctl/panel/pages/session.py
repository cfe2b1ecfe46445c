"""What one browser's session is about: what its URL asks for, who it is, and what it does while it is open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import panel

from trainctl.panel.auth.access import ROLE_HEADER, WHO_HEADER
from trainctl.panel.server._bokeh import PeriodicCallback


@dataclass(frozen=True)
class Inline:
    """What stands for a browser's session where there is none: a page that is shown in a notebook.

    Attributes:
        may_ask: whether it may ask for changes; no header is believed.
        closing: what ends when the page is not shown any more.
    """

    may_ask: bool
    closing: ExitStack = field(default_factory=ExitStack)


log = logging.getLogger("trainctl.panel")

# by document: shows a person that something went wrong in the page itself
_shows: WeakKeyDictionary[Any, Callable[[str], None]] = WeakKeyDictionary()


def show_failures(show: Callable[[str], None]) -> None:
    """Have a failure of this page told on it: a click that fails is not to be passed over in silence."""
    if panel.state.curdoc is not None:
        _shows[panel.state.curdoc] = show


def failed(error: BaseException) -> None:
    """Tell of an error that no part of a page expected: in the log, and on the page where it was."""
    log.error("a page failed", exc_info=error)
    show = _shows.get(panel.state.curdoc) if panel.state.curdoc is not None else None
    if show is not None:
        show(f"This was not done, because the page failed: {type(error).__name__}: {error}"[:500])


INLINE: ContextVar[Inline | None] = ContextVar("trainctl_inline", default=None)


def tick_while_open(tick: Callable[[], None], interval_ms: int, open_things: ExitStack) -> None:
    """Call `tick` while the page is open in a browser, and close `open_things` when it is closed.

    The first tick comes when the browser has drawn the page: updates before that leave widgets with old values.
    """
    callbacks: list[Any] = []

    def loaded() -> None:
        # in the background: else each tick would make the whole process "busy", and every page would be told
        callbacks.append(PeriodicCallback(callback=tick, period=interval_ms, background=True))
        callbacks[0].start()

    def destroyed(_context: Any) -> None:
        open_things.close()

    inline = INLINE.get()
    if inline is not None:
        loaded()
        inline.closing.callback(lambda: [callback.stop() for callback in callbacks])
        inline.closing.push(open_things.pop_all().__exit__)
        return
    panel.state.onload(loaded)
    panel.state.on_session_destroyed(destroyed)


def may_ask() -> bool:
    """Whether this session may ask for changes. The header is the gate's own: what a browser sends is gone."""
    inline = INLINE.get()
    return inline.may_ask if inline is not None else _told(ROLE_HEADER) == "editor"


def who_asks() -> str | None:
    """Return the name of who has logged in; None for those who have come by the link."""
    return None if INLINE.get() is not None else unquote(_told(WHO_HEADER)) or None


def _told(name: str) -> str:
    headers: Any = panel.state.headers or {}
    return str({str(name).lower(): value for name, value in headers.items()}.get(name.lower(), ""))
