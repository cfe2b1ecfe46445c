"""The engine of a live session: what is due at a step takes effect there, in one order, in the training thread."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from trainctl.attempt.attempt import Attempt
from trainctl.config.changelog import Edit
from trainctl.config.controls import Key
from trainctl.config.keys import at
from trainctl.config.values import is_same
from trainctl.errors import EditError, RunDirError
from trainctl.rundir.events import Answers, Event, cancelled_by
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.provenance import environment
from trainctl.rundir.request import Request
from trainctl.session.actions import Actions
from trainctl.session.apply import Applier
from trainctl.session.asks import Asks
from trainctl.session.changelog_file import ChangelogFile
from trainctl.session.deferred import Waiting
from trainctl.session.flags import Flags
from trainctl.session.io_thread import Pump
from trainctl.session.reads import Reads
from trainctl.session.recovery import reject
from trainctl.session.replay import Replaying
from trainctl.session.run_actions import Doing
from trainctl.session.schedule import STARTED, Schedule
from trainctl.session.values import Listeners

log = logging.getLogger(__name__)

_LOOK_S = 0.05  # between two looks at what has come, while paused


class Session:
    """The parts of one live session, and their order of play; only rank 0 has one.

    At a step: what is scheduled; requests for this step; those whose checkpoint was taken; at an epoch's start those
    that waited for it; those that have come. Then the actions, so that a replay, which knows only their step, does all
    in the same order. Then, if paused, whatever comes until the run goes on.
    """

    def __init__(
        self,
        attempt: Attempt,
        applier: Applier,
        record: ChangelogFile,
        replaying: Replaying,
        metrics: MetricLog,
        answers: Answers,
        taken: deque[Request],
        flags: Flags,
        listeners: Listeners,
        reads: Reads,
        asks: Asks,
    ) -> None:
        self.attempt = attempt
        self.applier = applier
        self.record = record
        self.replaying = replaying
        self.schedule: Schedule = replaying.plan(record.changelog)
        self.metrics = metrics
        self.answers = answers
        self.flags = flags
        self.actions = Actions()
        self.listeners = listeners
        self.reads = reads
        self.asks = asks
        self.show_life: Callable[[], None] = lambda: None  # to the other ranks, while this one is paused
        self.doing = Doing(self.actions, flags, answers, asks)
        self.begun = 0
        self.started_with: dict[str, Any] = {}  # what differs from step 0 in this attempt, until that is recorded
        self.pump: Pump
        self._trainer: str | None = None  # the keys that no binding follows are locked while it trains
        self._waiting = Waiting()
        self._taken = taken
        self._due: deque[tuple[Request, bool]] = deque()
        self._poll_s = min(attempt.settings.poll_s, _LOOK_S)
        applier.publish = self._publish

    @property
    def next_step(self) -> int:
        """The next step at which there is something to do; what comes in meanwhile is not counted."""
        if self.metrics.is_held or self._due or self.doing.is_due:
            return 0
        return min(self.schedule.next_step, self._waiting.next_step, self.reads.next_step)

    def begin_step(self, step: int, *, is_epoch: bool = False) -> None:
        """Let all that is due at `step` take effect; what comes after the first call for a step waits for the next one.

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
                self.doing.repeat(step, repeat)
            self._take_waiting(step, is_epoch=is_epoch)
            self._work_off(step, is_epoch=is_epoch)
            if self.doing.is_paused:
                self._wait(step, is_epoch=is_epoch)

    def _wait(self, step: int, *, is_epoch: bool) -> None:
        """Take what comes, until somebody lets the run go on."""
        self.attempt.mark("paused")
        try:
            while self.doing.is_paused:
                time.sleep(self._poll_s)
                self.show_life()
                self._work_off(step, is_epoch=is_epoch)
        finally:
            self.attempt.mark("running")

    def lock_unbound(self, trainer: str | None) -> None:
        """Lock what no binding follows while a trainer trains, and tell page and command line; None opens it again."""
        self._trainer = trainer
        self.applier.lock_unbound(trainer, self.attempt.settings.controls)
        self._publish(self.applier.keys)

    def note_start(self, step: int) -> None:
        """Record at a step what this attempt was started with in place of what step 0 says.

        Raises:
            RunDirError: it cannot be recorded.
        """
        now = self.record.changelog.at(step) if self.started_with else {}
        values = {key: value for key, value in self.started_with.items() if not is_same(at(now, key), value)}
        self.started_with = {}
        if values:
            number = self.attempt.number
            edit = Edit(step, values, via="start", note=f"attempt {number} was started with", at=time.time())
            self.applier.note(dataclasses.replace(edit, id=f"{STARTED}{number}"))

    def _publish(self, keys: Mapping[str, Key]) -> None:
        """Tell page and command line how keys may be edited now."""
        with contextlib.suppress(OSError):  # a full disk: only they do not know of it
            self.attempt.update_run_yaml(keys={name: key.to_dict() for name, key in keys.items()})

    def listen_anew(self) -> None:
        """Open what a binding or a hook follows that the task has just added."""
        if self._trainer is not None:
            self.lock_unbound(self._trainer)

    def declare(self, name: str, call: Callable[..., object]) -> None:
        """Add an action of the task, and tell page and command line of it.

        Raises:
            SettingError: the name is invalid or taken, or an argument cannot be given from outside.
        """
        self.actions.declare(name, call)
        self.attempt.update_run_yaml(actions=self.actions.to_dict())

    def note_environment(self) -> None:
        """Write into `run.yaml` what the numbers may depend on; at the end, since the task sets flags as it goes."""
        with contextlib.suppress(OSError):  # a full disk: there is a record of the run without it
            self.attempt.update_run_yaml(environment=environment(self.record.changelog.base))

    def end_asks(self, step: int, total: int | None) -> None:
        """Tell what the loop has done of what it was asked, and note for the status who has stopped it."""
        has_failed = self.attempt.ending not in (None, "done")
        self.attempt.stopped = self.asks.end(step, total, has_failed=has_failed) or self.attempt.stopped

    def reject_left(self, reason: str) -> None:
        """Answer all requests that are left when the run ends."""
        while self._taken:
            reject(self._taken.popleft(), self.answers, reason)
        for request, _ in self._due:
            reject(request, self.answers, reason)
        for request in self.doing.take_left():
            reject(request, self.answers, reason)
        for request, before in self._waiting.take_left():
            reject(request, self.answers, f"{reason} {before}")
        self._due.clear()
        self.answers.try_again()

    def _take_waiting(self, step: int, *, is_epoch: bool) -> None:
        for request in self._waiting.take_later(step):
            if not self._is_over(step, request):  # a resume may have passed over its step
                self._due.append((request, False))
        seen = self.flags.checkpoint.seen
        for asked, request in self._waiting.take_for_checkpoint():
            if seen is not None and asked <= seen < step:
                self._due.append((request, True))
            elif step > asked and not self.flags.checkpoint.was_looked_at:
                reason = "a checkpoint is to be taken before this edit, and the training loop takes none"
                reject(request, self.answers, f"{reason}: it has not looked at live.should_checkpoint")
            else:
                self._waiting.until_checkpoint(asked, request)
        if is_epoch:
            self._due.extend((request, True) for request in self._waiting.take_for_epoch())

    def _work_off(self, step: int, *, is_epoch: bool) -> None:
        """Take requests one by one: if a hook raises, those after it are still there at the next step."""
        for _ in range(len(self._taken)):  # what comes meanwhile must not keep the step from ending
            request = self._taken.popleft()
            if request.cancel is not None:
                self._cancel(step, request, request.cancel)
            elif not self._is_over(step, request):
                self._due.append((request, False))
        for _ in range(len(self._due)):
            self._request(step, *self._due.popleft(), is_epoch=is_epoch)
        with self.reads.task():
            self.doing.work_off(step)

    def _cancel(self, step: int, request: Request, wanted: str) -> None:
        """Take back what waits, or has come before this request and not taken effect yet; nothing else can be."""
        found = self._waiting.take(wanted) or next((one for one, _ in self._due if one.id == wanted), None)
        if found is None:
            reject(request, self.answers, f"the request {wanted:.100} does not wait; nothing was cancelled")
            return
        self._due = deque(held for held in self._due if held[0] is not found)
        reject(found, self.answers, cancelled_by(request.who, request.note))
        self.answers.give(Event.about(request, "applied", step=step), request.source)

    def _is_over(self, step: int, request: Request) -> bool:
        """Refuse a request for a step that has gone by; say whether it was one."""
        if request.at is None or request.at >= step:
            return False
        reason = f"step {request.at} is over: the run is at step {step}; give a later step, or none"
        reject(request, self.answers, reason)
        return True

    def _request(self, step: int, request: Request, has_checkpoint: bool, *, is_epoch: bool) -> None:
        """Let a request take effect, or wait for what it must wait for."""
        is_edit = request.action is None
        refusal = self.replaying.refusal if is_edit else None
        if refusal is not None:
            reject(request, self.answers, refusal)
            return
        wants_checkpoint = is_edit and not has_checkpoint and self.applier.wants_checkpoint(request)
        if request.at is not None and request.at - wants_checkpoint > step:
            if not (is_edit and self.applier.is_refused(request)):
                self._waiting.until_step(request.at - wants_checkpoint, request)
        elif wants_checkpoint:
            self.flags.checkpoint.put_up()
            self._waiting.until_checkpoint(step, request)
        elif not is_edit:
            self.doing.add(request)
        elif not is_epoch and self.applier.must_wait_for_epoch(request):
            self._waiting.until_epoch(request)
        else:
            self._edit(step, request)

    def _edit(self, step: int, request: Request) -> None:
        self.applier.take_latest()
        try:
            self.applier.request(step, request)
        finally:
            edit = self.applier.take_latest()
            if edit is not None:  # it was not rejected
                dropped = self.replaying.diverge(step, edit.values.keys(), self.schedule, self.attempt)
                for other in dropped:
                    self.answers.give(_superseded(other, step, request))


def _superseded(edit: Edit, step: int, request: Request) -> Event:
    reason = (
        f"the scheduled edit at step {edit.step} is superseded by the edit at step {step} ({request.id}); "
        "trainctl.replay_mode=follow"
    )
    name = f"replay-{edit.step}-{request.id}"
    return Event(name, "rejected", edits=edit.values, via="replay", reason=reason, at=edit.step)


def lost_error(session: Session) -> RunDirError | None:
    """Return the error of a run that ended without its metrics or answers on disk; None when nothing is lost."""
    lost = [loss for loss in (session.metrics.loss, session.answers.loss) if loss]
    return RunDirError("; ".join(lost)) if lost else None


def missed_error(session: Session, step: int) -> EditError | None:
    """Return the error of a replay that ended before all that was recorded was repeated; None when nothing is left."""
    missed = session.schedule.missed
    if not missed:
        return None
    steps = ", ".join(map(str, missed[:10])) + (", …" if len(missed) > 10 else "")
    what = "edits" if any(not one.is_recorded for one in session.schedule.left) else "actions"
    return EditError(
        f"the run ended at step {step}, but the replayed {session.replaying.source} has {what} at steps {steps}; "
        "it was not the same run"
    )
