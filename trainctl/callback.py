"""The Hydra callback: makes any job a recorded run, and shows it on a page.

Callbacks are built in the launching process and pickled into jobs, so nothing is kept on `self` but how the program was
started: what is open belongs to the process that opened it (`attempt/hydra_job`, `panel/server/trainer_page`).
"""

from __future__ import annotations

import contextlib
import copy
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from trainctl.attempt import hydra_job
from trainctl.attempt.attempt import Starting
from trainctl.compose import _hydra
from trainctl.compose.pairs import check_any_left, check_complete, fit, fit_sweep, known_to_hydra, warn_of_missing
from trainctl.config.settings import Settings, settings_of
from trainctl.config.settings_node import move_settings, setting
from trainctl.errors import JobError, SettingError, TrainctlError
from trainctl.launch.sweep_dir import settle_sweep_dir
from trainctl.panel.server import trainer_page
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import Start
from trainctl.session.start_check import check_start, own_changelog

_FORKING = "hydra_plugins.hydra_trainctl."  # trainctl's launchers


class TrainctlCallback(Callback):
    """Records every job as a run, and shows every sweep or single run on a page.

    Attributes:
        may_run_ahead: `on_job_start` may be called before the job has a slot.
        start: how the program was started; set where a sweep begins.
    """

    may_run_ahead = True
    start: Start | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what was asked before anything is made, then show the page. In the process of a single run.

        What Hydra writes down is for the first process of a run alone.
        """
        move_settings(config)
        hydra_job.share_time(config)
        try:
            fit(config)
            _explain_if_asked(config)
            check_complete(config)
        except TrainctlError as error:
            _refuse(error)
        _join_host(config)
        with known_to_hydra(config):
            drawn = hydra_job.draw_values(config)
        if hydra_job.is_of_another_process(config.hydra.run.dir):
            with flag_override(config, ["readonly", "struct"], False):
                config.hydra.output_subdir = None
            return
        Starting.watch()
        with known_to_hydra(config):
            run = RunDir.at(str(config.hydra.run.dir))
            try:
                settings = check_start(run, config, drawn)
                _check_trackers(settings)
            except TrainctlError as error:
                _refuse(error)
        _show_page(run.path.parent, settings)
        trainer_page.guard()
        _hydra.hear_exits(hydra_job.leave)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        trainer_page.leave()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what was asked before anything is made, then show the page. In the process of the launcher."""
        self.start = Start.of_this_process()
        Starting.watch()
        move_settings(config)
        with known_to_hydra(config):
            launcher = str(OmegaConf.select(config, "hydra.launcher._target_", default=""))
            is_preview = OmegaConf.select(config, "hydra.launcher.dry_run", default=False)
            try:
                settings = settings_of(config)
                if settings.explain:
                    raise SettingError(
                        "trainctl.explain explains one run and starts none; leave out -m and what is swept"
                    )
                if launcher.startswith(_FORKING) and not is_preview:
                    settle_sweep_dir(config)
                _check_trackers(settings)
            except TrainctlError as error:
                _refuse(error)
            root = Path(str(config.hydra.sweep.dir)).absolute()
        _hydra.hear_exits(hydra_job.leave)
        if not is_preview:
            _show_page(root, settings)
            if launcher.startswith(_FORKING):
                from trainctl.launch.local.client import once_forked  # loaded by the launcher in any case

                once_forked.append(trainer_page.guard)  # a launcher with threads could not fork
            else:
                trainer_page.guard()
        fit_sweep(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        trainer_page.leave()
        try:
            check_any_left()
        except TrainctlError as error:
            _refuse(error)

    def on_job_start(self, config: DictConfig, *, task_function: Any, **kwargs: Any) -> None:
        """Begin the run where the launcher has not begun it already. In the process of the job, of rank 0 alone."""
        if hydra_job.has_begun(config.hydra.runtime.output_dir):
            return
        warn_of_missing()
        try:
            hydra_job.begin(config, task_function, self.start)
        except TrainctlError as error:
            if config.hydra.mode == RunMode.RUN:
                _refuse(error)
            raise  # Hydra makes a warning of it; `trainctl.live(cfg)` in the job meets the same error and raises it

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """End a run that `on_job_start` began: its own attempt, never the launcher's."""
        attempt = hydra_job.current()
        if attempt is None:
            return
        if job_return.status is JobStatus.COMPLETED:
            job_return.return_value = value = attempt.outcome(job_return.return_value)
            attempt.end("done", value=value, exit_code=0)
            if not attempt.status.has_returned:  # a replay that was not the same run, say
                job_return.status = JobStatus.FAILED
                job_return.return_value = JobError(str(attempt.status.reason))
        elif isinstance(error := _hydra.outcome_of(job_return), SystemExit):  # as Hydra 1.4 gives it
            hydra_job.leave(error)
        elif isinstance(error, KeyboardInterrupt):  # likewise; raised again, it ends the program
            attempt.end("interrupted", exit_code=130, reason="Ctrl-C")
        else:
            if config.hydra.mode != RunMode.RUN:  # in a single run Hydra prints it, through the tee
                traceback.print_exception(error)
            hydra_job.fail(error)
        if config.hydra.mode != RunMode.RUN:
            hydra_job.close_log()


def _check_trackers(settings: Settings) -> None:
    """Refuse trackers that are not available, once and before any job, which would meet the same error.

    Raises:
        SettingError: as above.
    """
    if settings.track:
        from trainctl.track.feed import check

        check(settings.track)


def _join_host(config: DictConfig) -> None:
    """Have a rank run in the run dir of the job that has started it, unless the job has a run with another config."""
    host = hydra_job.host_of_ranks(config)
    if host is None:
        return
    tried = copy.deepcopy(config)
    hydra_job.join(tried, host)
    with known_to_hydra(tried):
        drawn = hydra_job.draw_values(tried)
    with known_to_hydra(tried), contextlib.suppress(TrainctlError):
        own_changelog(host, tried, settings_of(tried), drawn, is_composed=True)
        hydra_job.join(config, host)


def _explain_if_asked(config: DictConfig) -> None:
    """End the program with what `trainctl.explain` asks for, if it does.

    Raises:
        SettingError: it names a key that the config does not have.
    """
    wanted = setting(config, "explain", False)
    if wanted is None or wanted is False:
        return
    from trainctl.explain.explain import explain_config, written  # what no run needs

    explanation = explain_config(config, _hydra.current_loader())
    text = written(explanation, None if wanted is True else str(wanted))
    if hydra_job.is_first_rank():
        sys.stdout.write(text)
    raise SystemExit(0)


def _show_page(root: Path, settings: Settings) -> None:
    try:
        trainer_page.show(root, settings)
    except TrainctlError as error:
        _refuse(error)


def _refuse(error: TrainctlError) -> NoReturn:
    """End the program with one sentence: a callback's exception would only be a warning in Hydra."""
    sys.stderr.write(f"{error}\n")
    raise SystemExit(1)
