"""`hydra.launcher.detach=true`: the sweep goes on in a process of its own session, and the terminal may close."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainctl.config.overrides import quoted
from trainctl.errors import RunDirError, SettingError
from trainctl.launch.display.report import Outlet
from trainctl.launch.registry import find
from trainctl.rundir.provenance import module_name, relative_to, script_path

LOG = "sweep.log"

_MARK = "TRAINCTL_DETACHED"  # in the environment of the background process: it must not detach again
_LOOK_S = 0.05


def detach(sweep_dir: Path) -> None:
    """Start the very command again in the background and leave this process; there it returns at once.

    Leaves with 0 once the background process has said that it works in the sweep dir. If it ends before, what it said
    is shown and its exit code is ours. All that it prints goes to `sweep.log`, after what is there.

    Args:
        sweep_dir: made already; the background process uses the same, also when its name has the time in it.

    Raises:
        SettingError: this program cannot be started again. RunDirError: the log cannot be written.
        SystemExit: in the foreground, always.
    """
    if os.environ.pop(_MARK, None) is not None:
        return
    command = command_again(f"hydra.sweep.dir={quoted(str(sweep_dir))}")
    path = sweep_dir.absolute() / LOG
    try:
        log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunDirError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; choose another sweep dir"
        ) from error
    begin = os.fstat(log).st_size
    sys.stdout.flush()
    sys.stderr.flush()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**os.environ, _MARK: "1"},
    )
    code = _wait_until_it_works(process, sweep_dir)
    _tell(sweep_dir, process.pid if code is None else None, _read_from(log, begin))
    os.close(log)
    raise SystemExit(code or 0)


def _tell(sweep_dir: Path, pid: int | None, said: str) -> None:
    """Say how the sweep that goes on can be reached; where none does, what the background process said."""
    if pid is not None:
        shown = relative_to(sweep_dir.absolute(), Path.cwd())
        where = shlex.quote(shown)
        said = (
            f"the sweep goes on as process {pid}, log {Path(shown) / LOG}; "
            f"see it with `trainctl ls {where}`, end it with `trainctl stop {where}`\n"
        )
    out = Outlet(sys.stderr)
    out.write(said)
    out.flush()


def _wait_until_it_works(process: subprocess.Popen[bytes], sweep_dir: Path) -> int | None:
    """Return None when the background process works, else the exit code with which it has ended."""
    try:
        while not any(_is_of_session(launcher.pid, process.pid) for launcher in find(sweep_dir)):
            try:
                code = process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                continue
            return code if code >= 0 else 1
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        return 130
    process.returncode = 0  # it is left alone from here on; Popen would warn about a process that still runs
    return None


def _is_of_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except OSError:
        return False  # it has just ended, or is of another machine


def _read_from(descriptor: int, begin: int) -> str:
    size = os.fstat(descriptor).st_size - begin
    return os.pread(descriptor, max(0, size), begin).decode(errors="replace")


def command_again(override: str) -> list[str]:
    """Return the command that starts this very program again, with one override more.

    Raises:
        SettingError: there is no command, as in an interactive session.
    """
    from trainctl.compose._hydra import overrides_in

    arguments = sys.argv[1:]
    overrides = overrides_in(arguments)
    return [sys.executable, *_program(arguments), *insert(arguments, overrides, override)]


def insert(arguments: Sequence[str], overrides: Sequence[str], override: str) -> list[str]:
    """Put an override right after those that are there: argparse wants all of them in one place.

    >>> insert(["-m", "a=1,2", "b=3", "-cn", "small"], ["a=1,2", "b=3"], "c=4")
    ['-m', 'a=1,2', 'b=3', 'c=4', '-cn', 'small']
    >>> insert(["-m"], [], "c=4")
    ['c=4', '-m']
    """
    count = len(overrides)
    for place in range(len(arguments) - count + 1):
        if list(arguments[place : place + count]) == list(overrides):
            return [*arguments[: place + count], override, *arguments[place + count :]]
    return [*arguments, override]


def _program(arguments: Sequence[str]) -> list[str]:
    """Return what stood between `python` and the arguments: its own options, and the script or `-m` and the module."""
    original, count = sys.orig_argv, len(arguments)
    if len(original) > count + 1 and original[len(original) - count :] == list(arguments):
        return original[1 : len(original) - count]
    module, script = module_name(), script_path()  # the program has set arguments of its own
    if module is not None:
        return ["-m", module]
    if script is None:
        raise SettingError(
            "hydra.launcher.detach=true starts the program again in the background, but this is an interactive "
            "session; put the program into a file"
        )
    return [script]
