"""The answers to requests: `events.jsonl`, one line per change of a request's state.

For edits the changelog is the record, from which this file can be restored, so these lines are not synced. A request is
answered first, then its file is removed from the inbox.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from trainctl.errors import UnreadableError
from trainctl.rundir import files
from trainctl.rundir.fields import unix_time, whole
from trainctl.rundir.inbox import list_inbox, names_in_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import Request, request_id, short, step_of
from trainctl.rundir.status import ALIVE, state_of

# `applying`: of older versions. After the answer: `read` says when the values of an edit were read, `done` what became
# of an action that the training loop does itself.
EventState = Literal["pending", "applying", "applied", "rejected", "read", "done"]
_BESIDE = {"read": ("read", "watched"), "done": ("done", "reason", "settled")}

# The actions that the loop does itself, and what it looks at for them.
LOOKS = {"checkpoint": "live.should_checkpoint", "evaluate": "live.should_evaluate", "stop": "live.should_stop"}

RUN_ENDED = "the run ended"
_CANCELLED = "cancelled by "

_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Event:
    """One line. A request ends in exactly one of `applied` and `rejected`.

    Attributes:
        step: where it was applied; `at` is the step that was asked for.
        edits: as asked for while it is pending, and as recorded once it is applied.
        undo: which edit is taken back: its number, True for the last one while that is not known.
        cancel: the id of the request that is taken back.
        read: the step at which each key of an edit was first read; None for a key that was not read within
            `watched` steps. Keys that another edit has set before they were read are left out.
        done: the step in which the training loop has done an action; until then `reason` says why it has not, and
            `settled` that it will not.
    """

    id: str
    state: EventState
    step: int | None = None
    edits: dict[str, Any] | None = None
    who: str | None = None
    via: str | None = None
    note: str | None = None
    reason: str | None = None
    t: float = field(default_factory=time.time)
    at: int | None = None
    action: str | None = None
    arguments: dict[str, Any] | None = None
    undo: int | bool | None = None
    cancel: str | None = None
    read: dict[str, int | None] | None = None
    watched: int | None = None
    done: int | None = None
    settled: bool | None = None

    @classmethod
    def about(cls, request: Request, state: EventState, **more: Any) -> Event:
        """Return an event with the content of a request, shortened; `more` adds or replaces fields."""
        said: dict[str, Any] = {
            "edits": short(request.asked) if request.action is None and request.cancel is None else None,
            "who": request.who, "via": request.via, "note": request.note, "at": request.at, "undo": request.undo,
            "cancel": request.cancel, "action": request.action,
            "arguments": short(request.arguments) if request.arguments else None,
        }  # fmt: skip
        return cls(request.id, state, **{**said, **more})

    @property
    def said(self) -> dict[str, Any]:
        """The fields that are not None, as the line has them."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}

    @property
    def is_final(self) -> bool:
        return self.state in ("applied", "rejected")

    @property
    def is_cancelled(self) -> bool:
        """Whether the request was cancelled before it took effect."""
        return self.state == "rejected" and (self.reason or "").startswith(_CANCELLED)


_NAMES = tuple(one.name for one in dataclasses.fields(Event))


def cancelled_by(who: str | None, note: str | None) -> str:
    """Return the reason given for a cancelled request."""
    return f"{_CANCELLED}{who or 'somebody'}" + (f": {note}" if note else "")


def append(run: RunDir, events: Iterable[Event], *, durable: bool = False) -> None:
    """Append events to `events.jsonl`.

    Raises:
        OSError: they cannot be written.
    """
    records = [event.said for event in events]
    if records:
        files.append_lines(run.events, records, durable=durable)


def read_events(run: RunDir, problems: list[str] | None = None) -> list[Event]:
    """Read all events, in order; torn and foreign lines are passed over, and `problems` say how many.

    Raises:
        UnreadableError: the file is there and cannot be read.
    """
    found: list[Event] = []
    lost = 0
    with contextlib.suppress(FileNotFoundError):
        for block in files.read_blocks(run.events):
            events = _events(files.parse_lines(block))
            found += events
            lost += count_lines(block) - len(events)
    _tell_lost(run, max(lost, 0), problems)
    return found


