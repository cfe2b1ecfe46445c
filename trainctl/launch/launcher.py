"""`launch()` of the slots launcher: checks the settings, keeps the zygote, runs the sweep."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, configure_log, setup_globals

from trainctl.compose.job import JobSpec, SweepContext, hooks_of
from trainctl.config.overrides import shared_texts, swept_keys
from trainctl.launch.detach import detach, take_sweep_dir
from trainctl.launch.display.choose import make_report
from trainctl.launch.dry_run import Preview
from trainctl.launch.local.client import Starter, once_forked
from trainctl.launch.local.prestart import changes_hydra, may_run_ahead
from trainctl.launch.local.start import Greet, refuse_while_imported, start_zygote
from trainctl.launch.registry import Presence
from trainctl.launch.settings import LauncherSettings, check_settings
from trainctl.launch.slots.pool import SlotPool, make_pool
from trainctl.launch.sweep import Sweep
from trainctl.launch.sweep_dir import check_sweep_dir, make_sweep_dir, name_sweep_dir, settle_sweep_dir
from trainctl.rundir.program import program_of
from trainctl.rundir.sweep import recorded


class SlotSweeps:
    """What a `SlotLauncher` keeps between repeated `launch()` calls: settings, slots, and the zygote."""

    def __init__(self, context: SweepContext, options: dict[str, Any]) -> None:
        self._settings: LauncherSettings = check_settings(**options)
        self._starter: Starter | None = None
        self._pool: SlotPool | None = None
        self._presence: Presence | None = None
        self._greet: Greet | None = None
        # a program that goes on after its sweep keeps no zygote: what a launcher has open ends with the launcher
        self._open_parts: list[Starter | SlotPool | Presence] = []
        self._owner = os.getpid()
        weakref.finalize(self, _close, self._open_parts, self._owner)
        self._preview = Preview(context.config) if self._settings.dry_run else None
        if self._preview is None:
            check_sweep_dir(Path(str(context.config.hydra.sweep.dir)).absolute())
            made = take_sweep_dir() if self._settings.detach else None
            if made is None:
                settle_sweep_dir(context.config)
            else:
                name_sweep_dir(context.config, made)
        task = context.task_function
        program = program_of(task, hooks_of(task).file(context.config))
        self._context = dataclasses.replace(context, program=program, token=secrets.token_hex(8), begun=time.time())

    def launch(self, jobs: Sequence[Sequence[Override]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs and return their JobReturns in order, FAILED ones included.

        Raises:
            SettingError: a setting is not allowed. RunDirError: the sweep dir cannot be used. No job was started then.
            SystemExit: a person or the system wanted the end.
        """
        refuse_while_imported()
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
            assert self._greet is not None
            is_alone = self._presence.is_alone
            return Sweep(
                starter, pool, specs, report, self._settings, greet=self._greet, is_alone=is_alone, config=config
            ).run()
        except BaseException:
            self.close()
            raise

    def _specs(self, jobs: Sequence[Sequence[Override]], first: int, threads: Mapping[str, str]) -> list[JobSpec]:
        rerun, shared = self._settings.rerun, shared_texts(self._context.config.hydra)
        ahead = may_run_ahead(self._context.hydra_context, self._context.config)
        own, resumes = secrets.token_hex(8), self._settings.resume is not False
        return [
            JobSpec(
                number,
                tuple(job),
                swept_keys(job, shared),
                rerun,
                threads,
                ahead and not changes_hydra(job),
                own,
                resumes,
            )
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
            self._starter, self._greet = start_zygote(self._context, self._settings.start)
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


def _close(parts: list[Starter | SlotPool | Presence], owner: int) -> None:
    while os.getpid() == owner and parts:
        parts.pop(0).close()
