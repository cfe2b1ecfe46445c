"""`trainctl log`: what was changed in a run, and what was refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from trainctl.cli import terminal
from trainctl.cli.grid import Column, print_grid
from trainctl.cli.place import JsonOption, RunArgument, find_run
from trainctl.config import changelog, yaml
from trainctl.config.keys import leaves
from trainctl.errors import ChangelogError
from trainctl.run import amount
from trainctl.run.events import Event, read_events
from trainctl.run.rundir import RunDir
from trainctl.run.status import format_time

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that was answered: what it changed (key, old, new), or why it was refused."""

    step: int | None
    t: float | None
    who: str | None
    via: str | None
    note: str | None
    changes: list[tuple[str, Any, Any]]
    rejected: str | None = None


def log(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show who changed what, at which step, from which value to which, and which requests were rejected."""
    found = find_run(run)
    entries = read_entries(found)
    if as_json:
        terminal.print_json([_as_record(entry) for entry in entries])
    elif not entries:
        terminal.print_line("no edits")
    else:
        print_grid(_columns(entries))


def read_entries(run: RunDir) -> list[Entry]:
    """Read what happened, in order. The changelog says what was changed; the events say by whom, and what was refused.

    Raises:
        ChangelogError: the run's changelog is not one.
    """
    events = _merged(read_events(run))
    entries = list(_changes(_read_changelog(run), [event for event in events if event.state == "applied"]))
    for event in events:
        if event.state == "rejected":
            asked = [(key, None, value) for key, value in (event.edits or {}).items()]
            reason = event.reason or "no reason was recorded"
            entries.append(Entry(event.step, event.t, event.who, event.via, event.note, asked, reason))
    return _in_order(entries)


def _changes(record: changelog.Changelog, applied: list[Event]) -> Iterator[Entry]:
    """Yield the edits of each step, one entry per request of that step, with the values they replaced."""
    current = leaves(record.base)
    by_step: dict[int | None, list[Event]] = {}
    for event in applied:
        by_step.setdefault(event.step, []).append(event)
    for edit in record.edits:
        left = dict(edit.values)
        for event in by_step.get(edit.step, []):
            values = {key: value for key, value in (event.edits or {}).items() if key in edit.values}
            if values:
                yield Entry(edit.step, event.t, event.who, event.via, event.note, _replace(current, values))
                left = {key: value for key, value in left.items() if key not in values}
        if left:
            yield Entry(edit.step, edit.at, edit.who, edit.via, edit.note, _replace(current, left))
        current.update(edit.values)


def _replace(current: dict[str, Any], values: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    changes = [(key, current.get(key, _MISSING), value) for key, value in values.items()]
    current.update(values)
    return changes


def _read_changelog(run: RunDir) -> changelog.Changelog:
    try:
        return changelog.loads(run.changelog.read_text(encoding="utf-8"), str(run.changelog))
    except FileNotFoundError:
        return changelog.Changelog({})
    except UnicodeDecodeError as error:
        raise ChangelogError(f"{run.changelog} is not a changelog: it is not UTF-8 text") from error


def _merged(events: Iterable[Event]) -> list[Event]:
    """Return each answered request once, in order of the answers, with all that its lines say; the first counts."""
    known: dict[str, dict[str, Any]] = {}
    final: dict[str, Event] = {}
    for event in events:
        said = {key: value for key, value in dataclasses.asdict(event).items() if value is not None}
        known[event.id] = {**known.get(event.id, {}), **said}
        if event.is_final and event.id not in final:
            final[event.id] = Event(**known[event.id])
    return list(final.values())


def _in_order(entries: list[Entry]) -> list[Entry]:
    """Sort by step; what has no step comes by its time, after the last step that was reached before it."""
    timed = sorted((entry.t, entry.step) for entry in entries if entry.t is not None and entry.step is not None)

    def place(entry: Entry) -> tuple[int, float]:
        step = entry.step
        if step is None:
            step = max((reached for t, reached in timed if entry.t is not None and t <= entry.t), default=0)
        return step, entry.t or 0.0

    return sorted(entries, key=place)


def _columns(entries: list[Entry]) -> list[Column]:
    today = time.strftime("%Y-%m-%d")
    days = {amount.moment(entry.t)[:10] for entry in entries if entry.t is not None}
    rows = [
        ["" if entry.step is None else str(entry.step), amount.moment(entry.t, day=bool(days - {today})),
         entry.who or "", entry.via or "", ""] if number == 0 else ["", "", "", "", ""]
        for entry in entries
        for number in range(len(_lines(entry)))
    ]  # fmt: skip
    lines = [line for entry in entries for line in _lines(entry)]
    step, moment, who, via, _ = zip(*rows, strict=True)
    return [
        Column("step", step, is_right=True, rank=1),
        Column("time", moment, rank=2),
        Column("who", [terminal.clean(text) for text in who], rank=3),
        Column("via", [terminal.clean(text) for text in via], rank=4),
        Column("change", [text for text, _ in lines], least=36, styles=[style for _, style in lines]),
    ]


def _lines(entry: Entry) -> list[tuple[str, str]]:
    """Return what an entry says, line by line, with the style of each."""
    if entry.rejected is not None:
        # a value that was asked for is shown as it was written, a recorded one as YAML has it
        asked = ", ".join(f"{key}={new if isinstance(new, str) else _shown(new)}" for key, _, new in entry.changes)
        lines = [(terminal.clean(f"{asked or 'request'} rejected: {entry.rejected}"), "red")]
    else:
        lines = [(terminal.clean(f"{key}: {_shown(old)} -> {_shown(new)}"), "") for key, old, new in entry.changes]
    return [*lines, (terminal.clean(f"# {entry.note}"), "dim")] if entry.note else lines


def _shown(value: Any) -> str:
    return "(not there)" if value is _MISSING else yaml.inline(value)


def _as_record(entry: Entry) -> dict[str, Any]:
    record = dataclasses.asdict(dataclasses.replace(entry, changes=[]))
    record["changes"] = [
        {"key": key, "old": None if old is _MISSING else old, "new": new} for key, old, new in entry.changes
    ]
    record["state"] = "applied" if entry.rejected is None else "rejected"
    record["t"] = None if entry.t is None else format_time(entry.t)
    return record
