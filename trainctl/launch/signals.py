"""Signals to the launcher: Ctrl-C once lets jobs finish, twice ends them; SIGTERM and SIGHUP end them at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_LISTENED_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Notes signals while the launcher works; a context manager that restores the old handlers.

    Outside the main thread Python cannot handle signals, so nothing is noted there.
    """

    def __init__(self) -> None:
        self.interrupts = 0
        self.ended_by: signal.Signals | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        os.set_blocking(self._read, False)
        self._previous: dict[int, Any] = {}
        self._woken = -1

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # written by C at once, in whichever thread and moment: a handler of Python's alone runs only when the main
            # thread goes on, and one that is just about to wait would wait for ever
            self._woken = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            for number in _LISTENED_TO:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # started by nohup: the terminal may close
                self._previous[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._woken)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def drain(self) -> None:
        """Drain the wake-up pipe; noted signals stay."""
        try:
            os.read(self._read, 1024)
        except BlockingIOError:
            return

    @property
    def wants_no_more(self) -> bool:
        """Whether no new job may be started."""
        return self.interrupts > 0 or self.ended_by is not None

    @property
    def wants_the_end(self) -> bool:
        """Whether running jobs must be ended too."""
        return self.interrupts > 1 or self.ended_by is not None

    @property
    def cause(self) -> str:
        """What ended the sweep: `Ctrl-C`, `SIGTERM`."""
        return "Ctrl-C" if self.ended_by is None else self.ended_by.name

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Note a signal, or a request that stands for one."""
        if number == signal.SIGINT:
            self.interrupts += 1
        else:
            self.ended_by = signal.Signals(number)
