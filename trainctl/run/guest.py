"""The session of a run that another process began: a job that starts its ranks by torchrun is no rank itself."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from omegaconf import DictConfig

from trainctl.config.settings import settings_of
from trainctl.errors import RunDirError
from trainctl.run import files
from trainctl.run.attempt import Attempt
from trainctl.run.lock import RunLock
from trainctl.run.reservation import Reservation
from trainctl.run.rundir import RunDir
from trainctl.run.seed import choose_seed
from trainctl.run.status import State, Status, read_status


class Guest(Attempt):
    """The part of an attempt that is played in a process which its own process has started: the live session.

    Who began the run writes its status and its result, and its end. Only one guest is there at a time.
    """

    @classmethod
    def enter(cls, run: RunDir, config: DictConfig) -> Guest:
        """Open the part of this process in a run that is going on.

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
        guest.watch("done")
        return guest

    def write_end(self, state: State, value: Any, exit_code: int | None, reason: str | None) -> None:
        """Remember how it ended here; what became of the run is for its own process to say."""
        self.status: Status = dataclasses.replace(self.status, state=state, exit_code=exit_code, reason=reason)
