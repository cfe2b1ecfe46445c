"""The executor of one machine: its zygote and its slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainctl.compose.job import SweepContext
from trainctl.launch.executor import Host
from trainctl.launch.local.client import Starter, once_forked
from trainctl.launch.local.start import Greet, start_zygote
from trainctl.launch.settings import LauncherSettings
from trainctl.launch.slots.pool import SlotPool, make_pool


class LocalExecutor:
    """The executor with one host, this machine."""

    notice_s, most_moves = 0.0, 0
    patience_s: float | None = None
    obstacle: str | None = None

    def __init__(self, starter: Starter, pool: SlotPool, greet: Greet) -> None:
        self._starter = starter
        self._pool = pool
        self.hosts = [Host("", starter, pool, greet)]
        self.threads: Mapping[str, str] = pool.slots[0].threads

    def memory(self) -> dict[str, tuple[float, float]]:
        return self._pool.memory()

    def filenos(self) -> Sequence[int]:
        return ()

    def look(self, left: int) -> Sequence[str]:  # nothing changes here
        return ()

    def why_lost(self, host: Host) -> str:  # there is one
        return "because the process that starts the jobs was killed"

    def close(self) -> None:
        """End the zygote and all running jobs, and release the devices."""
        self._starter.close()
        self._pool.close()


def this_machine(context: SweepContext, settings: LauncherSettings, sweep_dir: Path) -> LocalExecutor:  # noqa: ARG001
    """Start the zygote of a launcher, and determine the slots of this machine.

    Raises:
        SettingError: a device that is asked for is not there. JobError: the zygote cannot be started.
    """
    starter, greet = start_zygote(context, settings.start)
    try:
        while once_forked:
            once_forked.pop()()
        pool = make_pool(settings)  # after the fork, so that no driver is touched by a process that is to be forked
    except BaseException:
        starter.close()
        raise
    starter.limit_threads(pool.slots[0].threads)
    return LocalExecutor(starter, pool, greet)
