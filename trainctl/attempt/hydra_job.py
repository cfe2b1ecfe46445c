"""The run of a Hydra job outside the slot launchers: it begins before the task and ends with the job.

Also what the ranks of such a job agree on before they can talk to each other: whose run it is, and when it began.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from trainctl.attempt import attempt as attempts
from trainctl.attempt import process
from trainctl.attempt.host import host_dir
from trainctl.attempt.output import Tee, keep_earlier_log, write_once
from trainctl.attempt.reservation import is_waiting
from trainctl.attempt.run_facts import earlier_draws, plain_facts
from trainctl.config.drawn import Draws, draw
from trainctl.config.overrides import hydra_overrides
from trainctl.config.settings import settings_of
from trainctl.config.settings_node import setting
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import Start
from trainctl.rundir.status import process_started

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Around:
    """The output copier of this process's run, and the values drawn for a single run."""

    tee: Tee | None = None
    draws: Draws | None = None


_around = _Around()


def is_first_rank() -> bool:
    return process.rank() == 0


def is_of_another_process(path: str | os.PathLike[str]) -> bool:
    """Whether the run at a path is recorded by another process: this is a rank, or was started by the run's job."""
    return process.rank() != 0 or process.offered_run(path) is not None


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


_BEGAN = "ranks-{agent}-{started}"
_KEPT_S = 24 * 3600  # a torchrun that has ended starts no more ranks


def host_of_ranks(config: DictConfig) -> RunDir | None:
    """Return the run of the job that has started this rank; None where the command line names another run dir."""
    host = process.offered_run()
    named = any(each.startswith("hydra.run.dir=") for each in hydra_overrides(config.hydra))
    return None if host is None or named or not is_locked(host.lock) else host


def join(config: DictConfig, host: RunDir) -> None:
    """Have a rank's Hydra use the run dir of the job that has started it."""
    with flag_override(config, ["readonly", "struct"], False):
        config.hydra.run.dir = str(host.path)


def share_time(config: DictConfig) -> None:
    """Give `${now:…}` the same value in all ranks that one torchrun starts on a machine, however late they come.

    So a run dir with the time in its name is one directory. The ranks that torchrun starts again have it, too.
    """
    began = _began()
    if began is None:
        return
    OmegaConf.register_new_resolver("now", began.strftime, use_cache=True, replace=True)
    OmegaConf.get_cache(config).pop("now", None)


def _began() -> datetime | None:
    """Return the time that the first rank has noted; None outside torchrun, or if it cannot be noted."""
    agent = os.getppid()
    started = process_started(agent)
    if "TORCHELASTIC_RUN_ID" not in os.environ or started is None:
        return None
    try:
        path = host_dir() / _BEGAN.format(agent=agent, started=started)
        if not path.exists():
            _note(path, datetime.now().astimezone())
        return datetime.fromisoformat(path.read_text())
    except (OSError, ValueError):
        return None


def _note(path: Path, moment: datetime) -> None:
    """Write a time to a new file; a file that another rank has made meanwhile is left alone."""
    written = path.with_name(f"{path.name}.{os.getpid()}")
    written.write_text(moment.isoformat())
    with contextlib.suppress(FileExistsError):
        os.link(written, path)
    written.unlink()
    for earlier in path.parent.glob(_BEGAN.format(agent="*", started="*")):
        with contextlib.suppress(OSError):
            if time.time() - earlier.stat().st_mtime > _KEPT_S and not _has_agent(earlier):
                earlier.unlink()


def _has_agent(path: Path) -> bool:
    agent, _, started = path.name.removeprefix("ranks-").partition("-")
    return agent.isdecimal() and str(process_started(int(agent))) == started
