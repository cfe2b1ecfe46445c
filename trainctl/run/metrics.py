"""What `live.log()` is given: kept in memory until the pump writes it to `metrics.jsonl`."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainctl.run import files

log = logging.getLogger(__name__)

_OWN = ("step", "t")
_PLAIN = frozenset((float, int, bool, str, type(None)))


class MetricLog:
    """Records by step. `add` is for the training thread and touches no file; `flush` is for one other thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._added: deque[tuple[int, dict[str, Any], float]] = deque()
        self._unwritten: list[dict[str, Any]] = []
        self._is_failing = False

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Keep one record; numbers of NumPy and torch are read now, since their owner may change them.

        Raises:
            TypeError: a value is not a number, text, bool, None, or a list of those. ValueError: a name is ours.
        """
        for name in _OWN:
            if name in values:
                raise ValueError(f"live.log({name}=…): {name!r} is written by trainctl itself; choose another name")
        plain = {name: value if type(value) in _PLAIN else _plain(name, value) for name, value in values.items()}
        self._added.append((step, plain, time.time()))

    def flush(self) -> None:
        """Write what was added since. When it cannot be written it is kept for the next time, and said once."""
        while self._added:
            step, values, now = self._added.popleft()
            self._unwritten.append({"step": step, **values, "t": round(now, 6)})
        if not self._unwritten:
            return
        try:
            append_whole(self._path, "".join(map(files.json_line, self._unwritten)).encode())
        except OSError as error:
            if not self._is_failing:
                log.error("metrics cannot be written to %s (%s); they are kept in memory", self._path, error)
            self._is_failing = True
        else:
            self._unwritten.clear()
            self._is_failing = False


def append_whole(path: Path, data: bytes) -> None:
    """Append lines so that all or none of them are there; for a file with one writer.

    Raises:
        OSError: they could not be written; the file is as before.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a crash of an earlier attempt
        try:
            files.write_all(descriptor, b"\n" + data if torn else data)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _plain(name: str, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [_plain(name, inner) for inner in value]
    item = getattr(value, "item", None)
    if callable(item):
        try:
            return _plain(name, item())
        except (ValueError, RuntimeError) as error:  # NumPy's and torch's way to say: more than one element
            raise _refusal(name, value) from error
    raise _refusal(name, value)


def _refusal(name: str, value: Any) -> TypeError:
    kind = type(value)
    return TypeError(
        f"live.log({name}=…): a value of type {kind.__module__}.{kind.__qualname__} cannot be logged; "
        "allowed are numbers, text, true/false, null, lists of those, and arrays of one element"
    )
