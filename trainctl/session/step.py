"""The engine of a live session: applies everything that is due at a step, in a fixed order, in the training thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from trainctl.attempt.attempt import Attempt
from trainctl.config.controls import Key
from trainctl.errors import EditError, RunDirError
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.provenance import environment
from trainctl.session.actions import Actions
from trainctl.session.apply import Applier
from trainctl.session.flags import Asks
from trainctl.session.intake import Intake
from trainctl.session.io_thread import Pump
from trainctl.session.replay import ReplayPlan
from trainctl.session.run_actions import ActionRunner
from trainctl.session.schedule import Schedule
from trainctl.session.start_values import edit_of_start

_LOOK_S = 0.05  # between two looks at what has come, while paused


class Session:
    """The parts of one live session, and the order in which they act; only rank 0 has one.

    At a step: what is scheduled; requests for this step; those whose checkpoint was taken; at an epoch's start those
    that waited for it; those that have come. Then the actions, so that a replay, which knows only their step, does all
    in the same order. Then, if paused, whatever comes until the run goes on.
    """

    def __init__(self, attempt: Attempt, applier: Applier, replay: ReplayPlan, metrics: MetricLog, asks: Asks) -> None:
        self.attempt = attempt
        self.applier = applier
        self.record, self.listeners, self.reads = applier.record, applier.listeners, applier.reads
        self.replay = replay
        self.schedule: Schedule = replay.plan(self.record.changelog)
        self.metrics = metrics
        self.asks, self.flags = asks, asks.flags
        self.actions = Actions()
        self.show_life: Callable[[], None] = lambda: None  # to the other ranks, while this one is paused
        self.runner = ActionRunner(self.actions, self.flags, applier.answers, asks)
        self.intake = Intake(attempt, applier, self.runner, replay, self.flags.checkpoint)
        self.begun = 0
        self.started_with: dict[str, Any] = {}  # what differs from step 0 in this attempt, until that is recorded
        self.pump: Pump
        self._trainer: str | None = None  # the keys that no binding follows are locked while it trains
        self._poll_s = min(attempt.settings.poll_s, _LOOK_S)
        applier.publish = self._publish

    @property
    def next_step(self) -> int:
        """The next step at which something is due, apart from requests that come in meanwhile."""
        if self.metrics.is_held or self.runner.is_due:
            return 0
        return min(self.schedule.next_step, self.intake.next_step, self.reads.next_step)

    def begin_step(self, step: int, *, is_epoch: bool = False) -> None:
        """Apply everything that is due at `step`; requests that come after the first call for a step wait for the next.

        Raises:
            EditError: a scheduled edit or action cannot be done. RunDirError: it cannot be recorded.
            Exception: what a hook or a binding of the task raised.
        """
        if step <= self.begun:
            return
        self.begun = step
        self.note_start(step)
        if self.metrics.is_held:
            self.metrics.start_over()
        with self.reads.own():
            self.reads.look(step)
            for scheduled in self.schedule.take(step):
                self.applier.scheduled(step, scheduled)
            for repeat in self.schedule.take_repeats(step):
                self.runner.repeat(step, repeat)
            self.intake.take_waiting(step, is_epoch=is_epoch)
            self._work_off(step, is_epoch=is_epoch)
            if self.runner.is_paused:
                self._wait(step, is_epoch=is_epoch)

    def _work_off(self, step: int, *, is_epoch: bool) -> None:
        self.intake.work_off(step, self.schedule, is_epoch=is_epoch)
        with self.reads.task():
            self.runner.work_off(step)

    def _wait(self, step: int, *, is_epoch: bool) -> None:
        """Handle requests until one of them resumes the run."""
        self.attempt.mark("paused")
        try:
            while self.runner.is_paused:
                time.sleep(self._poll_s)
                self.show_life()
                self._work_off(step, is_epoch=is_epoch)
        finally:
            self.attempt.mark("running")

    def lock_unbound(self, trainer: str | None) -> None:
        """Lock the keys that no binding follows while a trainer trains, and publish that; None unlocks them."""
        self._trainer = trainer
        self.applier.lock_unbound(trainer)
        self._publish(self.applier.keys)

    def note_start(self, step: int) -> None:
        """Record at a step the values that this attempt was started with instead of those of step 0.

        Raises:
            RunDirError: it cannot be recorded.
        """
        edit = edit_of_start(self.record.changelog, step, self.started_with, self.attempt.number)
        self.started_with = {}
        if edit is not None:
            self.applier.note(edit)

    def _publish(self, keys: Mapping[str, Key]) -> None:
        """Publish how keys may be edited now, for page and command line."""
        with contextlib.suppress(OSError):  # a full disk: only they do not know of it
            self.attempt.update_run_yaml(keys={name: key.to_dict() for name, key in keys.items()})

    def listen_anew(self) -> None:
        """Unlock the keys that a binding or hook follows which the task has just added."""
        if self._trainer is not None:
            self.lock_unbound(self._trainer)

    def declare(self, name: str, call: Callable[..., object]) -> None:
        """Add an action of the task, and publish it for page and command line.

        Raises:
            SettingError: the name is invalid or taken, or an argument cannot be given from outside.
        """
        self.actions.declare(name, call)
        self.attempt.update_run_yaml(actions=self.actions.to_dict())

    def close(self, step: int, total: int | None) -> None:
        """Write what is left after the last step, and reject the requests that wait.

        Raises:
            EditError: the replayed run has edits at steps that this one has not reached.
            RunDirError: metrics or answers could not be written.
        """
        self.runner.is_paused = False
        if self.pump.stop():
            self.reads.end(step)
            has_failed = self.attempt.ending not in (None, "done")
            self.attempt.stopped = self.asks.end(step, total, has_failed=has_failed) or self.attempt.stopped
            self.intake.reject_left()
            with contextlib.suppress(OSError):  # a full disk: there is a record of the run without it
                # at the end, since the task sets flags as it goes
                self.attempt.update_run_yaml(environment=environment(self.record.changelog.base))
        self._check_whole(step)

    def _check_whole(self, step: int) -> None:
        """Raise if a replay has not repeated all that was recorded, or if metrics or answers were lost."""
        missed = self.schedule.missed
        if missed:
            steps = ", ".join(map(str, missed[:10])) + (", …" if len(missed) > 10 else "")
            what = "edits" if any(not one.is_recorded for one in self.schedule.left) else "actions"
            raise EditError(
                f"the run ended at step {step}, but the replayed {self.replay.source} has {what} at steps {steps}; "
                "it was not the same run"
            )
        lost = [loss for loss in (self.metrics.loss, self.applier.answers.loss) if loss]
        if lost:
            raise RunDirError("; ".join(lost))
