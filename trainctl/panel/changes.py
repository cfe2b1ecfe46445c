"""The table of edits of one run: what changed at which step, by whom, and what was refused and why."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from trainctl.panel.runview import RunView, value_at
from trainctl.panel.words import html, value_text
from trainctl.run.events import Event, latest

MAX_ROWS = 300

_HEADS = ("step", "key", "old", "new", "status", "who", "note", "time")


@dataclass(frozen=True, slots=True)
class Line:
    """One row: one key of one edit or request."""

    step: int | None
    key: str
    old: str
    new: str
    status: str
    who: str = ""
    note: str = ""
    at: float | None = None


def table(view: RunView) -> str:
    """Write the table as HTML, the latest first."""
    lines = [*reversed(open_requests(view)), *reversed(applied(view))]
    if not lines:
        return '<h3>Changelog</h3><span class="dim">No edits.</span>'
    heads = "".join(f'<th class="{"num" if head == "step" else ""}">{head}</th>' for head in _HEADS)
    rows = "".join(_row(line) for line in lines[:MAX_ROWS])
    more = (
        f'<p class="dim">{len(lines) - MAX_ROWS} earlier ones are in changelog.yaml.</p>'
        if len(lines) > MAX_ROWS
        else ""
    )
    return f'<h3>Changelog</h3><div class="scroll"><table><tr>{heads}</tr>{rows}</table></div>{more}'


def applied(view: RunView) -> list[Line]:
    """Return what the changelog says, the truth of what was applied; who and why come from the answered requests."""
    if view.changelog is None:
        return []
    told = {
        (event.step, key): event
        for event in latest(view.events).values()
        if event.state == "applied"
        for key in event.edits or {}
    }
    now: dict[str, Any] = {}
    lines = []
    for edit in view.changelog.edits:
        for key, value in edit.values.items():
            old = now[key] if key in now else value_at(view.changelog.base, key)
            now[key] = value
            event = told.get((edit.step, key))
            texts = (value_text(old), value_text(value), "applied")
            if event is None:
                lines.append(Line(edit.step, key, *texts, note=edit.note or ""))
            else:
                lines.append(Line(edit.step, key, *texts, _who(event), event.note or "", event.t))
    return lines


def open_requests(view: RunView) -> list[Line]:
    """Return the keys of the requests that were refused, or that wait for the run."""
    lines = []
    for event in latest(view.events).values():
        if event.state == "applied":
            continue
        status = "rejected" if event.state == "rejected" else "waiting"
        note = ": ".join(word for word in (event.note, event.reason) if word)
        edits = event.edits or {"(request)": None}
        for key, value in edits.items():
            new = "" if value is None else value if isinstance(value, str) else value_text(value)
            lines.append(Line(event.step, str(key), "", new[:200], status, _who(event), note, event.t))
    return sorted(lines, key=lambda line: line.at or 0.0)


def _who(event: Event) -> str:
    return " ".join(word for word in (event.via, event.who) if word)


def _row(line: Line) -> str:
    kind = {"applied": "ok", "rejected": "bad"}.get(line.status, "dim")
    clock = time.strftime("%H:%M:%S", time.localtime(line.at)) if line.at is not None else ""
    step = "" if line.step is None else f"{line.step:,}"
    cells = [
        f'<td class="num">{step}</td><td class="mono">{html(line.key)}</td>',
        f'<td class="mono value">{html(line.old)}</td><td class="mono value">{html(line.new)}</td>',
        f'<td class="{kind}">{html(line.status)}</td><td>{html(line.who)}</td>',
        f'<td class="text">{html(line.note)}</td><td>{clock}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"
