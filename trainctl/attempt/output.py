"""`job.log`: all output of a run, of its children and C code too, captured at the file descriptors."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pty
import subprocess
import sys
import tempfile
import termios
import tty
from pathlib import Path
from typing import ClassVar

from trainctl.attempt.copier import BAR, END, MOST_BAR
from trainctl.attempt.host import why_no_process
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.text import clean

_MOST_TAKEN = 1 << 14
_DRAIN_S = 5.0  # what a left-over child keeps open must not keep the run from ending


def keep_earlier_log(run: RunDir, attempt: int) -> None:
    """Before attempt 2, 3, … move the earlier attempt's `job.log` to `job.1.log`, `job.2.log`, …"""
    if attempt > 1 and run.log.exists():
        earlier = run.path / f"job.{attempt - 1}.log"
        if not earlier.exists():
            run.log.rename(earlier)


def open_missing_streams() -> None:
    """Open standard streams that were closed at the start of this process to /dev/null, for it and its children."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
        setattr(sys, name, stream)
        try:
            os.fstat(number)  # a file that was opened since has this number, and keeps it
        except OSError:
            os.dup2(stream.fileno(), number)


def redirect_to(path: Path) -> None:
    """Send stdout and stderr of this process to a file, for good; stdin is empty from here on."""
    _flush()
    descriptor = files.open_to_write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(empty, 0)
    os.close(empty)


class HeldOutput:
    """Holds back the output of this process until it is known where it belongs."""

    def __init__(self) -> None:
        _flush()
        self._kept = _nameless_file()
        self._taken = 0
        for descriptor in (1, 2):
            os.dup2(self._kept, descriptor)

    @property
    def is_open(self) -> bool:
        """Whether the output is still held back."""
        return self._kept >= 0

    def take(self) -> bytes:
        """Return the output that was not taken yet, or its end if it is long."""
        _flush()
        size = os.fstat(self._kept).st_size
        kept = os.pread(self._kept, min(_MOST_TAKEN, size - self._taken), max(self._taken, size - _MOST_TAKEN))
        self._taken = size
        return kept

    def give_to(self, path: Path) -> None:
        """Append the held output to a file, and send all further output there."""
        _flush()
        size = os.fstat(self._kept).st_size
        kept = os.pread(self._kept, size, 0) if size else b""
        os.close(self._kept)
        self._kept = -1
        redirect_to(path)
        if kept:
            os.write(1, kept)


def _nameless_file() -> int:
    """Return an anonymous file, in memory where the system supports it, so that no job costs an inode."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("job.log")
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


class Tee:
    """Sends stdout and stderr to the file and to where they went before, until `close`.

    A small process of its own copies (`trainctl/attempt/copier.py`), so that nothing is lost when the run is killed and
    training never waits for Python. Where the output was a terminal it stays one (a pseudo terminal), so colours and
    progress bars stay as they are; the bar of trainctl has its place below them (`show_bar`).

    Args:
        path: of the file; None copies to the terminal alone, that the bar may have its place there.

    Raises:
        OSError: the file cannot be made. RunDirError: the process cannot; the output goes where it went.
    """

    carries_bar: ClassVar[bool] = False  # whether stderr of this process leads to a terminal by way of a copier

    def __init__(self, path: Path | None) -> None:
        _flush()
        log = -1 if path is None else files.open_to_write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._saved = {number: os.dup(number) for number in (1, 2) if path is not None or os.isatty(number)}
        Tee.carries_bar = all(map(os.isatty, self._saved))
        if Tee.carries_bar:
            reader, writer = _terminal_like(2)
            pairs, writers = [(reader, self._saved[2])], dict.fromkeys(self._saved, writer)
        else:
            pipes = {descriptor: os.pipe() for descriptor in (1, 2)}
            pairs = [(pipes[descriptor][0], self._saved[descriptor]) for descriptor in (1, 2)]
            writers = {descriptor: pipes[descriptor][1] for descriptor in (1, 2)}
        readers = [reader for reader, _ in pairs]
        try:
            self._pump = subprocess.Popen(
                [
                    sys.executable,
                    "-ISE",
                    str(Path(__file__).with_name("copier.py")),
                    str(log),
                    *[f"{reader}:{target}" for reader, target in pairs],
                ],
                pass_fds=[*readers, *self._saved.values(), *([] if path is None else [log])],
                stdin=subprocess.DEVNULL,
                close_fds=True,
            )
        except OSError as error:
            for descriptor in {log, *readers, *writers.values(), *self._saved.values()} - {-1}:
                os.close(descriptor)
            self._saved, Tee.carries_bar = {}, False
            raise RunDirError(f"what the run prints cannot be copied there: {why_no_process(error)}") from error
        for descriptor, writer in writers.items():
            os.dup2(writer, descriptor)
        for descriptor in {log, *readers, *writers.values()} - {-1}:
            os.close(descriptor)
        self._pid = os.getpid()

    def close(self) -> None:
        """Restore stdout and stderr, and wait until all output is in the file. A second call does nothing."""
        if os.getpid() != self._pid or not self._saved:
            return
        _flush()
        for descriptor, saved in self._saved.items():
            os.dup2(saved, descriptor)
            os.close(saved)
        self._saved = {}
        Tee.carries_bar = False
        try:
            self._pump.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            # a child of the run still holds the pipe: its words go on reaching the file
            self._pump.returncode = 0


def show_bar(text: str, *, is_last: bool = False) -> None:
    """Show a progress bar below the output, or leave it there as a line; stderr must lead to a copier."""
    shown = clean(text).encode(errors="replace")[: MOST_BAR - len(BAR) - 2]
    with contextlib.suppress(OSError, ValueError):  # the terminal is gone, which is not a reason to end a training
        _flush()
        os.write(2, BAR + (b"=" if is_last else b"+") + shown + END)


def _terminal_like(descriptor: int) -> tuple[int, int]:
    """Return both ends of a raw pseudo terminal with the size of a real one."""
    reader, writer = pty.openpty()
    tty.setraw(writer)
    with contextlib.suppress(OSError):
        fcntl.ioctl(writer, termios.TIOCSWINSZ, fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))
    return reader, writer


def write_once(path: Path) -> None:
    """Keep `logging` from writing records into `job.log` that are printed, since all output goes there anyway.

    For a program called `job`, whose log Hydra calls `job.log`. A record that no handler prints is written as before.
    """
    known = [
        logging.root,
        *(each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)),
    ]
    for handler in {id(each): each for logger in known for each in logger.handlers}.values():
        if isinstance(handler, logging.FileHandler) and os.path.realpath(handler.baseFilename) == os.path.realpath(
            path
        ):
            _reopen(handler)
            if _is_not_printed not in handler.filters:
                handler.addFilter(_is_not_printed)


def _reopen(handler: logging.FileHandler) -> None:
    """Let a handler reopen its file by name, since the file of an earlier attempt may have been moved."""
    handler.acquire()
    try:
        if handler.stream is not None:
            handler.stream.close()
            handler.mode, handler.stream = "a", None  # it opens one at the next record
    finally:
        handler.release()


def _is_not_printed(record: logging.LogRecord) -> bool:
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        for handler in logger.handlers:
            if _prints(handler) and record.levelno >= handler.level and handler.filter(record):
                return False
        logger = logger.parent if logger.propagate else None
    return True


def _prints(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)  # of Rich
    return stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed by the task, or the other side is gone
            stream.flush()
