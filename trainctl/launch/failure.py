"""Why a job failed, which decides about a retry, and the status written for a job that could not write it itself."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from trainctl.attempt.reservation import take_lock
from trainctl.errors import CommandError
from trainctl.rundir import files
from trainctl.rundir.pace import read_progress
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, State, read_status, stop_reason, stopped_by, write_status

# error: it raised or called sys.exit; crash: it, or a command, died without an answer; moved: it lost
# its host; the others say what they are
Cause = Literal["error", "crash", "oom", "timeout", "interrupted", "stopped", "moved"]

_OOM_NAMES = ("OutOfMemoryError", "MemoryError")
_OOM_WORDS = ("CUDA out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "RESOURCE_EXHAUSTED", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job has no return value.

    Attributes:
        reason: one line for the user.
        tail: the last lines of the traceback or output.
        frame: the last line of the program's own in the traceback: `train.py:12 in forward`.
    """

    cause: Cause
    reason: str
    tail: str = ""
    frame: str = ""

    @property
    def sentence(self) -> str:
        """The outcome as the end of a sentence: `ended its process with exit code 3 …`, `was stopped by ann …`."""
        return f"was {self.ending}" if self.is_from_outside else self.reason

    @property
    def fate(self) -> str:
        """The outcome as told of another job: `failed: ValueError …`, `was stopped by ann …`."""
        return self.sentence if self.is_from_outside else f"failed: {self.reason}"

    @property
    def is_from_outside(self) -> bool:
        """Whether the job was ended from outside: by name, or with the whole sweep."""
        return self.cause in ("stopped", "interrupted")

    @property
    def ending(self) -> str:
        """How a job ended from outside: `interrupted by Ctrl-C`, `interrupted: KeyboardInterrupt`."""
        between = " " if self.reason.startswith(("by ", "because ")) else ": "
        return f"{self.cause}{between}{self.reason}"

    @property
    def state(self) -> State:
        """The state for `status.yaml`."""
        states: dict[Cause, State] = {"error": "failed", "crash": "failed", "moved": "interrupted"}
        return states.get(self.cause, cast("State", self.cause))


def cause_of(error: BaseException) -> Cause:
    """Return the cause of an exception of a job's task; a pipeline command that a signal ended is a crash.

    >>> cause_of(MemoryError()), cause_of(ValueError())
    ('oom', 'error')
    """
    if is_out_of_memory(error):
        return "oom"
    return "crash" if isinstance(error, CommandError) and error.signal else "error"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, means that device or host memory ran out.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), is_out_of_memory(ValueError())
    (True, False)
    """
    seen = 0
    while error is not None and seen < 20:
        text = f"{error}\n{error.output}" if isinstance(error, CommandError) else str(error)
        if type(error).__name__ in _OOM_NAMES or any(words in text for words in _OOM_WORDS):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def describe_exit(status: int) -> str:
    """Describe how a process ended, from its wait status.

    >>> describe_exit(9), describe_exit(3 << 8)
    ('was killed by SIGKILL (9)', 'ended its process with exit code 3 before its task returned')
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by {signal_name(number)} ({number})"
    code = os.waitstatus_to_exitcode(status)
    hint = "" if code else "; a task that does not return calls live.done(value) first"
    return f"ended its process with exit code {code} before its task returned{hint}"


def signal_name(number: int) -> str:
    """Return the name of a signal; of real-time signals only the first and the last have one.

    >>> signal_name(9), signal_name(40)
    ('SIGKILL', 'SIGRTMIN+6')
    """
    names = {each.value: each.name for each in signal.Signals}
    return names.get(number) or f"SIGRTMIN+{number - signal.SIGRTMIN}"


def judge_death(status: int, ended_as: Failure | None, oom_kills: tuple[int | None, int | None]) -> Failure:
    """Return why a job died without an answer.

    Args:
        status: of `waitpid`.
        ended_as: why we ended it, if we did.
        oom_kills: the kernel's count of its out-of-memory kills when the job started, and now.
    """
    if ended_as is not None:
        return ended_as
    before, after = oom_kills
    by_kernel = before is not None and after is not None and after > before
    if by_kernel and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Failure("oom", "was killed by SIGKILL (9) while the kernel was killing processes for lack of memory")
    return Failure("crash", describe_exit(status))


def stopped(run: RunDir) -> Failure | None:
    """Return who stopped a run and at which step; None if nobody did."""
    who = stopped_by(run)
    if who is None:
        return None
    progress = read_progress(run)
    return Failure("stopped", stop_reason(who, progress.step, progress.total))


_TAIL_BYTES = 4096
_TAIL_LINES = 8


def record_failure(run: RunDir, pid: int | None, status: int, failure: Failure, after_s: float | None = None) -> None:
    """Record in `status.yaml` why a run failed, unless the run itself has recorded its end.

    Left alone when another process has taken the run over meanwhile, or when the disk takes no more: then the free lock
    alone tells that it does not run.
    """
    try:
        lock = take_lock(run)
    except OSError:
        return
    try:
        written = read_status(run)
        if written is None or written.pid != pid or written.has_returned:
            return
        if written.state in ALIVE or failure.cause in ("timeout", "interrupted", "stopped", "moved"):
            killed = os.WIFSIGNALED(status)
            write_status(
                run,
                written.end(
                    failure.state,
                    after_s=after_s,
                    exit_code=None if killed else os.waitstatus_to_exitcode(status),
                    signal=signal_name(os.WTERMSIG(status)) if killed else None,
                    reason=failure.reason,
                ),
            )
    except OSError:
        return
    finally:
        lock.release()


def is_done_by(path: Path | None, pid: int | None) -> bool:
    """Whether a process recorded before it ended that its run is done."""
    status = None if path is None else read_status(RunDir.at(path))
    return status is not None and status.has_returned and status.pid == pid


def last_lines(path: Path) -> str:
    """Return the last lines of a text file; empty when it cannot be read."""
    try:
        with files.open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
