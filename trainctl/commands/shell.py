"""One shell command: its log, its exit code, and outside a slot a watch that ends all that it has started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_LOOK_S = 0.1  # how often the output of a command is shown on a terminal

_TERMINAL = "TRAINCTL_TERMINAL"  # in the environment: its path, for jobs that do not inherit it

# Reads the number of the command's process group, then waits until no process holds the other end of the pipe. Then it
# sends the group TERM and, 5 s later, KILL. It ignores Ctrl-C.
_WATCH = """
trap '' INT TERM HUP QUIT
read -r group || exit 0
while read -r more; do :; done
kill -s TERM -- "-$group"
left=50
while [ "$left" -gt 0 ] && kill -s 0 -- "-$group"; do sleep 0.1; left=$((left - 1)); done
kill -s KILL -- "-$group"
"""

# written by the command itself, which holds the pipe until then: whenever this process is killed, the watch knows the
# group of each command that runs
_TELL = 'echo "$$" >&0 && exec "$@" </dev/null'


@dataclass(slots=True)
class _Person:
    """The file descriptor of the user's terminal, for --debug: the output of the job itself goes to its log."""

    terminal: int | None = None


_person = _Person()


def keep_terminal() -> None:
    """Remember where stdout goes now, for commands whose output is shown there too: in this process and its jobs."""
    terminal = _person.terminal = os.dup(1)
    with suppress(OSError):
        os.environ[_TERMINAL] = os.ttyname(terminal) if os.isatty(terminal) else f"/proc/{os.getpid()}/fd/{terminal}"


def show(part: bytes) -> bool:
    """Write output of a command to the user's terminal; False if there is none (any more)."""
    try:
        if _person.terminal is None and _TERMINAL in os.environ:
            _person.terminal = os.open(os.environ[_TERMINAL], os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC)
        while part and _person.terminal is not None:
            part = part[os.write(_person.terminal, part) :]
    except OSError:  # the terminal is gone; the command and its log go on
        return False
    return _person.terminal is not None


@cache
def shell() -> tuple[str, ...]:
    """Return the shell that runs commands: bash, where a failed part fails the whole pipe, else sh."""
    bash = shutil.which("bash")
    return (bash, "-o", "pipefail", "-c") if bash else ("/bin/sh", "-c")


def run_line(line: str, log: Path, directory: Path, *, shown: bool = False) -> int:
    """Run a command to its end and return its exit code, -n after signal n; all that it prints is in `log`.

    On a slot it stays in this process's group, so that ending the job ends the command and all that it has started.
    """
    with open(log, "xb", buffering=0, opener=_private) as file, _started(line, directory, file) as process:
        if not shown:
            return process.wait()
        with log.open("rb", buffering=0) as reader:
            while True:
                try:
                    code: int | None = process.wait(_LOOK_S if shown else None)
                except subprocess.TimeoutExpired:
                    code = None
                while shown and (part := reader.read(65536)):
                    shown = show(part)
                if code is not None:
                    return code


def _started(line: str, directory: Path, log: Any) -> AbstractContextManager[subprocess.Popen[bytes]]:
    words = [*shell(), line]
    if "TRAINCTL_SLOT" not in os.environ:  # Hydra's other launchers end nothing but their own processes
        return _watched(words, directory, log)
    return nullcontext(
        subprocess.Popen(words, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    )


@contextmanager
def _watched(words: Sequence[str], directory: Path, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, which ends when the block is left early or this process is gone.

    A block that is left as it should be lets go of what the command has left behind.

    Raises:
        OSError: it could not be started.
    """
    reader, writer = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    try:
        watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH], stdin=reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _TELL, "sh", *words], cwd=directory, stdin=writer, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        yield process
        watch.kill()
    finally:
        os.close(writer)
        if process is not None:
            process.wait()  # else it would be a dead member of the group, for which the watch waits
        watch.wait()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, 0o600)


def keep_earlier(log: Path) -> None:
    """Move the log of an earlier attempt out of the way: `train.log` becomes `train.1.log`, or the next number."""
    number = 1
    if log.exists():
        while (kept := log.with_name(f"{log.stem}.{number}.log")).exists():
            number += 1
        log.rename(kept)


def signal_of(exit_code: int) -> str | None:
    """Return the name of the signal that ended a command: its own, or that of its last part, as shells tell it.

    >>> signal_of(-9), signal_of(137), signal_of(3), signal_of(-40)
    ('SIGKILL', 'SIGKILL', None, 'signal 40')
    """
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number).name if number > 0 else None
    except ValueError:  # a real-time signal has no name; a high exit code does not stand for one
        return f"signal {number}" if exit_code < 0 else None


def say(text: str) -> None:
    """Write a line into the job's own log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
