"""How numbers, times and values are written on the page. Everything that comes from files is escaped here."""

from __future__ import annotations

from html import escape
from typing import Any

from trainctl.config import yaml

LONGEST = 200


def count(number: int | None) -> str:
    """Write a whole number with separators; nothing for None.

    >>> count(12345)
    '12,345'
    """
    return "" if number is None else f"{number:,}"


def number(value: float | None) -> str:
    """Write a measured number short enough to be read.

    >>> number(1.3608612), number(0.00002), number(12.0)
    ('1.36086', '2e-05', '12')
    """
    return "" if value is None else f"{value:.6g}"


def result(value: Any) -> str:
    """Write a run's return value; nothing for None.

    >>> result(0.9711111111111111), result({"acc": 1})
    ('0.971111', '{acc: 1}')
    """
    return "" if value is None else number(value) if isinstance(value, float) else str(value_text(value))[:80]


def rate(value: float | None) -> str:
    """Write a rate in three digits.

    >>> rate(0.12345), rate(31.24), rate(1234.5)
    ('0.123', '31.2', '1,234')
    """
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Write a duration in its two largest units.

    >>> duration(3.2), duration(75), duration(7384), duration(200000)
    ('3 s', '1 min 15 s', '2 h 3 min', '2 d 7 h')
    """
    if seconds is None or seconds != seconds:  # noqa: PLR0124  # nan
        return ""
    whole = int(min(seconds, 1e9))
    for size, unit, below, lower in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


def value_text(value: Any) -> str:
    """Write a config value on one line, cut if it is very long."""
    text = " ".join(yaml.inline(value).split("\n"))
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def chip(state: str) -> str:
    """Write a state as its coloured mark, whoever wrote the state."""
    return f'<span class="chip {html(state)}">{html(state)}</span>'


def html(value: Any) -> str:
    """Escape any text for HTML, attributes too; nothing for None."""
    return "" if value is None else escape(str(value), quote=True)