def check_latest(run: RunDir, data: bytes, problems: list[str]) -> list[Event]:
    """Return the events of the latest lines, which were read already; `problems` say how many are not events."""
    events = _events(files.parse_together(data))
    lines = count_lines(data) or int(b"\0" in data)  # of a machine that lost its power
    _tell_lost(run, max(lines - len(events), 0), problems)
    return events


def count_lines(data: bytes) -> int:
    """Count the whole lines that have something in them."""
    return sum(1 for line in data.split(b"\n")[:-1] if line.strip())


def _tell_lost(run: RunDir, lost: int, problems: list[str] | None) -> None:
    if lost and problems is not None:
        problems.append(
            f"{run.events.name}: {'a line is not an answer' if lost == 1 else f'{lost} lines are not answers'}"
        )


def _events(records: Iterable[Mapping[str, Any]]) -> list[Event]:
    return [
        Event(**{name: value for name, value in record.items() if name in _NAMES})
        for record in records
        if _is_event(record)
    ]


def _is_event(record: Mapping[str, Any]) -> bool:
    """Whether all fields of a line are valid."""
    if record.get("id") is None or record.get("state") not in get_args(EventState):
        return False
    return all(is_right(record[name]) for name, is_right in _FIELDS.items() if record.get(name) is not None)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_whole(value: Any) -> bool:
    return whole(value) is not None


_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("id", "state", "who", "via", "note", "reason", "action", "cancel"), _is_text),
    **dict.fromkeys(("edits", "arguments"), _is_mapping),
    **dict.fromkeys(("step", "at", "watched", "done"), _is_whole),
    "read": lambda value: isinstance(value, dict) and all(one is None or _is_whole(one) for one in value.values()),
    "settled": lambda value: isinstance(value, bool),
    "undo": lambda value: value is True or _is_whole(value),
    "t": lambda value: unix_time(value) is not None,
}


def latest(events: Iterable[Event]) -> dict[str, Event]:
    """Return the last event of each request by id, in order of their first events; a final event stays the last."""
    events = list(events)
    found: dict[str, Event] = {}
    for event in events:
        if event.state not in _BESIDE and (event.id not in found or not found[event.id].is_final):
            found[event.id] = event
    beside = told_beside(events)
    return {request: dataclasses.replace(event, **beside.get(request, {})) for request, event in found.items()}


def told_beside(events: Iterable[Event]) -> dict[str, dict[str, Any]]:
    """Return by request the fields that lines after its answer have added."""
    told: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.state in _BESIDE:
            told[event.id] = told.get(event.id, {}) | {name: getattr(event, name) for name in _BESIDE[event.state]}
    return told


def outcome(event: Event) -> str | None:
    """Say what became of an action for the loop; None for other events, and in runs of older versions.

    >>> outcome(Event("1", "applied", 34, action="evaluate", done=40))
    'done at step 40'
    >>> outcome(Event("1", "applied", 34, action="stop", reason="the loop has not looked at live.should_stop"))
    'not done: the loop has not looked at live.should_stop'
    """
    if event.state != "applied" or event.action not in LOOKS:
        return None
    if event.done is not None:
        return f"done at step {event.done}"
    return f"not done: {event.reason}" if event.reason else None


def count_unread(run: RunDir) -> int:
    """Count the edits of a run with a value that was never read; 0 if the events cannot be read."""
    try:
        return unread_among(read_events(run))
    except UnreadableError:
        return 0


def unread_among(events: Iterable[Event]) -> int:
    """Count the edits with a value that was never read, given all events of a run."""
    told = {event.id: event.read or {} for event in events if event.state == "read"}
    return sum(None in read.values() for read in told.values())


