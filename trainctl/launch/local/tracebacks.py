"""How the exception of a failed job is shown: the traceback in its log, the program's last frames at the terminal."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Sequence
from itertools import dropwhile
from pathlib import Path

import hydra

from trainctl.attempt.attempt import describe
from trainctl.errors import CommandError, TrainctlError
from trainctl.rundir.provenance import relative_to

_MOST_LINES = 8  # at the terminal
_PLUMBING = tuple(f"{place}/" for place in (Path(__file__).parents[2], Path(hydra.__file__).parent))
_PLUGINS = "/hydra_plugins/hydra_"
_INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+)")  # whichever environment it is in
_STANDARD = (*(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")), "<frozen")
_COMPILED = (".pyx", ".pxd", ".pxi")  # of a library such as PyYAML: they are named as they were when it was built


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
