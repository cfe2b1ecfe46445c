"""The live display on a terminal: a line per slot and the progress of the sweep; event lines scroll above it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO, cast

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from trainctl import text
from trainctl.launch.display.report import Memory, Outlet, Report
from trainctl.launch.display.run_progress import Glance, remaining_s
from trainctl.launch.display.table import Row, Sums, draw
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import relative_to
from trainctl.text import clean

_TICK_S = 0.5
_LEAST_S = 0.1  # between two pictures, however many events there are
_MEMORY_S = 2.0  # between two questions to the devices
_STYLES = {
    "FAIL": "red",
    "ERROR": "red",
    "DONE": "green",
    "STOP": "yellow",
    "SKIP": "dim",
    "RETRY": "yellow",
    "WAIT": "yellow",
}


@dataclass(slots=True)
class _Job:
    """A running job, on its line."""

    position: int
    name: str
    started: float
    glance: Glance


class Display(Report):
    """A report that repaints the last lines of a terminal, at most every 0.1 s, without a thread.

    No error of painting or of the terminal reaches the sweep: the display falls back to plain lines or silence.
    """

    def __init__(
        self,
        total: int,
        slots: Sequence[str],
        *,
        stream: TextIO,
        sweep_dir: Path | None = None,
        memory: Memory | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(total, stream=stream)
        self._slots = list(slots)
        self._jobs: list[_Job | None] = [None] * len(slots)
        self._sweep_dir = sweep_dir
        self._memory = memory
        self._memory_cells: dict[str, str] = {}
        self._memory_at = 0.0
        self._given_size = size
        self._size = size or self._outlet.size() or (80, 24)
        self._widest: dict[str, int] = {}
        self._drawn: list[int] = []  # the widths of the lines that are on the terminal
        self._lines: list[str] = []
        self._finished, self._finished_s = 0, 0.0
        self._paint_at = 0.0
        self._log_streams: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
        self._is_last = False  # no job comes after those that run
        self._is_plain = False
        self._console = _console(self._outlet, *self._size)
        self._live = Live(
            cast("Text", self),  # it renders itself
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )

    @property
    def tick_s(self) -> float | None:
        if self._is_plain or self._outlet.is_gone:
            return None
        return max(0.01, self._paint_at - time.monotonic()) if self._lines else _TICK_S

    def tick(self) -> None:
        """Paint again, unless that was done a moment ago."""
        if not self._is_plain and time.monotonic() >= self._paint_at:
            self._paint()

    def close(self) -> None:
        """Remove the display, keep the lines above it, and restore the terminal. A second call does nothing."""
        if self._is_plain:
            return
        self._paint()
        self._become_plain()

    def _began(self, position: int, path: Path, slot: str, overrides: str) -> None:
        shown = relative_to(path, self._sweep_dir) if self._sweep_dir is not None else path.name
        job = _Job(position, clean(f"{shown} {overrides}".rstrip()), time.monotonic(), Glance(RunDir.at(path)))
        self._jobs[self._free_line(slot)] = job

    def idle(self, position: int) -> None:
        for place, job in enumerate(self._jobs):
            if job is not None and job.position == position:
                self._jobs[place] = None

    def done(self, position: int, path: Path, seconds: float) -> None:
        super().done(position, path, seconds)
        self._finished += 1  # how soon a job fails does not tell how long the others take
        self._finished_s += seconds

    def no_more(self, text: str) -> None:
        super().no_more(text)
        self._is_last = True

    def _free_line(self, slot: str) -> int:
        """Return the first line of a slot of that name without a job, or a new line if there is none."""
        for place, name in enumerate(self._slots):
            if name == slot and self._jobs[place] is None:
                return place
        self._slots.append(slot)
        self._jobs.append(None)
        return len(self._slots) - 1

    # -- painting ------------------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        if self._is_plain:
            super()._say(line)
        else:
            self._lines.append(clean(line))  # painted at the next tick: a line of its own each would slow the sweep

    def _paint(self) -> None:
        self._paint_at = time.monotonic() + _LEAST_S
        try:
            self._start_live()
            with self._console:  # one write
                self._follow_size()
                if self._lines:
                    self._console.print(Text("\n").join(map(_styled, self._lines)), soft_wrap=True)
                else:
                    self._live.refresh()
            self._lines = []
        except Exception:  # noqa: BLE001  # whatever it is, a picture must not cost a sweep
            self._become_plain()

    def _start_live(self) -> None:
        if self._live.is_started:
            return
        before = (sys.stdout, sys.stderr)
        self._live.start()
        self._console.show_cursor(True)  # else it would stay hidden if this process is killed
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in before and handler.stream.isatty():
                self._log_streams.append((handler, handler.stream))
                handler.setStream(sys.stdout if handler.stream is before[0] else sys.stderr)

    def _become_plain(self) -> None:
        """Give the terminal back; what is left to report is printed as plain lines."""
        self._is_plain = True
        for handler, stream in self._log_streams:
            handler.setStream(stream)
        self._log_streams = []
        try:
            self._live.stop()
        except Exception:  # noqa: BLE001  # as above
            self._console.clear_live()
        lines, self._lines = self._lines, []
        for line in lines:
            super()._say(line)

    def _follow_size(self) -> None:
        """Note the terminal's present size; if it is narrower now, it has wrapped the display's lines: remove them."""
        width, height = self._given_size or self._outlet.size() or self._size
        if width < self._size[0]:
            extra = sum(max(1, -(-drawn // width)) for drawn in self._drawn) - len(self._drawn)
            wipe = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * min(extra, height)
            self._console.control(Control(ControlType.CARRIAGE_RETURN, *wipe))
        self._size = (width, height)
        self._console.size = ConsoleDimensions(width, height)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the picture of this moment."""
        if self._is_plain:
            return
        now = time.monotonic()
        rows = [self._row(slot, job, now) for slot, job in zip(self._slots, self._jobs, strict=True)]
        lines = draw(rows, self._sums(), self._eta(now), self._size, self._widest, is_ascii=options.ascii_only)
        self._drawn = [line.cell_len for line in lines]
        yield Text("\n", no_wrap=True, overflow="crop", end="").join(lines)

    def _row(self, slot: str, job: _Job | None, now: float) -> Row:
        row = {"slot": clean(slot), "memory": self._memory_of(slot, now)}
        if job is None:
            return {**row, "run": "idle"}
        job.glance.look()
        metrics = "  ".join(f"{clean(key)} {text.number(value)}" for key, value in job.glance.metrics.items())
        return {
            **row,
            "job": f"{job.position + 1}/{self._total}",
            "run": job.name,
            "time": text.duration(now - job.started),
            "step": text.steps(job.glance.progress.step, job.glance.progress.total),
            "rate": "paused" if job.glance.progress.is_paused else text.rate(job.glance.progress.rate),
            "metrics": metrics,
        }

    def _memory_of(self, slot: str, now: float) -> str:
        if self._memory is not None and now >= self._memory_at:
            self._memory_at = now + _MEMORY_S
            try:
                found = self._memory()
            except Exception:  # noqa: BLE001  # a driver that fails must not cost a sweep: the column goes
                self._memory, found = None, {}
            self._memory_cells = {
                name: f"{used / 1024:.1f}/{total / 1024:.0f} GiB" for name, (used, total) in found.items()
            }
        return self._memory_cells.get(slot, "")

    def _sums(self) -> Sums:
        counts, stopped = self.counts, self.counts["stopped"] + self.counts["interrupted"]
        return Sums(self._total, counts["done"], counts["failed"], counts["skipped"], stopped)

    def _eta(self, now: float) -> str:
        running = [(now - job.started, job.glance.progress.eta_s) for job in self._jobs if job is not None]
        waiting = 0 if self._is_last else max(0, self._total - self._sums().ended - len(running))
        mean = self._finished_s / self._finished if self._finished else None
        return text.duration(remaining_s(mean, running, waiting, len(self._slots)))


def _console(outlet: Outlet, width: int, height: int) -> Console:
    """Return a console that treats any stream as a terminal."""
    return Console(
        file=cast("IO[str]", outlet),
        force_terminal=True,
        force_interactive=True,
        force_jupyter=False,
        markup=False,
        emoji=False,
        highlight=False,
        width=width,
        height=height,
    )


def _styled(line: str) -> Text:
    return Text(line, _STYLES.get(line.partition(" ")[0], ""))
