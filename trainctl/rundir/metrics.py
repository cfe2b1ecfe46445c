"""The metrics of `live.log()`: kept in memory until the I/O thread writes them to `metrics.jsonl`."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainctl.errors import UnreadableError
from trainctl.rundir import files

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_MOST_KEPT = 64 << 20  # bytes of lines that wait for a disk with room
_ONE_WRITE = 1 << 20
_ONE_TURN = 10_000  # records that become lines before these are written
_MOST_ADDED = 100_000  # records that wait to become lines, some 50 MB
_NOT_FINITE = re.compile(rb'(?:(?<=: )|(?<=, )|(?<=\[))"(nan|-?inf)"(?=[,\]}])')
_NUMBERS = {b"nan": b"NaN", b"inf": b"Infinity", b"-inf": b"-Infinity"}  # as Python's reader of JSON takes them
_PLAIN = frozenset((float, int, bool, str, type(None)))


class MetricLog:
    """Records by step. `add` is for the training thread and touches no file; `flush` may be called by any thread.

    A loop that adds records faster than they are written waits for the thread that writes; if that takes none for
    `_PATIENCE_S`, records are dropped until it does.

    No step is in the file twice: when a further attempt logs again what an earlier one has logged, the file as it was
    is kept as `metrics.1.jsonl`, `metrics.2.jsonl`, … and the steps from there on are written again.

    Args:
        path: the file.
        is_further: an earlier attempt may have written to it: nothing is written before `start_over` or `go_on_after`
            has said from which step on it is superseded.
    """

    def __init__(self, path: Path, *, is_further: bool = False) -> None:
        self._path = path
        self._added: deque[tuple[int, dict[str, Any] | None, float]] = deque()  # None: records after that step go
        self._unwritten: deque[tuple[int, bytes | None]] = deque()  # the same, as lines
        self._size = 0  # bytes in there
        self._dropped: tuple[int, int] | None = None  # first and last step
        self._reason: str | None = None  # why a flush failed
        self._is_failing = False
        self._is_stuck = False  # nobody takes what is added
        self._flushing = threading.Lock()
        self.is_held = is_further
        self.last: dict[str, Any] = {}

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Keep one record; numbers of NumPy and torch are read at once, since they may be changed later.

        Raises:
            TypeError: a value is not a number, text, bool, None, or a list of those. ValueError: a name is `step` or
                `t`.
        """
        if "step" in values or "t" in values:
            name = "step" if "step" in values else "t"
            raise ValueError(f"live.log({name}=…): {name!r} is written by trainctl itself; choose another name")
        if not _PLAIN.issuperset(map(type, values.values())):
            values = {name: _plain(name, value) for name, value in values.items()}
        self.last = values
        if len(self._added) < _MOST_ADDED or self._has_room():
            self._added.append((step, values, time.time()))
        else:
            self._drop(step)

    def start_over(self) -> None:
        """Supersede all that earlier attempts have logged."""
        self._added.appendleft((-1, None, 0.0))
        self.is_held = False

    def go_on_after(self, step: int) -> None:
        """Supersede the records after `step`, except those that this attempt has logged before the resume."""
        if self.is_held:
            self._added.clear()
        self._added.append((step, None, 0.0))
        self.is_held = False

    def values_until(self, step: int) -> dict[str, Any]:
        """Return the last value of each metric in the file up to a step; none if it cannot be read."""
        self.flush()
        found: dict[str, Any] = {}
        with contextlib.suppress(UnreadableError):
            for record in files.read_lines(self._path):
                if isinstance(record.get("step"), int) and record["step"] <= step:
                    found |= record
        return found

    def flush(self, *, is_last: bool = False) -> None:
        """Write new records. Those that cannot be written are kept for next time, up to 64 MiB, with one warning."""
        if self.is_held and not is_last:
            return
        if self._flushing.acquire(timeout=_PATIENCE_S):  # else the file system hangs, and the other thread in it
            try:
                self._flush()
            finally:
                self._flushing.release()

    @property
    def loss(self) -> str | None:
        """What is missing in the file after the last flush, and why, in one sentence; None if nothing is."""
        waiting = [*self._unwritten, *((step, values) for step, values, _ in self._added)]
        left = [step if line is not None else step + 1 for step, line in waiting]
        if self._dropped is None and not left:
            return None
        first = min([*left, *(self._dropped or ())])
        last = "on" if left or self._dropped is None else f"to step {self._dropped[1]}"
        reason = self._reason or "the file system does not answer"
        return f"{self._path.name} could not be written from step {first} {last} ({reason})"

    def _has_room(self) -> bool:
        waits_until = time.monotonic() + _PATIENCE_S
        while len(self._added) >= _MOST_ADDED and not self._is_stuck:
            time.sleep(0.001)
            self._is_stuck = time.monotonic() > waits_until
        return len(self._added) < _MOST_ADDED

    def _flush(self) -> None:
        left = len(self._added)  # what a loop adds meanwhile is written next time: it may add faster than this writes
        try:
            while left or self._unwritten:
                left -= self._take(min(left, _ONE_TURN))
                self._write()
        except OSError as error:
            self._take(left)
            if not self._is_failing:
                log.error("metrics cannot be written to %s (%s); they are kept in memory", self._path, error)
            self._is_failing = True
            self._reason = str(error.strerror or error)
        else:
            self._is_failing = False

    def _take(self, number: int) -> int:
        """Turn so many new records into lines; when too many are kept, new ones are dropped."""
        for _ in range(number):
            step, values, now = self._added[0]
            line = None
            if values is not None:
                line = files.encoded(files.json_line({"step": step, **values, "t": round(now, 6)}))
                self._size += len(line)
            if line is not None and self._size > _MOST_KEPT:
                self._drop(step)
                self._size -= len(line)
            else:
                self._unwritten.append((step, line))
            self._added.popleft()
        self._is_stuck = False
        return number

    def _write(self) -> None:
        while self._unwritten:
            try:
                self._write_some(_ONE_WRITE)
            except OSError:
                self._write_some(0)  # there may be room for a few

    def _drop(self, step: int) -> None:
        if self._dropped is None:
            log.error("metrics from step %d on are lost: no more than %d MiB are kept", step, _MOST_KEPT >> 20)
        first, last = self._dropped or (step, step)
        self._dropped = (min(first, step), max(last, step))

    def _write_some(self, limit: int) -> None:
        """Write lines until they are more than `limit` bytes, one at least; or let the records after a step go."""
        step, line = self._unwritten[0]
        if line is None:
            supersede(self._path, step)
            self._unwritten.popleft()
            return
        lines: list[bytes] = []
        size = 0
        for _, line in self._unwritten:
            if line is None or (lines and size > limit):
                break
            lines.append(line)
            size += len(line)
        append_whole(self._path, b"".join(lines))
        for _ in lines:
            self._unwritten.popleft()
        self._size -= size


