"""The beat of a launcher: the proof that its runs are alive for nodes that do not see their locks.

Some shared file systems keep locks to each node (Lustre with `localflock`, NFS with `nolock`). A launcher of a cluster
has one file that it holds locked and touches every few seconds. A job on a node that does not see that lock writes into
its own `run.lock` which file it is: jobs end with their launcher, which says in their status how they ended. So does
the launcher in the lock of its record.

The clocks of two machines are compared only for other users' runs, which are only shown. Otherwise it counts whether
the file changes within some time on the reader's own monotonic clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "TRAINCTL_BEAT"  # for the jobs of an agent that does not see its launcher's lock: the file
EVERY_S = 2.0
SILENT_S = 60.0  # after which a launcher is gone
_LOOK_S = 8.0  # after which it seems to be
_FOREIGN_S = 360.0  # since the last beat of another user's launcher, by both machines' clocks
_OLD_S = 3600.0  # no clocks are that far apart
_AGAIN_S = 0.1
_MARK = "beat"
_PLACE = re.compile(r"(\.\./|(\.\./)+\.trainctl/)\w+/launchers/[\w.-]+\.json")


@dataclass(frozen=True, slots=True)
class Beat:
    """The file that a launcher touches: `HOST-PID-NUMBER.json` where its agents find it."""

    path: str

    @property
    def host(self) -> str:
        """The machine of the launcher."""
        return Path(self.path).stem.rsplit("-", 2)[0]

    @property
    def is_seen(self) -> bool:
        """Whether this machine sees the lock of the launcher, which is alive."""
        return self.host == socket.gethostname() or _look_at(self) is True

    def line_for(self, lock: Path) -> str:
        """Return what the file of a lock says."""
        return f"{_MARK} {os.path.relpath(self.path, lock.parent)}\n"


own: list[Beat] = []  # those of launchers in this process


def inherited() -> Beat | None:
    """Return the beat by which runs of this process are known; None where their locks are seen."""
    path = os.environ.get(VARIABLE)
    return Beat(path) if path else None


def told(lock: Path, text: str) -> Beat | None:
    """Return the beat that the file of a lock names."""
    mark, _, path = text.partition("\n")[0].partition(" ")
    if mark != _MARK or not _PLACE.fullmatch(path):
        return None
    return Beat(os.path.normpath(lock.parent / path))


# by file and kind of look: its time, and when this process first saw it with that time
_seen: dict[tuple[int, int, bool], tuple[int, float]] = {}
_changed: set[tuple[int, int, bool]] = set()  # seen to live


def is_beating(beat: Beat, *, surely: bool = False) -> bool:
    """Whether a launcher is alive. The first look at a file waits until it changes, for some seconds at most.

    Another user's launcher is not waited for; its clock is believed.

    Args:
        beat: its file.
        surely: true until the file has not changed for `SILENT_S` while this process watched; for a process that is to
            start where a job of that launcher may run.
    """
    limit_s = SILENT_S if surely else _LOOK_S
    while True:
        status = _look_at(beat)
        if isinstance(status, bool):
            return status
        if status.st_uid != os.geteuid() and not surely:  # a file of another user must not make this process wait
            return abs(time.time() - status.st_mtime) < _FOREIGN_S
        file, now = (status.st_dev, status.st_ino, surely), time.monotonic()
        time_of, since = _seen.get(file, (None, -math.inf))
        if time_of is None and time.time() - status.st_mtime > _OLD_S:
            return False
        if time_of != status.st_mtime_ns:
            _seen[file] = status.st_mtime_ns, now
            _changed.update({file} if surely or time_of is not None else ())
        if file in _changed or now - since >= limit_s:
            return time_of != status.st_mtime_ns or now - since < limit_s
        time.sleep(_AGAIN_S)


def _look_at(beat: Beat) -> os.stat_result | bool:
    """Return the status of the file; or whether the launcher is alive, if a lock or the missing file tells."""
    try:  # opened again each time: then a network file system asks its server
        descriptor = os.open(beat.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # it has ended, and removed its file
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # no locks at all
    else:
        if beat.host == socket.gethostname():
            return False  # a machine sees its own locks
    finally:
        status = os.fstat(descriptor)
        os.close(descriptor)
    return status


class Beating:
    """Touches a file, which it holds locked, until it is closed."""

    def __init__(self, path: Path, stalled: Callable[[], None]) -> None:
        """Begin. `stalled` is called when others may take this launcher for gone: it was stopped, or the disk hung."""
        self.beat = Beat(str(path))
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._stalled = stalled
        self._is_over = threading.Event()
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        own.append(self.beat)
        self._thread = threading.Thread(target=self._touch, name="trainctl-beat", daemon=True)
        self._thread.start()

    def _touch(self) -> None:
        last = time.clock_gettime(time.CLOCK_BOOTTIME)
        while not self._is_over.wait(EVERY_S):
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            if now - last > SILENT_S * 0.8:
                self._stalled()
                return
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)
                last = now

    def close(self) -> None:
        """Stop the beat, and release the lock."""
        self._is_over.set()
        self._thread.join()
        own.remove(self.beat)
        os.close(self._descriptor)
