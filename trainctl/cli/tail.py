"""`trainctl tail`: the end of a run's `job.log`, and what comes after it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.errors import TrainctlError
from trainctl.launch import registry
from trainctl.rundir import files
from trainctl.rundir.logs import end_of, log_of
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, state_of
from trainctl.rundir.summary import summarize
from trainctl.text import clean_line

_POLL_S = 0.1
_RETRY_S = 2.0  # between the end of one attempt and the start of the next nobody holds the run's lock
_MOST_BYTES = 1 << 20
_MOST_LINE = 1 << 14


def tail(
    run: RunArgument,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines from the end.")] = 10,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on, over all attempts, until the run has ended.")
    ] = False,
    command: Annotated[
        str | None, typer.Option("-c", "--command", metavar="NAME", help="Of a pipeline: what this command prints.")
    ] = None,
) -> None:
    """Print the end of what a run printed (its job.log). Piped, the bytes as they are."""
    found = find_run(run)
    log = found.log if command is None else _log_of(found, command)
    if not os.path.lexists(log) and not (follow and _may_go_on(found)):
        raise typer.Exit(terminal.complain(f"{shown(found)} has no {log.name}; nothing of its output was kept"))
    printer = Printer()
    try:
        if not follow:
            _print_end(log, lines, printer).close()
        else:
            _follow(found, log, lines, printer)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        printer.close()
    if follow:
        summary = summarize(found)
        reason = f": {summary.why}" if summary.why else ""
        sys.stdout.flush()
        terminal.note(f"{shown(found)}: {summary.state}{reason}")


def _log_of(run: RunDir, command: str) -> Path:
    known = [each.name for each in summarize(run).commands]
    if command not in known:
        has = f"which has {', '.join(known)}" if known else "which has no commands, or has not started yet"
        raise TrainctlError(f"there is no command {command!r} in {shown(run)}, {has}")
    return log_of(run, command)


class Printer:
    """Prints a log: as it is when piped; on a terminal cleaned, of a progress bar always the latest state."""

    def __init__(self, *, is_terminal: bool | None = None, width: int | None = None) -> None:
        self._is_terminal = terminal.is_terminal() if is_terminal is None else is_terminal
        self._width = width
        self._line = b""
        self._shown = ""

    def feed(self, data: bytes) -> None:
        """Print what has come."""
        if not data:
            return
        if not self._is_terminal:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        *whole, line = (self._line + data).split(b"\n")
        self._line = line[-_MOST_LINE:]  # a progress bar is one line, however long it goes on
        for line in whole:
            self._show(clean_line(line.decode(errors="replace")), "\n")
            self._shown = ""
        width = (self._width or terminal.console().width) - 1
        unfinished = clean_line(self._line.decode(errors="replace"))[:width]
        if unfinished != self._shown:
            self._show(unfinished, "")
            self._shown = unfinished
        sys.stdout.flush()

    def close(self) -> None:
        """End a line that the log has not ended."""
        if self._shown:
            self._show(clean_line(self._line.decode(errors="replace")), "\n")
            self._shown, self._line = "", b""

    def _show(self, text: str, end: str) -> None:
        again = "\r\x1b[K" if self._shown else ""
        sys.stdout.write(f"{again}{text}{end}")


def _print_end(path: Path, lines: int, printer: Printer) -> BinaryIO:
    """Print the last lines of a file, and return it open, to be read on."""
    file = files.open_regular(path)
    try:
        file.seek(end_of(file, lines))
        while data := file.read(_MOST_BYTES):
            printer.feed(data)
    except BaseException:
        file.close()
        raise
    return file


def _follow(run: RunDir, log: Path, lines: int, printer: Printer) -> None:
    file = _print_end(log, lines, printer) if os.path.lexists(log) else None
    gives_up_at: float | None = None
    reader = select.poll()
    reader.register(sys.stdout.fileno(), 0)  # hears only that the other end of a pipe was closed
    try:
        while True:
            goes_on = _may_go_on(run)  # asked before the reading: what was printed before the end is read
            file = _read_on(log, file, printer)
            now = time.monotonic()
            if goes_on:
                gives_up_at = None
            elif gives_up_at is None:
                gives_up_at = now + (_RETRY_S if _has_launcher(run) else 0.0)
            if gives_up_at is not None and now >= gives_up_at:
                return
            if reader.poll(_POLL_S * 1000):
                raise BrokenPipeError(errno.EPIPE, "nobody reads any more")
    finally:
        if file is not None:
            file.close()


def _read_on(log: Path, file: BinaryIO | None, printer: Printer) -> BinaryIO | None:
    """Print what is new, first of the file that is read; then, when a new attempt has its own, all of that."""
    if file is not None:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # somebody emptied it
        while data := file.read(_MOST_BYTES):
            printer.feed(data)
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(log)
        if file is None or not os.path.samestat(found, os.fstat(file.fileno())):
            following = files.open_regular(log)
            if file is not None:
                file.close()
                printer.close()
            while data := following.read(_MOST_BYTES):
                printer.feed(data)
            return following
    return file


def _may_go_on(run: RunDir) -> bool:
    """Whether something may still be printed: the run runs, or waits for a launcher that works."""
    state = state_of(run)
    return state in ALIVE or (state == "queued" and _has_launcher(run))


def _has_launcher(run: RunDir) -> bool:
    """Whether a launcher works in the sweep dir of the run, wherever above it that is."""
    return any(registry.find(parent) for parent in list(run.path.parents)[:4])
