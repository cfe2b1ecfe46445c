"""When the server ends: no run has used it for a while and no page is open, or its directory is gone.

How the server steps back behind the training: a low priority, within its session and of its session.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable

from trainctl.panel.server.state import PanelDir

GRACE_S = 2.0
LOOK_S = 0.25
STOP_S = 10.0


class Lifetime(threading.Thread):
    """Looks for users of the page and stops the server `keep_min` minutes after the last one, once no page is open.

    Its own thread, so that a server whose loop hangs ends too. At the very end it holds the users' lock while it gives
    back the server's: whoever comes then waits a moment and starts a new server, and never finds one that is ending.

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
        """Wait until the page is not used, then stop the server; one whose loop does not obey is ended hard."""
        while not self._is_certainly_unused():
            time.sleep(LOOK_S)
        self._stop_server()
        time.sleep(STOP_S)
        os._exit(1)

    def _is_certainly_unused(self) -> bool:
        try:
            return self._is_unused()
        except OSError:  # no descriptor left, a file system that does not answer: the next look may tell
            return False

    def _is_unused(self) -> bool:
        """Whether no user has held the lock for long enough; if so the server cannot be found any more."""
        if not self._place.path.is_dir():
            return True
        try:
            users = self._place.lock(self._place.users_lock, fcntl.LOCK_EX)
        except OSError:
            return False  # the directory has just gone, which the next look sees, or its file system does not answer
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


NICENESS = 10  # a tenth of what a training process gets that wants the same core; less, and nobody could open a page
OF_SESSION = 5  # a third of what the training's session gets: it may be one of many sessions that want the same core


def step_back() -> None:
    """Go down to `NICENESS`; never up, which only root may."""
    os.nice(max(0, NICENESS - os.nice(0)))


def step_back_as_session() -> None:
    """Let the session go down too.

    Where Linux groups processes by session, a niceness counts within its session only, and the server has its own.
    """
    # no Linux, no such groups, or set too often: then only the process has stepped back
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(OF_SESSION))
