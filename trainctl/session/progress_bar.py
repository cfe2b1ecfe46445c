"""The progress bar of `live.track`: on a terminal only, and never a line of it in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from trainctl import text as amount
from trainctl.attempt.output import Tee
from trainctl.rundir.metrics import MetricLog

Item = TypeVar("Item")

_REDRAW_S = 0.1
_WIDTH = 24
_CLEAR = "\r\x1b[K"


class Bar:
    """Draws on one line of a terminal, at most ten times a second.

    Args:
        terminal: its file descriptor.
        first: the step before the first one that is shown.
        total: the last one; None when it is not known.
    """

    def __init__(self, terminal: int, first: int, total: int | None) -> None:
        self._terminal = terminal
        self._first = first
        self._total = total
        self._began = self._due = time.monotonic()
        self._is_drawn = False

    def show(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Draw where the training is, if that is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _REDRAW_S
            self._draw(step, metrics, now)

    def close(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Draw the end, and leave the line to what is printed next."""
        if self._is_drawn:
            self._draw(step, metrics, time.monotonic())
            self._write("\n")

    def _draw(self, step: int, metrics: Mapping[str, Any], now: float) -> None:
        self._is_drawn = True
        rate = (step - self._first) / max(now - self._began, 1e-9)
        text = line(step, self._total, rate, metrics)
        self._write(_CLEAR + text[: max(0, _columns(self._terminal) - 1)])

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone, which is no reason to end a training
            os.write(self._terminal, text.encode(errors="replace"))


def line(step: int, total: int | None, rate: float, metrics: Mapping[str, Any]) -> str:
    """Write the line of a bar.

    >>> line(812, 1000, 154.2, {"loss": 0.12345, "note": "x"})
    ' 81% ███████████████████▍     812/1000  154/s  ETA 1.2 s  loss 0.1235'
    >>> line(812, None, 154.2, {})
    '812  154/s'
    """
    parts = [amount.steps(step, total), amount.rate(rate)]
    if total:
        share = min(1.0, max(0.0, step / total))
        eighths = int(share * _WIDTH * 8)
        filled = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        parts[0] = f"{int(share * 100):3}% {filled:<{_WIDTH}} {parts[0]}"
        parts.append(f"ETA {amount.duration(max(0, total - step) / rate)}" if rate > 0 and step < total else "")
    for name, value in metrics.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(f"{name} {amount.number(value)}")
    return "  ".join(part for part in parts if part)


def tracked(
    iterable: Iterable[Item], step: Callable[[], int], first: int, total: int | None, metrics: MetricLog | None
) -> Iterator[Item]:
    """Yield the items, each after a call of `step`, and show a bar; other ranks, without `metrics`, show none."""
    bar = _open_bar(first, total) if metrics is not None else None
    if metrics is None or bar is None:
        for item in iterable:
            step()
            yield item
        return
    latest = first
    try:
        for item in iterable:
            latest = step()
            bar.show(latest, metrics.last)
            yield item
    finally:
        bar.close(latest, metrics.last)


def _open_bar(first: int, total: int | None) -> Bar | None:
    """Return a bar on the terminal that stderr is; None where it is none, as in a job of the launcher.

    Where the output is copied to `job.log` too, the bar goes past that, to the terminal itself.
    """
    try:
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        return Bar(Tee.terminal or sys.stderr.fileno(), first, total) if is_terminal else None
    except (OSError, ValueError):  # replaced by something that has no descriptor, or closed
        return None


def _columns(terminal: int) -> int:
    try:
        return os.get_terminal_size(terminal).columns or 80
    except OSError:
        return 80
