"""`trainctl log`: the edits of a run, and its rejected requests."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainctl import text as amount
from trainctl.cli import terminal
from trainctl.cli.place import JsonOption, RunArgument, find_run
from trainctl.cli.terminal import Column, print_grid
from trainctl.cli.undo import what_waits
from trainctl.config import changelog, yaml
from trainctl.config._omegaconf import MISSING
from trainctl.config.masking import Masking
from trainctl.rundir.edits import Applied, applied_edits, merged, read_changelog, reading
from trainctl.rundir.events import outcome, read_events
from trainctl.rundir.masked import masking_of, texts
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, format_time, state_of
from trainctl.session.actions import said

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that was answered: what it changed (key, old, new), what was done, or why it was refused.

    `number` is that of an edit, for `trainctl undo`; `undo` the number of the edit that was to be taken back. `read`
    and `watched` say who has read the new values, as `Event` has them, `outcome` what has come of an action. One that
    waits has the number of its `request`, for `trainctl cancel`.
    """

    step: int | None
    t: float | None
    who: str | None
    via: str | None
    note: str | None
    changes: list[tuple[str, Any, Any]]
    rejected: str | None = None
    number: int | None = None
    undo: int | bool | None = None
    action: str | None = None
    read: Mapping[str, int | None] | None = None
    watched: int | None = None
    outcome: str | None = None
    is_cancelled: bool = False
    request: int | None = None
    waits: str | None = None


def log(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show who changed what, at which step, from which value to which, and which requests were rejected."""
    found = find_run(run)
    problems: list[str] = []
    entries = read_entries(found, problems)
    for problem in problems:
        terminal.note(problem, style="yellow")
    if as_json:
        terminal.print_json([_as_record(entry) for entry in entries])
    elif not entries:
        terminal.print_line("no edits")
    else:
        print_grid(_columns(entries))
        if any(entry.waits for entry in entries):
            is_alive = state_of(found) in ALIVE
            hint = "`trainctl cancel RUN NUMBER` takes a request back that waits"
            terminal.note(hint if is_alive else "what waits is for the next attempt of this run", style="dim")


def read_entries(run: RunDir, problems: list[str] | None = None) -> list[Entry]:
    """Read the history of a run in order, secrets masked.

    The changelog says what was changed; the events say by whom, and what was refused.
    What of the events cannot be read is added to `problems`.

    Raises:
        ChangelogError: the run's changelog is not one.
    """
    events, log = read_events(run, problems), read_changelog(run)
    masking = masking_of(run, log)
    entries = [
        Entry(
            *(edit.step, edit.t, edit.who, edit.via, edit.note, _changes(edit)),
            number=edit.number,
            undo=edit.undo,
            read=edit.read,
            watched=edit.watched,
        )
        for edit in applied_edits(log or changelog.Changelog({}), events)
    ]
    for event in merged(events):
        action = said(event.action, event.arguments or {}) if event.action is not None else None
        if event.state == "rejected" or (event.state == "applied" and action is not None):
            asked = [(key, None, value) for key, value in (event.edits or {}).items()]
            reason = (event.reason or "no reason was recorded") if event.state == "rejected" else None
            source = (event.step, event.t, event.who, event.via, event.note)
            entry = Entry(*source, asked, reason, undo=event.undo, action=action, outcome=outcome(event))
            entries.append(dataclasses.replace(entry, is_cancelled=event.is_cancelled))
    waiting = [
        Entry(None, each.t, each.who, each.via, None, [], request=each.number, waits=f"{each.asked} waits {each.until}")
        for each in what_waits(run, events, masking)
    ]
    return [_masked(entry, masking) for entry in _in_order(entries)] + waiting


def _masked(entry: Entry, masking: Masking) -> Entry:
    said = {name: texts(masking, getattr(entry, name)) for name in ("note", "rejected", "action")}

    def value(key: str, value: Any) -> Any:
        return value if value is _MISSING else masking.value(key, value)

    changes = [(key, value(key, old), value(key, new)) for key, old, new in entry.changes]
    return dataclasses.replace(entry, changes=changes, **said)


def _changes(edit: Applied) -> list[tuple[str, Any, Any]]:
    return [(key, edit.before.get(key, _MISSING), value) for key, value in edit.values.items()]


def _in_order(entries: list[Entry]) -> list[Entry]:
    """Sort by step; entries without a step come by their time, after the last step reached before."""
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
        _cells(entry, day=bool(days - {today})) if number == 0 else [""] * 5
        for entry in entries
        for number in range(len(_lines(entry)))
    ]
    lines = [line for entry in entries for line in _lines(entry)]
    edit, step, moment, who, via = zip(*rows, strict=True)
    return [
        Column("edit", edit, is_right=True, rank=1),
        Column("step", step, is_right=True, rank=1),
        Column("time", moment, rank=2),
        Column("who", who, rank=3),
        Column("via", via, rank=4),
        Column("change", [text for text, _ in lines], least=36, styles=[style for _, style in lines]),
    ]


def _cells(entry: Entry, *, day: bool) -> list[str]:
    number, step = ("" if one is None else str(one) for one in (entry.number, entry.step))
    return [number, step, amount.moment(entry.t, day=day), entry.who or "", entry.via or ""]


def _lines(entry: Entry) -> list[tuple[str, str]]:
    """Return the lines of an entry, with the style of each."""
    if entry.waits is not None:
        return [(f"{entry.waits} (request {entry.request})", "yellow")]
    if entry.rejected is not None:
        # a value that was asked for is shown as it was written, a recorded one as YAML has it
        asked = ", ".join(f"{key}={new if isinstance(new, str) else _shown(new)}" for key, _, new in entry.changes)
        undo = "undo of the last edit" if entry.undo is True else f"undo of edit {entry.undo}" if entry.undo else ""
        how = entry.rejected if entry.is_cancelled else f"rejected: {entry.rejected}"
        lines = [(f"{entry.action or undo or asked or 'request'} {how}", "dim" if entry.is_cancelled else "red")]
    elif entry.action is not None:
        lines = [(entry.action, "")]
    else:
        lines = [(f"{key}: {_shown(old)} -> {_shown(new)}", "") for key, old, new in entry.changes]
    if entry.undo is not None and entry.rejected is None:
        lines.append((f"# undo of edit {entry.undo}", "dim"))
    read = reading(entry.read, entry.watched)
    if read is not None and set((entry.read or {}).values()) != {entry.step}:
        lines.append((f"# {read}", "yellow" if None in (entry.read or {}).values() else "dim"))
    if entry.outcome is not None:
        lines.append((f"# {entry.outcome}", "yellow" if entry.outcome.startswith("not") else "dim"))
    return [*lines, (f"# {entry.note}", "dim")] if entry.note else lines


def _shown(value: Any) -> str:
    return "(not there)" if value is _MISSING or value == MISSING else yaml.inline(value)


def _as_record(entry: Entry) -> dict[str, Any]:
    record = dataclasses.asdict(dataclasses.replace(entry, changes=[]))
    record["changes"] = [
        {"key": key, "old": None if old is _MISSING else old, "new": new} for key, old, new in entry.changes
    ]
    is_cancelled = record.pop("is_cancelled")
    ended = "applied" if entry.rejected is None else "cancelled" if is_cancelled else "rejected"
    record["state"] = "waiting" if entry.waits is not None else ended
    record["t"] = None if entry.t is None else format_time(entry.t)
    return record
