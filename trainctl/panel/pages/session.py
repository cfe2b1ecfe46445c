"""One browser's session: what its URL asks for and comes to say, who it is, and what it does while it is open.

A reload shows what was shown, and so does the link on another screen. The theme is kept by `connection.js` alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode
from weakref import WeakKeyDictionary

import panel

from trainctl.panel.auth.access import ROLE_HEADER, WHO_HEADER
from trainctl.panel.server._bokeh import PeriodicCallback

MAX_ARGUMENT = 4000
_WHOLE = re.compile("-?[0-9]{1,4000}")

log = logging.getLogger("trainctl.panel")

# by document: shows an error of the page itself
_shows: WeakKeyDictionary[Any, Callable[[str], None]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Inline:
    """Takes the place of a browser's session on a page in a notebook.

    Attributes:
        may_ask: whether it may ask for changes; no header is believed.
        closing: what ends when the page is not shown any more.
    """

    may_ask: bool
    closing: ExitStack = field(default_factory=ExitStack)


INLINE: ContextVar[Inline | None] = ContextVar("trainctl_inline", default=None)


def show_failures(show: Callable[[str], None]) -> None:
    """Have failures of this page shown on it: no click may fail silently."""
    if panel.state.curdoc is not None:
        _shows[panel.state.curdoc] = show


def failed(error: BaseException) -> None:
    """Report an unexpected error of a page in the log and on that page."""
    log.error("a page failed", exc_info=error)
    show = _shows.get(panel.state.curdoc) if panel.state.curdoc is not None else None
    if show is not None:
        show(f"This was not done, because the page failed: {type(error).__name__}: {error}"[:500])


def tick_while_open(tick: Callable[[], None], interval_ms: int, open_things: ExitStack) -> None:
    """Call `tick` while the page is open in a browser, and close `open_things` when it is closed.

    The first tick comes when the browser has drawn the page: updates before that leave widgets with old values.
    """
    callbacks: list[Any] = []

    def loaded() -> None:
        # in the background: otherwise each tick would make the whole process "busy" and notify every page
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
    """Return the name of the person who has logged in; None for one who came by the link."""
    return None if INLINE.get() is not None else unquote(_told(WHO_HEADER)) or None


def _told(name: str) -> str:
    headers: Any = panel.state.headers or {}
    return str({str(name).lower(): value for name, value in headers.items()}.get(name.lower(), ""))


def argument(name: str) -> str:
    """Return the value of a name in the address with which the page was opened; empty if there is none."""
    given = (panel.state.session_args or {}).get(name) or [b""]
    return bytes(given[0]).decode(errors="replace")[:MAX_ARGUMENT]


def names(name: str) -> list[str]:
    """Return the list under a name in that address; empty if there is none."""
    found: list[str] = read(argument(name), [])
    return found


def remember(**arguments: str | None) -> None:
    """Write what is shown into the browser's address bar, so that the link leads there again; None removes a name."""
    location = panel.state.location if INLINE.get() is None else None
    if location is None:
        return
    before = dict(parse_qsl(location.search.removeprefix("?"), keep_blank_values=True))
    after = {name: value for name, value in {**before, **arguments}.items() if value is not None}
    if after != before:
        location.search = f"?{urlencode(after, safe=',/:')}" if after else ""


def written(value: Any) -> str:
    """Write a value for the address.

    >>> written(0.5), written(True), written(["a", "b,c"])
    ('0.5', 'true', 'a,b%2Cc')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(str(one).replace("%", "%25").replace(",", "%2C") for one in value)
    return str(value)


def read(text: str, like: Any) -> Any:
    """Return the value that `written` wrote, of the same type as `like`.

    Raises:
        ValueError: it is not of that type.

    >>> read("0.5", 0.0), read("true", False), read("a,b%2Cc", []), read("x", None)
    (0.5, True, ['a', 'b,c'], 'x')
    """
    if isinstance(like, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text == "true"
    if isinstance(like, int | float):
        if isinstance(like, int) and _WHOLE.fullmatch(text):
            return int(text)  # exactly: a float has no whole number beyond 2**53
        number = float(text)
        return int(number) if isinstance(like, int) and number.is_integer() else number
    if isinstance(like, list | tuple):
        return [one.replace("%2C", ",").replace("%25", "%") for one in text.split(",") if one]
    return text
