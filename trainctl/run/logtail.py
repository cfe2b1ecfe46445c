"""Where the last lines of a long log begin, found from its end."""

from __future__ import annotations

import os
from typing import BinaryIO

_BLOCK = 1 << 16
_MOST_BYTES = 1 << 26  # in which lines are looked for: a log may be a hole of terabytes


def end_of(file: BinaryIO, lines: int) -> int:
    r"""Return the offset at which the last `lines` lines of a file begin; a last line without line break is one.

    Of lines that take more than `_MOST_BYTES`, the end is returned.

    >>> import io
    >>> [end_of(io.BytesIO(b"one\ntwo\nthree"), n) for n in (0, 1, 2, 9)]
    [13, 8, 4, 0]
    """
    size = place = file.seek(0, os.SEEK_END)
    if lines == 0:
        return size
    wanted = lines + 1  # the line break before the first of them
    first = max(0, size - _MOST_BYTES)
    while place > first:
        start = max(0, place - _BLOCK)
        file.seek(start)
        block = file.read(place - start)
        if place == size and not block.endswith(b"\n"):
            wanted -= 1
        at = block.rfind(b"\n")
        while at >= 0:
            wanted -= 1
            if wanted == 0:
                return start + at + 1
            at = block.rfind(b"\n", 0, at)
        place = start
    return place
