"""Ends jobs of this node that a person on another one has asked to stop, by a file in the run dir."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import asked_to_stop

_LOOK_S = 1.0


class StopRequests:
    """The jobs of an agent, and what people ask of them. What a run dir says counts for its own process only.

    Args:
        end: sends a signal to a job and all of its process group.
    """

    def __init__(self, end: Callable[[int, signal.Signals], None]) -> None:
        self._end = end
        self._pids: dict[int, int] = {}
        self._runs: dict[int, RunDir] = {}
        self._kill_at: dict[int, float] = {}
        self._looked = 0.0

    def forked(self, number: int, pid: int) -> None:
        """A job has a process."""
        self._pids[number] = pid

    def started(self, number: int, path: Path) -> None:
        """A job has begun in its run dir."""
        self._runs[number] = RunDir.at(path)

    def ended(self, number: int) -> None:
        """Nothing is left of a job."""
        for known in (self._pids, self._runs, self._kill_at):
            known.pop(number, None)

    @property
    def patience_s(self) -> float | None:
        """Seconds after which to look again; None while no job runs."""
        return max(0.0, self._looked + _LOOK_S - time.monotonic()) if self._runs else None

    def obey(self) -> None:
        """End what is to be ended: TERM first, KILL after the grace."""
        now = time.monotonic()
        if now < self._looked + _LOOK_S * 0.9:
            return
        self._looked = now
        for number, run in self._runs.items():
            pid, kill_at = self._pids.get(number), self._kill_at.get(number)
            if kill_at is not None and now >= kill_at:
                self._end(number, signal.SIGKILL)
            elif kill_at is None and pid is not None and (grace_s := asked_to_stop(run, pid)) is not None:
                self._kill_at[number] = now + grace_s
                self._end(number, signal.SIGTERM)