def with_numbers(lines: bytes) -> bytes:
    """Return lines of `metrics.jsonl` with NaN and infinities as numbers; JSON has them as text.

    >>> with_numbers(b'{"step": 1, "loss": "nan", "nan": "inf", "word": "is nan"}')
    b'{"step": 1, "loss": NaN, "nan": Infinity, "word": "is nan"}'
    """
    if b'nan"' not in lines and b'inf"' not in lines:
        return lines
    return _NOT_FINITE.sub(lambda found: _NUMBERS[found[1]], lines)


def parse_metrics(lines: bytes) -> Iterator[dict[str, Any]]:
    """Yield the records of lines of `metrics.jsonl`; torn, foreign or deeply nested lines are skipped."""
    return files.parse_lines(with_numbers(lines))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read all records of a `metrics.jsonl`; empty when it is not there.

    Raises:
        UnreadableError: it is there and cannot be read.
    """
    try:
        return [record for block in files.read_blocks(path) for record in parse_metrics(block)]
    except FileNotFoundError:
        return []


def supersede(path: Path, step: int) -> None:
    """Remove the records after `step` from a file; if there are any, the old file is kept beside it.

    Raises:
        OSError: it cannot be done; the file is as before.
    """
    records = files.read_lines(path)
    kept = [one for one in records if not isinstance(one.get("step"), int) or one["step"] <= step]
    if len(kept) == len(records):
        return
    number = 1
    while (earlier := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    os.link(path, earlier)
    try:
        files.write_atomic(path, "".join(map(files.json_line, kept)))
    except OSError:
        os.unlink(earlier)
        raise


def append_whole(path: Path, data: bytes) -> None:
    """Append lines, all or none of them; for a file with one writer.

    Raises:
        OSError: they could not be written; the file is as before.
    """
    descriptor = files.open_to_write(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
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
