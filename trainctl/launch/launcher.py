"""`launch()` of the slots launcher: checks the settings, keeps the zygote, runs the sweep."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import os
import secrets
import socket
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, configure_log, setup_globals

from trainctl.compose.job import JobSpec, SweepContext, hooks_of
from trainctl.config.overrides import shared_texts, swept_keys
from trainctl.errors import TrainctlError
from trainctl.launch.detach import detach
from trainctl.launch.display.choose import make_report
from trainctl.launch.dry_run import Preview
from trainctl.launch.local.channel import Channel
from trainctl.launch.local.client import Starter, once_forked, why_not_fork
from trainctl.launch.local.job import become_job
from trainctl.launch.local.payload import IMPORTING, pack_context
from trainctl.launch.local.prestart import changes_hydra, may_run_ahead
from trainctl.launch.local.warmup import rehearse
from trainctl.launch.registry import Presence
from trainctl.launch.settings import LauncherSettings, check_settings
from trainctl.launch.slots.pool import SlotPool, make_pool
from trainctl.launch.sweep import Sweep
from trainctl.launch.sweep_dir import check_sweep_dir, make_sweep_dir, settle_sweep_dir
from trainctl.rundir.program import program_of
from trainctl.rundir.provenance import machine_facts
from trainctl.rundir.sweep import recorded

log = logging.getLogger(__name__)


class SlotSweeps:
    """What a `SlotLauncher` keeps between repeated `launch()` calls: settings, slots, and the zygote."""

    def __init__(self, context: SweepContext, options: dict[str, Any]) -> None:
        self._settings: LauncherSettings = check_settings(**options)
        self._starter: Starter | None = None
        self._pool: SlotPool | None = None
        self._presence: Presence | None = None
        self._payload: bytes | None = None
        # a program that goes on after its sweep keeps no zygote: what a launcher has open ends with the launcher
        self._open_parts: list[Starter | SlotPool | Presence] = []
        self._owner = os.getpid()
        weakref.finalize(self, _close, self._open_parts, self._owner)
        self._preview = Preview(context.config) if self._settings.dry_run else None
        if self._preview is None:
            check_sweep_dir(Path(str(context.config.hydra.sweep.dir)).absolute())
            settle_sweep_dir(context.config)
        task = context.task_function
        program = program_of(task, hooks_of(task).file(context.config))
        self._context = dataclasses.replace(context, program=program, token=secrets.token_hex(8))

    def launch(self, jobs: Sequence[Sequence[Override]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs and return their JobReturns in order, FAILED ones included.

        Raises:
            SettingError: a setting is not allowed. RunDirError: the sweep dir cannot be used. No job was started then.
            SystemExit: a person or the system wanted the end.
        """
        if os.environ.get(IMPORTING):
            raise TrainctlError(
                "the program starts its sweep while it is being imported; "
                'call main() below `if __name__ == "__main__":`, as start=spawn needs it'
            )
        setup_globals()
        jobs = jobs[: self._settings.first]
        config = self._context.config
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        if self._preview is not None:
            return self._preview.show(self._context, self._specs(jobs, initial_job_idx, {}))
        sweep_dir = Path(str(config.hydra.sweep.dir)).absolute()
        make_sweep_dir(sweep_dir)
        try:
            starter, pool = self._open(sweep_dir)
            specs = self._specs(jobs, initial_job_idx, pool.slots[0].threads)
            names = [slot.name for slot in pool.slots]
            memory = recorded(pool.memory, sweep_dir)
            report = make_report(len(specs), self._settings.progress, slots=names, sweep_dir=sweep_dir, memory=memory)
            assert self._presence is not None
            is_alone = self._presence.is_alone
            return Sweep(starter, pool, specs, report, self._settings, greet=self._greet, is_alone=is_alone).run()
        except BaseException:
            self.close()
            raise

    def _specs(self, jobs: Sequence[Sequence[Override]], first: int, threads: Mapping[str, str]) -> list[JobSpec]:
        rerun, shared = self._settings.rerun, shared_texts(self._context.config.hydra)
        ahead = may_run_ahead(self._context.hydra_context, self._context.config)
        return [
            JobSpec(number, tuple(job), swept_keys(job, shared), rerun, threads, ahead and not changes_hydra(job))
            for number, job in enumerate(jobs, start=first)
        ]

    def close(self) -> None:
        """End the zygote, and give up the devices and the sweep dir."""
        _close(self._open_parts, self._owner)
        self._starter = self._pool = self._presence = None

    def _open(self, sweep_dir: Path) -> tuple[Starter, SlotPool]:
        """Return the zygote and the slots, made at the first call."""
        if self._starter is None or self._pool is None:
            if self._settings.detach:
                detach(sweep_dir)
            machine_facts()  # looked up once, before the fork: git and the list of packages take a while
            import_late_parts()
            self._starter = self._make_starter()
            self._open_parts.append(self._starter)
            while once_forked:
                once_forked.pop()()
            # after the fork, so that no driver is touched by a process that is to be forked
            self._pool = make_pool(self._settings)
            self._open_parts.append(self._pool)
            self._starter.limit_threads(self._pool.slots[0].threads)
            self._presence = Presence(sweep_dir)
            self._presence.__enter__()
            self._open_parts.append(self._presence)
        return self._starter, self._pool

    def _make_starter(self) -> Starter:
        start, obstacle = self._settings.start, why_not_fork()
        if start == "fork" or (start == "auto" and obstacle is None):
            if obstacle is not None:
                log.warning("hydra.launcher.start=fork, though %s: jobs may hang", obstacle)
            context = self._context

            def run_job(connection: socket.socket, parent: int) -> NoReturn:
                become_job(Channel(connection), lambda: context, parent=parent, forked=True)

            return Starter.fork(run_job, lambda: rehearse(context))
        if obstacle is not None:
            log.info("each job is started as a fresh interpreter, because %s", obstacle)
        self._payload = pack_context(self._context)
        return Starter.spawn()

    def _greet(self, channel: Channel) -> None:
        if self._payload is not None:
            channel.send_bytes(self._payload)


def _close(parts: list[Starter | SlotPool | Presence], owner: int) -> None:
    while os.getpid() == owner and parts:
        parts.pop(0).close()


def import_late_parts() -> None:
    """Import what every job would import by itself, between getting its slot and its first line, to be seeded."""
    if "numpy" in sys.modules:
        for name in ("numpy.random", "threadpoolctl"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
