"""Requests that a run has taken but not applied yet, to be shown and cancelled.

Each has a number, its position among all requests that the run has ever taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainctl import text
from trainctl.config.controls import Key
from trainctl.errors import EditError
from trainctl.rundir.events import Event, latest

NEXT_STEP = "for the next step"


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A waiting request; `event` has its content."""

    number: int
    event: Event

    def until(self, keys: Mapping[str, Key]) -> str:
        """Say what it waits for, as far as the run's keys tell.

        >>> WaitingRequest(3, Event("a", "pending", at=5000)).until({})
        'for step 5,000'
        """
        if self.event.at is not None:
            return f"for step {text.count(self.event.at)}"
        asked = [keys[key] for key in self.event.edits or {} if key in keys]
        if any(key.when == "epoch" for key in asked):
            return "for the next epoch"
        if any(key.checkpoint_first for key in asked):
            return "for a checkpoint to be taken first"
        return NEXT_STEP


def waiting(events: Iterable[Event], *, is_alive: bool = True) -> list[WaitingRequest]:
    """Return the waiting requests in the order in which they were taken, without cancellations.

    Where no process of the run is alive, those for a step alone still wait: the next attempt takes them.
    """
    told = list(events)
    last = latest(told)
    taken = dict.fromkeys(event.id for event in told if event.state == "pending" and event.cancel is None)
    return [
        WaitingRequest(number, last[request])
        for number, request in enumerate(taken, start=1)
        if last[request].state == "pending" and (is_alive or last[request].at is not None)
    ]


def to_cancel(events: Iterable[Event], number: int) -> WaitingRequest:
    """Return the waiting request with this number.

    Raises:
        EditError: none of that number waits.
    """
    found = waiting(events)
    for one in found:
        if one.number == number:
            return one
    there = f"those that wait are {', '.join(str(one.number) for one in found)}" if found else "none waits"
    raise EditError(f"no request {number} waits in this run; {there} (`trainctl log` shows them)")
