"""The logged metrics by step: each read goes on where the last one ended, and long curves are thinned."""

from __future__ import annotations

import array
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trainctl.rundir import files
from trainctl.rundir.fields import number, whole
from trainctl.rundir.metrics import parse_metrics
from trainctl.rundir.paths import RunDir

MAX_POINTS = 2000
MAX_METRICS = 200
_LONG = 2**63
LOOK_BYTES = 8 * 2**20  # per read; the rest follows at the next, so that no run holds up all others


class Mark(NamedTuple):
    """How much of a curve a reader has seen; a new generation has to be read from its start."""

    generation: int
    length: int


UNSEEN = Mark(-1, 0)


@dataclass(slots=True)
class Curve:
    """The values of one metric. Beyond twice `most` values, every second one is dropped, now and from then on."""

    steps: array.array[int] = field(default_factory=lambda: array.array("q"))
    values: array.array[float] = field(default_factory=lambda: array.array("d"))
    generation: int = 0
    most: int = MAX_POINTS
    _stride: int = 1
    _seen: int = 0

    def add(self, step: int, value: float) -> None:
        """Take the next value.

        >>> curve = Curve()
        >>> for step in range(10 * MAX_POINTS): curve.add(step, 0.0)
        >>> len(curve.steps) <= 2 * MAX_POINTS, curve.steps[:2].tolist(), curve.generation
        (True, [0, 8], 3)
        """
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        self.steps.append(step)
        self.values.append(value)
        if len(self.steps) > 2 * self.most:
            del self.steps[1::2], self.values[1::2]
            self._stride *= 2
            self.generation += 1

    def after(self, mark: Mark) -> tuple[Mark, bool, list[int], list[float]]:
        """Return the points after a mark, and whether they are the whole curve: the mark is of another generation."""
        is_whole = mark.generation != self.generation or mark.length > len(self.steps)
        start = 0 if is_whole else mark.length
        mark = Mark(self.generation, len(self.steps))
        return mark, is_whole, self.steps[start:].tolist(), self.values[start:].tolist()


Points = tuple["np.ndarray[Any, np.dtype[np.float64]]", "np.ndarray[Any, np.dtype[np.float64]]"]


def thinned(steps: Sequence[float], values: Sequence[float], most: int) -> Points:
    """Return a line of at most `most` points that looks the same: the minimum and the maximum of each part.

    So no peak is lost. Where a part has values that are not finite, the first and the last of them stay too.

    >>> float(thinned(range(1000), [1.0 if step == 500 else 0.0 for step in range(1000)], 10)[1].max())
    1.0
    """
    xs, ys = np.asarray(steps, float), np.asarray(values, float)
    parts = max(1, (most - 2) // (2 if np.isfinite(ys).all() else 4))
    if len(xs) <= most:
        return xs, ys
    size = -(-len(xs) // parts)
    padded = np.full(size * -(-len(xs) // size), np.nan)
    padded[: len(ys)] = np.where(np.isfinite(ys), ys, np.nan)
    table = padded.reshape(-1, size)
    starts = np.arange(len(table)) * size
    has_any = np.isfinite(table).any(axis=1)
    least = np.where(np.isnan(table), np.inf, table).argmin(axis=1) + starts
    greatest = np.where(np.isnan(table), -np.inf, table).argmax(axis=1) + starts
    kept = {0, len(xs) - 1, *least[has_any].tolist(), *greatest[has_any].tolist()}
    holes = np.flatnonzero(~np.isfinite(ys))
    part = holes // size
    first = np.r_[True, part[1:] != part[:-1]] if len(part) else np.zeros(0, bool)
    kept |= {*holes[first].tolist(), *holes[np.r_[first[1:], True] if len(part) else first].tolist()}
    at = np.array(sorted(kept))
    return xs[at], ys[at]


class Curves:
    """All metrics of one run, at most twice `most` values of each. `look` is for the watcher's thread.

    Attributes:
        is_read: whether the last look came to the end of the file.
    """

    is_read = False

    def __init__(self, run: RunDir, most: int = MAX_POINTS) -> None:
        self._path = run.metrics
        self._most = most
        self._lock = threading.Lock()
        self._curves: dict[str, Curve] = {}
        self._inode: int | None = None
        self._offset = 0
        self._generations = 0

    @property
    def names(self) -> list[str]:
        """The metrics in the order in which they were first logged."""
        with self._lock:
            return list(self._curves)

    def after(self, name: str, mark: Mark) -> tuple[Mark, bool, list[int], list[float]]:
        """Return the points of one metric after a mark; see `Curve.after`."""
        with self._lock:
            return self._curves.get(name, Curve()).after(mark)

    def look(self) -> None:
        """Read what was written since the last read; from the start if the file was replaced or truncated."""
        try:
            with files.open_regular(self._path) as file:
                stat = os.fstat(file.fileno())
                if stat.st_ino != self._inode or stat.st_size < self._offset:
                    self._start_over(stat.st_ino)
                self.is_read = stat.st_size <= self._offset + LOOK_BYTES
                if stat.st_size == self._offset:
                    return
                file.seek(self._offset)
                data = file.read(LOOK_BYTES)
        except OSError:
            return
        whole = data.rfind(b"\n") + 1  # what is after it is still being written
        if whole == 0 and len(data) == LOOK_BYTES:
            whole = len(data)  # no valid record is that long
        self._offset += whole
        with self._lock:
            for record in parse_metrics(data[:whole]):
                self._take(record)

    def _start_over(self, inode: int) -> None:
        with self._lock:
            self._inode, self._offset, self._curves = inode, 0, {}
            self._generations += 10**6  # marks of an earlier file are invalid in this one

    def _take(self, record: dict[str, object]) -> None:
        step = whole(record.get("step"))
        if step is None or not -_LONG <= step < _LONG:
            return
        for name, value in record.items():
            found = number(value)
            if name in ("step", "t") or found is None:
                continue
            if name not in self._curves:
                if len(self._curves) >= MAX_METRICS:
                    continue
                self._curves[name] = Curve(generation=self._generations, most=self._most)
            self._curves[name].add(step, float(found))
