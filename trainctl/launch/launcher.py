"""The `launch()` method of the launchers: it keeps the executor and runs sweeps."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, configure_log, setup_globals
from omegaconf import OmegaConf

from trainctl.compose.job import JobSpec, SweepContext, hooks_of, job_dir, warn_of_missing
from trainctl.config.overrides import shared_texts, swept_keys
from trainctl.launch.detach import detach, take_sweep_dir
from trainctl.launch.display import make_report
from trainctl.launch.dry_run import Preview
from trainctl.launch.earlier import Earlier, find_done
from trainctl.launch.executor import Executor, FixedHosts
from trainctl.launch.local.prestart import changes_hydra, may_run_ahead
from trainctl.launch.local.this_machine import do_once_forked, refuse_while_imported, this_machine
from trainctl.launch.registry import Presence
from trainctl.launch.settings import LauncherSettings
from trainctl.launch.sweep import Sweep
from trainctl.launch.sweep_dir import check_sweep_dir, make_sweep_dir, name_sweep_dir, settle_sweep_dir
from trainctl.rundir.program import program_of
from trainctl.rundir.sweep import recorded

MakeExecutor = Callable[[SweepContext, LauncherSettings, Path], Executor]


class SlotSweeps:
    """The state that a `SlotLauncher` keeps between `launch()` calls: settings and executor."""

    def __init__(
        self, context: SweepContext, settings: LauncherSettings, make_executor: MakeExecutor = this_machine
    ) -> None:
        self._settings = settings
        self._make_executor = make_executor
        self._executor: Executor | None = None
        self._presence: Presence | None = None
        # a program that goes on after its sweep keeps no zygote: what a launcher has open ends with the launcher
        self._open_parts: list[Executor | Presence] = []
        self._owner = os.getpid()
        weakref.finalize(self, _close, self._open_parts, self._owner)
        self._preview = Preview(context.config) if self._settings.dry_run else None
        if self._preview is None:
            sweep_dir = Path(str(context.config.hydra.sweep.dir)).absolute()
            check_sweep_dir(sweep_dir)
            given: Any = OmegaConf.to_container(context.config.hydra.sweep, resolve=False)
            if "${" not in str(given["subdir"]):  # the same for every job: refused once, before the first
                job_dir(sweep_dir, str(given["subdir"]))
            made = take_sweep_dir() if self._settings.detach else None
            if made is None:
                settle_sweep_dir(context.config)
            else:
                name_sweep_dir(context.config, made)
        task = context.task_function
        program = program_of(task, hooks_of(task).file(context.config), context.start)
        self._context = dataclasses.replace(context, program=program, token=secrets.token_hex(8), begun=time.time())

    def launch(self, jobs: Sequence[Sequence[Override]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs and return their JobReturns in order, FAILED ones included.

        Raises:
            SettingError: a setting is not allowed. RunDirError: the sweep dir cannot be used. No job was started then.
            SystemExit: the sweep was interrupted.
        """
        refuse_while_imported()
        setup_globals()
        jobs = jobs[: self._settings.first]
        config = self._context.config
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        warn_of_missing(self._context, jobs)
        if self._preview is not None:
            return self._preview.show(self._context, self._specs(jobs, initial_job_idx, {}))
        sweep_dir = Path(str(config.hydra.sweep.dir)).absolute()
        make_sweep_dir(sweep_dir)
        try:
            earlier, presence = self._find_earlier(sweep_dir, jobs, initial_job_idx), Presence(sweep_dir)
            executor: Executor = FixedHosts()
            if len(earlier) < len(jobs):
                executor, presence = self._open(sweep_dir)
            specs = self._specs(jobs, initial_job_idx, executor.threads)
            names = [slot.name for host in executor.hosts for slot in host.pool.slots]
            memory = recorded(executor.memory, sweep_dir)
            report = make_report(len(specs), self._settings.progress, slots=names, sweep_dir=sweep_dir, memory=memory)
            return Sweep(
                executor, specs, report, self._settings, presence=presence, config=config, earlier=earlier
            ).run()
        except BaseException:
            self.close()
            raise

    def _find_earlier(self, sweep_dir: Path, jobs: Sequence[Sequence[Override]], first: int) -> Earlier:
        """Find the jobs for which no cluster need be asked; on this machine, or once there are hosts, they find out."""
        if self._make_executor is this_machine or self._executor is not None:
            return {}
        return find_done(self._context, self._specs(jobs, first, {}), sweep_dir)

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
        """End all hosts, and give up the devices and the sweep dir."""
        _close(self._open_parts, self._owner)
        self._executor = self._presence = None

    def _open(self, sweep_dir: Path) -> tuple[Executor, Presence]:
        """Return the executor and the launcher's presence, made at the first call."""
        if self._executor is None or self._presence is None:
            if self._settings.detach:
                detach(sweep_dir)
            self._executor = self._make_executor(self._context, self._settings, sweep_dir)
            self._open_parts.append(self._executor)
            do_once_forked()
            self._presence = Presence(sweep_dir)
            self._presence.__enter__()
            self._open_parts.append(self._presence)
        return self._executor, self._presence


def _close(parts: list[Executor | Presence], owner: int) -> None:
    while os.getpid() == owner and parts:
        parts.pop(0).close()
