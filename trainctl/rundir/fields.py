"""Reading values of an untrusted file: each must have the expected type, or is left out with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from trainctl.config.values import is_number

Found = TypeVar("Found")

_MOST_WHOLE = 2**63
_HUGE = 2**1023  # what is greater may not fit a float
_LAST_DAY = 253402214400.0  # of the calendar, in Unix seconds


class Fields:
    """The fields of one record. A field of another type than expected is None, and `problems` say so.

    Args:
        record: what was read.
        where: the name of the file in reasons.
        problems: what reasons are added to.
    """

    def __init__(self, record: Mapping[str, Any], where: str, problems: list[str] | None = None) -> None:
        self._record = record
        self._where = where
        self._problems = problems

    def whole(self, name: str) -> int | None:
        """Return a whole number."""
        value = self._record.get(name)
        return self._or_problem(name, whole(value), "a whole number")

    def number(self, name: str) -> float | None:
        """Return a number."""
        return self._or_problem(name, number(self._record.get(name)), "a number")

    def moment(self, name: str) -> float | None:
        """Return an ISO 8601 time as Unix seconds."""
        return self._or_problem(name, parse_time(self._record.get(name)), "a time")

    def text(self, name: str) -> str | None:
        """Return a text; a value that YAML reads as another type (a slot called `0`) as its text."""
        value = self._record.get(name)
        found = None if value is None or isinstance(value, dict | list) else str(value)
        return self._or_problem(name, found, "a text")

    def _or_problem(self, name: str, found: Found | None, what: str) -> Found | None:
        value = self._record.get(name)
        if found is None and value is not None and self._problems is not None:
            self._problems.append(f"{self._where}: {name} {shown(value)} is not {what}")
        return found


def shown(value: Any) -> str:
    """Write an untrusted value for a reason: short, on one line.

    >>> shown("x" * 100), shown(3)
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…", '3')
    """
    try:
        text = "null" if value is None else repr(value)
    except RecursionError:
        return f"a {type(value).__name__}, nested deeply,"
    return text if len(text) <= 60 else f"{text[:58]}…"


def whole(value: Any) -> int | None:
    """Return a whole number between -2^63 and 2^63; None for anything else.

    >>> whole(3), whole(True), whole(3.0), whole(10**400)
    (3, None, None, None)
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool) and -_MOST_WHOLE <= value < _MOST_WHOLE
    return value if is_whole else None


def number(value: Any) -> float | None:
    """Return a number; None for anything else. Integers beyond the range of floats become infinite.

    >>> number(3), number("3"), number(-(10**400))
    (3, None, -inf)
    """
    return as_float(value) if is_number(value) else None


def as_float(value: float) -> float:
    """Return a number unchanged, but infinity for an integer beyond the range of floats."""
    if type(value) is not int or -_HUGE < value < _HUGE:
        return value
    return math.inf if value > 0 else -math.inf


def unix_time(value: Any) -> float | None:
    """Return Unix seconds within the range of calendars; None for anything else.

    >>> unix_time(1.5), unix_time(1e300), unix_time("now")
    (1.5, None, None)
    """
    found = number(value)
    return found if found is not None and 0 <= found < _LAST_DAY else None


def parse_time(text: Any) -> float | None:
    """Read an ISO 8601 time; None for anything else."""
    from datetime import datetime

    try:
        return unix_time(datetime.fromisoformat(str(text)).timestamp())
    except (ValueError, OverflowError, OSError):
        return None
