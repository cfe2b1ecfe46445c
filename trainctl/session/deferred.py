"""Requests that were taken and are not due yet: for a later step, for a checkpoint, for the next epoch."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from trainctl.rundir.request import Request
from trainctl.session.schedule import NEVER

Held = tuple[int, Request]  # the step at which its checkpoint was asked for


class Waiting:
    """Keeps each kind in the order in which it came; of those for the same step too."""

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
        """Take the requests that are for a step up to this one."""
        while self._later and self._later[0][0] <= step:
            yield heapq.heappop(self._later)[2]

    def take_for_checkpoint(self) -> list[Held]:
        held, self._for_checkpoint = self._for_checkpoint, []
        return held

    def take_for_epoch(self) -> list[Request]:
        held, self._for_epoch = self._for_epoch, []
        return held

    def take(self, request: str) -> Request | None:
        """Take the request of that id, whatever it waits for; None when it does not wait."""
        found = [one for _, _, one in self._later] + [one for _, one in self._for_checkpoint] + self._for_epoch
        taken = next((one for one in found if one.id == request), None)
        if taken is not None:
            self._later = [held for held in self._later if held[2] is not taken]
            heapq.heapify(self._later)
            self._for_checkpoint = [held for held in self._for_checkpoint if held[1] is not taken]
            self._for_epoch = [one for one in self._for_epoch if one is not taken]
        return taken

    def take_left(self) -> Iterator[tuple[Request, str]]:
        """Take all at the end of the run, each with what it waited for."""
        for step, _, request in sorted(self._later, key=lambda one: one[:2]):
            yield request, f"before step {step}"
        for _, request in self._for_checkpoint:
            yield request, "before the training loop looked at live.should_checkpoint again"
        for request in self._for_epoch:
            yield request, "before the next live.epoch()"
        self._later, self._for_checkpoint, self._for_epoch = [], [], []
