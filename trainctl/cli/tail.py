"""`trainctl tail`: the end of a run's `job.log`, and what comes after it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.config.masking import Masking
from trainctl.errors import TrainctlError
from trainctl.launch import registry
from trainctl.rundir import files
from trainctl.rundir.logs import end_of, log_of
from trainctl.rundir.masked import secrets_of
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
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Number of lines to show from the end.")] = 10,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Follow the log, over all attempts, until the run has ended.")
    ] = False,
    command: Annotated[
        str | None, typer.Option("-c", "--command", metavar="NAME", help="For a pipeline: the output of this command.")
    ] = None,
) -> None:
    """Print the end of a run's output (job.log), secrets masked; piped, everything else is unchanged."""
    found = find_run(run)
    log = found.log if command is None else _log_of(found, command)
    if not os.path.lexists(log) and not (follow and _may_go_on(found)):
        raise typer.Exit(terminal.complain(f"{shown(found)} has no {log.name}; nothing of its output was kept"))
    printer = Printer(RunSecrets(found))
    try:
        if not follow:
            _print_end(log, lines, printer).close()
        else:
            _follow(found, log, lines, printer)
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


class RunSecrets:
    """The secrets of a run, read again when its changelog has changed, since an edit may add one."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._changed = 0
        self._masking: Masking | None = None

    def __call__(self, text: str) -> str:
        """Return a text with the secrets masked."""
        try:
            changed = os.stat(self._run.changelog, follow_symlinks=False).st_mtime_ns
        except OSError:
            changed = 0
        if self._masking is None or changed != self._changed:
            self._masking, self._changed = secrets_of(self._run), changed
        return self._masking.text(text)


class Printer:
    """Prints a log, secrets masked: as it is when piped; on a terminal cleaned, of a progress bar the latest state.

    Args:
        mask: returns a text without secrets.
    """

    def __init__(
        self, mask: Callable[[str], str] = str, *, is_terminal: bool | None = None, width: int | None = None
    ) -> None:
        self._mask = mask
        self._is_terminal = terminal.is_terminal() if is_terminal is None else is_terminal
        self._width = width
        self._line = b""
        self._shown = ""

    def feed(self, data: bytes) -> None:
        """Print new output."""
        if not data:
            return
        if not self._is_terminal:
            data = self._line + data
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1  # a secret stands within a line
            if len(data) - end > _MOST_BYTES:
                end = len(data)
            self._line = data[end:]
            self._pass_on(data[:end])
            return
        *whole, line = (self._line + data).split(b"\n")
        self._line = line[-_MOST_LINE:]  # a progress bar is one line, however long it goes on
        for line in whole:
            self._show(self._cleaned(line), "\n")
            self._shown = ""
        width = (self._width or terminal.console().width) - 1
        unfinished = self._cleaned(self._line)[:width]
        if unfinished != self._shown:
            self._show(unfinished, "")
            self._shown = unfinished
        sys.stdout.flush()

    def close(self) -> None:
        """End an unfinished last line."""
        if not self._is_terminal:
            self._pass_on(self._line)
            self._line = b""
        elif self._shown:
            self._show(self._cleaned(self._line), "\n")
            self._shown, self._line = "", b""

    def _pass_on(self, data: bytes) -> None:
        text = self._mask(data.decode(errors="surrogateescape"))
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
        sys.stdout.buffer.flush()

    def _cleaned(self, line: bytes) -> str:
        return clean_line(self._mask(line.decode(errors="replace")))

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
    """Whether there may be more output: the run is running, or waits for a working launcher."""
    state = state_of(run)
    return state in ALIVE or (state == "queued" and _has_launcher(run))


def _has_launcher(run: RunDir) -> bool:
    """Whether a launcher works in the sweep dir of the run, wherever above it that is."""
    return any(registry.find(parent) for parent in list(run.path.parents)[:4])
