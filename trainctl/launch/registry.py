"""The launchers that work in a sweep dir: files in `.trainctl/launchers/`, each locked by its launcher.

A launcher on another machine is stopped by a file beside its record, which it takes away once it has read it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from trainctl.errors import RunDirError
from trainctl.rundir import beat, files
from trainctl.rundir.fields import parse_time, whole
from trainctl.rundir.lock import RunLock, is_locked, is_open_in
from trainctl.rundir.paths import own_dir
from trainctl.rundir.status import boot_id, format_time, is_of_this_user, process_started

_numbers = itertools.count(1)  # one process may work as several launchers
_STOP = ".stop"  # of the file by which a launcher is asked to stop
_LOOK_S = 1.0  # between two looks for that file


@dataclass(frozen=True, slots=True)
class Launcher:
    """The record of a launcher, and its file. `started` is in Unix seconds; the file has a local ISO 8601 time."""

    pid: int
    pid_started: int | None
    boot_id: str | None
    host: str
    started: float | None
    path: Path = field(compare=False)

    @property
    def is_here(self) -> bool:
        """Whether its process runs on this machine and can be signalled: same host, boot and start time."""
        is_same_boot = self.host == socket.gethostname() and self.boot_id == boot_id()
        return is_same_boot and process_started(self.pid) == self.pid_started

    def ask(self, number: signal.Signals) -> None:
        """Ask it, wherever it is, to do what it does at a signal; `is_asked` until it has taken that.

        Raises:
            OSError: its directory cannot be written.
        """
        request = {"pid": self.pid, "pid_started": self.pid_started, "signal": number.name}
        files.write_yaml(self.path.with_suffix(_STOP), request)

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; return whether it was there. A later process with the same id is never hit.

        Raises:
            PermissionError: it belongs to another user.
        """
        return send_signal(self.pid, self.pid_started, number)

    @property
    def is_asked(self) -> bool:
        """Whether it has not taken yet what it was asked."""
        return self.path.with_suffix(_STOP).name in os.listdir(self.path.parent)


class Presence:
    """Registers this process as a launcher in a sweep dir while entered. Several launchers may be registered."""

    def __init__(self, sweep_dir: Path) -> None:
        self._directory = _launchers(sweep_dir)
        self._path: Path | None = None
        self._lock: RunLock | None = None
        self._owner = os.getpid()
        self._looked = 0.0

    def __enter__(self) -> Presence:  # noqa: PYI034  # Self needs Python 3.11
        """Take the lock, then write the record.

        Raises:
            RunDirError: the sweep dir cannot be written.
        """
        try:
            self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            _forget_the_dead(self._directory)
            self._path, self._lock = self._take_name()
            self._owner = os.getpid()
            self._path.with_suffix(_STOP).unlink(missing_ok=True)
            files.write_yaml(self._path, _this_process())
        except OSError as error:
            self.close()
            reason = error.strerror or error
            raise RunDirError(f"the sweep dir {str(self._directory.parents[1])!r} cannot be used: {reason}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def is_alone(self) -> bool:
        """Whether no other launcher works in the sweep dir now."""
        assert self._lock is not None
        try:
            others = [path for path in self._directory.glob("*.lock") if path != self._lock.path]
        except OSError:  # the sweep dir was removed
            return True
        return not any(is_locked(path) for path in others)

    @property
    def patience_s(self) -> float:
        """Seconds until the next look of `asked`."""
        return max(0.0, self._looked + _LOOK_S - time.monotonic())

    def asked(self) -> signal.Signals | None:
        """Return what somebody on another machine has asked since the last look: what this signal stands for.

        The directory is listed: a network file system may keep for a while that a name was not there.
        """
        if self.patience_s or self._path is None:
            return None
        self._looked = time.monotonic()
        path = self._path.with_suffix(_STOP)
        with contextlib.suppress(OSError):
            if path.name not in os.listdir(self._directory):
                return None
            request, owner = files.read_mapping(path), os.lstat(path).st_uid
            path.unlink()
            own = (os.getpid(), process_started(os.getpid()))
            if owner in (os.geteuid(), 0) and (request.get("pid"), request.get("pid_started")) == own:
                return _SIGNALS.get(str(request.get("signal")))
        return None

    def close(self) -> None:
        """Remove the record. A second call, or one by a forked child, does nothing."""
        if self._path is None or self._lock is None or os.getpid() != self._owner:
            return
        with contextlib.suppress(OSError):  # the sweep dir was removed
            _remove(self._path)
        self._lock.release()
        self._path = self._lock = None

    def _take_name(self) -> tuple[Path, RunLock]:
        while True:
            path = self._directory / f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}.yaml"
            lock = RunLock(path.with_suffix(".lock"), beat.own[-1] if beat.own else None)
            if lock.acquire():
                return path, lock


