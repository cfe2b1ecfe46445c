"""The edits of a run one by one, with what each replaced: the changelog says what, the events say by whom."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainctl.config.changelog import Changelog, Edit, loads
from trainctl.config.keys import leaves
from trainctl.errors import ChangelogError, UnreadableError
from trainctl.run import files
from trainctl.run.events import Event
from trainctl.run.rundir import RunDir

_NAMES = tuple(field.name for field in dataclasses.fields(Event))


@dataclass(frozen=True, slots=True)
class Applied:
    """One edit that took effect.

    Attributes:
        number: its place in the order in which the edits were applied, from 1; by it an edit is undone.
        before: the values that it replaced; a key that was not there is not in it.
        undo: the number of the edit that it took back.
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


def read_changelog(run: RunDir) -> Changelog | None:
    """Read the changelog of a run, of which anybody may have written the file; None when there is none.

    Raises:
        ChangelogError: it cannot be read, or is not one.
    """
    try:
        return loads(files.read_bytes(run.changelog, files.MOST_CHANGELOG), str(run.changelog))
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        raise ChangelogError(str(error)) from error


def applied_edits(changelog: Changelog, events: Iterable[Event]) -> list[Applied]:
    """List the edits of a run in order of their steps, those of one step in the order in which they were asked for.

    What the changelog has and no event tells of (the events are lost, or were not copied) is one edit per step, and is
    numbered before all others, whose numbers so never change.
    """
    requests = [one for one in merged(events) if one.state in ("applying", "applied") and one.edits]
    order = {one.id: number for number, one in enumerate(requests)}
    by_step: dict[int | None, list[Event]] = {}
    for one in requests:
        by_step.setdefault(one.step, []).append(one)
    found: list[tuple[int, Applied]] = []
    current = leaves(changelog.base)
    for edit in changelog.edits:
        event: Event | None
        for event, values in _parts(edit, by_step.get(edit.step, [])):
            before = {key: current[key] for key in values if key in current}
            source = _source(edit) if event is None else _source(event)
            undo = None if event is None or event.undo is None else int(event.undo)
            found.append(
                (-1 if event is None else order[event.id], Applied(0, edit.step, values, before, *source, undo))
            )
            current.update(values)
    numbers = {place: number for number, place in enumerate(sorted(range(len(found)), key=lambda at: found[at][0]), 1)}
    return [dataclasses.replace(edit, number=numbers[place]) for place, (_, edit) in enumerate(found)]


def merged(events: Iterable[Event]) -> list[Event]:
    """Return each request once, with all that its lines say; of two final ones the first counts.

    They come in the order in which they were taken up (an answer may be written late), those that wait last.
    """
    known: dict[str, dict[str, Any]] = {}
    taken: dict[str, None] = {}
    ended: set[str] = set()
    for event in events:
        if event.id in ended:
            continue
        said = {name: getattr(event, name) for name in _NAMES}
        known[event.id] = {
            **known.get(event.id, {}),
            **{name: value for name, value in said.items() if value is not None},
        }
        if event.state != "pending":
            taken[event.id] = None
        if event.is_final:
            ended.add(event.id)
    return [Event(**known[request]) for request in {**taken, **known}]


def was_recorded(event: Event, recorded: Mapping[str, Any]) -> bool:
    """Say whether the values of an edit that was being applied are those that the changelog has at its step."""
    edits = event.edits or {}
    return bool(edits) and all(key in recorded and _as_json(recorded[key]) == _as_json(edits[key]) for key in edits)


def _parts(edit: Edit, events: Iterable[Event]) -> Iterator[tuple[Event | None, dict[str, Any]]]:
    """Yield what was changed at one step, request by request, then what no request asked for."""
    left = dict(edit.values)
    for event in events:
        if event.state == "applying" and not was_recorded(event, edit.values):
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


def _source(said: Event | Edit) -> tuple[str | None, str | None, str | None, float | None]:
    return said.who, said.via, said.note, said.t if isinstance(said, Event) else said.at


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
