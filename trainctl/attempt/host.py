"""What this machine gives a user: a directory that all of the user's programs share, an address, and processes."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import resource
import socket
import stat
import threading
from pathlib import Path

from trainctl.errors import JobError

HOST = Path("/tmp")  # noqa: S108  # the directory in it is made 0700, and its owner is checked

log = logging.getLogger(__name__)


def host_dir(*, says_why: bool = False) -> Path:
    """Return the directory, made if needed: below `/tmp`, or below the user's home if somebody has taken that name.

    It is the same for each login, shell and service of the user. One that the environment names (XDG_RUNTIME_DIR,
    TMPDIR, HOME) would differ between two programs, and is removed at logout under those that stay. Once there is one
    below the home it stays the one, so that those who come after the other is free again meet those who came before.

    Args:
        says_why: write one line to the log where it is not below `/tmp`.

    Raises:
        OSError: neither can be used.
    """
    first, second = HOST / f"trainctl-{os.geteuid()}", _below_home()
    if second is not None and second.is_dir() and _why_not(second) is None:
        return second
    if (why := _why_not(first)) is None:
        return first
    if second is None:
        raise PermissionError(f"{first} {why}")
    with contextlib.suppress(OSError):
        second.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (also := _why_not(second)) is not None:
        raise PermissionError(f"{first} {why}, and {second} {also}")
    if says_why:
        log.warning("%s %s: all launchers of this user on this machine meet in %s instead", first, why, second)
    return second


def _below_home() -> Path | None:
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return None
    return Path(home) / ".cache" / "trainctl" / socket.gethostname()


def _why_not(path: Path) -> str | None:
    """Make a private directory if there is none; return why it cannot be used, None if it can."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        return f"cannot be made ({error.strerror or error})"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a directory"
    is_private = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return None if is_private else "belongs to, or is open to, somebody else"


def routed_address() -> str | None:
    """Return the address from which this machine reaches others; None without a network."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737): a datagram socket that connects sends nothing
        return str(probe.getsockname()[0])
    return None


def why_no_process(error: OSError) -> str:
    """Say that fork failed and why, with the limit that is the usual reason; or that a program cannot be executed."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"fork failed ({os.strerror(error.errno) if error.errno else error}{_limit()})"


def start_thread(thread: threading.Thread, what: str) -> None:
    """Start a thread; the error says what it was for.

    Raises:
        JobError: the system starts no more threads.
    """
    try:
        thread.start()
    except RuntimeError as error:  # which Python raises, without the system's reason
        raise JobError(f"{what} cannot be started: no more threads{_limit()}") from error


def _limit() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return "" if limit == resource.RLIM_INFINITY else f"; `ulimit -u` allows this user {limit} processes and threads"
