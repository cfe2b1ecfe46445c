"""Progress and rate of a run: `progress.yaml`, and the rate and remaining time that every display shows."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from trainctl.rundir import files
from trainctl.rundir.fields import Fields
from trainctl.rundir.paths import RunDir

_WINDOW_S, _WINDOW_STEPS = 30.0, 10  # a window reaches back as far as both: steps take from 1 ms to hours
_APART_S = 0.25  # between two marks of a window


class Pace:
    """The time per step, averaged over the last half minute and at least ten steps.

    >>> pace = Pace()
    >>> for step in (1, 2, 3):
    ...     pace.note(step, 600.0 * step)
    >>> pace.rate
    0.0016666666666666668
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()  # when a step began, and which

    def note(self, step: int, now: float) -> None:
        """Note that `step` has begun by `now`, in seconds of a monotonic clock; the same step again changes nothing."""
        marks = self._marks
        if marks and step == marks[-1][1]:
            return
        if marks and step < marks[-1][1]:
            marks.clear()
        if len(marks) > 1 and now - marks[-2][0] < _APART_S:
            marks.pop()
        marks.append((now, step))
        while len(marks) > 2 and now - marks[1][0] >= _WINDOW_S and step - marks[1][1] >= _WINDOW_STEPS:
            marks.popleft()

    @property
    def rate(self) -> float | None:
        """Steps per second; None before the second step."""
        if len(self._marks) < 2:
            return None
        (began, first), (now, last) = self._marks[0], self._marks[-1]
        return (last - first) / max(now - began, 1e-9)

    @property
    def began(self) -> float | None:
        """When the step that runs was noted; None before the first one."""
        return self._marks[-1][0] if self._marks else None


def left_s(step: int, total: int | None, rate: float | None, in_step_s: float | None = None) -> float | None:
    """Return the seconds until the end of the last step, `step` being the one that runs; None when it cannot be told.

    `in_step_s` is the time since the step began; if not known, the current step counts as over.

    >>> left_s(2, 20, 0.5, 0.0), left_s(2, 20, 0.5, 1.5), left_s(2, 20, 0.5), left_s(2, None, 0.5)
    (38.0, 36.5, 36.0, None)
    """
    if total is None or rate is None or not 0 < rate < float("inf"):
        return None
    step_s = 1 / rate
    rest_s = 0.0 if in_step_s is None else min(step_s, max(0.0, step_s - in_step_s))
    seconds = max(0, total - step) * step_s + rest_s
    return seconds if seconds < float("inf") else None


@dataclass(frozen=True, slots=True)
class Progress:
    """The content of `progress.yaml`; missing entries are None.

    Attributes:
        step: the step that runs, or ran last.
        total: the last step, as far as it is known; never less than `step`.
        rate: steps per second, over the last ones.
        began: when the step that runs began, in Unix seconds.
        t: when this was written.
        looks: the actions that the training loop has looked for, and so can do (`checkpoint`, `evaluate`, `stop`).
    """

    step: int | None = None
    total: int | None = None
    rate: float | None = None
    began: float | None = None
    t: float | None = None
    is_paused: bool = False
    looks: tuple[str, ...] = ()

    @property
    def eta_s(self) -> float | None:
        """Seconds from `t` until the last step is over, at the present rate; None when it cannot be told."""
        if self.step is None or self.is_paused:
            return None
        in_step_s = None if self.began is None or self.t is None else self.t - self.began
        return left_s(self.step, self.total, self.rate, in_step_s)


def write_progress(run: RunDir, progress: Progress) -> None:
    """Write `progress.yaml`, without unknown entries.

    Raises:
        OSError: it cannot be written.
    """
    record = {"step": progress.step, "total": progress.total}
    numbers = {
        "rate": None if progress.rate is None else float(f"{progress.rate:.6g}"),
        "began": None if progress.began is None else round(progress.began, 3),
        "t": round(time.time() if progress.t is None else progress.t, 3),
        "paused": progress.is_paused or None,
        "looks": list(progress.looks) or None,
    }
    files.write_yaml(run.progress, {**record, **{name: one for name, one in numbers.items() if one is not None}})


def read_progress(run: RunDir, problems: list[str] | None = None, *, since: float | None = None) -> Progress:
    """Read `progress.yaml`; missing and invalid entries are None, and `problems` say which are invalid.

    Entries written before `since`, the start of the current attempt, say nothing about its rate.
    """
    record = files.read_mapping(run.progress, problems, most=files.MOST_SMALL)
    said = Fields(record, run.progress.name, problems)
    step, total, rate, t = said.whole("step"), said.whole("total"), said.number("rate"), said.number("t")
    if step is not None and total is not None and step > total:
        total = None
    if rate is not None and not 0 < rate < float("inf"):
        rate = None
    if since is not None and t is not None and t < since:
        rate = None
    given = record.get("looks")
    looks = tuple(name for name in given if isinstance(name, str)) if isinstance(given, list) else ()
    return Progress(step, total, rate, said.number("began"), t, record.get("paused") is True, looks)
