"""Running actions at the start of a step, in the training thread."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainctl.attempt.attempt import describe
from trainctl.errors import EditError
from trainctl.rundir.events import LOOKS, Answers, Event
from trainctl.rundir.request import Request
from trainctl.session import rng
from trainctl.session.actions import Action, Actions, said
from trainctl.session.flags import Asks, Flags
from trainctl.session.ranks.protocol import Task
from trainctl.session.schedule import Repeat

log = logging.getLogger(__name__)


class ActionRunner:
    """Runs actions in the order in which they come, after the edits of their step, and answers the requests."""

    def __init__(self, actions: Actions, flags: Flags, answers: Answers, asks: Asks) -> None:
        self.is_paused = False
        self.tell: Callable[[Task], None] = lambda _: None  # the other ranks, who do it too
        self._actions = actions
        self._flags = flags
        self._answers = answers
        self._asks = asks
        self._due: deque[Request | Repeat] = deque()

    @property
    def is_due(self) -> bool:
        return bool(self._due)

    def add(self, request: Request) -> None:
        self._due.append(request)

    def repeat(self, step: int, repeat: Repeat) -> None:
        self._due.append(repeat)

    def take_left(self) -> Iterator[Request]:
        """Take the unanswered requests."""
        while self._due:
            one = self._due.popleft()
            if isinstance(one, Request):
                yield one

    def work_off(self, step: int) -> None:
        """Run all actions that are due.

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
            arguments = self._do(str(request.action), request.arguments)
        except EditError as error:
            self._answers.reject(request, str(error))
            return
        reason = _not_yet(str(request.action))
        event = Event.about(request, "applied", step=step, arguments=arguments or None, reason=reason)
        self._answers.give(event, request.source)
        self._asks.add(request.id, str(request.action), request.who or "somebody")
        log.info("step %d: %s (%s %s)", step, said(str(request.action), arguments), request.via, request.who)

    def _repeat(self, step: int, repeat: Repeat) -> None:
        try:
            arguments = self._do(repeat.action, repeat.arguments)
        except EditError as error:
            message = f"the action at step {repeat.step} of {repeat.source} cannot be done again: {error}"
            log.error("%s", message)
            if not repeat.is_recorded:
                raise EditError(message) from error
            return
        if not repeat.is_recorded:
            done = Event(repeat.id, "applied", step, via="replay", action=repeat.action, arguments=arguments or None)
            self._answers.give(dataclasses.replace(done, reason=_not_yet(repeat.action)))
        if not repeat.is_done:
            self._asks.add(repeat.id, repeat.action, "the replay")
        log.info("step %d: %s (again)", step, said(repeat.action, arguments))

    def _do(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Run one action and return its parsed arguments.

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
        return arguments


def _not_yet(action: str) -> str | None:
    """Say why an action that the loop does itself is not done yet."""
    return f"the loop has not looked at {LOOKS[action]}" if action in LOOKS else None


def _call(action: Action, arguments: Mapping[str, Any]) -> None:
    assert action.call is not None
    try:
        with rng.kept():
            action.call(**arguments)
    except Exception as error:  # an action is beside the training, which must not end by it
        log.exception("the action %s failed", said(action.name, arguments))
        raise EditError(f"{action.name} failed: {describe(error)}") from error
