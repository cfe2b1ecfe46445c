"""`hydra.launcher.detach=true`: the sweep goes on in a background process, and the terminal may close."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from trainctl.attempt.host import why_no_process
from trainctl.attempt.output import open_missing_streams
from trainctl.errors import JobError, RunDirError, SettingError
from trainctl.launch.display.report import Outlet
from trainctl.launch.registry import find
from trainctl.rundir.provenance import relative_to, script_path

LOG = "sweep.log"

# In the environment of the background process: the sweep dir, which is there already; once that is taken, its own pid,
# so that it does not detach again. What it starts has another pid, and may.
MARK = "TRAINCTL_DETACHED"
_LOOK_S = 0.05


def take_sweep_dir() -> str | None:
    """Return the sweep dir made by the foreground process, once, in the background process; else None."""
    path = os.environ.get(MARK, "")
    if not os.path.isabs(path):
        return None
    os.environ[MARK] = str(os.getpid())
    return path


def detach(sweep_dir: Path) -> None:
    """Start the same command again in the background and end this process; in the background it returns at once.

    This process ends with 0 once the background process works in the sweep dir. If the background process ends before
    that, its output is shown and its exit code is used. Its output is appended to `sweep.log`.

    Raises:
        SettingError: this program cannot be started again. RunDirError: the log cannot be written. JobError: the system
            starts no process.
        SystemExit: in the foreground, always.
    """
    if os.environ.get(MARK) == str(os.getpid()):
        return
    if script_path() is None and "-c" not in sys.orig_argv:
        raise SettingError(
            "hydra.launcher.detach=true starts the program again in the background, but this is an interactive "
            "session; put the program into a file"
        )
    sweep_dir = sweep_dir.absolute()
    path = sweep_dir / LOG
    try:
        log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunDirError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; choose another sweep dir"
        ) from error
    begin = os.fstat(log).st_size
    open_missing_streams()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        process = subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, MARK: str(sweep_dir)},
        )
    except OSError as error:
        raise JobError(f"the sweep cannot go on in the background: {why_no_process(error)}") from error
    code = _wait_until_it_works(process, sweep_dir)
    shown = relative_to(sweep_dir, Path.cwd())
    out, where = Outlet(sys.stderr), shlex.quote(shown)
    if code is None:
        out.write(
            f"the sweep goes on as process {process.pid}, log {Path(shown) / LOG}; "
            f"see it with `trainctl ls {where}`, end it with `trainctl stop {where}`\n"
        )
    else:
        out.write(os.pread(log, max(0, os.fstat(log).st_size - begin), begin).decode(errors="replace"))
    out.flush()
    raise SystemExit(code or 0)


def _wait_until_it_works(process: subprocess.Popen[bytes], sweep_dir: Path) -> int | None:
    """Return None once the background process works, else the exit code with which it ended."""
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
