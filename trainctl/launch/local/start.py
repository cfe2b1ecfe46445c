"""The zygote of a launcher: forked, or a fresh interpreter where this process must not be forked."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from trainctl.attempt.output import open_missing_streams
from trainctl.compose.job import SweepContext
from trainctl.errors import TrainctlError
from trainctl.launch.local.channel import Channel
from trainctl.launch.local.client import Starter, why_not_fork
from trainctl.launch.local.job import become_job
from trainctl.launch.local.payload import IMPORTING, pack_context
from trainctl.launch.local.warmup import rehearse
from trainctl.rundir.provenance import machine_facts

log = logging.getLogger(__name__)

Greet = Callable[[Channel], None]


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
        Its client, and a function that sends a new process what it was not forked with.
    """
    open_missing_streams()
    machine_facts()  # looked up once, before the fork: git and the list of packages take a while
    _import_late_parts()
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


def _import_late_parts() -> None:
    """Import what every job would import by itself, between getting its slot and its first line, to be seeded."""
    if "numpy" in sys.modules:
        for name in ("numpy.random", "threadpoolctl"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
