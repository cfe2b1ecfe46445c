"""The page's server as seen from outside: start or find it, use it, give it up. Light: nothing here loads panel.

Every user of a root's page (a sweep, a plain run, `trainctl panel`) holds `panel.lock` shared; the server holds
`server.lock` and ends by itself when no user is left. So neither a killed trainer nor a killed server leaves anything
to clean up, and two users that come at once start one server.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import site
import socket
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainctl.config.settings import PanelSettings
from trainctl.panel.credentials import Credentials
from trainctl.panel.listening import certificate_of, listening_address, names_of, shown_host
from trainctl.panel.paneldir import PanelDir, Record

log = logging.getLogger("trainctl")

# how long another start that is under way, or a server that looks for users, may hold us up: usually microseconds
PATIENCE_S = 1.0

# servers that this process started: kept, so that a dead one is reaped at the next call and not left a zombie
_children: list[subprocess.Popen[bytes]] = []


class PanelHandle:
    """One use of a page: the server lives at least as long as somebody uses it.

    `url` holds the token: to be shown to the person, not to be stored.
    """

    def __init__(self, place: PanelDir, record: Record, use: int, child: subprocess.Popen[bytes] | None) -> None:
        self.url = record.url
        self.host = record.host
        self.log = place.log
        self.is_started_here = child is not None
        self._use: int | None = use
        self._child = child
        _handles.add(self)

    def failure(self) -> str | None:
        """Tell in one sentence that the server that we started has ended too early; None if it has not."""
        code = self._child.poll() if self._child is not None else None
        if code is None or self._use is None:
            return None
        return f"the page's server has ended (exit code {code}), training goes on without it; its log is {self.log}"

    def close(self) -> None:
        """Give up our use; the server ends if it was the last and the page is not to be kept. Says if it had failed."""
        if self._use is None:
            return
        if failure := self.failure():
            log.warning("%s", failure)
        with contextlib.suppress(OSError):
            fcntl.flock(self._use, fcntl.LOCK_UN)  # for all who share it: a forked worker is no user
        self.forget()

    def forget(self) -> None:
        """Close our copy of the lock without unlocking what a parent process may share."""
        if self._use is not None:
            os.close(self._use)
            self._use = None


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a new server listens, and who may enter besides those who have the link."""

    address: str
    port: int
    credentials: Credentials | None
    certificate: dict[str, str] | None

    @property
    def handed_over(self) -> dict[str, Any]:
        """What the server's process is told by its standard input."""
        credentials = self.credentials.to_dict() if self.credentials is not None else None
        return {"names": names_of(self.address), "credentials": credentials, "certificate": self.certificate}


_handles: weakref.WeakSet[PanelHandle] = weakref.WeakSet()


def ensure(root: Path, settings: PanelSettings) -> PanelHandle | None:
    """Return a use of the root's page, starting its server if none runs.

    Never waits for the server: the URL is known at once, the page answers a little later. None, with a warning, when
    there can be no page: training goes on without it.

    Raises:
        SettingError: an address that would show the page to other machines without a password; a wrong certificate.
    """
    if not settings.enabled:
        return None
    credentials = Credentials.of_environment()
    listening = Listening(
        listening_address(settings.address, credentials), settings.port, credentials, certificate_of(settings)
    )
    _children[:] = [child for child in _children if child.poll() is None]
    place = PanelDir(Path(os.path.abspath(root)))
    try:
        return _use(place, settings, listening)
    except OSError as error:
        log.warning("no page for %s: %s; training goes on without it", place.root, error)
        return None


def find(root: Path) -> Record | None:
    """Return the record of the server that runs for `root`, from evidence: it holds its lock and its process lives."""
    place = PanelDir(Path(os.path.abspath(root)))
    record = place.read_record()
    if record is None or not record.is_alive():
        return None
    try:
        free = place.lock(place.server_lock, fcntl.LOCK_SH)
    except OSError:
        return None
    if free is not None:
        os.close(free)
        return None
    return record


