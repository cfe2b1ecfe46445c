"""The lock of a run: held exactly while the run's own process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path

_LOOKERS_S = 10.0  # those who only look hold it for microseconds, unless a busy machine keeps them from going on

_held: weakref.WeakSet[RunLock]


class RunLock:
    """An exclusive flock on `run.lock`, given back by the kernel when the process ends, however it ends.

    A flock belongs to the open file, which a forked child shares: a DataLoader worker that outlives its trainer would
    keep the run "running". So forked children close their copy at once (subprocesses never get one).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; say whether it is held now.

        Raises:
            OSError: the file cannot be made (the directory is gone, not writable, or the disk is full).
        """
        if self._descriptor is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # whatever stands there
        descriptor = os.open(self.path, flags, 0o600)
        try:
            is_ours = take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if not is_ours:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held.add(self)
        return True

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would let two runs lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_held_here(self) -> bool:
        return self._descriptor is not None


_held = weakref.WeakSet()


def take(descriptor: int) -> bool:
    """Lock an open file unless somebody holds its lock; who only looks shares it for a moment, and is waited for."""
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


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock. Looks by sharing the lock for a moment: takers wait for that."""
    try:
        # whatever stands there: no link is followed, and nobody is waited for at the other end of a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks: no evidence that anything runs
    finally:
        os.close(descriptor)
    return False


def is_open_in(pid: int, path: Path) -> bool:
    """Whether a process has the file of a lock open, as the kernel tells: a record may name any process.

    True where the kernel does not tell it: there is no /proc, or the process is another user's, whom no signal reaches.
    """
    if not os.path.isdir("/proc/self/fd"):
        return True
    try:
        lock = os.stat(path, follow_symlinks=False)
        opened = list(os.scandir(f"/proc/{pid}/fd"))
    except PermissionError:
        return True
    except OSError:
        return False
    for each in opened:
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.path.samestat(os.stat(each.path), lock):
                return True
    return False


def _forget_in_child() -> None:
    for lock in list(_held):
        with contextlib.suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
