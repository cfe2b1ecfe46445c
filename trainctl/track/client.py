"""The process in which a tracker's client sends: when a program ends it is heard after us, and waited for no longer.

Such a client finishes its runs by an exit handler that waits for its server as long as that takes. What it has not sent
by then is not lost: the run dir has it.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable

from trainctl.attempt import attempt


class Client:
    """A child process that the client's library has started, known by its name.

    Args:
        is_shared: says whether others use it too; then it is left alone.
        forget: has the library let go of it.
    """

    def __init__(self, name: str, is_shared: Callable[[], bool], forget: Callable[[], None]) -> None:
        self._name = name
        self._is_shared = is_shared
        self._forget = forget

    def started(self) -> None:
        """Come before the client's exit handler: exit handlers run in the opposite order to that in which they came."""
        atexit.register(self._end)
        current = attempt.current()
        if current is not None:
            current.watch_again()

    def done(self) -> None:
        """Leave the rest to the library: all is sent."""
        atexit.unregister(self._end)

    def _end(self) -> None:
        import psutil  # for this rare case only

        if not self._is_shared():
            for child in psutil.Process().children():
                if child.name() == self._name:
                    child.kill()
            with contextlib.suppress(Exception, SystemExit):  # the library notices that it is gone
                self._forget()
