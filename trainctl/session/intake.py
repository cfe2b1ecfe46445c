"""The queue of requests from the inbox: each is applied, waits (for a step, epoch or checkpoint), or is rejected."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from trainctl.attempt.attempt import Attempt
from trainctl.config.changelog import Edit
from trainctl.rundir.events import RUN_ENDED, Event, cancelled_by
from trainctl.rundir.request import Request
from trainctl.session.apply import Applier
from trainctl.session.flags import Flag
from trainctl.session.replay import ReplayPlan
from trainctl.session.run_actions import ActionRunner
from trainctl.session.schedule import NEVER, Schedule

Held = tuple[int, Request]  # the step at which its checkpoint was asked for


class Intake:
    """Passes requests to the applier or to the actions, in the training thread, inside `live.step()`.

    Args:
        attempt: of the run.
        applier: applies edits.
        runner: runs actions.
        replay: what the run replays, which may forbid edits.
        checkpoint: the flag by which the loop is asked for a checkpoint.

    Attributes:
        taken: where the I/O thread puts requests, in the order in which they came.
    """

    def __init__(
        self, attempt: Attempt, applier: Applier, runner: ActionRunner, replay: ReplayPlan, checkpoint: Flag
    ) -> None:
        self.taken: deque[Request] = deque()
        self._attempt = attempt
        self._applier = applier
        self._answers = applier.answers
        self._runner = runner
        self._replay = replay
        self._checkpoint = checkpoint
        self._waiting = HeldRequests()
        self._due: deque[tuple[Request, bool]] = deque()  # with whether its checkpoint was taken, or its epoch begins

    @property
    def next_step(self) -> int:
        """The next step at which a request is due; those in `taken` are not counted."""
        return 0 if self._due else self._waiting.next_step

    def reject_left(self) -> None:
        """Reject the requests that are left when the run ends; those for a step stay where another attempt goes on."""
        left = [*self.taken, *(request for request, _ in self._due), *self._runner.take_left()]
        waited = [(request, RUN_ENDED) for request in left]
        waited += [(request, f"{RUN_ENDED} {before}") for request, before in self._waiting.take_left()]
        goes_on = self._attempt.goes_on
        for request, reason in waited:
            if not (goes_on and request.at is not None):
                self._answers.reject(request, reason)
        self.taken.clear()
        self._due.clear()
        self._answers.try_again()

    def take_waiting(self, step: int, *, is_epoch: bool) -> None:
        """Queue the requests whose wait ends at this step."""
        for request in self._waiting.take_later(step):
            if not self._is_over(step, request):  # a resume may have passed over its step
                self._due.append((request, False))
        seen = self._checkpoint.seen
        for asked, request in self._waiting.take_for_checkpoint():
            if seen is not None and asked <= seen < step:
                self._due.append((request, True))
            elif step > asked and not self._checkpoint.was_looked_at:
                reason = "a checkpoint is to be taken before this edit, and the training loop takes none"
                self._answers.reject(request, f"{reason}: it has not looked at live.should_checkpoint")
            else:
                self._waiting.until_checkpoint(asked, request)
        if is_epoch:
            self._due.extend((request, True) for request in self._waiting.take_for_epoch())

    def work_off(self, step: int, schedule: Schedule, *, is_epoch: bool) -> None:
        """Handle requests one by one; if a hook raises, the remaining ones are still queued at the next step."""
        for _ in range(len(self.taken)):  # what comes meanwhile must not keep the step from ending
            request = self.taken.popleft()
            if request.cancel is not None:
                self._cancel(step, request, request.cancel)
            elif not self._is_over(step, request):
                self._due.append((request, False))
        for _ in range(len(self._due)):
            self._request(step, schedule, *self._due.popleft(), is_epoch=is_epoch)

    def _cancel(self, step: int, request: Request, wanted: str) -> None:
        """Cancel a request that waits or is queued; one that has taken effect cannot be cancelled."""
        found = self._waiting.take(wanted) or next((one for one, _ in self._due if one.id == wanted), None)
        if found is None:
            self._answers.reject(request, f"the request {wanted:.100} does not wait; nothing was cancelled")
            return
        self._due = deque(held for held in self._due if held[0] is not found)
        self._answers.reject(found, cancelled_by(request.who, request.note))
        self._answers.give(Event.about(request, "applied", step=step), request.source)

    def _is_over(self, step: int, request: Request) -> bool:
        """Reject a request for a step that has passed; return whether it was rejected."""
        if request.at is None or request.at >= step:
            return False
        reason = f"step {request.at} is over: the run is at step {step}; give a later step, or none"
        self._answers.reject(request, reason)
        return True

    def _request(
        self, step: int, schedule: Schedule, request: Request, has_checkpoint: bool, *, is_epoch: bool
    ) -> None:
        """Apply a request, or put it with those that wait."""
        is_edit = request.action is None
        refusal = self._replay.refusal if is_edit else None
        if refusal is not None:
            self._answers.reject(request, refusal)
            return
        wants_checkpoint = is_edit and not has_checkpoint and self._applier.wants_checkpoint(request)
        if request.at is not None and request.at - wants_checkpoint > step:
            if not (is_edit and self._applier.is_refused(request)):
                self._waiting.until_step(request.at - wants_checkpoint, request)
        elif wants_checkpoint:
            self._checkpoint.put_up()
            self._waiting.until_checkpoint(step, request)
        elif not is_edit:
            self._runner.add(request)
        elif not is_epoch and self._applier.must_wait_for_epoch(request):
            self._waiting.until_epoch(request)
        else:
            self._edit(step, schedule, request)

    def _edit(self, step: int, schedule: Schedule, request: Request) -> None:
        self._applier.take_latest()
        try:
            self._applier.request(step, request)
        finally:
            edit = self._applier.take_latest()
            if edit is not None:  # it was not rejected
                dropped = self._replay.diverge(step, edit.values.keys(), schedule, self._attempt)
                for other in dropped:
                    self._answers.give(_superseded(other, step, request))


def _superseded(edit: Edit, step: int, request: Request) -> Event:
    reason = (
        f"the scheduled edit at step {edit.step} is superseded by the edit at step {step} ({request.id}); "
        "trainctl.replay_mode=follow"
    )
    name = f"replay-{edit.step}-{request.id}"
    return Event(name, "rejected", edits=edit.values, via="replay", reason=reason, at=edit.step)


class HeldRequests:
    """Keeps requests for a later step, a checkpoint or the next epoch, each kind in the order in which it came."""

    def __init__(self) -> None:
        self._later: list[tuple[int, int, Request]] = []
        self._count = 0
        self._for_checkpoint: list[Held] = []
        self._for_epoch: list[Request] = []

    def until_step(self, step: int, request: Request) -> None:
        heapq.heappush(self._later, (step, self._count, request))
        self._count += 1

    def until_checkpoint(self, asked: int, request: Request) -> None:
        self._for_checkpoint.append((asked, request))

    def until_epoch(self, request: Request) -> None:
        self._for_epoch.append(request)

    @property
    def next_step(self) -> int:
        """The next step at which something is due; a checkpoint may be taken in any step."""
        if self._for_checkpoint:
            return 0
        return self._later[0][0] if self._later else NEVER

    def take_later(self, step: int) -> Iterator[Request]:
        """Take the requests for steps up to this one."""
        while self._later and self._later[0][0] <= step:
            yield heapq.heappop(self._later)[2]

    def take_for_checkpoint(self) -> list[Held]:
        held, self._for_checkpoint = self._for_checkpoint, []
        return held

    def take_for_epoch(self) -> list[Request]:
        held, self._for_epoch = self._for_epoch, []
        return held

    def take(self, request: str) -> Request | None:
        """Take the waiting request with this id; None if there is none."""
        found = [one for _, _, one in self._later] + [one for _, one in self._for_checkpoint] + self._for_epoch
        taken = next((one for one in found if one.id == request), None)
        if taken is not None:
            self._later = [held for held in self._later if held[2] is not taken]
            heapq.heapify(self._later)
            self._for_checkpoint = [held for held in self._for_checkpoint if held[1] is not taken]
            self._for_epoch = [one for one in self._for_epoch if one is not taken]
        return taken

    def take_left(self) -> Iterator[tuple[Request, str]]:
        """Take all waiting requests at the end of the run, each with what it waited for."""
        for step, _, request in sorted(self._later, key=lambda one: one[:2]):
            yield request, f"before step {step}"
        for _, request in self._for_checkpoint:
            yield request, "before the training loop looked at live.should_checkpoint again"
        for request in self._for_epoch:
            yield request, "before the next live.epoch()"
        self._later, self._for_checkpoint, self._for_epoch = [], [], []
