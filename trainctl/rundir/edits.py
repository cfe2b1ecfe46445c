"""The edits of a run one by one, with the values that each replaced: the changelog, with user and time from the events.

An undo is a new edit with the replaced values.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainctl.config import yaml
from trainctl.config._omegaconf import MISSING
from trainctl.config.changelog import Changelog, Edit, before_of, loads, put
from trainctl.config.keys import at, is_within, leaves
from trainctl.errors import ChangelogError, EditError, UnreadableError
from trainctl.rundir import files
from trainctl.rundir.events import Event, told_beside
from trainctl.rundir.paths import RunDir
from trainctl.text import shortened

_COMMENT = re.compile(r"(?:\d\d:\d\d:\d\d )?([^\s:]+)(?: ([^\s:]+))?(?:: (.*))?")  # as `Edit.comment` writes it


@dataclass(frozen=True, slots=True)
class Applied:
    """One edit that took effect.

    Attributes:
        number: its place in the order in which the edits were applied, from 1; by it an edit is undone.
        before: the values that it replaced, without keys that were missing.
        undo: the number of the edit that it undid.
        request: the id of the request; None if not known.
        read: when its values were read, and `watched` for how many steps that was watched, as in `Event`; None if not
            known.
    """

    number: int
    step: int
    values: dict[str, Any]
    before: dict[str, Any]
    who: str | None = None
    via: str | None = None
    note: str | None = None
    t: float | None = None
    undo: int | None = None
    request: str | None = None
    read: Mapping[str, int | None] | None = None
    watched: int | None = None

    @property
    def reading(self) -> str | None:
        """Who has read the new values, in a sentence; None where that is not known."""
        return reading(self.read, self.watched)

    @property
    def is_unread(self) -> bool:
        """Whether one of the new values was never read."""
        return self.read is not None and None in self.read.values()


def reading(read: Mapping[str, int | None] | None, watched: int | None) -> str | None:
    """Say who has read the keys of an edit; None where that is not known.

    >>> reading({"lr": 8, "wd": 8}, None)
    'read at step 8'
    >>> reading({"lr": 8, "wd": 9}, None)
    'lr read at step 8, wd read at step 9'
    >>> reading({"lr": None}, 20)[:24]
    'not read within 20 steps'
    """
    if not read:
        return None
    inner = sorted(read.items(), key=lambda one: one[1] is None)
    said = {key: "not read" if step is None else f"read at step {step}" for key, step in inner}
    if len(set(said.values())) == 1:
        text = next(iter(said.values()))
    else:
        text = ", ".join(f"{key} {one}" for key, one in said.items())
    if None not in read.values():
        return text
    steps = "" if watched is None else f" within {watched} step{'s' * (watched != 1)}"
    return f"{text}{steps}: {NOT_FOLLOWED}"


NOT_FOLLOWED = "what was built before does not follow; bind it (live.bind(…)) or start a run with it"


def read_changelog(run: RunDir) -> Changelog | None:
    """Read the changelog of a run, an untrusted file; None if there is none.

    Raises:
        ChangelogError: it cannot be read, or is not one.
    """
    return read_file(run.changelog, "") if os.path.lexists(run.changelog) else None


def read_file(path: Path, asked: str) -> Changelog:
    """Read a changelog file, within bounds; `asked` says in errors what needed it.

    Raises:
        ChangelogError: it is not there, cannot be read, or is not a changelog.
    """
    where = f"{asked}: " if asked else ""
    try:
        return loads(files.read_bytes(path, files.MOST_CHANGELOG), f"{where}{str(path)!r}" if asked else str(path))
    except FileNotFoundError as error:
        raise ChangelogError(f"{where}there is no {str(path)!r}; give a run dir or a changelog file") from error
    except UnreadableError as error:
        raise ChangelogError(f"{where}{str(path)!r} cannot be read ({error.why})" if asked else str(error)) from error


def values_by_step(changelog: Changelog) -> dict[str, list[tuple[int, Any]]]:
    """Return each edited key's value at the start and after each of its edits; None for none at the start.

    >>> values_by_step(Changelog({"lr": 0.1}, [Edit(1500, {"lr": 0.001})]))
    {'lr': [(0, 0.1), (1500, 0.001)]}
    """
    found: dict[str, list[tuple[int, Any]]] = {}
    for edit in changelog.edits:
        for key, value in edit.values.items():
            found.setdefault(key, [(0, at(changelog.base, key))]).append((edit.step, value))
    return found


def applied_edits(changelog: Changelog, events: Iterable[Event]) -> list[Applied]:
    """List the edits of a run in order of their steps, those of one step in the order in which they were applied.

    The changelog says what was applied, in which order and for which request; the events add by whom and when. In a
    changelog of an older version, or where a person has added a step, a part does not name its request: the
    events with the same values tell which one it was. Such edits get the numbers that are left, first those without an
    event.
    """
    requests = [one for one in merged(events) if one.state != "rejected" and one.edits is not None]
    by_id = {one.id: one for one in requests}
    order = {one.id: place for place, one in enumerate(requests)}
    named = changelog.requests
    by_step: dict[int | None, list[Event]] = {}
    for one in requests:
        if one.state != "pending" and one.id not in named:
            by_step.setdefault(one.step, []).append(one)
    found: list[Applied] = []
    unnumbered: list[tuple[int, int]] = []
    for edit in changelog.edits:
        for part in edit.each:
            if part.number is not None:
                found.append(_applied(part, part.values, by_id.get(part.id or "")))
                continue
            for event, values in _requests_of(part, by_step.get(edit.step, [])):
                unnumbered.append((-1 if event is None else order[event.id], len(found)))
                found.append(_applied(part, values, event))
    taken = {one.number for one in found}
    free = (number for number in itertools.count(1) if number not in taken)
    for _, place in sorted(unnumbered):
        found[place] = replace(found[place], number=next(free))
    return with_replaced(changelog.base, found)


def with_replaced(base: Mapping[Any, Any], edits: Iterable[Applied]) -> list[Applied]:
    """Return edits in the order of their steps with what each of them replaced."""
    current, first = copy.deepcopy(dict(base)), leaves(base)
    found = []
    for one in edits:
        found.append(replace(one, before=before_of(current, one.values)))
        for key, value in one.values.items():
            put(current, key, copy.deepcopy(value), first)
    return found


def _applied(part: Edit, values: dict[str, Any], event: Event | None) -> Applied:
    """Return an edit without its `before`; user, note and time come from its event, if it has one."""
    number, undo, request = part.number or 0, part.undo, part.id
    if event is None:
        who, via, note = (part.who, part.via, part.note) if request is None else _said_by(part)
        return Applied(number, part.step, values, {}, who, via, note, part.at, undo, request)
    if part.number is None:  # the event is all that names the request
        undo, request = (None if event.undo is None else int(event.undo)), event.id
    source = (event.who, event.via, event.note, event.t, undo, request)
    return Applied(number, part.step, values, {}, *source, event.read, event.watched)


def merged(events: Iterable[Event]) -> list[Event]:
    """Merge the events of each request into one; of two final events the first counts.

    They come in the order in which they were taken up (an answer may be written late), those that wait last.
    """
    known: dict[str, dict[str, Any]] = {}
    taken: dict[str, None] = {}
    ended: set[str] = set()
    events = list(events)
    told = told_beside(events)
    for event in events:
        if event.state in ("read", "done") or event.id in ended:
            continue
        known[event.id] = known.get(event.id, {}) | event.said
        if event.state != "pending":
            taken[event.id] = None
        if event.is_final:
            ended.add(event.id)
    return [Event(**{**known[request], **told.get(request, {})}) for request in {**taken, **known}]


def _was_recorded(event: Event, recorded: Mapping[str, Any]) -> bool:
    """Whether the changelog has the values of an edit that was being applied."""
    edits = event.edits or {}
    return bool(edits) and all(key in recorded and _as_json(recorded[key]) == _as_json(edits[key]) for key in edits)


def _said_by(part: Edit) -> tuple[str | None, str | None, str | None]:
    """Return who, via and note of an edit that was read from a changelog, which has them in one comment."""
    found = _COMMENT.fullmatch(part.note or "") if part.via is None else None
    if found is None:
        return part.who, part.via, part.note
    via, who, note = found.groups()
    return who, via, note


def _requests_of(edit: Edit, events: Iterable[Event]) -> Iterator[tuple[Event | None, dict[str, Any]]]:
    """Yield what an edit that names no request changed, request by request, then what no request asked for."""
    left = dict(edit.values)
    for event in events:
        if event.state == "applying" and not _was_recorded(event, edit.values):
            continue
        # the changelog's value where it is the same: a number as a key of a mapping is text in JSON
        values = {
            key: edit.values[key] if _as_json(edit.values[key]) == value else value
            for key, value in (event.edits or {}).items()
            if key in edit.values
        }
        if values:
            yield event, values
            left = {key: value for key, value in left.items() if key not in values}
    if left:
        yield None, left


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def to_undo(applied: Sequence[Applied], wanted: int | bool, *, force: bool = False, step: int | None = None) -> Applied:
    """Return the edit to undo: the one with this number; for True the last one that is neither an undo nor undone.

    With `force` it does not matter whether it is undone already, nor whether its keys were changed again. Edits after
    `step` (an earlier attempt made them, and they come again) are not there yet.

    Raises:
        EditError: there is none, it is undone already, or one of its keys was changed later, or had no value before.
    """
    reached = [one for one in applied if step is None or one.step <= step]
    undone = _undone(reached)
    if wanted is True:
        left = [one for one in reached if one.undo is None and one.number not in undone]
        if not left:
            raise EditError("undo: no edit of this run is left to undo")
        found = max(left, key=lambda one: one.number)
    else:
        by_number = {one.number: one for one in applied}
        if wanted not in by_number:
            there = f"its edits are 1 to {len(applied)}" if applied else "it has none"
            raise EditError(f"undo of edit {wanted}: the run has no such edit; {there} (`trainctl log` shows them)")
        found = by_number[int(wanted)]
        if found not in reached:
            raise EditError(
                f"undo of edit {wanted}: it comes again at step {found.step}, and the run is at step {step}"
            )
    asked = f"undo of edit {found.number}"
    added = [key for key in found.values if not is_within(key, found.before)]
    found = replace(found, before={**found.before, **dict.fromkeys(added, MISSING)})
    if force:
        return found
    if found.number in undone:
        raise EditError(f"{asked}: edit {undone[found.number]} has undone it already; nothing was changed")
    _check_untouched(reached, found, undone, asked)
    return found


def _undone(applied: Sequence[Applied]) -> dict[int, int]:
    """Return the edits that are undone now, each with its undo; an undo that is itself undone does not count."""
    undone: dict[int, int] = {}
    for one in sorted(applied, key=lambda one: one.number, reverse=True):
        if one.undo is not None and one.number not in undone:
            undone.setdefault(one.undo, one.number)
    return undone


def _check_untouched(applied: Sequence[Applied], found: Applied, undone: dict[int, int], asked: str) -> None:
    """Refuse if a later edit has set one of the keys, unless that edit is undone as well."""
    place = next(place for place, one in enumerate(applied) if one.number == found.number)
    later = applied[place + 1 :]
    numbers = {one.number for one in later}
    for one in reversed(later):
        touched = sorted(key for key in one.values if _overlaps(key, found.values))
        if touched and one.number not in undone and (one.undo is None or one.undo not in numbers):
            value = _short(one.values[touched[0]])
            raise EditError(
                f"{asked}: {touched[0]} was changed again, to {value} by edit {one.number} at step {one.step}; "
                "undo that first, or ask again with force"
            )


def _overlaps(key: str, others: Iterable[str]) -> bool:
    return any(is_within(key, [other]) or is_within(other, [key]) for other in others)


def _short(value: Any) -> str:
    return shortened(yaml.inline(value), 60)
