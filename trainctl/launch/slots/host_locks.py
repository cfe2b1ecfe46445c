"""Locks on devices that all launchers of one user on this machine share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from trainctl.attempt.host import host_dir
from trainctl.errors import SettingError
from trainctl.rundir.lock import forget_in_children

_MUTEX = "mutex"
_MUTEX_TRIES = 20
_MUTEX_PAUSE_S = 0.001
_SHORTLY_S = 0.05
_LATER_S = 0.5
_PID_BYTES = 32


class Taken(Exception):
    """The device cannot take another job now; the text says why.

    Attributes:
        again_s: seconds after which it is worth asking again.
    """

    def __init__(self, reason: str, again_s: float = _LATER_S) -> None:
        super().__init__(reason)
        self.again_s = again_s


class Held:
    """Places that one job holds, until `release` or the end of this process, and until the end of the job's own.

    Attributes:
        paths: for the job's process to `keep`.
    """

    def __init__(self, files: contextlib.ExitStack, paths: Sequence[str]) -> None:
        self._files = files
        self.paths = tuple(paths)

    def release(self) -> None:
        self._files.close()


class HostLocks:
    """Gives a device to no more jobs than each of the launchers that use it allows.

    A place is a shared flock on `UUID.most.number`, in which `most` is how many jobs its launcher allows on that
    device, 0 for any number. The launcher holds it, and the job that runs there: so killed ones leave nothing to clean
    up, and the devices of a killed launcher are free when its jobs have died too. Whoever takes a place counts the held
    ones first, alone (`mutex`), by trying to lock them exclusively.

    Args:
        most: the most jobs by device; 0 for any number.
        stagger_s: seconds between two starts on one device, by any launcher.
        directory: instead of the one that all programs of the user share (`attempt.host`).

    Raises:
        SettingError: the directory cannot be used.
    """

    def __init__(
        self,
        most: Mapping[str, int],
        *,
        stagger_s: float = 0.0,
        directory: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._most = dict(most)
        self._stagger_s = stagger_s
        self._clock = clock
        try:
            self._path = directory or host_dir(says_why=True)
        except OSError as error:
            raise SettingError(f"the devices of this machine cannot be shared: {error}; move one away") from error
        try:
            self._prepare()
        except OSError as error:
            raise SettingError(
                f"the devices of this machine cannot be shared in {str(self._path)!r}: {error.strerror or error}; "
                "make it a directory of yours with mode 0700"
            ) from error

    def take(self, devices: Sequence[str]) -> Held:
        """Take one place on each of the devices, or none.

        Raises:
            Taken: not now.
        """
        try:
            with contextlib.ExitStack() as files, self._open_directory() as directory, self._alone(directory):
                files.callback(directory.copy().close)  # its shared lock keeps systemd-tmpfiles from clearing it
                names = os.listdir(directory.number)
                paths = []
                for device in devices:
                    place = self._take_place(directory, device, names)
                    files.callback(place.close)
                    paths.append(str(self._path / place.name))
                return Held(files.pop_all(), paths)
        except OSError as error:
            raise Taken(f"the places in {str(self._path)!r} cannot be read ({error})") from error

    def _prepare(self) -> None:
        """Make all files now, so that a disk that fills up later does not stop a job."""
        with self._open_directory() as directory:
            for name in (_MUTEX, *(f"{device}.{most}.{n}" for device, most in self._most.items() for n in range(most))):
                with (
                    contextlib.suppress(FileExistsError),
                    contextlib.closing(_File(name, directory, os.O_EXCL)) as file,
                ):
                    os.utime(file.number, (0, 0))  # nothing has started here yet

    @contextlib.contextmanager
    def _open_directory(self) -> Iterator[_File]:
        if not self._path.exists():
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._path, 0o700)
        with contextlib.closing(_File(str(self._path), None, os.O_DIRECTORY | os.O_NOFOLLOW)) as directory:
            status = os.fstat(directory.number)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise PermissionError("it belongs to, or is open to, somebody else")
            directory.lock(fcntl.LOCK_SH)
            yield directory

    @contextlib.contextmanager
    def _alone(self, directory: _File) -> Iterator[None]:
        with contextlib.closing(_File(_MUTEX, directory)) as mutex:
            for _ in range(_MUTEX_TRIES):
                if mutex.lock(fcntl.LOCK_EX):
                    yield
                    return
                time.sleep(_MUTEX_PAUSE_S)  # held for microseconds, unless its holder was stopped just there
        raise Taken("another launcher is checking the devices", _SHORTLY_S)

    def _take_place(self, directory: _File, device: str, names: Sequence[str]) -> _File:
        most_here = self._most[device]
        holders, last_start = self._count(directory, device, names)
        since = self._clock() - last_start
        if 0 <= since < self._stagger_s:
            raise Taken(f"a job was started on it within {self._stagger_s:g} s", self._stagger_s - since)
        if most_here and len(holders) >= min(most for most in (most_here, *(most for most, _ in holders)) if most):
            pids = sorted({pid for _, pid in holders} - {str(os.getpid())})
            raise Taken(f"it is held by another launcher of yours (process {', '.join(pids) or 'unknown'})")
        number = 0
        while True:  # ends: fewer than `most_here` places are held, or there is no limit
            with contextlib.ExitStack() as opened:
                place = _File(f"{device}.{most_here}.{number}", directory)
                opened.callback(place.close)
                if place.lock(fcntl.LOCK_EX):
                    place.lock(fcntl.LOCK_SH)
                    place.sign(self._clock())
                    opened.pop_all()
                    return place
            number += 1

    def _count(self, directory: _File, device: str, names: Sequence[str]) -> tuple[list[tuple[int, str]], float]:
        """Return the held places, each as what its launcher allows and its process, and the time of the last start."""
        holders, last_start = [], 0.0
        for name in names:
            of, _, rest = name.partition(".")
            most, _, number = rest.partition(".")
            if of != device or not (most.isdecimal() and number.isdecimal()):
                continue
            with contextlib.closing(_File(name, directory)) as file:
                last_start = max(last_start, os.fstat(file.number).st_mtime)
                if not file.lock(fcntl.LOCK_EX):
                    holders.append((int(most), os.pread(file.number, _PID_BYTES, 0).decode("ascii", "replace").strip()))
        return holders, last_start


class _File:
    """An open file that no forked or executed process keeps: a flock lasts as long as any copy of its descriptor."""

    def __init__(self, name: str, directory: _File | None, flags: int = 0) -> None:
        self.name = name
        if directory is None:
            self.number = os.open(name, os.O_RDONLY | os.O_CLOEXEC | flags)
        else:
            flags |= os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self.number = os.open(name, flags, 0o600, dir_fd=directory.number)
        forget_in_children(self)

    def copy(self) -> _File:
        """Return another hold on the same open file, and so on its lock."""
        other = object.__new__(_File)
        other.name, other.number = self.name, os.dup(self.number)
        forget_in_children(other)
        return other

    def lock(self, kind: int) -> bool:
        """Lock the file if nobody is in the way; say whether it is locked."""
        try:
            fcntl.flock(self.number, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def sign(self, now: float) -> None:
        """Write down who holds it since when: for people and for `stagger_s`, so a full disk does not matter."""
        with contextlib.suppress(OSError):
            os.utime(self.number, (now, now))
            os.pwrite(self.number, f"{os.getpid():<{_PID_BYTES}}".encode(), 0)
            os.utime(self.number, (now, now))

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    forget = close


_kept: list[_File] = []


def keep(paths: Sequence[str]) -> None:
    """Hold a job's places from its own process too, to the end of it: while it lives, nobody else gets its devices."""
    for path in paths:
        with contextlib.suppress(OSError):  # the directory was removed: this launcher holds the places alone
            file = _File(path, None, os.O_NOFOLLOW)
            file.lock(fcntl.LOCK_SH)
            _kept.append(file)


def let_go() -> None:
    """Give up what this process keeps: nothing in it uses a device any more, though it takes a moment to end."""
    while _kept:
        _kept.pop().close()
