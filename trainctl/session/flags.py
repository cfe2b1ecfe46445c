"""The flags by which a training loop is asked to stop, checkpoint or evaluate, and whether it has done so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from trainctl.rundir.events import LOOKS, Event
from trainctl.rundir.status import stop_reason


class Flag:
    """A flag that stays up until the end of the first step in which the loop has looked at it.

    So a loop that looks every hundred steps sees it, a loop that looks twice in a step sees it twice, and no loop sees
    it in two steps.
    """

    __slots__ = ("_is_up", "looks", "seen", "times", "was_looked_at")

    def __init__(self) -> None:
        self._is_up = False
        self.seen: int | None = None
        self.was_looked_at = False
        self.times = 0  # how often it was put up
        self.looks: list[tuple[int, int]] = []  # each first look while it was up: that number, and the step

    def put_up(self) -> None:
        """Raise the flag; raised twice before the loop has looked, it is seen once."""
        self._is_up = True
        self.seen = None
        self.times += 1

    def look(self, step: int) -> bool:
        """Return whether the flag is up at `step`; the first look while it is up is noted in `seen`."""
        self.was_looked_at = True
        if self._is_up and self.seen is None:
            self.seen = step
            self.looks.append((self.times, step))
        self._is_up = self._is_up and self.seen == step
        return self._is_up


class Flags:
    """All flags of a loop: `stop` stays up, the others must be raised again each time."""

    __slots__ = ("checkpoint", "evaluate", "looks_at_stop", "stop", "stop_seen")

    def __init__(self) -> None:
        self.stop = False
        self.looks_at_stop = False
        self.stop_seen: int | None = None  # the step in which the loop first saw it
        self.checkpoint = Flag()
        self.evaluate = Flag()

    def look_at_stop(self, step: int) -> bool:
        """Return `stop`, and note at which step the loop first saw it."""
        self.looks_at_stop = True
        if self.stop and self.stop_seen is None:
            self.stop_seen = step
        return self.stop

    @property
    def looked_at(self) -> tuple[str, ...]:
        """The flags that the loop has looked at, and so can be asked for."""
        flags = {"checkpoint": self.checkpoint.was_looked_at, "evaluate": self.evaluate.was_looked_at}
        return tuple(name for name, was in {**flags, "stop": self.looks_at_stop}.items() if was)


@dataclass(slots=True)
class _Ask:
    id: str
    action: str
    who: str
    times: int  # how often the flag had been put up then
    looked: int | None = None
    declined: str | None = None


class Asks:
    """Tracks such requests: one is done when the loop has looked at its flag and begun another step, or has ended.

    The training thread adds, declines and ends; the I/O thread looks and writes, so that a step costs nothing.

    Args:
        flags: what the loop looks at.
        position: returns the step that runs.
        give: writes an event.
    """

    def __init__(self, flags: Flags, position: Callable[[], int], give: Callable[[Event], object]) -> None:
        self.flags = flags
        self._position = position
        self._give = give
        self._asks: list[_Ask] = []

    def add(self, request: str, action: str, who: str) -> None:
        """Track an action that was just asked for; actions that the loop does not do itself are ignored."""
        if action in LOOKS:
            times = 0 if action == "stop" else self._flag(action).times
            self._asks.append(_Ask(request, action, who, times))

    def decline(self, action: str, reason: str) -> None:
        """Note that the loop has looked at the flag and cannot do the action."""
        for ask in list(self._asks):
            if ask.action == action and self._looked(ask) is not None:
                ask.declined = reason

    @property
    def looks(self) -> tuple[str, ...]:
        """The actions whose flags the loop has looked at."""
        return self.flags.looked_at

    def write(self) -> None:
        """Write events for everything that has changed."""
        for ask in list(self._asks):
            looked = self._looked(ask)
            if ask.declined is not None:
                self._tell(ask, reason=ask.declined)
            elif looked is not None and ask.action != "stop" and looked < self._position():
                self._tell(ask, done=looked)
            elif looked is not None and ask.looked is None:
                ask.looked = looked
                reason = f"the loop looked at {LOOKS[ask.action]} at step {looked}, and has not gone on since"
                if ask.action == "stop":
                    reason = f"the loop looked at {LOOKS[ask.action]} at step {looked}, and has not ended yet"
                self._give(Event(ask.id, "done", reason=reason))

    def end(self, step: int, total: int | None, *, has_failed: bool) -> str | None:
        """Settle all requests at the end of the run; return who stopped it and at which step, if anybody did."""
        self.write()
        stopped = None
        for ask in list(self._asks):
            if self._looked(ask) is None:
                self._tell(ask, reason=f"the run ended, and its loop had not looked at {LOOKS[ask.action]}")
            elif has_failed:
                self._tell(ask, reason=f"the run failed at step {step}")
            else:
                self._tell(ask, done=step)
                if ask.action == "stop":
                    stopped = stop_reason(ask.who, step, total)
        return stopped

    def _tell(self, ask: _Ask, *, done: int | None = None, reason: str | None = None) -> None:
        with contextlib.suppress(ValueError):
            self._asks.remove(ask)
        self._give(Event(ask.id, "done", done=done, reason=reason, settled=True))

    def _looked(self, ask: _Ask) -> int | None:
        if ask.action == "stop":
            return self.flags.stop_seen
        return next((step for times, step in self._flag(ask.action).looks if times >= ask.times), None)

    def _flag(self, action: str) -> Flag:
        return self.flags.checkpoint if action == "checkpoint" else self.flags.evaluate
