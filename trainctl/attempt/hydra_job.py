"""The run of a Hydra job outside the slot launchers: it begins before the task and ends with the job."""

from __future__ import annotations

import atexit
import logging
import os
from dataclasses import dataclass
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig

from trainctl.attempt import attempt as attempts
from trainctl.attempt import environment
from trainctl.attempt.output import Tee, keep_earlier_log, write_once
from trainctl.attempt.rank import rank
from trainctl.attempt.reservation import is_waiting
from trainctl.attempt.run_facts import earlier_draws, plain_facts
from trainctl.config.drawn import Draws, draw
from trainctl.config.settings import settings_of
from trainctl.config.settings_node import setting
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import Start

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Around:
    """The output copier of this process's run, and the values drawn for a single run."""

    tee: Tee | None = None
    draws: Draws | None = None


_around = _Around()


def is_of_another_process(path: str | os.PathLike[str]) -> bool:
    """Whether the run at a path is recorded by another process: this is a rank, or was started by the run's job."""
    return rank() != 0 or environment.offered(path) is not None


def has_begun(path: str | os.PathLike[str]) -> bool:
    """Whether the run of a job has begun already, is about to, or is recorded by another process."""
    return attempts.current() is not None or is_waiting() or is_of_another_process(path)


def draw_values(config: DictConfig) -> tuple[str, ...]:
    """Set the drawn values in the config of a single run, reusing those of its run dir; return their keys."""
    _around.draws = draws = draw(config, setting(config, "hidden") or ())
    if draws.found:
        draws.put_back(earlier_draws(RunDir.at(str(config.hydra.run.dir)), setting(config, "replay")))
    return tuple(draws.texts)


def begin(config: DictConfig, task: Any, start: Start | None) -> None:
    """Begin a job's run; what the job prints goes to its log too.

    Raises:
        RunDirError: another process runs there, or the directory cannot be written.
    """
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
    atexit.register(close_log)


def current() -> attempts.Attempt | None:
    """Return the attempt that `begin` began, never a launcher's."""
    attempt = attempts.current()
    return attempt if attempt is not None and attempt.ends_with_job else None


def leave(leaving: SystemExit) -> None:
    """End a run whose task has called `sys.exit`: with 0 it is done, as on a slot; any other code is a failure."""
    attempt = current()
    if attempt is None:
        return
    if leaving.code in (None, 0):
        attempt.end("done", value=attempt.outcome(None), exit_code=0)
    else:
        code = leaving.code if isinstance(leaving.code, int) else 1
        attempt.end("failed", exit_code=code, reason=f"the job called sys.exit({leaving.code!r})")


def fail(error: BaseException) -> None:
    """End a run whose task has raised."""
    attempt = current()
    if attempt is not None:
        attempt.end("failed", exit_code=1, reason=attempts.describe(error))


def close_log() -> None:
    """Send further output to the terminal only."""
    atexit.unregister(close_log)
    if _around.tee is not None:
        _around.tee.close()
        _around.tee = None
