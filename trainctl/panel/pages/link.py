"""What the page's address says of what is shown: a reload shows the same, and so does the link to whoever gets it.

`keep` is all that most widgets need. What a page knows only later (the metrics of runs) it asks for by `argument` and
writes by `remember`. The theme is kept by the page's own script, in `connection`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import panel

from trainctl.panel.pages.session import INLINE

MAX_ARGUMENT = 4000


def argument(name: str) -> str:
    """Return what the page's address said of a name when it was opened; empty when it said nothing."""
    given = (panel.state.session_args or {}).get(name) or [b""]
    return bytes(given[0]).decode(errors="replace")[:MAX_ARGUMENT]


def names(name: str) -> list[str]:
    """Return the list that the address said of a name; empty when it said nothing."""
    found: list[str] = read(argument(name), [])
    return found


def remember(**arguments: str | None) -> None:
    """Write into the browser's address bar what is shown, so that the link leads there again; None takes it out."""
    location = panel.state.location if INLINE.get() is None else None
    if location is None:
        return
    before = dict(parse_qsl(location.search.removeprefix("?"), keep_blank_values=True))
    after = {name: value for name, value in {**before, **arguments}.items() if value is not None}
    if after != before:
        location.search = f"?{urlencode(after, safe=',/:')}" if after else ""


def keep(widget: Any, name: str, parameter: str = "value", *, said: Callable[[Any], str] | None = None) -> None:
    """Let a widget begin with what the address says, and the address say each later value.

    The value that the widget has now is its default, of which the address says nothing; by its type a text is read. A
    text that is none of the widget's options, or outside of its bounds, is passed over.

    Args:
        widget: any widget.
        name: under which the address has it; one per value of a page.
        parameter: which of its parameters.
        said: writes a value, where it is another text than `written` makes.
    """
    default = getattr(widget, parameter)
    write = said or written
    if text := argument(name):
        with contextlib.suppress(ValueError):
            value = read(text, default)
            if _fits(widget, value):
                setattr(widget, parameter, value)

    def changed(event: Any) -> None:
        remember(**{name: None if event.new is None or event.new == default else write(event.new)})

    widget.param.watch(changed, [parameter])


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
    """Return what `written` wrote of a value of the type of another one.

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
        number = float(text)
        return int(number) if isinstance(like, int) and number.is_integer() else number
    if isinstance(like, list | tuple):
        return [one.replace("%2C", ",").replace("%25", "%") for one in text.split(",") if one]
    return text


def _fits(widget: Any, value: Any) -> bool:
    options = getattr(widget, "options", None)
    if options:
        allowed = list(options.values()) if isinstance(options, dict) else list(options)
        return all(one in allowed for one in (value if isinstance(value, list) else [value]))
    start, end = getattr(widget, "start", None), getattr(widget, "end", None)
    return not isinstance(value, int | float) or (
        (start is None or value >= start) and (end is None or value <= end)  # nothing is in bounds that is NaN
    )
