"""The loops of `live.track`: the last step of the training as derived from them, and their progress bar.

The bar is drawn on a terminal only and never written to a log.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from trainctl import text as amount
from trainctl.attempt.output import Tee, show_bar
from trainctl.config.values import is_number
from trainctl.errors import RunDirError
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.pace import Pace, left_s

Item = TypeVar("Item")

_REDRAW_S = 0.1
_WIDTH = 24


class Loop:
    """One running `live.track` loop.

    Args:
        first: the step before its first item.
        length: how many items it has; None when it is not known.
    """

    def __init__(self, first: int, length: int | None) -> None:
        self.length = length
        self.items = 0
        self._first = self._began = first
        self._each: int | None = None  # steps that each item has taken until now
        self._is_even = True

    def begin_item(self, step: int) -> None:
        """Note the step at which the next item begins."""
        if self.items:
            each = step - self._began
            self._is_even = self._is_even and self._each in (None, each)
            self._each = each
        self._began = step
        self.items += 1

    def last_step(self, step: int) -> int | None:
        """Return the last step of this loop; None unless all items so far have taken the same number of steps.

        The first step of the next item belongs to this one until it is over: a run that is paused there has a total.
        An item takes several steps when loops inside it count steps too; the first epoch shows how many.
        """
        if self.length is None or not self._is_even or step - self._began > (self._each or 0):
            return None
        return self._first + self.length * (self._each or 1)


class Loops:
    """The last step of a training, derived from its outermost loop; unknown with several of them, as one per epoch."""

    def __init__(self) -> None:
        self._open: list[Loop] = []
        self._outer: Loop | None = None
        self._is_one_of_several = False

    def begin(self, step: int, length: int | None) -> Loop:
        """Begin a loop after `step`."""
        loop = Loop(step, length)
        if not self._open:
            self._is_one_of_several = self._is_one_of_several or self._outer is not None
            self._outer = loop
        self._open.append(loop)
        return loop

    def end(self, loop: Loop) -> None:
        """End a loop: all items were taken, or the loop was left early."""
        self._open.remove(loop)

    def note_epoch(self) -> None:
        """Note that an epoch begins; outside all loops this means that the loops to come are epochs."""
        if not self._open:
            self._is_one_of_several = True

    def total(self, step: int) -> int | None:
        """Return the last step of the training; None if the loops do not tell. `step` is the current one."""
        outer = self._outer
        return None if outer is None or self._is_one_of_several else outer.last_step(step)


class Bar:
    """A progress bar below the output of a run on a terminal, redrawn at most ten times a second.

    Args:
        loop: the loop to show.
        total: returns the last step of the training; None when it is not known.
    """

    def __init__(self, loop: Loop, total: Callable[[], int | None]) -> None:
        self._loop = loop
        self._total = total
        self._due = 0.0
        self._pace = Pace()
        self._is_drawn = False

    def show(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Redraw the bar if it is due."""
        now = time.monotonic()
        self._pace.note(step, now)
        if now >= self._due:
            self._due = now + _REDRAW_S
            self._draw(step, metrics, now)

    def close(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Draw the end, and leave the line to what is printed next."""
        if self._is_drawn:
            self._draw(step, metrics, time.monotonic(), is_last=True)

    def _draw(self, step: int, metrics: Mapping[str, Any], now: float, *, is_last: bool = False) -> None:
        self._is_drawn = True
        total, began = self._total(), self._pace.began
        left = left_s(step, total, self._pace.rate, None if began is None else now - began)
        in_loop = (self._loop.items, self._loop.length) if total is None else (step, total)
        show_bar(line(step, total, self._pace.rate, left, metrics, in_loop), is_last=is_last)


def line(
    step: int,
    total: int | None,
    rate: float | None,
    left: float | None,
    metrics: Mapping[str, Any],
    in_loop: tuple[int, int | None],
) -> str:
    """Return the text of the bar; if the total of the training is not known, it shows the current loop.

    >>> line(812, 1000, 154.2, 1.2, {"loss": 0.12345, "note": "x"}, (812, 1000))
    ' 81% ███████████████████▍     812/1000  154/s  ETA 1.2 s  loss 0.1235'
    >>> line(1068, None, 154.2, None, {}, (18, 50))
    ' 36% ████████▋                1068 (18/50 of this loop)  154/s'
    >>> line(812, None, None, None, {}, (12, None))
    '812'
    """
    parts = [amount.steps(step, total), amount.rate(rate)]
    done, length = in_loop
    if length:
        share = min(1.0, max(0.0, done / length))
        eighths = int(share * _WIDTH * 8)
        filled = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        of_loop = f" ({done}/{length} of this loop)" if total is None else ""
        parts[0] = f"{int(share * 100):3}% {filled:<{_WIDTH}} {parts[0]}{of_loop}"
        parts.append(f"ETA {amount.duration(left)}" if left is not None and total is not None and step < total else "")
    for name, value in metrics.items():
        if is_number(value):
            parts.append(f"{name} {amount.number(value)}")
    return "  ".join(part for part in parts if part)


def tracked(
    iterable: Iterable[Item],
    step: Callable[[], int],
    total: Callable[[], int | None],
    loop: Loop,
    metrics: MetricLog | None,
) -> Iterator[Item]:
    """Yield the items, each after a call of `step`, and show a bar, except on other ranks, which have no `metrics`."""
    bar = _open_bar(loop, total) if metrics is not None else None
    if metrics is None or bar is None:
        for item in iterable:
            loop.begin_item(step())
            yield item
        return
    latest = 0
    try:
        for item in iterable:
            latest = step()
            loop.begin_item(latest)
            bar.show(latest, metrics.last)
            yield item
    finally:
        bar.close(latest, metrics.last)


def _open_bar(loop: Loop, total: Callable[[], int | None]) -> Bar | None:
    """Return a bar on stderr; None where stderr is not a terminal, as in a job of the launcher.

    From now on all output goes through a copier, as in a run of a Hydra app, so that the bar stays below it.
    """
    try:
        if sys.stderr is None or not sys.stderr.isatty() or not os.isatty(2):
            return None
        if not Tee.carries_bar:
            tee = Tee(None)
            atexit.register(tee.close)
        return Bar(loop, total)
    except (OSError, ValueError, RunDirError):  # replaced by something without a descriptor; or no process can start
        return None
