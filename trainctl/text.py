"""Numbers, times and values as people read them, on a terminal and on the page.

What comes from a file is data, never a control sequence of a terminal.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from typing import Any

from trainctl.config import yaml
from trainctl.config.values import is_number

LONGEST = 200  # characters of a value on one line
LONGEST_S = 30 * 365.25 * 86400

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and other strings: titles, links
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)


def clean(value: object) -> str:
    r"""Return text on one line without control characters; line breaks and tabs become spaces.

    >>> clean("a\x1b[31mred\x1b[0m\nb\u202e")
    'ared b'
    """
    text = str(value)
    if text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text)
    return "".join(char for char in re.sub(r"[\n\r\t]+", " ", text) if char.isprintable())


def padded(cell: str, width: int, *, is_right: bool = False) -> str:
    """Pad a text with spaces, after it or before it, to `width` columns of a terminal.

    >>> padded("ab", 4), padded("ab", 4, is_right=True)
    ('ab  ', '  ab')
    """
    from rich.cells import cell_len  # slow to import, and only tables need it

    spaces = " " * (width - cell_len(cell))
    return spaces + cell if is_right else cell + spaces


def clean_line(line: str) -> str:
    r"""Return a line of a log as a terminal shows it in the end: only the text after the last `\r` stays.

    >>> clean_line("10 %\r99 %\r\n")
    '99 %'
    """
    return clean(line.rstrip("\r\n").rpartition("\r")[2].expandtabs(8))


def clean_lines(text: str, most: int) -> list[str]:
    r"""Return the last lines of a log, cleaned.

    >>> clean_lines("one\n10 %\r99 %\r\n\x1b[1mtwo\n", 2)
    ['99 %', 'two']
    """
    return [clean_line(line) for line in text.rstrip("\n").split("\n")[-most:]]


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


def count(of: int | None) -> str:
    """Write a whole number with separators; nothing for None.

    >>> count(12345)
    '12,345'
    """
    return "" if of is None else f"{of:,}"


def size(in_bytes: float) -> str:
    """Write a number of bytes.

    >>> size(12), size(1500), size(300 * 2**20), size(80 * 2**30)
    ('12 B', '1.5 KiB', '300 MiB', '80.0 GiB')
    """
    scaled, unit = in_bytes, "B"
    for larger in ("KiB", "MiB", "GiB"):
        if scaled < 1024:
            break
        scaled, unit = scaled / 1024, larger
    has_decimal = unit == "GiB" or (unit != "B" and scaled < 10)
    return f"{scaled:.1f} {unit}" if has_decimal else f"{scaled:.0f} {unit}"


def duration(seconds: float | None) -> str:
    """Write a duration in its two largest units, below ten seconds with one decimal; empty for None, NaN and infinity.

    >>> duration(0.21), duration(42.4), duration(192), duration(7500), duration(280000), duration(3600)
    ('0.2 s', '42 s', '3 min 12 s', '2 h 5 min', '3 d 5 h', '1 h')
    """
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds >= LONGEST_S:
        return "> 30 years"
    whole = round(seconds)
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def rate(per_second: float | None) -> str:
    """Write steps per second.

    >>> rate(15321.0), rate(0.25)
    ('15.3k/s', '0.25/s')
    """
    if per_second is None or not math.isfinite(per_second):
        return ""
    return f"{per_second / 1000:.3g}k/s" if 1000 <= per_second < 1e6 else f"{per_second:.3g}/s"


def steps(step: int | None, total: int | None) -> str:
    """Write a run's progress in steps.

    >>> steps(812, 1000), steps(812, None), steps(None, None)
    ('812/1000', '812', '')
    """
    if step is None:
        return ""
    return str(step) if total is None else f"{step}/{total}"


def value(of: Any, *, exact: bool = False) -> str:
    """Write any plain value on one line; a number on its own by `number`."""
    if is_number(of):
        return number(of, exact=exact)
    return "" if of is None else clean(of if isinstance(of, str) else yaml.inline(of))


def shortened(text: str, most: int = LONGEST) -> str:
    """Cut a text that is longer than `most` characters, and mark it so.

    >>> shortened("a long reason", 8), shortened("short", 8)
    ('a long …', 'short')
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def one_line(of: Any) -> str:
    """Write a config value exactly, as YAML on one line; a very long one is cut."""
    return shortened(" ".join(yaml.inline(of).split("\n")))


def changed(values: Sequence[tuple[int, Any]]) -> str:
    """Write the values of a key over time, each but the first with the step it came at; of many values, the last ones.

    >>> changed([(0, 0.1), (1500, 0.001)]), changed([(0, 1), (5, 2), (6, 3), (7, 4), (8, 5)])
    ('0.1 → 0.001 @1500', '1 → … → 4 @7 → 5 @8')
    """
    first, *later = values
    more = ["…"] if len(later) > 3 else []
    shown = [f"{value(of) or 'null'} @{step}" for step, of in (later[-2:] if more else later)]
    return " → ".join([value(first[1]) or "null", *more, *shown])


def result(of: Any) -> str:
    """Write a run's return value; nothing for None.

    >>> result(0.9711111111111111), result({"acc": 1})
    ('0.9711', '{acc: 1}')
    """
    return "" if of is None else number(of) if isinstance(of, float) else one_line(of)[:80]


def moment(seconds: float | None, *, day: bool = True) -> str:
    """Write a moment in local time, with the date unless `day` is false."""
    if seconds is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return ""  # a foreign file's number that is not a time
