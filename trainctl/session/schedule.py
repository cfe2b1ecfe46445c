"""The schedule of recorded edits and actions: of a replayed run, and of earlier attempts of this run."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainctl.config.changelog import Changelog, Edit, merge
from trainctl.config.values import is_same
from trainctl.rundir.edits import read_file
from trainctl.rundir.events import Event, read_events
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

log = logging.getLogger(__name__)

_PREFIX = "replay-"
STARTED = "start-"  # begins the id of an edit with the values that a further attempt was started with

_OF_NO_REQUEST = (_PREFIX, STARTED, "resume-")  # such ids have edits that were repeated, or that an attempt began with

# Later than any real step, and an int that CPython compares fast; a run that gets there merely looks at every step.
NEVER = 2**30 - 1


def started_keys(edit: Edit) -> set[str]:
    """Return the keys of an edit that an attempt was started with and that no later request changed."""
    found: set[str] = set()
    for part in edit.each:
        found = found | part.values.keys() if (part.id or "").startswith(STARTED) else found - part.values.keys()
    return found


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One scheduled edit. If not recorded yet it comes from a replayed run, else from this run's own changelog."""

    edit: Edit
    source: str
    is_recorded: bool

    @property
    def step(self) -> int:
        return self.edit.step


@dataclass(frozen=True, slots=True)
class Repeat:
    """One action to repeat at its step; if it is not recorded yet it comes from a replayed run.

    `is_done` says that this run's own record already has the outcome.
    """

    step: int
    id: str
    action: str
    arguments: dict[str, Any]
    source: str
    is_recorded: bool
    is_done: bool = False


class Schedule:
    """Edits and actions in order of their steps; at one step, replayed edits come before the run's own."""

    def __init__(self, scheduled: Iterable[Scheduled] = (), repeats: Iterable[Repeat] = ()) -> None:
        self._left = deque(sorted(scheduled, key=lambda one: (one.step, one.is_recorded)))
        self._repeats = deque(sorted(repeats, key=lambda one: one.step))

    @property
    def next_step(self) -> int:
        """The step of the next edit or action; `NEVER` when none is left."""
        return min(waiting[0].step if waiting else NEVER for waiting in (self._left, self._repeats))

    def take(self, step: int) -> list[Scheduled]:
        """Take the edits up to and including `step` out of the schedule."""
        return _take(self._left, step)

    def take_repeats(self, step: int) -> list[Repeat]:
        """Take the actions up to and including `step` out of the schedule."""
        return _take(self._repeats, step)

    @property
    def left(self) -> list[Scheduled]:
        """The edits whose step was not reached."""
        return list(self._left)

    @property
    def missed(self) -> list[int]:
        """The steps of the replayed run's edits and actions that were not reached."""
        edits = {one.step for one in self._left if not one.is_recorded}
        return sorted(edits | {one.step for one in self._repeats if not one.is_recorded})

    def supersede(self, keys: Collection[str]) -> list[Edit]:
        """Remove these keys from the replayed edits to come; return what was removed."""
        kept: deque[Scheduled] = deque()
        dropped = []
        for one in self._left:
            values = {} if one.is_recorded else {key: one.edit.values[key] for key in one.edit.values if key in keys}
            if values:
                dropped.append(dataclasses.replace(one.edit, values=values))
                one = _without(one, values)
            if one.edit.values:
                kept.append(one)
        self._left = kept
        return dropped

    def drop_replayed(self) -> int:
        """Drop the rest of the replayed run; return how many edits were dropped."""
        kept = [one for one in self._left if one.is_recorded]
        dropped = len(self._left) - len(kept)
        self._left = deque(kept)
        self._repeats = deque(one for one in self._repeats if one.is_recorded)
        return dropped


Due = TypeVar("Due", Scheduled, Repeat)


def _take(waiting: deque[Due], step: int) -> list[Due]:
    taken = []
    while waiting and waiting[0].step <= step:
        taken.append(waiting.popleft())
    return taken


def _without(one: Scheduled, keys: Collection[str]) -> Scheduled:
    values = {key: value for key, value in one.edit.values.items() if key not in keys}
    return dataclasses.replace(one, edit=dataclasses.replace(one.edit, values=values))


