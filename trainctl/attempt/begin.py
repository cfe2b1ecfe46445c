"""A run that neither launcher nor callback began: `trainctl.live(cfg)` in any script.

Also the session of a run that another process began: a job that starts its ranks by torchrun is not a rank itself.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt import attempt as attempts
from trainctl.attempt import process
from trainctl.attempt.attempt import Attempt
from trainctl.attempt.process import is_one_of_several
from trainctl.attempt.reservation import PREVIOUS, Reservation
from trainctl.config.settings import settings_of
from trainctl.config.settings_node import hydra_config
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock, is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import is_rerun
from trainctl.rundir.result import write_result
from trainctl.rundir.seed import choose_seed
from trainctl.rundir.status import State, Status, read_status
from trainctl.rundir.summary import PreviousAttempt

log = logging.getLogger(__name__)


class Guest(Attempt):
    """The live session of an attempt in a process that the attempt's own process has started.

    The process that began the run writes its status, result and end. Only one guest can be there at a time.
    """

    @classmethod
    def enter(cls, run: RunDir, config: DictConfig) -> Guest:
        """Open the session of a run that another process has begun.

        Raises:
            RunDirError: another process has the session, or the directory cannot be written.
        """
        lock, status, settings = RunLock(run.session_lock), read_status(run), settings_of(config)
        try:
            is_free = lock.acquire()
        except OSError as error:
            raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
        if not is_free or status is None:
            raise RunDirError(
                f"the live session of {str(run.path)!r} is open in another process that its job has started; "
                "only one of them, rank 0, may call trainctl.live(cfg)"
            )
        record = files.read_mapping(run.run)
        seed = choose_seed(settings.seed, run, None)
        guest = cls(Reservation(run, lock, settings, seed, record), status, frozenset(), time.monotonic())
        guest.previous = PreviousAttempt.from_record(record.get(PREVIOUS))
        guest.watch("done")
        return guest

    def write_end(self, state: State, value: Any, exit_code: int | None, reason: str | None) -> None:
        """Write a result and remember how it ended here; what became of the run is for its own process to say."""
        if state == "done" and value is not None:
            write_result(self.run, value)
        self.status: Status = dataclasses.replace(self.status, state=state, exit_code=exit_code, reason=reason)


def is_outside_any_run(run_dir: str | os.PathLike[str] | None = None) -> bool:
    """Whether nothing says where to record: no run has begun, no run dir, no Hydra app, no launcher of ranks."""
    is_told = (
        attempts.current() is not None
        or run_dir is not None
        or hydra_config() is not None
        or process.offered_run() is not None
    )
    return not is_told and not is_one_of_several()


def begin_plain(config: DictConfig, run_dir: str | os.PathLike[str] | None, check: Callable[[RunDir], None]) -> Attempt:
    """Begin an attempt in `run_dir`; else in Hydra's output dir.

    Ranks of a script that are told neither have their run in `outputs/<script name>/<date>_<time>`.

    A rank that a job has started begins nothing where its job runs already: it opens the session there. A function that
    Hydra calls for `--experimental-rerun` gets a run dir beside the one that it repeats, `NAME.rerun`: that one stays
    the record of what ran there.

    Args:
        config: of the run.
        run_dir: where, if that was asked for.
        check: raises an error if no attempt may begin in a run dir; whatever it is, nothing was changed then.

    Raises:
        RunDirError: another process runs there, or it cannot be made.
    """
    hydra = hydra_config()
    path = Path(run_dir or hydra.runtime.output_dir) if run_dir is not None or hydra is not None else None
    host = process.offered_run(path)
    if host is not None and is_locked(host.lock):
        return Guest.enter(host, config)
    if path is None and (taken := process.session_above()) is not None:
        raise RunDirError(
            f"the live session of {str(taken.path)!r} is open in the process that has started this rank; "
            "call trainctl.live(cfg) in the ranks alone, and not before they are started"
        )
    if path is not None and run_dir is None and is_rerun():
        repeated, path = path, _new_dir(path.with_name(f"{path.name}.rerun"))
        log.info("--experimental-rerun: %s stays as it is; this run is recorded in %s", repeated, path)
    run = RunDir.at(path or _new_dir(_dated()))
    check(run)
    return Attempt.begin(run, config=config)


def _dated() -> Path:
    script = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "python").stem
    return Path("outputs") / script / time.strftime("%Y-%m-%d_%H-%M-%S")


def _new_dir(path: Path) -> Path:
    """Make a new directory: this one, else `NAME.2`, `NAME.3`, …"""
    for number in range(1, 1000):
        numbered = path if number == 1 else path.with_name(f"{path.name}.{number}")
        try:
            numbered.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            continue  # another run's
        except OSError as error:
            raise RunDirError(f"the run dir {str(numbered)!r} cannot be made: {error.strerror or error}") from error
        return numbered
    raise RunDirError(f"the run dir {str(path)!r} cannot be made: 999 of that name are there")
