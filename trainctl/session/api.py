"""The one live session of this process, and the session where no run is recorded: in a unit test, in a plain script."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainctl.attempt import attempt as attempts
from trainctl.attempt import process
from trainctl.attempt.begin import begin_plain, is_outside_any_run
from trainctl.attempt.process import own, rank
from trainctl.config.settings_node import hydra_config
from trainctl.errors import SettingError, TrainctlError
from trainctl.rundir.paths import RunDir
from trainctl.rundir.seed import seed_libraries
from trainctl.session.live import Live
from trainctl.session.ranks import leader
from trainctl.session.ranks.protocol import Agree
from trainctl.session.schedule import NEVER
from trainctl.session.start_check import check_again
from trainctl.session.values import Now

log = logging.getLogger(__name__)

_TRACKERS = "trainctl.track.following"  # by name, as a plug-in: it lies above this room, and is loaded only if named


class IdleLive(Live):
    """Counts steps and shows the config's values; takes no edits, binds and records nothing, and `is_open` is false.

    So a function that trains, or a module that calls `trainctl.current().bind(…)`, runs in a unit test as it is. The
    seed is `trainctl.seed`, else 0.
    """

    __slots__ = ()

    def __init__(self, config: DictConfig) -> None:
        """Raises SettingError: a setting of `trainctl:` is wrong."""
        super().__init__(config, None)
        self._member = self._engine = None
        self._has_joined, self._next = True, NEVER
        if self.seed is None:
            self.seed = 0

    def add_binding(self, apply: Callable[[Now], object]) -> None:
        """Do nothing: there are no edits to follow."""

    def bind(self, target: Any, *path: str, **options: Any) -> Any:
        """Return a binding that does nothing; the config need not have the keys."""
        return _unbound


def _unbound(now: Now) -> None:
    """Set nothing."""


def live(config: DictConfig, *, run_dir: str | os.PathLike[str] | None = None, agree: Agree | None = None) -> Live:
    """Open the live session of this run, once; asked again with the same config, return it again.

    Under the launcher or the callback the run has begun already. Else one begins here, in `run_dir`, else in Hydra's
    output dir, and ends with the process, or where another one begins in a `run_dir` after `live.done()`.

    Outside any Hydra app and without `run_dir`, as in a unit test, the session counts steps and records nothing
    (`IdleLive`).

    In a distributed run every rank calls this; rank 0 alone has a run dir, and all of them apply its edits at the same
    steps. They agree through torch.distributed, found here or at the first step.

    Args:
        config: the task's config.
        run_dir: as above.
        agree: for ranks that are not PyTorch's: a function that returns on every rank the bytes that it is given on
            rank 0. All ranks call it equally often, in the same order.

    Raises:
        SettingError: a setting of `trainctl:` is wrong, or this run has a session with another config.
        ChangelogError, DriftError: what is to be replayed is not a changelog, or of another config.
        RunDirError: the run dir is in use, or cannot be made or written.
    """
    if not isinstance(config, DictConfig):
        raise TypeError(f"trainctl.live() takes the task's DictConfig but got {type(config).__name__}")
    opened: Live | None = own.session
    if opened is not None and opened.config is config and _is_asked_for(opened, run_dir):
        return opened
    if agree is None and is_outside_any_run(run_dir):
        log.info("trainctl.live(cfg) outside of Hydra and without run_dir: nothing is recorded")
        own.session = idle = IdleLive(config)
        return idle
    if rank() != 0:  # it has nothing to end
        own.session = follower = Live(config, None, agree=agree)
        follower.meet()
        return follower
    attempt = attempts.current()
    if opened is not None and opened.is_open and attempt is not None:
        raise SettingError(_why_not(attempt, opened.config is config, run_dir))
    try:
        own.session = session = _open(config, run_dir, agree)
    except TrainctlError as error:
        leader.give_up(agree, str(error))
        raise
    session.meet()
    return session


def _is_asked_for(opened: Live, run_dir: str | os.PathLike[str] | None) -> bool:
    """Whether a session with the same config is what is asked for: an open one of this dir, or one without any."""
    if isinstance(opened, IdleLive):
        return run_dir is None
    attempt = attempts.current()
    elsewhere = run_dir is not None and attempt is not None and RunDir.at(run_dir).path != attempt.run.path
    return opened.is_open and not elsewhere


def _why_not(attempt: attempts.Attempt, is_same: bool, run_dir: str | os.PathLike[str] | None) -> str:
    """Say why no other session is opened while one is: for the same config in another `run_dir`, or for another one."""
    why = "this run has a live session with another config"
    if is_same:
        why = f"run_dir={str(run_dir)!r}: this process runs {str(attempt.run.path)!r} already"
    more = "; live.done() ends it, so that another one can begin" if hydra_config() is None else ""
    return f"{why}; use trainctl.current() to get it{more}"


def _open(config: DictConfig, run_dir: str | os.PathLike[str] | None, agree: Agree | None) -> Live:
    """Open the session of rank 0, in the attempt that has begun or in one that begins here."""
    attempt = attempts.current()
    if attempt is not None and attempt.is_settled and run_dir is not None and hydra_config() is None:
        attempt.end("done")  # this process, say of a notebook, has another run
        attempt = None
    if attempt is not None and attempt.is_settled:
        raise SettingError(f"this process has said live.done() in {str(attempt.run.path)!r}; a run has one session")
    if attempt is not None and run_dir is not None:
        raise SettingError(f"this process runs {str(attempt.run.path)!r} already; leave run_dir={str(run_dir)!r} out")
    is_plain = attempt is None
    if attempt is None:
        attempt = begin_plain(config, run_dir, lambda run: check_again(run, config))
    try:
        seed_libraries(attempt.seed, attempt.seeded)  # libraries that the task has imported since the run began
        opened = Live(config, attempt, agree=agree)
    except BaseException as error:
        if is_plain:
            attempt.end("failed", exit_code=1, reason=attempts.describe(error))
        raise
    attempt.at_end(opened.close)
    if attempt.settings.track:
        importlib.import_module(_TRACKERS).follow(attempt, attempt.settings.track)
    process.take_session(attempt.run)
    return opened


def current() -> Live:
    """Return the live session of this process; never an error, so that code which binds or logs runs anywhere.

    Before `live(cfg)`, after the run, and in a forked child it is one that counts steps and records nothing.
    """
    session: Live | None = own.session
    if session is None or not (session.is_open or isinstance(session, IdleLive)):
        own.session = session = IdleLive(OmegaConf.create())
    return session