def answer(run: RunDir, request: str) -> Event | None:
    """Return how a request ended; None while it has not."""
    try:
        blocks = list(files.read_blocks(run.events))
    except (FileNotFoundError, UnreadableError):
        return None
    mark = files.json_line({"id": request}).strip("{}\n").encode(errors="backslashreplace")
    lines = [line for block in blocks for line in block.split(b"\n") if mark in line]
    event = latest(_events(files.parse_lines(b"\n".join(lines)))).get(request)
    return event if event is not None and event.is_final else None


def wait_for_answer(
    run: RunDir, request: str, timeout_s: float, is_enough: Callable[[Event], bool] = lambda _: True
) -> Event | None:
    """Wait until a request has ended; None when it has not in time, or the run has ended and left it unanswered.

    An answer that is not enough yet (it may come to tell who has read the edit) is returned when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    size, found = -1, None
    while True:
        # the state first: what a run answered before it ended is in the file by then
        is_alive = state_of(run) in ALIVE
        now = size_of(run)
        found = answer(run, request) if now != size else found
        size = now
        if (found is not None and is_enough(found)) or not is_alive or time.monotonic() >= deadline:
            return found
        time.sleep(_LOOK_S)


def size_of(run: RunDir) -> int:
    try:
        return run.events.stat().st_size
    except OSError:
        return 0


log = logging.getLogger(__name__)


class Answers:
    """Writes final events. One that cannot be written (a full disk) is kept, with its file, and tried again."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._unwritten: deque[tuple[Event, Path | None]] = deque()
        self._reason = ""  # why an event could not be written

    @property
    def loss(self) -> str | None:
        """Which answers are missing in `events.jsonl`, and why, in one sentence; None if none are."""
        if not self._unwritten:
            return None
        count = len(self._unwritten)
        return f"{self._run.events.name} could not be written: {count} answer{'s' * (count > 1)} lost ({self._reason})"

    def give(self, event: Event, source: Path | None = None) -> None:
        """Write a final event and remove the request's file.

        Only answers to actions are synced: they are the only record of the action for a replay or a further attempt.
        """
        if event.state == "rejected":
            log.warning("edit rejected: %s", event.reason)
        if not self._write(event, source):
            self._unwritten.append((event, source))

    def reject(self, request: Request, reason: str) -> None:
        """Answer a request that was taken and will not be applied."""
        self.give(Event.about(request, "rejected", reason=reason), request.source)

    def try_again(self) -> None:
        """Write what could not be written before."""
        for _ in range(len(self._unwritten)):
            event, source = self._unwritten.popleft()
            if not self._write(event, source):
                self._unwritten.append((event, source))

    def _write(self, event: Event, source: Path | None) -> bool:
        try:
            append(self._run, [event], durable=event.state == "applied" and event.action is not None)
        except OSError as error:
            self._reason = str(error.strerror or error)
            return False
        if source is not None:
            remove(source)
        return True


def reject_left(run: RunDir, *, goes_on: bool) -> None:
    """Reject the requests in the inbox of a run whose status says already that it has ended.

    Whoever files a request later sees that the run has ended. Where another attempt may go on with the run, requests
    for a step stay for it.
    """
    if not names_in_inbox(run):
        return
    answers, known = Answers(run), latest(read_events(run))
    for path in list_inbox(run):
        try:
            request = request_id(path)
        except FileNotFoundError:
            continue  # withdrawn by the user who filed it
        said = known.get(request, Event(request, "pending"))
        if said.is_final:
            remove(path)
        elif not (goes_on and step_of(path) is not None):
            answers.give(dataclasses.replace(said, state="rejected", step=None, reason=RUN_ENDED, t=time.time()), path)


def remove(source: Path) -> None:
    """Remove a request's file from the inbox; one that cannot be removed (a directory) is recognised by its id."""
    with contextlib.suppress(OSError):
        os.unlink(source)
