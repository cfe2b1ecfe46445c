"""When and how the page's server ends: by itself, once nobody uses the page, or from outside, if it is unused or hangs.

Also its low priority, within its session and of its session. Nothing here loads Panel.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable

from trainctl.panel.server.state import PanelDir, ServerRecord
from trainctl.rundir.lock import is_locked

GRACE_S = 2.0
LOOK_S = 0.25
STOP_S = 10.0
USERS_S = 0.2  # the server itself takes the users' lock now and then, for a moment
TERM_S = 15.0  # for an orderly end at a low priority on a busy machine
KILL_S = 30.0  # for a killed process to be gone
NICENESS = 10  # a tenth of a training process's share of a core; with less, no page would open
OF_SESSION = 5  # a third of the training session's share: many sessions may compete for the core


class Lifetime(threading.Thread):
    """Stops the server `keep_min` minutes after the last user of the page has gone, once no page is open.

    Its own thread, so that a server whose loop hangs ends too. At the very end it holds the users' lock while it gives
    back the server's: a new user then waits a moment and starts a new server, and never finds one that is ending.

    Args:
        place: where the server's locks and its record are.
        server_lock: the descriptor of the lock that says that the server runs.
        is_open: says whether somebody has a page open.
        stop: ends the server.
    """

    def __init__(
        self, place: PanelDir, server_lock: int, is_open: Callable[[], bool], stop: Callable[[], None]
    ) -> None:
        super().__init__(name="trainctl-lifetime", daemon=True)
        self._place = place
        self._server_lock = server_lock
        self._is_open = is_open
        self._stop_server = stop
        self._used = time.monotonic()

    def run(self) -> None:
        """Wait until the page is unused, then stop the server; end the process if its loop does not respond."""
        while not self._is_certainly_unused():
            time.sleep(LOOK_S)
        self._stop_server()
        time.sleep(STOP_S)
        os._exit(1)

    def _is_certainly_unused(self) -> bool:
        try:
            return self._is_unused()
        except OSError:  # no descriptor left, or a file system that does not answer: try again at the next check
            return False

    def _is_unused(self) -> bool:
        """Whether no user has held the lock for long enough; if so the server cannot be found any more."""
        if not self._place.path.is_dir():
            return True
        try:
            users = self._place.lock(self._place.users_lock, fcntl.LOCK_EX)
        except OSError:
            return False  # the directory has just gone, or its file system does not answer: the next check decides
        if users is None:
            self._used = time.monotonic()
            return False
        try:
            record = self._place.read_record()
            keep_s = max(GRACE_S, 60 * record.keep_min if record is not None else 0.0)
            if time.monotonic() - self._used < keep_s or self._is_open():
                return False
            self._place.forget()
            os.close(self._server_lock)
            return True
        finally:
            os.close(users)


def step_back() -> None:
    """Lower the priority to `NICENESS`; never raise it, which only root may."""
    os.nice(max(0, NICENESS - os.nice(0)))


def step_back_as_session() -> None:
    """Lower the priority of the session too.

    Where Linux groups processes by session, a niceness counts within its session only, and the server has its own.
    """
    # not Linux, no such groups, or set too often: then only the process has a lower priority
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(OF_SESSION))


def end_unused(place: PanelDir, record: ServerRecord) -> bool:
    """End the server of a record unless somebody uses it; say whether it is gone.

    The users' lock is held meanwhile, so a new user waits for the end, and then starts a server.
    """
    users = place.lock(place.users_lock, fcntl.LOCK_EX, patience_s=USERS_S)
    if users is None:
        return False
    try:
        if place.read_record() != record or not is_server(record):
            return False
        place.forget()
        return _signal(place, record, signal.SIGTERM, TERM_S) or _signal(place, record, signal.SIGKILL, KILL_S)
    finally:
        os.close(users)


def end_hung(place: PanelDir, record: ServerRecord) -> bool:
    """Kill a server that hangs; say whether it is gone. False if no server has that pid, or it cannot be killed."""
    return is_server(record) and _signal(place, record, signal.SIGKILL, KILL_S)


def is_server(record: ServerRecord) -> bool:
    """Whether the process of a record is a page's server; while one is starting it is the one that starts it."""
    import psutil  # for these rare cases only

    try:
        return record.is_alive() and psutil.Process(record.pid).cmdline()[1:3] == ["-m", "trainctl.panel"]
    except (psutil.Error, OSError):
        return False


def _signal(place: PanelDir, record: ServerRecord, number: signal.Signals, patience_s: float) -> bool:
    """Send a signal and wait for the end: the server's lock is free, or another server has it by now.

    The process itself may remain a zombie of this process for longer.
    """
    if is_server(record):
        with contextlib.suppress(OSError):
            os.kill(record.pid, number)
    deadline = time.monotonic() + patience_s
    while is_locked(place.server_lock) and place.read_record() in (None, record):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
