"""The progress of a running run, from what was appended to its files, and the remaining time of a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trainctl.rundir import files
from trainctl.rundir.fields import number
from trainctl.rundir.metrics import parse_metrics
from trainctl.rundir.pace import Progress, read_progress
from trainctl.rundir.paths import RunDir

_MOST_BYTES = 4096  # of new metrics that one look reads: the latest are all that is shown


class Glance:
    """How far a new attempt of a run is, by its files; what earlier attempts left in them is ignored.

    Attributes:
        progress: what `progress.yaml` says.
        metrics: the last value of each metric.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._seen = _signature(run.progress)
        metrics = _signature(run.metrics)
        self._offset = 0 if metrics is None else metrics[1]
        self.progress = Progress()
        self.metrics: dict[str, float] = {}

    def look(self) -> None:
        """Read what has changed. Never raises for what files hold: it is only shown."""
        signature = _signature(self._run.progress)
        if signature is not None and signature != self._seen:
            self._seen = signature
            self.progress = read_progress(self._run)
        try:
            self._read_metrics()
        except OSError:
            return  # it logs none, or its directory was removed

    def _read_metrics(self) -> None:
        size = os.stat(self._run.metrics).st_size
        if size < self._offset:
            self._offset = 0
        if size == self._offset:
            return
        start = max(self._offset, size - _MOST_BYTES)
        with files.open_regular(self._run.metrics) as file:
            file.seek(start)
            data = file.read(size - start)
        whole = data[: data.rfind(b"\n") + 1]
        if start > self._offset:
            whole = whole.partition(b"\n")[2]
        self._offset = start + data.rfind(b"\n") + 1
        for record in parse_metrics(whole):
            self.metrics.update(
                (str(key), found)
                for key, value in record.items()
                if key not in ("step", "t") and (found := number(value)) is not None
            )


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def remaining_s(
    finished_s: float | None, running: Sequence[tuple[float, float | None]], waiting: int, slots: int
) -> float | None:
    """Estimate the seconds until the last job ends; None while nothing is known that tells.

    A job takes as long as the mean of those that are done, or, before any is, as the running ones that know how
    far they are. The work is shared evenly by the slots, and nothing ends before the longest running job does.

    Args:
        finished_s: the mean duration of the jobs that are done; None when there are none.
        running: per running job how long it has been running, and how long it will by its own count, if it knows.
        waiting: how many jobs have not started.
        slots: how many jobs run at a time.

    >>> remaining_s(10.0, [(4.0, None), (6.0, 3.0)], waiting=4, slots=2)
    24.5
    >>> remaining_s(None, [(5.0, 15.0)], waiting=1, slots=1)
    35.0
    >>> remaining_s(None, [(5.0, None)], waiting=0, slots=1)
    """
    known = [elapsed + left for elapsed, left in running if left is not None]
    if finished_s is None:
        if not known:
            return None
        finished_s = sum(known) / len(known)
    each = [max(0.0, finished_s - elapsed) if left is None else left for elapsed, left in running]
    if not each and not waiting:
        return 0.0
    return max([(sum(each) + waiting * finished_s) / max(1, slots), *each])
