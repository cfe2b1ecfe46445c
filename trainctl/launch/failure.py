"""Why a job failed, which decides about a retry; its traceback; the status of a job that could not write its own."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Literal, cast

import hydra

from trainctl.attempt.attempt import describe
from trainctl.attempt.reservation import take_lock
from trainctl.errors import CommandError, TrainctlError
from trainctl.rundir.logs import last_lines
from trainctl.rundir.pace import read_progress
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import relative_to
from trainctl.rundir.status import ALIVE, State, read_status, stop_reason, stopped_by, write_status

# error: it raised or called sys.exit; crash: it, or a command, died without an answer; moved: it lost
# its host; the others say what they are
Cause = Literal["error", "crash", "oom", "timeout", "interrupted", "stopped", "moved"]

_OOM_NAMES = ("OutOfMemoryError", "MemoryError")
_OOM_WORDS = ("CUDA out of memory", "CUDA_ERROR_OUT_OF_MEMORY", "RESOURCE_EXHAUSTED", "CUBLAS_STATUS_ALLOC_FAILED")

_MOST_LINES = 8  # at the terminal
_PLUMBING = tuple(f"{place}/" for place in (Path(__file__).parents[1], Path(hydra.__file__).parent))
_PLUGINS = "/hydra_plugins/hydra_"
_INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+)")  # whichever environment it is in
_STANDARD = (*(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")), "<frozen")
_COMPILED = (".pyx", ".pxd", ".pxi")  # of a library such as PyYAML: they are named as they were when it was built


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

    def with_end_of_log(self, run: RunDir | None) -> Failure:
        """Return the failure with the last lines of a run's log as its tail."""
        return dataclasses.replace(self, tail="" if run is None else last_lines(run.log))

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
        ended_as: why the launcher ended it, if it did.
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


def full_text(raised: BaseException) -> str:
    """Return the traceback from the task function on; of what trainctl or a command says, the sentence alone."""
    if isinstance(raised, CommandError) or not raised.__traceback__:  # trainctl's frames would tell nobody more
        return f"{describe(raised)}\n"
    trace = _trace(raised)
    lines = list(trace.format())
    if isinstance(raised, TrainctlError):
        lines[-len(list(trace.format_exception_only())) :] = [f"{describe(raised)}\n"]
    return "".join(lines)


def short_text(raised: BaseException) -> str:
    """Return the last lines of the traceback that are in the program itself, and the exception."""
    if not raised.__traceback__:
        return describe(raised)
    trace = _trace(raised)
    is_own = isinstance(raised, TrainctlError)
    said = [f"{describe(raised)}\n"] if is_own else list(trace.format_exception_only())
    lines = "".join(said).splitlines()[-_MOST_LINES:]
    frames = trace.stack[: _end_of_program(trace.stack)] or trace.stack
    for number, frame in enumerate(reversed(frames)):
        shown = "".join(traceback.StackSummary.from_list([frame]).format()).splitlines()
        if number and len(shown) + len(lines) > _MOST_LINES:
            break
        lines = [*shown, *lines]
    return "\n".join(lines)


def last_frame(raised: BaseException, cwd: Path) -> str:
    """Return where the program's own part of a traceback ends, as a person at `cwd` would write it; empty for none."""
    if isinstance(raised, CommandError) or not raised.__traceback__:
        return ""
    frames = _trace(raised).stack
    own = frames[: _end_of_program(frames)]
    return f"{relative_to(Path(own[-1].filename), cwd)}:{own[-1].lineno} in {own[-1].name}" if own else ""


def _trace(raised: BaseException) -> traceback.TracebackException:
    """Return a traceback without the frames that led to the task function, nor those on to an error of trainctl."""
    trace = traceback.TracebackException.from_exception(raised)
    own = list(dropwhile(_is_plumbing, trace.stack))
    if isinstance(raised, TrainctlError):
        own = list(dropwhile(_is_plumbing, reversed(own)))[::-1]
    if own or isinstance(raised, TrainctlError):
        trace.stack[:] = own
    return trace


def _is_plumbing(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_PLUMBING) or _PLUGINS in frame.filename


def _end_of_program(frames: Sequence[traceback.FrameSummary]) -> int:
    """Return how many frames there are up to the last one of the program: of no library, but for the task's own."""
    home = _package(frames[0].filename) if frames else None
    own = {None, home}
    ends = [
        number
        for number, frame in enumerate(frames, 1)
        if _package(frame.filename) in own
        and not frame.filename.startswith(_STANDARD)
        and not frame.filename.endswith(_COMPILED)
    ]
    return ends[-1] if ends else 0


def _package(path: str) -> str | None:
    """Return the installed package of a file."""
    found = _INSTALLED.findall(path)
    return found[-1] if found else None
