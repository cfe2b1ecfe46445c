"""The executor of one machine: its slots and its zygote, which is forked where that is safe."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from trainctl.attempt.output import open_missing_streams
from trainctl.compose.job import SweepContext
from trainctl.errors import TrainctlError
from trainctl.launch.executor import FixedHosts, Host
from trainctl.launch.local.channel import Channel
from trainctl.launch.local.client import Starter, once_forked, why_not_fork
from trainctl.launch.local.job import become_job
from trainctl.launch.local.payload import IMPORTING, pack_context
from trainctl.launch.local.warmup import rehearse
from trainctl.launch.settings import LauncherSettings
from trainctl.launch.slots.pool import SlotPool, make_pool
from trainctl.rundir.provenance import machine_facts

log = logging.getLogger(__name__)

Greet = Callable[[Channel], None]


class LocalExecutor(FixedHosts):
    """The executor with one host, this machine."""

    def __init__(self, starter: Starter, pool: SlotPool, greet: Greet) -> None:
        super().__init__([Host("", starter, pool, greet)], pool.slots[0].threads)
        self._starter = starter
        self._pool = pool

    def memory(self) -> dict[str, tuple[float, float]]:
        return self._pool.memory()

    def why_lost(self, host: Host) -> str:
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
        pool = make_pool(settings)  # after the fork, so that no driver is touched by a process that is to be forked
    except BaseException:
        starter.close()
        raise
    starter.limit_threads(pool.slots[0].threads)
    return LocalExecutor(starter, pool, greet)


def do_once_forked() -> None:
    """Do what had to wait until the launcher has been forked, on whatever executor its jobs run."""
    while once_forked:
        once_forked.pop()()


def refuse_while_imported() -> None:
    """Refuse a sweep started by a job's fresh interpreter while it imports the program.

    Raises:
        TrainctlError: it is one.
    """
    if os.environ.get(IMPORTING):
        raise TrainctlError(
            "the program starts its sweep while it is being imported; "
            'call main() below `if __name__ == "__main__":`, as start=spawn needs it'
        )


def start_zygote(context: SweepContext, start: str) -> tuple[Starter, Greet]:
    """Start the zygote of a launcher.

    Args:
        context: what all its jobs share.
        start: `hydra.launcher.start`.

    Returns:
        the zygote's client, and a function that sends a new process what it was not forked with.
    """
    open_missing_streams()
    machine_facts()  # looked up once, before the fork: git and the list of packages take a while
    obstacle = why_not_fork()
    if start == "fork" or (start == "auto" and obstacle is None):
        if obstacle is not None:
            log.warning("hydra.launcher.start=fork, though %s: jobs may hang", obstacle)

        def run_job(connection: socket.socket, parent: int) -> NoReturn:
            become_job(Channel(connection), lambda: context, parent=parent, forked=True)

        return Starter.fork(run_job, lambda: rehearse(context)), lambda channel: None
    if obstacle is not None:
        log.info("each job is started as a fresh interpreter, because %s", obstacle)
    payload = pack_context(context)
    return Starter.spawn(), lambda channel: channel.send_bytes(payload)
