"""The page's server as seen from outside: start or find it, use it, release it. Light: nothing here loads Panel.

Every user of a root's page (a sweep, a plain run, `trainctl panel`) holds `panel.lock` shared; the server holds
`server.lock` and ends by itself `keep_min` minutes after the last user, once no page is open. So neither a killed
trainer nor a killed server leaves anything to clean up, and two users that come at once start one server.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from trainctl.config.settings import PanelSettings
from trainctl.panel.server.launch import Listening, start
from trainctl.panel.server.lifetime import end_unused, is_server
from trainctl.panel.server.state import PanelDir, ServerRecord
from trainctl.rundir.lock import forget_in_children, is_locked

log = logging.getLogger("trainctl")

# How long to wait for another start in progress, or for a server that checks for users: usually microseconds, but a
# busy machine may hold up both, the server above all because of its low priority.
PATIENCE_S = 15.0

# servers that this process started: kept, so that a dead one is reaped at the next call and not left a zombie
_children: list[subprocess.Popen[bytes]] = []


class PanelHandle:
    """One use of a page: the server lives at least as long as somebody uses it.

    `url` holds the token: to be shown to the person, not to be stored.
    """

    def __init__(
        self,
        place: PanelDir,
        listening: Listening,
        found: tuple[ServerRecord, subprocess.Popen[bytes] | None],
        use: int,
    ) -> None:
        record, child = found
        self.place = place
        self.url = record.url
        self.host = record.host
        self.log = place.log
        self.is_started_here = child is not None
        self._listening = listening
        self._use: int | None = use
        self._child = child
        self._lock = threading.Lock()  # between a guard that starts the server again and a trainer that ends
        forget_in_children(self)

    @property
    def is_used(self) -> bool:
        """Whether the page has not been released."""
        return self._use is not None

    def failure(self) -> str | None:
        """Say in one sentence that the server started here has ended early; None if it has not."""
        if self._child is None or self._child.poll() is None or self._use is None:
            return None
        return f"{self.why_ended()}; its log is {self.log}"

    def why_ended(self) -> str:
        """Say how a server ended, as far as is known."""
        code = self._child.poll() if self._child is not None else None
        return "the page's server has ended" + ("" if code is None else f" (exit code {code})")

    def start_again(self) -> bool:
        """Start a server in place of one that has ended, or take the one that another user has started meanwhile.

        False when there is none and will be none: the one that has ended was such a second one, or the page is not
        used any more.

        Raises:
            OSError: it cannot be started.
        """
        with self._lock:
            record = self.place.read_record()
            if self._use is None or not self.place.path.is_dir():
                return False
            if record is not None and record.again and find(self.place.root) is None:
                return False
            _reap()
            record, self._child = _started_or_running(self.place, self._listening, again=True)
            self.url = record.url
            return True

    def close(self) -> None:
        """Release the page; the server stays for as long as it was asked to. Warn if it had failed."""
        with self._lock:
            if self._use is None:
                return
            if failure := self.failure():
                log.warning("%s", failure)
            with contextlib.suppress(OSError):
                fcntl.flock(self._use, fcntl.LOCK_UN)  # for all who share it: a forked worker is not a user
            self.forget()

    def end(self) -> bool:
        """Release the page; end the server if it was started here, nobody else uses it, and no run asked it to stay.

        Says whether it is gone.
        """
        self.close()
        record = find(self.place.root)
        if record is None or not self.is_started_here or record.keep_min > 0:
            return record is None
        return end_unused(self.place, record)

    def forget(self) -> None:
        """Close this process's copy of the lock without unlocking what a parent process may share."""
        self._lock = threading.Lock()  # a forked worker has no guard that could give it back
        if self._use is not None:
            os.close(self._use)
            self._use = None


def ensure(root: Path, settings: PanelSettings, *, as_it_is: bool = False) -> PanelHandle | None:
    """Return a use of the root's page, starting its server if none runs.

    Never waits for a server to start: the URL is known at once, the page answers a little later. None, with a warning,
    when there can be no page: that keeps no training from going on.

    Args:
        root: the directory whose runs the page shows.
        settings: how the page is served, and for whom.
        as_it_is: take a server that runs though it was asked for other settings. Without it such a server is replaced
            if nobody uses it any more: an address, a port or who may enter would not be what the settings say.

    Raises:
        SettingError: an address that would show the page to other machines without a login; a wrong certificate.
    """
    if not settings.enabled:
        return None
    listening = Listening.of(settings)
    _reap()
    place = PanelDir(Path(os.path.abspath(root)))
    try:
        if not as_it_is:
            _end_unwanted(place, listening)
        return _use(place, listening, opens=settings.open)
    except OSError as error:
        log.warning("there is no page for %s: %s", place.root, error)
        return None


def find(root: Path) -> ServerRecord | None:
    """Return the record of the server that runs for `root`, from evidence: it holds its lock and its process lives."""
    place = PanelDir(Path(os.path.abspath(root)))
    record = place.read_record()
    return record if record is not None and record.is_alive() and is_locked(place.server_lock) else None


def url_of(path: Path, *, token: bool = False) -> str | None:
    """Return the address of the page that shows a run or a directory of runs: of the closest server at or above it.

    Without the token it may be given to anybody, such as a tracker: it opens only for those who are logged in. With it
    the address is for the user of this process alone. None when no server runs.
    """
    path = Path(os.path.abspath(path))
    record = next((found for root in (path, *path.parents) if (found := find(root)) is not None), None)
    if record is None:
        return None
    return record.url if token else record.url.partition("?")[0]


def _end_unwanted(place: PanelDir, listening: Listening) -> None:
    """End a server left behind by an earlier run whose settings differ from those wanted now."""
    record = find(place.root)
    if record is not None and record.host == socket.gethostname() and record.asked != listening.sealed(record.url):
        end_unused(place, record)


def _use(place: PanelDir, listening: Listening, *, opens: bool) -> PanelHandle:
    """Take a share of the users' lock first: from then on no server of this root ends."""
    place.create()
    use = place.lock(place.users_lock, fcntl.LOCK_SH, patience_s=PATIENCE_S)
    if use is None:
        raise TimeoutError(f"{str(place.users_lock)!r} is held by a server that does not answer")
    try:
        return PanelHandle(place, listening, _started_or_running(place, listening, opens=opens), use)
    except BaseException:
        os.close(use)
        raise


def _started_or_running(
    place: PanelDir, listening: Listening, *, opens: bool = False, again: bool = False
) -> tuple[ServerRecord, subprocess.Popen[bytes] | None]:
    started = start(place, listening, opens=opens, again=again)
    if started is None:
        record = _running(place, listening)
        if opens:
            _children.append(_open_browser(place, record.url))
        return record, None
    _children.append(started[1])
    return started


def _open_browser(place: PanelDir, url: str) -> subprocess.Popen[bytes]:
    """Open a browser from another process: some browsers do not return, or write on the terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "webbrowser", place.write_opener(url)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place.path,
        start_new_session=True,
    )


def _running(place: PanelDir, listening: Listening) -> ServerRecord:
    """Read the record of the server that holds the lock, waiting a moment if it is just being started."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        record = place.read_record()
        if record is not None and record.is_alive():
            if listening.keep_min <= record.keep_min:
                return record
            if is_server(record):  # else who starts it is about to write the record again
                record = dataclasses.replace(record, keep_min=listening.keep_min)
                place.write_record(record)
                return record
        if time.monotonic() >= deadline:
            raise TimeoutError(f"a server for it is being started, but {str(place.record)!r} does not say where")
        time.sleep(0.001)


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]