def _use(place: PanelDir, settings: PanelSettings, listening: Listening) -> PanelHandle:
    """Take our share of the users' lock first: from then on no server of this root ends."""
    place.create()
    use = place.lock(place.users_lock, fcntl.LOCK_SH, patience_s=PATIENCE_S)
    if use is None:
        raise TimeoutError(f"{str(place.users_lock)!r} is held by a server that does not answer")
    try:
        started = _start(place, settings, listening)
        record, child = started if started is not None else (_running(place, settings), None)
        return PanelHandle(place, record, use, child)
    except BaseException:
        os.close(use)
        raise


def _running(place: PanelDir, settings: PanelSettings) -> Record:
    """Read the record of the server that holds the lock, waiting a moment if it is just being started."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        record = place.read_record()
        if record is not None and record.is_alive():
            break
        if time.monotonic() >= deadline:
            raise TimeoutError(f"a server for it is being started, but {str(place.record)!r} does not say where")
        time.sleep(0.001)
    if settings.keep and not record.keep:
        record = Record(record.url, record.pid, record.pid_started, record.boot_id, record.host, keep=True)
        place.write_record(record)
    return record


def _start(
    place: PanelDir, settings: PanelSettings, listening: Listening
) -> tuple[Record, subprocess.Popen[bytes]] | None:
    """Start a server and return its record; None when one holds the lock already.

    The child inherits the locked descriptor, so the lock is held without a gap and exactly as long as the child lives;
    and the listening socket, so a browser that comes before the server is up waits instead of being refused.
    """
    lock = place.lock(place.server_lock, fcntl.LOCK_EX)
    if lock is None:
        return None
    try:
        crashed = place.read_record()  # one that ended well has left none
        place.forget()
        with _listen_again(crashed, listening) as listener:
            port = listener.getsockname()[1]
            scheme = "http" if listening.certificate is None else "https"
            base = f"{scheme}://{shown_host(listening.address)}:{port}/"
            url = f"{base}{secrets.token_hex(4)}/?token={secrets.token_urlsafe(32)}"
            if crashed is not None and crashed.url.startswith(base):
                url = crashed.url  # open pages and known links go on
            start = {"root": str(place.root), "url": url, "socket": listener.fileno(), "lock": lock}
            start |= listening.handed_over
            # first by our own pid: who comes while the child is made need not wait for it
            place.write_record(Record.of_process(url, os.getpid(), keep=settings.keep))
            child = _spawn(place, {**start, "open": settings.open}, (listener.fileno(), lock))
            record = Record.of_process(url, child.pid, keep=settings.keep)
            place.write_record(record)
            return record, child
    except BaseException:
        place.forget()
        raise
    finally:
        os.close(lock)


def _listen_again(crashed: Record | None, listening: Listening) -> socket.socket:
    """Listen where a server that was killed has listened, if that is still what is wanted, and possible."""
    if crashed is not None and crashed.host == socket.gethostname() and listening.port == 0:
        with contextlib.suppress(OSError, ValueError):
            return _listen(listening.address, urlsplit(crashed.url).port or 0)
    return _listen(listening.address, listening.port)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=128)
    except OSError as error:
        raise OSError(f"trainctl.panel.port={port} on {address} cannot be used: {error.strerror or error}") from error


def _spawn(place: PanelDir, start: dict[str, object], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start the server in its own session (Ctrl-C is for the trainer); what is secret goes by its standard input."""
    output = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "trainctl.panel", str(place.root)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            cwd=place.path,  # -m looks there first: the user's directory may hold a panel.py
            env=_environment(),
            start_new_session=True,
        )
    finally:
        os.close(output)
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died already; failure() will tell
        child.stdin.write(json.dumps(start).encode())
        child.stdin.close()
    _children.append(child)
    return child


def _environment() -> dict[str, str]:
    """Return the server's environment: no device, one thread, nothing that loosens Bokeh's or Panel's own checks."""
    environment = {
        key: text for key, text in os.environ.items() if not key.startswith(("BOKEH_", "PANEL_", "TRAINCTL_"))
    }
    paths = [os.path.abspath(path) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    home = str(Path(__file__).resolve().parents[2])
    if home not in (*paths, *site.getsitepackages(), site.getusersitepackages()):
        paths.append(home)  # trainctl was found in a way that a fresh interpreter elsewhere would not know
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return {**environment, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _forget_in_child() -> None:
    for handle in list(_handles):
        with contextlib.suppress(OSError):
            handle.forget()


os.register_at_fork(after_in_child=_forget_in_child)
