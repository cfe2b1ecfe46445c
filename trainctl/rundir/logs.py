"""The logs of a run by name: its own, one for each command of a pipeline, and those of earlier attempts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

_TAIL_BYTES, _TAIL_LINES = 1 << 14, 8


def log_of(run: RunDir, name: str) -> Path:
    """Return the log with a name, a file directly in the run dir. Names come from files and are not trusted.

    >>> log_of(RunDir.at("/outputs/a"), "train").as_posix()
    '/outputs/a/train.log'

    Raises:
        RunDirError: the name is a path.
    """
    file = f"{name}.log"
    if not name or "\0" in name or os.path.basename(file) != file:
        raise RunDirError(f"no log in {str(run.path)!r} is called {name!r}: a name is not a path")
    return run.path / file


def earlier_logs(log: Path) -> dict[int, Path]:
    """Return the logs of earlier attempts in order: `train.1.log`, `train.2.log` of `train.log`.

    Links are passed over.
    """
    found: dict[int, Path] = {}
    try:
        with os.scandir(log.parent) as entries:
            for entry in entries:
                number = _number(entry.name, log.stem)
                if number is not None and entry.is_file(follow_symlinks=False):
                    found[number] = log.with_name(entry.name)
    except OSError:
        return {}
    return dict(sorted(found.items()))


def _number(file: str, name: str) -> int | None:
    """Return the attempt number of an earlier log.

    >>> _number("train.12.log", "train"), _number("train.log", "train"), _number("train.1.log", "t")
    (12, None, None)
    """
    begin, end = f"{name}.", ".log"
    if not (file.startswith(begin) and file.endswith(end)):
        return None
    digits = file[len(begin) : -len(end)]
    is_number = digits.isascii() and digits.isdecimal() and str(int(digits)) == digits
    return int(digits) if is_number else None


def last_lines(log: Path) -> str:
    """Return the last lines of a log, for the reason of a failure; empty when it cannot be read."""
    try:
        with files.open_regular(log) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])


_BLOCK = 1 << 16
_MOST_BYTES = 1 << 26  # in which lines are looked for: a log may be a hole of terabytes


def end_of(file: BinaryIO, lines: int) -> int:
    r"""Return the offset at which the last `lines` lines of a file begin; an unfinished last line counts.

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
