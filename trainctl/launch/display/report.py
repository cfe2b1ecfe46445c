"""What the launcher prints about its jobs: a line for each event, and a summary at the end.

The stream's reader may go away, which must never end a sweep. Secrets of jobs are masked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from omegaconf import DictConfig

from trainctl.compose.job import JobSpec
from trainctl.config.masking import Masking
from trainctl.config.settings_node import secrets_in, setting
from trainctl.rundir.masked import secrets_of
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import relative_to
from trainctl.text import clean, clean_line, duration, shortened

_FOR_GOOD = (errno.EIO, errno.EPIPE, errno.EBADF, errno.ENXIO)  # a full disk may have room again


class Outlet:
    """Writes to a stream; once that fails for good (the terminal or the pipe is gone) everything is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_gone = False

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return not self.is_gone and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            plain = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
            self._try(lambda: self._stream.write(plain))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def size(self) -> tuple[int, int] | None:
        """Return columns and lines of the terminal as they are now; None where there is none or it does not say."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            return None
        return (size.columns, size.lines) if size.columns > 0 and size.lines > 0 else None

    def _try(self, act: Callable[[], object]) -> None:
        if self.is_gone:
            return
        try:
            act()
        except OSError as error:
            if error.errno in _FOR_GOOD:
                self._leave()
        except UnicodeEncodeError:
            raise
        except ValueError:  # somebody closed the stream
            self._leave()

    def _leave(self) -> None:
        """Stop writing, and keep what is still buffered from changing the exit code of the program."""
        self.is_gone = True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()


# used and total MiB by slot name
Memory = Callable[[], Mapping[str, tuple[float, float]]]

_INDENT = "      "
_MOST_TOLD = 20  # failed jobs with more than their reason at the end


@dataclass(frozen=True, slots=True)
class _Failed:
    """A failed job in the summary: its name, why it failed, and what else is known."""

    name: str
    reason: str
    facts: dict[str, str]


class Report:
    """Plain lines on stderr: START, DONE, FAIL, STOP, SKIP, WAIT, then the sums."""

    def __init__(self, total: int, *, silent: bool = False, stream: TextIO | None = None) -> None:
        self._total = total
        self._silent = silent
        self._outlet = Outlet(stream or sys.stderr)
        self._failed: dict[int, _Failed] = {}
        self.counts: Counter[str] = Counter()

    @property
    def tick_s(self) -> float | None:
        """Seconds between two calls of `tick`; None: plain lines need none."""
        return None

    def tick(self) -> None:
        """Update what changes without an event; plain lines have nothing of the kind."""

    def close(self) -> None:
        """Give the terminal back."""

    def start(
        self, position: int, path: Path, slot: str, attempt: int, passed: str = "", *, overrides: str = ""
    ) -> None:
        """A job's task begins; `overrides` are those that its path does not tell."""
        again = f", attempt {attempt}" if attempt > 1 else f"; {clean_line(passed)}" if passed else ""
        what = f" ({clean_line(overrides)})" if overrides else ""
        self._say(f"START {self._of(position)} {_shown(path)}{what} on slot {slot}{again}")
        self._began(position, path, slot, overrides)

    def _began(self, position: int, path: Path, slot: str, overrides: str) -> None:
        """A job is on its slot."""

    def idle(self, position: int) -> None:
        """A job's task is over and its slot is free; what became of it may still be written down."""

    def done(self, position: int, path: Path, seconds: float) -> None:
        self.idle(position)
        self.counts["done"] += 1
        self._say(f"DONE  {self._of(position)} {_shown(path)} after {duration(seconds)}")

    def stop(self, position: int, path: Path, seconds: float, sentence: str) -> None:
        """A job was ended, by a person or with its sweep: `stopped by ann at step 360`, `interrupted by Ctrl-C`."""
        self.idle(position)
        self.counts["interrupted" if sentence.startswith("interrupted") else "stopped"] += 1
        self._say(f"STOP  {self._of(position)} {_shown(path)} after {duration(seconds)}: {sentence}")

    def skip(
        self, position: int, path: Path, loss: str, change: str = "", *, is_shared: bool = False, stopped: str = ""
    ) -> None:
        self.idle(position)
        self.counts["skipped"] += 1
        same = "same as " if is_shared else ""
        parts = [f"stopped earlier {stopped}" if stopped else "finished earlier", loss, change]
        again = "hydra.launcher.rerun=all runs it again" if change or stopped else ""
        said = "; ".join(filter(None, (*parts, again)))
        self._say(f"SKIP  {self._of(position)} {same}{_shown(path)}: {said}")

    def same(self, position: int, path: Path) -> None:
        """A job is equal to another one of the sweep, which has succeeded there."""
        self.idle(position)
        self.counts["skipped"] += 1
        self._say(f"SKIP  {self._of(position)} same as {_shown(path)}")

    def wait(self, position: int, path: Path, *, is_equal: bool = False) -> None:
        self.idle(position)
        what = f"same as {_shown(path)}" if is_equal else f"{_shown(path)}: is being run by another process"
        self._say(f"WAIT  {self._of(position)} {what}")

    def fail(
        self,
        position: int,
        path: Path | None,
        seconds: float,
        reason: str,
        tail: str,
        log: Path | None,
        *,
        frame: str = "",
    ) -> None:
        self.idle(position)
        self.counts["failed"] += 1
        where = _shown(path) if path is not None else "(not started)"
        facts = {"at": frame, "log": "" if log is None else _shown(log)}
        self._failed[position] = _Failed(f"job {position + 1}" if path is None else where, reason, facts)
        self._say(f"FAIL  {self._of(position)} {where} after {duration(seconds)}: {reason}")
        for line in tail.splitlines():
            self._say(f"{_INDENT}{clean_line(line)}")
        if log is not None:
            self._say(f"{_INDENT}full log: {_shown(log)}")

    def retry(self, position: int, tries: int, retries: int) -> None:
        self.counts["failed"] -= 1
        self._failed.pop(position, None)
        self._say(f"RETRY {self._of(position)} will be tried again ({tries} of {retries})")

    def late_code(self, position: int, path: Path, files: Sequence[Path]) -> None:
        """A job is the first to have loaded files that were changed since the sweep began."""
        names = ", ".join(map(_shown, files))
        self._say(f"NOTE  {self._of(position)} {_shown(path)} is the first with {names}, changed since the sweep began")

    def note(self, text: str) -> None:
        self._say(text)

    def no_more(self, text: str) -> None:
        """No job will be started any more, for the reason that a text tells."""
        self._say(text)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is printed."""
        return self._silent or self._outlet.is_gone

    def sum_up(self, not_started: int, seconds: float, again: Callable[[int], str] = lambda _: "") -> None:
        """Say again what failed, each with the command that runs it again, and how many jobs ended how.

        Args:
            not_started: how many jobs have no outcome.
            seconds: since the sweep began.
            again: returns the command for a job, by its position; empty where it is not known.
        """
        for number, (position, failed) in enumerate(sorted(self._failed.items())):
            self._say(f"FAILED {failed.name}: {shortened(clean_line(failed.reason))}")
            facts = {**failed.facts, "again": again(position)} if number < _MOST_TOLD else {}
            for what, text in facts.items():
                if text:
                    self._say(f"{_INDENT} {what + ':':<6} {clean_line(text)}")
        words = ("done", "skipped", "stopped", "failed", "interrupted")
        parts = [f"{self.counts[word]} {word}" for word in words if self.counts[word]]
        if not_started:
            parts.append(f"{not_started} not finished")
        hint = ": the same command resumes" if not_started or self.counts["interrupted"] else ""
        jobs = f"{self._total} job{'s' * (self._total != 1)}"
        self._say(f"{jobs}: {', '.join(parts) or 'nothing to do'}{hint} ({duration(seconds)})")

    def _of(self, position: int) -> str:
        width = len(str(self._total))
        return f"{position + 1:>{width}}/{self._total}"

    def _say(self, line: str) -> None:
        if not self._silent:
            self._outlet.write(f"{clean(line)}\n")
            self._outlet.flush()


class JobSecrets:
    """The secrets of the jobs of a sweep.

    Args:
        config: of the launcher; what it reads from the environment its jobs read, too.
    """

    def __init__(self, config: DictConfig) -> None:
        self._known = secrets_in(config)
        self._hidden = setting(config, "hidden") or ()

    def of(self, spec: JobSpec, run: RunDir | None) -> Masking:
        """Return the masking of a job: from its run's record, else from its overrides."""
        masking = Masking({}, self._hidden) if run is None else secrets_of(run)
        masking.include(self._known)
        for override in spec.overrides:
            masking.learn(override.get_key_element().lstrip("+~").replace("/", "."), override.value())
        return masking


def _shown(path: Path) -> str:
    try:
        return relative_to(path, Path.cwd())
    except OSError:  # the working directory was removed
        return str(path)
