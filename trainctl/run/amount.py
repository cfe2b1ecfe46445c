"""Numbers and times as a person reads them."""

from __future__ import annotations

import math
import time
from typing import Any

from trainctl.config import yaml
from trainctl.run.printable import clean


def number(value: float | None, *, exact: bool = False) -> str:
    """Write a number with four significant digits, or exactly.

    >>> number(0.972222), number(123456.7), number(3.0), number(1e-5), number(0.1 + 0.2, exact=True)
    ('0.9722', '123457', '3', '1e-05', '0.30000000000000004')
    """
    if value is None:
        return ""
    if exact or isinstance(value, int) or not math.isfinite(value):
        return repr(value)
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Write a time span in its two largest units.

    >>> duration(0.21), duration(42.4), duration(192), duration(7500), duration(280000)
    ('0.2s', '42s', '3m12s', '2h05m', '3d05h')
    """
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, small, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{small}"
    return f"{whole}s"


def rate(per_second: float | None) -> str:
    """Write steps per second.

    >>> rate(15321.0), rate(0.25)
    ('15.3k/s', '0.25/s')
    """
    if per_second is None or not math.isfinite(per_second):
        return ""
    return f"{per_second / 1000:.3g}k/s" if 1000 <= per_second < 1e6 else f"{per_second:.3g}/s"


def steps(step: int | None, total: int | None) -> str:
    """Write how far a run is.

    >>> steps(812, 1000), steps(812, None), steps(None, None)
    ('812/1000', '812', '')
    """
    if step is None:
        return ""
    return str(step) if total is None else f"{step}/{total}"


def value(of: Any, *, exact: bool = False) -> str:
    """Write any plain value on one line; a number on its own by `number`."""
    if isinstance(of, int | float) and not isinstance(of, bool):
        return number(of, exact=exact)
    return "" if of is None else clean(of if isinstance(of, str) else yaml.inline(of))


def moment(seconds: float | None, *, day: bool = True) -> str:
    """Write a time of the day here, with its date before it unless `day` is false."""
    if seconds is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return ""  # a foreign file's number that is no time
