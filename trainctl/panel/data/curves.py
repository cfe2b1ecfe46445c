"""What was logged, by step: read from where the last look ended, and thinned so that a long run stays small."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from trainctl.rundir import files
from trainctl.rundir.fields import number, whole
from trainctl.rundir.metrics import parse_metrics
from trainctl.rundir.paths import RunDir

MAX_POINTS = 2000
MAX_METRICS = 200
LOOK_BYTES = 8 * 2**20  # of one look; what is left comes with the next, so that no run holds up all others


class Mark(NamedTuple):
    """How much of a curve somebody has seen; a new generation is to be read from its start."""

    generation: int
    length: int


UNSEEN = Mark(-1, 0)


@dataclass(slots=True)
class Curve:
    """The values of one metric. Of more than twice `MAX_POINTS` every second is dropped, and every second to come."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    generation: int = 0
    _stride: int = 1
    _seen: int = 0

    def add(self, step: int, value: float) -> None:
        """Take the next value.

        >>> curve = Curve()
        >>> for step in range(10 * MAX_POINTS): curve.add(step, 0.0)
        >>> len(curve.steps) <= 2 * MAX_POINTS, curve.steps[:2], curve.generation
        (True, [0, 8], 3)
        """
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        self.steps.append(step)
        self.values.append(value)
        if len(self.steps) > 2 * MAX_POINTS:
            del self.steps[1::2], self.values[1::2]
            self._stride *= 2
            self.generation += 1

    def after(self, mark: Mark) -> tuple[Mark, bool, list[int], list[float]]:
        """Return what is new since a mark, and whether that is the whole curve because the mark is of another one."""
        is_whole = mark.generation != self.generation or mark.length > len(self.steps)
        start = 0 if is_whole else mark.length
        return Mark(self.generation, len(self.steps)), is_whole, self.steps[start:], self.values[start:]


_DOT = 1e-3  # of a step: half the length of the line that a point alone is drawn as


def dotted(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return a line in which a point between two that are not finite is a dot; else nothing of it is drawn.

    >>> dotted([1, 2, 3], [math.nan, 0.5, math.nan])
    ([1, 1.999, 2.001, 3], [nan, 0.5, 0.5, nan])
    """
    xs: list[float] = []
    ys: list[float] = []
    is_finite = [False, *map(math.isfinite, values), False]
    for at, (step, value) in enumerate(zip(steps, values, strict=True), 1):
        is_alone = is_finite[at] and not (is_finite[at - 1] or is_finite[at + 1])
        xs += [step - _DOT, step + _DOT] if is_alone else [step]
        ys += [value, value] if is_alone else [value]
    return xs, ys


def not_finite(steps: Sequence[int], values: Sequence[float]) -> list[tuple[int, int, str]]:
    """Return where a curve has no point: first step, last step, and what stands there, `nan` or `inf`.

    >>> not_finite([1, 2, 3, 4], [0.5, math.nan, math.inf, 0.5])
    [(2, 3, 'nan, inf')]
    """
    found: list[tuple[int, int, str]] = []
    for is_gap, points in itertools.groupby(zip(steps, values, strict=True), lambda point: not math.isfinite(point[1])):
        if is_gap:
            at, what = zip(*points, strict=True)
            found.append((at[0], at[-1], ", ".join(dict.fromkeys(map(str, what)))))
    return found


class Curves:
    """All metrics of one run. `look` is for the watcher's thread, the others for any."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.metrics
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
        """Return what is new of one metric since a mark; see `Curve.after`."""
        with self._lock:
            return self._curves.get(name, Curve()).after(mark)

    def look(self) -> None:
        """Read what was written since the last look; from the start when the file is another one or has been cut."""
        try:
            with files.open_regular(self._path) as file:
                stat = os.fstat(file.fileno())
                if stat.st_ino != self._inode or stat.st_size < self._offset:
                    self._start_over(stat.st_ino)
                if stat.st_size == self._offset:
                    return
                file.seek(self._offset)
                data = file.read(LOOK_BYTES)
        except OSError:
            return
        whole = data.rfind(b"\n") + 1  # what is after it is still being written
        if whole == 0 and len(data) == LOOK_BYTES:
            whole = len(data)  # no record of ours is that long
        self._offset += whole
        with self._lock:
            for record in parse_metrics(data[:whole]):
                self._take(record)

    def _start_over(self, inode: int) -> None:
        with self._lock:
            self._inode, self._offset, self._curves = inode, 0, {}
            self._generations += 10**6  # no mark of an earlier file means anything in this one

    def _take(self, record: dict[str, object]) -> None:
        step = whole(record.get("step"))
        if step is None:
            return
        for name, value in record.items():
            found = number(value)
            if name in ("step", "t") or found is None:
                continue
            if name not in self._curves:
                if len(self._curves) >= MAX_METRICS:
                    continue
                self._curves[name] = Curve(generation=self._generations)
            self._curves[name].add(step, float(found))
