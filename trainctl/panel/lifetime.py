"""When the server ends: nobody has used the page for a while, or its directory is gone."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable

from trainctl.panel.paneldir import PanelDir

GRACE_S = 2.0
LOOK_S = 0.25
STOP_S = 10.0


class Lifetime(threading.Thread):
    """Looks for users of the page and stops the server when there are none.

    Its own thread, so that a server whose loop hangs ends too. At the very end it holds the users' lock while it gives
    back the server's: whoever comes then waits a moment and starts a new server, and never finds one that is ending.
    """

    def __init__(self, place: PanelDir, server_lock: int, stop: Callable[[], None]) -> None:
        super().__init__(name="trainctl-lifetime", daemon=True)
        self._place = place
        self._server_lock = server_lock
        self._stop_server = stop
        self._over = threading.Event()

    def run(self) -> None:
        """Wait until the page is not used, then stop the server; one whose loop does not obey is ended hard."""
        while not self._over.is_set() and not self._is_unused():
            time.sleep(LOOK_S)
        self._stop_server()
        time.sleep(STOP_S)
        os._exit(1)

    def _is_unused(self) -> bool:
        """Say whether for the whole grace no user held the lock; if so the server cannot be found any more."""
        deadline = time.monotonic() + GRACE_S
        while True:
            if not self._place.path.is_dir():
                return True
            record = self._place.read_record()
            users = self._place.lock(self._place.users_lock, fcntl.LOCK_EX)
            if users is None or (record is not None and record.keep):
                if users is not None:
                    os.close(users)
                return False
            last = time.monotonic() >= deadline
            if last:
                self._place.forget()
                os.close(self._server_lock)
            os.close(users)
            if last:
                return True
            time.sleep(LOOK_S)
