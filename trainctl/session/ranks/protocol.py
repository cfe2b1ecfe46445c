"""How the ranks of a distributed run agree: rank 0 broadcasts at steps known to all, and the others apply it."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from trainctl.config.changelog import Edit
from trainctl.errors import RankError
from trainctl.rundir.summary import PreviousAttempt

# Called by all ranks in the same order: it takes bytes, and returns everywhere those that it was given on rank 0.
Agree = Callable[[bytes], bytes]

_HEAD = struct.Struct("<qqq")  # how much rank 0 has told so far, the step it is at, and the step of the next meeting


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole state that brings a rank to where rank 0 is, whatever it has missed."""

    seed: int
    edit: Edit  # all that was ever edited, with its values now
    previous: PreviousAttempt | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """An action of the task, to run on all ranks."""

    action: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoopFlags:
    """The flags of the loop: whether to stop, and how often a checkpoint and an evaluation were asked for."""

    stop: bool
    checkpoint: int
    evaluate: int


@dataclass(frozen=True, slots=True)
class RankFailure:
    """Why rank 0 could not begin the step."""

    text: str


class Agreement:
    """Meetings of all ranks: the first at the first step, each next one where rank 0 said at the last.

    At a meeting rank 0 broadcasts headers of three int64 (sequence, step, next meeting). `next > step` ends it;
    `next == step` announces another header, after content or, while a run is paused, to show that rank 0 lives. With no
    changes one header every `every` steps is the whole cost. The sequence is the number of the last content, by which
    a rank notices that it has missed one.
    """

    def __init__(self, agree: Agree, every: int) -> None:
        self._agree = agree
        self._every = every
        self._told = 0
        self._step: int | None = None  # of the meeting that is on
        self._lost: RankError | None = None
        self.next_step = 0

    @property
    def is_on(self) -> bool:
        return self._step is not None

    def begin(self, step: int) -> None:
        """Open a meeting; rank 0.

        Raises:
            RankError: the other ranks were lost before.
        """
        if self._lost is not None:
            raise self._lost
        self._step = step

    def say(self, content: Whole | Edit | Task | LoopFlags | RankFailure | None) -> None:
        """Send something to all ranks; None tells them to keep waiting. Called on rank 0, in a meeting.

        Raises:
            RankError: another rank is gone.
        """
        assert self._step is not None
        self._told += content is not None
        self._send(self._step, content)

    def end(self, due: int | None) -> None:
        """Close the meeting; the next one is at step `due`, or earlier by the rhythm; None: there is none. Rank 0.

        After the other ranks were lost there is nobody to say it to.

        Raises:
            RankError: another rank is gone.
        """
        assert self._step is not None
        rhythm = self._step - (self._step - 1) % self._every + self._every
        self.next_step = sys.maxsize if due is None else min(rhythm, max(due, self._step + 1))
        try:
            if self._lost is None:
                self._send(self.next_step, None)
        finally:
            self._step = None

    def hear(self, step: int) -> Iterator[Whole | Edit | Task | LoopFlags | RankFailure]:
        """Yield what rank 0 says at this step, until it closes the meeting. All other ranks.

        Raises:
            RankError: rank 0 is at another step, or gone.
        """
        self.next_step = step
        while self.next_step <= step:
            message = self._exchange(b"", step)
            told, there, self.next_step = _HEAD.unpack_from(message)
            has_content = len(message) > _HEAD.size
            self._told += has_content
            if there != step or told != self._told:
                self.next_step = step
                raise RankError(
                    f"this rank is at step {step} and rank 0 at step {there} (changes: {self._told}, there {told}); "
                    "every rank must call live.step() and live.epoch() equally often"
                )
            if has_content:
                yield pickle.loads(message[_HEAD.size :])

    def _send(self, next_step: int, content: object) -> None:
        assert self._step is not None
        body = b"" if content is None else pickle.dumps(content)
        self._exchange(_HEAD.pack(self._told, self._step, next_step) + body, self._step)

    def _exchange(self, message: bytes, step: int) -> bytes:
        if self._lost is None:
            try:
                return self._agree(message)
            except Exception as error:
                text = " ".join(str(error).split())[:300]
                self._lost = RankError(
                    f"the ranks of this run have lost each other at step {step}: one has ended, or does not come to "
                    f"live.step() ({type(error).__name__}: {text})"
                )
                raise self._lost from error
        raise self._lost
