"""The files of one root's page server, in `<root>/.trainctl/`, readable by its owner only.

Where that is not this user's to write (a colleague's runs, a disk that is read only) they are where all programs of the
user on this machine meet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import socket
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

from trainctl.attempt.host import host_dir
from trainctl.rundir import files
from trainctl.rundir.lock import opened, take
from trainctl.rundir.paths import own_dir
from trainctl.rundir.status import boot_id, process_started


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """The record of a started server; valid only while `server.lock` is held. `url` contains the token.

    Attributes:
        keep_min: minutes for which it stays after the last run has ended.
        again: it was started in place of one that was killed or hung; that is done once.
        asked: what it was asked to be, as a seal: a run that asks for something else does not want this server.
    """

    url: str
    pid: int
    pid_started: int | None
    boot_id: str | None
    host: str
    keep_min: float = 0.0
    again: bool = False
    asked: str = ""

    @classmethod
    def of_process(cls, url: str, pid: int, *, keep_min: float, again: bool = False, asked: str = "") -> ServerRecord:
        """Return the record of a process of this machine."""
        return cls(url, pid, process_started(pid), boot_id(), socket.gethostname(), keep_min, again, asked)

    def is_alive(self) -> bool:
        """Whether the recorded process lives: its pid alone may have been reused. True for other hosts."""
        if self.host != socket.gethostname():
            return True  # only its lock can be seen from here
        if self.pid_started is not None:
            return self.boot_id == boot_id() and process_started(self.pid) == self.pid_started
        try:
            os.kill(self.pid, 0)  # a system without /proc
        except (ProcessLookupError, PermissionError):
            return False  # gone, or the pid was given to another user's process
        return True


@dataclass(frozen=True, slots=True)
class PanelDir:
    """The names and locks in `<root>/.trainctl/`.

    Every user of the page holds `panel.lock` shared, the server holds `server.lock` exclusively. Both are flocks, which
    the kernel gives back however a process ends, so nothing has to be cleaned up after a kill.
    """

    root: Path

    @property
    def path(self) -> Path:
        own = own_dir(self.root)
        if _may_be_ours(own):
            return own
        return host_dir() / "pages" / hashlib.sha256(os.fsencode(os.path.realpath(self.root))).hexdigest()[:16]

    @property
    def is_elsewhere(self) -> bool:
        """Whether the root is not this user's to write."""
        return self.path != own_dir(self.root)

    @property
    def users_lock(self) -> Path:
        return self.path / "panel.lock"

    @property
    def server_lock(self) -> Path:
        return self.path / "server.lock"

    @property
    def record(self) -> Path:
        return self.path / "panel.json"

    @property
    def log(self) -> Path:
        return self.path / "panel.log"

    @property
    def opener(self) -> Path:
        """A page that leads a browser to the server, so that the token is in no command line."""
        return self.path / "open.html"

    def create(self) -> None:
        """Make the directory, or take an existing one of this user, and close it to others.

        Raises:
            OSError: it is a link or a file, or cannot be made.
        """
        with contextlib.suppress(FileExistsError):
            os.makedirs(self.path.parent, 0o700 if self.is_elsewhere else 0o777, exist_ok=True)
            os.mkdir(self.path, 0o700)
        stat = os.lstat(self.path)
        if self.path.is_symlink() or not self.path.is_dir() or stat.st_uid != os.geteuid():
            raise PermissionError(f"{str(self.path)!r} is not a directory of this user")
        if stat.st_mode & 0o077:
            os.chmod(self.path, 0o700)

    def lock(self, path: Path, mode: int, *, patience_s: float = 0.0) -> int | None:
        """Take a flock (`fcntl.LOCK_SH` or `LOCK_EX`) and return its descriptor; None when others keep it too long."""
        descriptor = opened(path)
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return None
            except BaseException:
                os.close(descriptor)
                raise
            time.sleep(0.001)

    def take(self, path: Path) -> int | None:
        """Take an exclusive flock and return its descriptor; None if somebody holds it. Mere tests are waited out."""
        descriptor, is_ours = opened(path), False
        try:
            is_ours = take(descriptor)
            return descriptor if is_ours else None
        finally:
            if not is_ours:
                os.close(descriptor)

    def write_private(self, path: Path, text: str) -> None:
        """Replace a file (mode 0600) in one rename. Not synced: it is worth nothing after a crash of the machine."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)

    def write_opener(self, url: str) -> str:
        """Write the file that leads a browser to the page, and return its address: command lines are public."""
        target = escape(url, quote=True)
        self.write_private(
            self.opener, f'<!doctype html><meta http-equiv="refresh" content="0;url={target}"><title>trainctl</title>\n'
        )
        return self.opener.as_uri()

    def write_record(self, record: ServerRecord) -> None:
        """Write what others need to find the server."""
        self.write_private(self.record, json.dumps(dataclasses.asdict(record)))

    def read_record(self) -> ServerRecord | None:
        """Read what `write_record` wrote; None if it is missing, invalid, or another user's."""
        try:
            if os.lstat(self.path).st_uid != os.geteuid():
                return None
            return ServerRecord(**json.loads(files.read_bytes(self.record, files.MOST_SMALL)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def forget(self) -> None:
        """Remove the files that lead to a server that is gone."""
        for path in (self.record, self.opener):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _may_be_ours(own: Path) -> bool:
    try:
        return os.lstat(own).st_uid == os.geteuid()
    except FileNotFoundError:
        above = next(each for each in own.parents if each.exists())
        return os.access(above, os.W_OK | os.X_OK)
    except NotADirectoryError:
        return True  # a file in place of the root; using the path says so
    except OSError:
        return False
