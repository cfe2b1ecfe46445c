"""The Hydra callback: makes any job a recorded run, and shows it on a page.

Callbacks are built in the launching process and pickled into jobs, so nothing is kept on `self` but how the program was
started: what is open (the attempt, the tee, the use of the page) belongs to the process that opened it, and is kept in
this module.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from trainctl.attempt import attempt as attempts
from trainctl.attempt import environment, rendezvous
from trainctl.attempt.output import Tee, keep_earlier_log, write_once
from trainctl.attempt.process_limit import start_thread
from trainctl.attempt.rank import rank
from trainctl.attempt.reservation import is_waiting
from trainctl.attempt.run_facts import earlier_draws, plain_facts
from trainctl.compose import _hydra
from trainctl.compose.pairs import check_any_left, check_complete, fit, fit_sweep, known_to_hydra, warn_of_missing
from trainctl.config.drawn import Draws, draw
from trainctl.config.settings import Settings, settings_of
from trainctl.config.settings_node import move_settings, setting
from trainctl.errors import JobError, SettingError, TrainctlError
from trainctl.launch.sweep_dir import settle_sweep_dir
from trainctl.panel.server import handle as panel
from trainctl.panel.server.launch import ways_from_elsewhere
from trainctl.panel.server.watchdog import Guard
from trainctl.rundir.lock import keep_in
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import Start, relative_to
from trainctl.session.start_check import check_start, own_changelog

log = logging.getLogger(__name__)

_FORKING = "hydra_plugins.hydra_trainctl."  # our launchers


@dataclass(slots=True)
class _Around:
    """What lies around the runs of this process: its output, the page and who looks after it, drawn values."""

    tee: Tee | None = None
    page: panel.PanelHandle | None = None
    guard: Guard | None = None
    draws: Draws | None = None


_around = _Around()
_told_at_the_end: dict[Path, Callable[[], None]] = {}  # by root, each once


class TrainctlCallback(Callback):
    """Attaches the recorder to every job and the page to every sweep or single run.

    Attributes:
        may_run_ahead: what it does when a job starts may be done before the job has a slot.
        start: of the program, noted where a sweep begins.
    """

    may_run_ahead = True
    start: Start | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what was asked before anything is made, then show the page. In the process of a single run.

        What Hydra writes down is for the first process of a run alone.
        """
        move_settings(config)
        rendezvous.share_time(config)
        try:
            fit(config)
            _explain_if_asked(config)
            check_complete(config)
        except TrainctlError as error:
            _refuse(error)
        _join_host(config)
        _draw(config)
        if rank() != 0 or environment.offered(config.hydra.run.dir) is not None:
            with flag_override(config, ["readonly", "struct"], False):
                config.hydra.output_subdir = None
            return
        with known_to_hydra(config):
            run = RunDir.at(str(config.hydra.run.dir))
            try:
                settings = check_start(run, config, () if _around.draws is None else _around.draws.texts)
            except TrainctlError as error:
                _refuse(error)
        _show_page(run.path.parent, settings)
        _guard_page()

        _hydra.hear_exits(_leave_run)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        _leave_page()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what was asked before anything is made, then show the page. In the process of the launcher."""
        self.start = Start.of_this_process()
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
            except TrainctlError as error:
                _refuse(error)
            root = Path(str(config.hydra.sweep.dir)).absolute()
        _hydra.hear_exits(_leave_run)
        if not is_preview:
            _show_page(root, settings)
            if launcher.startswith(_FORKING):
                from trainctl.launch.local.client import once_forked  # loaded by the launcher in any case

                once_forked.append(_guard_page)  # a launcher with threads could not fork
            else:
                _guard_page()
        fit_sweep(config)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _leave_page()
        try:
            check_any_left()
        except TrainctlError as error:
            _refuse(error)

    def on_job_start(self, config: DictConfig, *, task_function: Any, **kwargs: Any) -> None:
        """Begin the run where the launcher has not begun it already. In the process of the job, of rank 0 alone."""
        if attempts.current() is not None or is_waiting() or rank() != 0:
            return
        if environment.offered(config.hydra.runtime.output_dir) is not None:
            return
        warn_of_missing()
        try:
            _begin(config, task_function, self.start)
        except TrainctlError as error:
            if config.hydra.mode == RunMode.RUN:
                _refuse(error)
            raise  # Hydra makes a warning of it; `trainctl.live(cfg)` in the job meets the same error and raises it

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """End a run that `on_job_start` began: its own attempt, never the launcher's."""
        attempt = attempts.current()
        if attempt is None or not attempt.ends_with_job:
            return
        if job_return.status is JobStatus.COMPLETED:
            job_return.return_value = value = attempt.outcome(job_return.return_value)
            attempt.end("done", value=value, exit_code=0)
            if not attempt.status.has_returned:  # a replay that was not the same run, say
                job_return.status = JobStatus.FAILED
                job_return.return_value = JobError(str(attempt.status.reason))
        elif isinstance(error := _hydra.outcome_of(job_return), SystemExit):  # as Hydra 1.4 gives it
            _leave_run(error)
        else:
            if config.hydra.mode != RunMode.RUN:  # in a single run Hydra prints it, through the tee
                traceback.print_exception(error)
            attempt.end("failed", exit_code=1, reason=attempts.describe(error))
        if config.hydra.mode != RunMode.RUN:
            _close_tee()


