"""Actions being done, at the start of a step, in the training thread."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainctl.attempt.attempt import Attempt, describe
from trainctl.errors import EditError
from trainctl.rundir.events import Answers, Event
from trainctl.rundir.request import Request
from trainctl.session import rng
from trainctl.session.actions import Action, Actions, said
from trainctl.session.flags import Flags
from trainctl.session.ranks.protocol import Task
from trainctl.session.recovery import reject
from trainctl.session.schedule import Repeat

log = logging.getLogger(__name__)


class Doing:
    """Does actions in the order in which they come, after the edits of their step, and answers who asked."""

    def __init__(self, attempt: Attempt, actions: Actions, flags: Flags, answers: Answers) -> None:
        self.is_paused = False
        self.tell: Callable[[Task], None] = lambda _: None  # the other ranks, who do it too
        self._attempt = attempt
        self._actions = actions
        self._flags = flags
        self._answers = answers
        self._due: deque[Request | Repeat] = deque()

    @property
    def is_due(self) -> bool:
        return bool(self._due)

    def add(self, request: Request) -> None:
        self._due.append(request)

    def repeat(self, step: int, repeat: Repeat) -> None:
        self._due.append(repeat)

    def take_left(self) -> Iterator[Request]:
        """Take the requests that have no answer."""
        while self._due:
            one = self._due.popleft()
            if isinstance(one, Request):
                yield one

    def work_off(self, step: int) -> None:
        """Do all that is due.

        Raises:
            EditError: an action of the replayed run cannot be done here.
        """
        while self._due:
            one = self._due.popleft()
            if isinstance(one, Repeat):
                self._repeat(step, one)
            else:
                self._request(step, one)

    def _request(self, step: int, request: Request) -> None:
        try:
            arguments = self._do(step, str(request.action), request.arguments, request.who or "somebody")
        except EditError as error:
            reject(request, self._answers, str(error))
            return
        event = Event.about(request, "applied", step=step, arguments=arguments or None)
        self._answers.give(event, request.source)
        log.info("step %d: %s (%s %s)", step, said(str(request.action), arguments), request.via, request.who)

    def _repeat(self, step: int, repeat: Repeat) -> None:
        try:
            arguments = self._do(step, repeat.action, repeat.arguments, "the replay")
        except EditError as error:
            message = f"the action at step {repeat.step} of {repeat.source} cannot be done again: {error}"
            log.error("%s", message)
            if not repeat.is_recorded:
                raise EditError(message) from error
            return
        if not repeat.is_recorded:
            done = Event(repeat.id, "applied", step, via="replay", action=repeat.action, arguments=arguments or None)
            self._answers.give(done)
        log.info("step %d: %s (again)", step, said(repeat.action, arguments))

    def _do(self, step: int, name: str, given: Mapping[str, Any], who: str) -> dict[str, Any]:
        """Do one action and return its arguments as they were read.

        Raises:
            EditError: there is none of that name, its arguments are wrong, or it failed.
        """
        action = self._actions.find(name)
        arguments = action.parse(given)
        if action.call is not None:
            self.tell(Task(name, arguments))
            _call(action, arguments)
        elif name == "pause":
            self.is_paused = True
        elif name == "resume":
            if not self.is_paused:
                raise EditError("resume: the run is not paused")
            self.is_paused = False
        elif name == "checkpoint":
            self._flags.checkpoint.put_up()
        elif name == "evaluate":
            self._flags.evaluate.put_up()
        else:
            self._flags.stop, self.is_paused = True, False
            self._attempt.remark = f"stopped by {who} at step {step}"
        return arguments


def _call(action: Action, arguments: Mapping[str, Any]) -> None:
    assert action.call is not None
    try:
        with rng.kept():
            action.call(**arguments)
    except Exception as error:  # an action is beside the training, which must not end by it
        log.exception("the action %s failed", said(action.name, arguments))
        raise EditError(f"{action.name} failed: {describe(error)}") from error
