"""The live session: what a training loop calls at each step, and what it reads and logs in between."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

from omegaconf import DictConfig

from trainctl.config.settings import settings_of
from trainctl.errors import EditError, SettingError
from trainctl.run import attempt as attempts
from trainctl.run import session
from trainctl.run.applier import Hook
from trainctl.run.attempt import Attempt
from trainctl.run.now import Now, build
from trainctl.run.plain import begin_plain
from trainctl.run.rank import rank
from trainctl.run.recovery import RUN_ENDED, reject
from trainctl.run.request import Request
from trainctl.run.schedule import NEVER
from trainctl.run.seed import seed_libraries

Item = TypeVar("Item")
HookType = TypeVar("HookType", bound=Hook)

_current: Live | None = None


class Live:
    """One live session. Call `step()` at the start of each training step; edits take effect there and nowhere else.

    Attributes:
        now: the current config as plain objects; a new one after each edit.
        step_number: how often `step()` was called; 0 before the first step.
        seed: the seed of this run; None on ranks other than 0 when none was given.
    """

    __slots__ = ("_files", "_next", "_pid", "_taken", "_total", "config", "now", "seed", "step_number")

    def __init__(self, config: DictConfig, attempt: Attempt | None) -> None:
        """Open the session of an attempt; without one (another rank than 0) only steps are counted."""
        self.config = config
        self.step_number = 0
        self._total: int | None = None
        self._pid = os.getpid()
        self._taken: deque[Request] = deque()
        self._next = NEVER
        self._files: session.Session | None = None
        self.seed: int | None = settings_of(config).seed
        if attempt is None:
            self.now: Now = build(config)
            return
        self.seed = attempt.seed
        self._files = session.open_session(config, attempt, self._taken, lambda: (self.step_number, self._total))
        self.now = self._files.applier.now
        self._next = self._files.schedule.next_step

    def step(self) -> int:
        """Begin the next step and return its number (1, 2, …); what was asked for since is applied first.

        Raises:
            EditError: a scheduled edit cannot be applied. RunDirError: it cannot be recorded.
        """
        self.step_number = step = self.step_number + 1
        if step >= self._next or self._taken:
            self._apply(step)
        return step

    def track(self, iterable: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Yield the items, each at the start of a new step; `total` (the length, if there is one) is shown as goal."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self._total = self.step_number + total if total is not None else None
        for item in iterable:
            self.step()
            yield item

    def log(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Write metrics of the current step to `metrics.jsonl`; costs no file access here.

        Raises:
            TypeError: a value is not a number, text, bool, None, or a list of those.
            ValueError: a name is `step` or `t`.
        """
        if self._files is not None:
            self._files.metrics.add(self.step_number, {**values, **more} if values else more)

    def on_edit(self, hook: HookType) -> HookType:
        """Call `hook(edit)` after each edit, in the training thread, once the config has changed; a decorator too.

        `edit.values` holds the new values by dotted key, `edit.step` the step.
        """
        if self._files is not None:
            self._files.applier.hooks.append(hook)
        return hook

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop."""
        return False

    @property
    def is_open(self) -> bool:
        """Whether edits are still taken: until `close`, and only in the process that opened the session."""
        return self._files is not None and os.getpid() == self._pid

    def close(self, reason: str = RUN_ENDED) -> None:
        """End the session: requests that are left are rejected with `reason`, metrics and progress are written.

        Called by the end of the run. A second call, or one in a forked child, does nothing.

        Raises:
            EditError: the replayed run has edits at steps that this one has not reached.
        """
        global _current
        opened, self._files = self._files, None
        if _current is self:
            _current = None
        if opened is None or os.getpid() != self._pid:
            return
        self._next = NEVER
        if opened.pump.stop():
            while self._taken:
                reject(self._taken.popleft(), opened.answers, reason)
            opened.answers.try_again()
        missed = sorted({one.step for one in opened.schedule.left if not one.is_recorded})
        if missed:
            steps = ", ".join(map(str, missed[:10])) + (", …" if len(missed) > 10 else "")
            raise EditError(
                f"the run ended at step {self.step_number}, but the replayed {opened.replay} has edits at steps "
                f"{steps}; it was not the same run"
            )

    def _apply(self, step: int) -> None:
        opened = self._files
        if opened is None:  # closed: nothing is applied any more
            return
        try:
            for scheduled in opened.schedule.take(step):
                opened.applier.scheduled(step, scheduled)
            while self._taken:
                opened.applier.request(step, self._taken.popleft())
        finally:
            self._next = opened.schedule.next_step
            self.now = opened.applier.now


def live(config: DictConfig, *, run_dir: str | os.PathLike[str] | None = None) -> Live:
    """Open the live session of this run, once; asked again with the same config, return it again.

    Under the launcher or the callback the run has begun already. Else one begins here: in `run_dir`; else in Hydra's
    output dir; else in `outputs/<script name>/<date>_<time>`. It ends with the process.

    Raises:
        SettingError: a setting of `trainctl:` is wrong, or this run has a session with another config.
        ChangelogError, DriftError: what is to be replayed is not a changelog, or of another config.
        RunDirError: the run dir is in use, or cannot be made or written.
    """
    global _current
    if not isinstance(config, DictConfig):
        raise TypeError(f"trainctl.live() takes the task's DictConfig but got {type(config).__name__}")
    opened = current()
    if opened is not None:
        if opened.config is config:
            return opened
        raise SettingError("this run has a live session with another config; use trainctl.current() to get it")
    if rank() != 0:
        return Live(config, None)
    attempt = attempts.current()
    if attempt is not None and run_dir is not None:
        raise SettingError(f"this process runs {str(attempt.run.path)!r} already; leave run_dir={str(run_dir)!r} out")
    is_plain = attempt is None
    if attempt is None:
        attempt = begin_plain(config, run_dir)
    try:
        seed_libraries(attempt.seed, attempt.seeded)  # libraries that the task has imported since the run began
        _current = Live(config, attempt)
    except BaseException as error:
        if is_plain:
            attempt.end("failed", exit_code=1, reason=attempts.describe(error))
        raise
    attempt.at_end(_current.close)
    return _current


def current() -> Live | None:
    """Return the open live session of this process; None before `live(cfg)`, after the run, and in a forked child."""
    return _current if _current is not None and _current.is_open else None
