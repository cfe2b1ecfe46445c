"""`launch()` of the slots launcher: checks the settings, keeps the zygote, runs the sweep."""

from __future__ import annotations

import atexit
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.utils import JobReturn, configure_log, setup_globals

from trainctl.errors import RunDirError, TrainctlError
from trainctl.launch import devices
from trainctl.launch.channel import Channel
from trainctl.launch.compose import JobSpec, SweepContext
from trainctl.launch.job import become_job
from trainctl.launch.payload import IMPORTING, pack_context
from trainctl.launch.pool import SlotPool
from trainctl.launch.preview import Preview
from trainctl.launch.report import Report
from trainctl.launch.settings import LauncherSettings, check_settings
from trainctl.launch.slots import Slot, make_slots
from trainctl.launch.starter import Starter, why_not_fork
from trainctl.launch.sweep import Sweep
from trainctl.run.provenance import machine_facts

log = logging.getLogger(__name__)


class SlotSweeps:
    """What a `SlotLauncher` keeps between repeated `launch()` calls: settings, slots, and the zygote."""

    def __init__(self, context: SweepContext, options: dict[str, Any]) -> None:
        self._context = context
        self._settings: LauncherSettings = check_settings(**options)
        self._starter: Starter | None = None
        self._slots: list[Slot] = []
        self._payload: bytes | None = None
        self._owner = os.getpid()
        self._preview = Preview(context.config) if self._settings.dry_run else None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
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
        config = self._context.config
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        rerun = self._settings.rerun
        specs = [JobSpec(initial_job_idx + n, tuple(overrides), rerun) for n, overrides in enumerate(job_overrides)]
        if self._preview is not None:
            return self._preview.show(self._context, specs)
        make_sweep_dir(Path(str(config.hydra.sweep.dir)))
        starter = self._get_starter()
        report = Report(len(specs), silent=self._settings.progress == "off")
        sweep = Sweep(starter, SlotPool(self._slots), specs, report, self._settings, self._greet)
        try:
            return sweep.run()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the zygote."""
        if self._starter is not None and os.getpid() == self._owner:
            self._starter.close()
            self._starter = None

    def _get_starter(self) -> Starter:
        if self._starter is None:
            machine_facts()  # looked up once, before the fork: git and the list of packages take a while
            self._starter = self._make_starter()
            atexit.register(self.close)
            # after the fork, so that no driver is touched by a process that is to be forked
            self._slots = make_slots(self._settings.slots, devices.visible_gpus(), devices.usable_cores())
        return self._starter

    def _make_starter(self) -> Starter:
        start, obstacle = self._settings.start, why_not_fork()
        if start == "fork" or (start == "auto" and obstacle is None):
            if obstacle is not None:
                log.warning("hydra.launcher.start=fork, though %s: jobs may hang", obstacle)
            context = self._context

            def run_job(connection: socket.socket, parent: int) -> NoReturn:
                become_job(Channel(connection), lambda: context, parent=parent, forked=True)

            return Starter.fork(run_job)
        if obstacle is not None:
            log.info("each job is started as a fresh interpreter, because %s", obstacle)
        self._payload = pack_context(self._context)
        return Starter.spawn()

    def _greet(self, channel: Channel) -> None:
        if self._payload is not None:
            channel.send_bytes(self._payload)


def make_sweep_dir(path: Path) -> None:
    """Make the sweep dir; one that is there is used.

    Raises:
        RunDirError: it cannot be made, or something else stands there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(
            f"the sweep dir {str(path)!r} cannot be made: {error.strerror or error}; set another hydra.sweep.dir"
        ) from error