_SIGNALS = {each.name: each for each in (signal.SIGINT, signal.SIGTERM)}


def find(sweep_dir: Path) -> list[Launcher]:
    """Return the launchers that work in a sweep dir, the oldest first.

    A launcher of this machine must hold its lock and be alive; for one of another machine the held lock is enough.
    """
    found = []
    for path in _launchers(sweep_dir).glob("*.yaml"):
        launcher = _read(path)
        lock = path.with_suffix(".lock")
        if launcher is None or not is_locked(lock):
            continue
        if (launcher.is_here and is_open_in(launcher.pid, lock)) or launcher.host != socket.gethostname():
            found.append(launcher)
    return sorted(found, key=lambda launcher: (launcher.started or 0.0, launcher.pid))


def send_signal(pid: int, pid_started: int | None, number: signal.Signals) -> bool:
    """Send a signal to a process that started at that moment (as `process_started` says); say whether it was there.

    Raises:
        PermissionError: it belongs to another user.
    """
    try:
        descriptor = os.pidfd_open(pid) if sys.platform == "linux" else None
    except ProcessLookupError:
        return False
    except OSError:  # an old kernel: the moment between look and signal is not covered
        descriptor = None
    try:
        if process_started(pid) != pid_started:
            return False
        if not is_of_this_user(pid):  # root could signal it, but must not because a file of another user says so
            raise PermissionError(f"process {pid} belongs to another user")
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _launchers(sweep_dir: Path) -> Path:
    return own_dir(sweep_dir.absolute()) / "launchers"


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "pid_started": process_started(pid),
        "boot_id": boot_id(),
        "host": socket.gethostname(),
        "started": format_time(time.time()),
    }


def _read(path: Path) -> Launcher | None:
    record: dict[str, Any] = files.read_mapping(path)
    record |= {"started": parse_time(record.get("started")), "path": path}
    names = {each.name for each in fields(Launcher)}
    if not names <= set(record) or whole(record["pid"]) is None:
        return None
    return Launcher(**{name: record[name] for name in names})


def _forget_the_dead(directory: Path) -> None:
    """Remove the files of killed launchers of this machine; others stay."""
    for path in directory.glob("*.yaml"):
        launcher = _read(path)
        if launcher is None or launcher.host != socket.gethostname() or launcher.is_here:
            continue
        if not is_locked(path.with_suffix(".lock")):
            with contextlib.suppress(OSError):  # another launcher was faster
                _remove(path)
    for name in os.listdir(directory):
        if _is_left_over(directory, name):
            with contextlib.suppress(OSError):
                os.unlink(directory / name)


def _is_left_over(directory: Path, name: str) -> bool:
    """Whether a file was left by a launcher of this machine that was killed before it had a record."""
    whole = Path(files.leftover_of(name) or name)
    host, _, rest = whole.stem.rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not rest.isdecimal() or (directory / whole.with_suffix(".yaml")).exists():
        return False
    return process_started(int(rest)) is None


def _remove(path: Path) -> None:
    for each in (path, path.with_suffix(_STOP), path.with_suffix(".lock")):
        each.unlink(missing_ok=True)