def _join_host(config: DictConfig) -> None:
    """Have a rank run in the run dir of the job that has started it, unless the job has a run with another config."""
    host = rendezvous.host_of_ranks(config)
    if host is None:
        return
    tried = copy.deepcopy(config)
    rendezvous.join(tried, host)
    _draw(tried)
    with known_to_hydra(tried), contextlib.suppress(TrainctlError):
        drawn = () if _around.draws is None else _around.draws.texts
        own_changelog(host, tried, settings_of(tried), drawn, is_composed=True)
        rendezvous.join(config, host)


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
    if rank() == 0:
        sys.stdout.write(text)
    raise SystemExit(0)


def _draw(config: DictConfig) -> None:
    """Give a single run's config the values that its resolvers draw, or have drawn for its run dir before."""
    with known_to_hydra(config):
        _around.draws = draw(config, setting(config, "hidden") or ())
        if _around.draws.found:
            _around.draws.put_back(earlier_draws(RunDir.at(str(config.hydra.run.dir)), setting(config, "replay")))


def _begin(config: DictConfig, task: Any, start: Start | None) -> None:
    run = RunDir.at(config.hydra.runtime.output_dir)
    settings = settings_of(config)
    draws = _around.draws if config.hydra.mode == RunMode.RUN else None
    facts = plain_facts(config, settings, run, task, draws, start)
    attempt = attempts.begin(run, config=config, settings=settings, facts=facts, left_by_exit="failed")
    attempt.ends_with_job = True
    try:
        keep_earlier_log(run, attempt.number)
        _around.tee = Tee(run.log)
        write_once(run.log)
    except OSError as error:
        log.warning("there is no %s: %s", run.log, error)
        return
    atexit.register(_close_tee)


def _leave_run(leaving: SystemExit) -> None:
    """End a run whose task has called `sys.exit`: with 0 it is done, as on a slot; any other code is a failure."""
    attempt = attempts.current()
    if attempt is None or not attempt.ends_with_job:
        return
    if leaving.code in (None, 0):
        attempt.end("done", value=attempt.outcome(None), exit_code=0)
    else:
        code = leaving.code if isinstance(leaving.code, int) else 1
        attempt.end("failed", exit_code=code, reason=f"the job called sys.exit({leaving.code!r})")


def _close_tee() -> None:
    atexit.unregister(_close_tee)
    if _around.tee is not None:
        _around.tee.close()
        _around.tee = None


def _refuse(error: TrainctlError) -> NoReturn:
    """End the program with one sentence: a callback's exception would only be a warning in Hydra."""
    sys.stderr.write(f"{error}\n")
    raise SystemExit(1)


def _show_page(root: Path, settings: Settings) -> None:
    """Start or find the page's server, and say where it is; whatever goes wrong with it never stops training."""
    try:
        keep_in(settings.locks)
        _around.page = panel.ensure(root, settings.panel)
    except TrainctlError as error:
        _refuse(error)  # a setting of the page that is not allowed
    except OSError as error:
        log.warning("there is no page: %s", error)
    if _around.page is not None:
        sys.stderr.write(f"page: {_around.page.url}\n")
        for line in ways_from_elsewhere(settings.panel, _around.page.url):
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        atexit.register(_leave_page)
    if settings.panel.enabled:
        _tell_at_the_end(root)


def _tell_at_the_end(root: Path) -> None:
    """Have the program's last line say how the page is shown again, however the program ends.

    Exit hooks run in reverse: one that is there before the task is called runs after all that the task leaves behind.
    """
    shown, pid = relative_to(root.absolute(), Path.cwd()), os.getpid()

    def tell() -> None:
        if os.getpid() == pid and sys.stderr is not None:  # a forked child has the hook too
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
                sys.stderr.write(f"trainctl panel {shlex.quote(shown)}\n")
                sys.stderr.flush()

    atexit.unregister(_told_at_the_end.pop(root, tell))
    _told_at_the_end[root] = tell
    atexit.register(tell)


def _guard_page() -> None:
    """Have the page's server started again, once, if it is killed or hangs."""
    if _around.page is not None:
        _around.guard = Guard(_around.page)
        try:
            start_thread(_around.guard, "the thread that starts the page's server again should it end")
        except JobError as error:
            log.warning("%s", error)


def _leave_page() -> None:
    if _around.guard is not None:
        _around.guard.close()
        _around.guard = None
    if _around.page is not None:
        _around.page.close()
        _around.page = None