def plan(
    own: Changelog,
    own_source: str,
    replay: Changelog | None,
    replay_source: str,
    *,
    mode: str = "refuse",
    repeats: Iterable[Repeat] = (),
) -> Schedule:
    """Return the schedule of an attempt.

    A replayed edit is left out if the run's own changelog has all its keys at its step: an earlier attempt applied and
    recorded it there, and the recorded values include later edits of that step. What an earlier attempt's live edits
    did to the schedule, by `trainctl.replay_mode`, holds on: superseded keys stay out, a forked replay is over.
    """
    recorded = {edit.step: edit for edit in merge(own.edits)}
    scheduled = [Scheduled(edit, own_source, is_recorded=True) for edit in recorded.values()]
    live = first_live_edits(own, replay)
    fork = forked_at(own, replay, mode)
    for edit in merge(replay.edits) if replay is not None else ():
        known = recorded.get(edit.step)
        if edit.step >= fork or (known is not None and edit.values.keys() <= known.values.keys()):
            continue
        superseded = {key for key in edit.values if mode == "follow" and live.get(key, NEVER) <= edit.step}
        one = _without(Scheduled(edit, replay_source, is_recorded=False), superseded)
        if one.edit.values:
            scheduled.append(one)
    return Schedule(scheduled, [one for one in repeats if one.is_recorded or one.step < fork])


def first_live_edits(own: Changelog, replay: Changelog | None) -> dict[str, int]:
    """Return the keys edited live during a replay, each with the step of its first live edit.

    A request is live whatever it has set, be it the value that was just repeated; other edits are if they differ.
    """
    known = {edit.step: edit.values for edit in merge(replay.edits)} if replay is not None else {}
    found: dict[str, int] = {}
    for part in (part for edit in merge(own.edits) for part in edit.each):
        replayed = known.get(part.step, {})
        is_request = part.id is not None and not part.id.startswith(_OF_NO_REQUEST)
        for key, value in part.values.items():
            if is_request or key not in replayed or not is_same(replayed[key], value):
                found.setdefault(key, part.step)
    return found


def forked_at(own: Changelog, replay: Changelog | None, mode: str) -> int:
    """Return the step at which a replay forked; `NEVER` if it has not."""
    return min(first_live_edits(own, replay).values(), default=NEVER) if mode == "fork" and replay else NEVER


def read_replay(path: Path) -> Changelog:
    """Read the changelog to replay: a file, which may be named by a link, or that of a run dir.

    Raises:
        ChangelogError: there is none, it cannot be read, or it is not a changelog.
    """
    found = RunDir.at(path).changelog if path.is_dir() else Path(os.path.realpath(path))
    return _read(found, f"trainctl.replay={str(path)!r}")


def read_own(run: RunDir) -> Changelog | None:
    """Read the changelog of earlier attempts of a run; None if there is none.

    Raises:
        ChangelogError: it cannot be read, or is not a changelog.
    """
    if not os.path.lexists(run.changelog):
        return None
    return _read(run.changelog, f"the run dir {str(run.path)!r}")


def _read(path: Path, asked: str) -> Changelog:
    changelog = read_file(path, asked)
    if changelog.cut_off is not None:
        log.warning("%s ends with an edit that its kill cut off; it never took effect: %.200r", path, changelog.cut_off)
    return changelog


_OF_THE_MOMENT = ("pause", "resume")  # they change nothing that is recorded


def own_repeats(run: RunDir) -> list[Repeat]:
    """Return the actions of earlier attempts of a run, except `stop`: a run that is started again is meant to go on."""
    return _repeats(read_events(run), str(run.events), ("stop",), is_recorded=True)


def replayed_repeats(path: Path, own: Collection[Repeat]) -> list[Repeat]:
    """Return the actions of the run at `path`, none for a file. A `stop` counts only if it ended the last attempt.

    Actions that an earlier attempt of this run has repeated already are left out.
    """
    if not path.is_dir():
        return []
    run = RunDir.at(path)
    status, known = read_status(run), {one.id for one in own}
    began = status.started if status is not None and status.started is not None else 0.0
    events = [event for event in read_events(run) if event.action != "stop" or event.t >= began]
    found = _repeats(events, f"the replayed {path}", (), is_recorded=False)
    return [one for one in found if one.id not in known]


def _repeats(events: list[Event], source: str, leave_out: Collection[str], *, is_recorded: bool) -> list[Repeat]:
    prefix = "" if is_recorded else _PREFIX
    done = {event.id for event in events if event.done is not None} if is_recorded else set()
    return [
        Repeat(
            *(event.step, prefix + event.id.removeprefix(prefix), event.action, event.arguments or {}, source),
            *(is_recorded, event.id in done),
        )
        for event in events
        if event.state == "applied" and event.action is not None and event.step is not None
        if event.action not in (*_OF_THE_MOMENT, *leave_out)
    ]
