"""The lock of a run: held exactly while the run's own process lives.

A file system without locks (NFS without its lock service, some Lustre) has them in a directory of this host, which
`trainctl.locks` or the variable `TRAINCTL_LOCKS` names. The file of such a lock says where the lock is.

Some file systems do not show the locks of one node to another: there the file of the lock names the launcher whose beat
stands for it (`rundir/beat`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
import weakref
from pathlib import Path
from typing import Protocol

from trainctl.errors import SettingError
from trainctl.rundir import beat

VARIABLE = "TRAINCTL_LOCKS"
_MOST_BYTES = 4096

_LOOKERS_S = 10.0  # those who only look hold it for microseconds, unless a busy machine keeps them from going on


class Inherited(Protocol):
    """Something with an open file whose lock a forked child would share."""

    def forget(self) -> None:
        """Close this process's copy of the file."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def forget_in_children(one: Inherited) -> None:
    """Have each child that this process forks forget it."""
    _inherited.add(one)


class RunLock:
    """An exclusive flock on `run.lock`, released by the kernel when the process ends, however it ends.

    A flock belongs to the open file, which a forked child shares: a DataLoader worker that outlives its trainer would
    keep the run "running". So forked children close their copy at once (subprocesses never get one).
    """

    def __init__(self, path: Path, stands_for: beat.Beat | None = None) -> None:
        """Name the file; `stands_for`: the beat that proves it held where it is not seen; None: the inherited one."""
        self.path = path
        self._beat = stands_for
        self._descriptor: int | None = None
        self._speaks = False  # the file has content

    def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is held now.

        Raises:
            OSError: the file cannot be made (the directory is gone, not writable, or the disk is full).
        """
        if self._descriptor is not None:
            return True
        descriptor = opened(self.path)
        try:
            is_free = take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if not is_free or not self._speak(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        forget_in_children(self)
        return True

    def release(self) -> None:
        """Release the lock; the file stays, since removing it would let two runs lock two files of the same name."""
        if self._descriptor is not None:
            if self._speaks:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, 0)
            self.forget()

    def forget(self) -> None:
        """Close this process's copy of a lock that another process keeps."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _speak(self, descriptor: int) -> bool:
        """Tell nodes that do not see this lock which beat stands for it; return whether no other launcher's does."""
        before, own = beat.told(self.path, _read(descriptor)), self._beat or beat.inherited()
        if before is not None and before not in (own, *beat.own) and beat.is_beating(before, surely=True):
            return False
        self._speaks = (before is not None or own is not None) and stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not self._speaks:
            return True
        if before is not None:
            os.ftruncate(descriptor, 0)
        if own is not None:
            os.pwrite(descriptor, own.line_for(self.path).encode(errors="surrogateescape"), 0)
        return True

    @property
    def is_held_here(self) -> bool:
        return self._descriptor is not None


def keep_in(directory: str | None) -> None:
    """Make this process, and those it starts, keep locks in this directory for file systems without locks.

    Raises:
        SettingError: others could write there too, or it cannot be made.
    """
    if directory is None:
        return
    path = os.path.abspath(os.path.expanduser(directory))
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingError(f"trainctl.locks={directory!r} cannot be made: {error.strerror or error}") from error
    if not _is_private(path):
        raise SettingError(
            f"trainctl.locks={directory!r} must be a directory of yours that nobody else can write to; name one on a "
            "disk of this machine, which is created if it is missing"
        )
    os.environ[VARIABLE] = path


def opened(path: Path) -> int:
    """Open the file of a lock, created if missing, and return the descriptor to lock.

    Raises:
        OSError: it cannot be made or opened, or its file system has no locks, and neither says where else they are.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        place = _elsewhere(descriptor)
        if place is None:
            missing = _missing_locks(descriptor)
            if missing is None:
                return descriptor
            place = _begin_elsewhere(descriptor, missing)
        other = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return other


def _missing_locks(descriptor: int) -> OSError | None:
    """Return why a file cannot be locked at all; None if it can."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        return error
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return None


def _begin_elsewhere(descriptor: int, missing: OSError) -> str:
    directory = os.environ.get(VARIABLE)
    if directory is None:
        raise OSError(
            missing.errno,
            f"its file system has no locks ({missing.strerror}); set trainctl.locks (for commands: {VARIABLE}) to a "
            "directory on a disk of this machine, and use it from this machine alone",
        ) from missing
    os.pwrite(descriptor, f"{directory}\n".encode(errors="surrogateescape"), 0)
    return _place_in(directory, descriptor)


def _elsewhere(descriptor: int) -> str | None:
    """Return the file that has the lock instead of an open file, if the file is trusted and says so; else None."""
    status = os.fstat(descriptor)
    if not status.st_size or status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        return None
    told, end, _ = _read(descriptor).partition("\n")
    return _place_in(told, descriptor) if end and os.path.isabs(told) and _is_private(told) else None


def _read(descriptor: int) -> str:
    """Return the content of an open file; empty for anything but a regular file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return ""
    return os.pread(descriptor, _MOST_BYTES, 0).decode(errors="surrogateescape")


def _place_in(directory: str, descriptor: int) -> str:
    status = os.fstat(descriptor)
    return os.path.join(directory, f"{status.st_dev:x}-{status.st_ino:x}.lock")


def _is_private(directory: str) -> bool:
    """Whether nobody else can write to a directory."""
    try:
        status = os.stat(directory, follow_symlinks=False)
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def take(descriptor: int) -> bool:
    """Lock an open file unless it is locked; wait for processes that only look, which share the lock for a moment."""
    deadline = time.monotonic() + _LOOKERS_S
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.001)


def is_locked(path: Path, *, surely: bool = False) -> bool:
    """Whether some process holds the lock. Looks by sharing the lock for a moment: takers wait for that.

    Args:
        path: of the lock.
        surely: a lock that is not seen from here counts as held until it certainly is not (`beat.is_beating`).
    """
    try:
        descriptor = _opened_to_look(path)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # a file system without locks: no evidence that anything runs
    finally:
        told = beat.told(path, _read(descriptor))
        os.close(descriptor)
    if told is None or (surely and told in (beat.inherited(), *beat.own)):
        return False  # of this process's launcher, which knows where its jobs run
    return beat.is_beating(told, surely=surely)


def _opened_to_look(path: Path) -> int:
    # whatever stands there: no link is followed, and nobody is waited for at the other end of a pipe
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    place = _elsewhere(descriptor)
    if place is None:
        return descriptor
    os.close(descriptor)
    return os.open(place, flags)


def is_open_in(pid: int, path: Path) -> bool:
    """Whether a process has the file of a lock open according to the kernel, since a record may name any process.

    True where the kernel does not tell it: there is no /proc, or the process is another user's, whom no signal reaches.
    """
    if not os.path.isdir("/proc/self/fd"):
        return True
    try:
        descriptor = _opened_to_look(path)
        lock = os.fstat(descriptor)
        os.close(descriptor)
        files = list(os.scandir(f"/proc/{pid}/fd"))
    except PermissionError:
        return True
    except OSError:
        return False
    for each in files:
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.path.samestat(os.stat(each.path), lock):
                return True
    return False


def _forget_in_child() -> None:
    for each in list(_inherited):
        with contextlib.suppress(OSError):
            each.forget()


os.register_at_fork(after_in_child=_forget_in_child)
