"""The last traceback in a log."""

from __future__ import annotations

from collections.abc import Sequence

_BEGIN = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_MOST_LINES = 60
_MOST_AFTER = 10  # of a message of several lines, or of what was printed after it


def last_traceback(lines: Sequence[str]) -> list[str]:
    """Return the last traceback with those it was raised from, and what was printed next; empty when there is none.

    >>> last_traceback(["step 1", "Traceback (most recent call last):", '  File "a.py"', "ValueError: no"])
    ['Traceback (most recent call last):', '  File "a.py"', 'ValueError: no']
    """
    begins = [place for place, line in enumerate(lines) if line == _BEGIN]
    if not begins:
        return []
    first = last = begins.pop()
    while begins and any(line in _CHAINED for line in lines[max(0, first - 2) : first]):
        first = begins.pop()
    end = last + 1
    while end < len(lines) and (lines[end].startswith(" ") or not lines[end]):
        end += 1
    return list(lines[first : end + _MOST_AFTER])[-_MOST_LINES:]
