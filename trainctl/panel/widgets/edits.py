"""The changelog of a run as a table: what changed when and by whom, what is ahead, and what was refused and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import panel
import panel_material_ui as pmui
import param

from trainctl.panel.data.run_view import RunView
from trainctl.panel.pages.theme import BASE, STYLE
from trainctl.panel.widgets.pending import set_params
from trainctl.rundir.edits import applied_edits, merged
from trainctl.rundir.events import Event, outcome
from trainctl.rundir.waiting import waiting
from trainctl.text import count, one_line

MAX_ROWS = 300
UNREAD = ", not read"
UNDONE = "asked"
HEADS = ("step", "key", "old", "new", "undo", "status", "who", "note", "time")


@dataclass(frozen=True, slots=True)
class EditRow:
    """One row: one key of one edit or request.

    Attributes:
        number: that of an edit, by which it is undone.
        waiting: the number and the id of a request that waits, by which it is cancelled.
    """

    step: int | None
    key: str
    old: str
    new: str
    status: str
    who: str = ""
    note: str = ""
    at: float | None = None
    number: int | None = None
    waiting: tuple[int, str] | None = None

    @property
    def token(self) -> str | None:
        """What a button sends to name the edit or request; None where the row has no button."""
        if self.waiting is not None:
            return f"request {self.waiting[1]}"
        return None if self.number is None else f"edit {self.number}"


def lines_of(view: RunView) -> list[EditRow]:
    """Return all rows, latest first: edits to come, waiting or refused requests, applied edits."""
    return [*reversed(ahead(view)), *reversed(open_requests(view)), *reversed(applied(view))][:MAX_ROWS]


def applied(view: RunView) -> list[EditRow]:
    """Return the edits of the changelog, the record of what was applied; the answered requests say who and why."""
    if view.changelog is None:
        return []
    lines = []
    for edit in applied_edits(view.changelog, view.events):
        status = ("applied" if edit.undo is None else f"undo of {edit.undo}") + (UNREAD if edit.is_unread else "")
        for place, (key, value) in enumerate(edit.values.items()):
            old = one_line(edit.before[key]) if key in edit.before else ""
            number = edit.number if place == 0 else None
            who = " ".join(word for word in (edit.via, edit.who) if word)
            note = ": ".join(word for word in (edit.note, edit.reading if edit.is_unread else None) if word)
            lines.append(EditRow(edit.step, key, old, one_line(value), status, who, note, edit.t, number))
    return lines


def open_requests(view: RunView) -> list[EditRow]:
    """Return the keys of refused and waiting requests; of actions, those that are done as well."""
    lines = []
    recorded = view.changelog.requests if view.changelog is not None else {}
    held = {one.event.id: one for one in waiting(view.events, is_alive=view.row.summary.is_alive)}
    for event in merged(view.events):
        if event.id in recorded or (event.state == "applied" and event.action is None) or event.cancel is not None:
            continue
        status = {"applied": "done", "rejected": "rejected"}.get(event.state, "waiting")
        if event.is_cancelled:
            status = "cancelled"
        one = held.get(event.id)
        if one is not None:
            status = f"waiting {one.until(view.keys)}"
        if (outcome(event) or "").startswith("not"):
            status = UNDONE
        note = ": ".join(word for word in (event.note, event.reason) if word)
        step = event.step if event.step is not None else event.at
        number = None if one is None else (one.number, event.id)
        for place, (key, new) in enumerate(_asked(event)):
            of = number if place == 0 else None
            lines.append(EditRow(step, key, "", new, status, _who(event), note, event.t, waiting=of))
    return sorted(lines, key=lambda line: line.at or 0.0)


def ahead(view: RunView) -> list[EditRow]:
    """Return what a replay will still change, by step."""
    now = view.row.summary.step or 0
    return [
        EditRow(one.step, key, "", one_line(value), "ahead", "replay", f"of {one.source}")
        for one in view.ahead
        if one.step > now
        for key, value in one.values.items()
    ]


def table(lines: Sequence[EditRow], *, may_undo: bool = False, may_ask: bool = False) -> list[dict[str, Any]]:
    """Return the rows as text; `take` is the button that takes an edit back or cancels a request.

    A row is unread while nobody has read the new value, or the loop has not done what it was asked for.
    """
    return [
        {
            "cells": _cells(line),
            "take": _take(line, may_undo=may_undo, may_ask=may_ask),
            "is_unread": line.status.endswith((UNREAD, UNDONE)),
        }
        for line in lines
    ]


def _cells(line: EditRow) -> list[str]:
    clock = time.strftime("%H:%M:%S", time.localtime(line.at)) if line.at is not None else ""
    step = "" if line.step is None else count(line.step)
    return [step, line.key, line.old, line.new, "", line.status, line.who, line.note, clock]


def _take(line: EditRow, *, may_undo: bool, may_ask: bool) -> dict[str, str] | None:
    if line.token is None or not (may_ask if line.waiting is not None else may_undo):
        return None
    if line.waiting is not None:
        return {"token": line.token, "label": f"cancel request {line.waiting[0]}", "sign": "✕"}
    return {"token": line.token, "label": f"undo edit {line.number}", "sign": "↶"}


def _asked(event: Event) -> list[tuple[str, str]]:
    if event.action is not None:
        said = " ".join(f"{name}={one_line(value)}" for name, value in (event.arguments or {}).items())
        return [(event.action, said)]
    edits = event.edits or {"(request)" if event.undo is None else "(undo)": None}
    return [
        (str(key), ("" if value is None else value if isinstance(value, str) else one_line(value))[:200])
        for key, value in edits.items()
    ]


def _who(event: Event) -> str:
    return " ".join(word for word in (event.via, event.who) if word)


class EditTable(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """Draws the rows, and sends the token of the one whose button is pressed; see `edits.js`."""

    heads = param.List(list(HEADS))
    rows = param.List([])

    _esm = Path(__file__).with_name("edits.js").read_text()


class ChangeTable:
    """Shows the edits of one run, the latest first.

    Args:
        take_back: is called with the row whose edit is to be undone, or whose request is to be cancelled.
    """

    def __init__(self, take_back: Callable[[EditRow], None]) -> None:
        self._take_back = take_back
        self._offered: dict[str, EditRow] = {}  # of all times: a browser may lag behind
        self._table = EditTable(stylesheets=[BASE], sizing_mode="stretch_width", margin=0)
        self._table.on_msg(lambda event: self._pressed(event.data))
        title = panel.pane.HTML('<h2 class="head">Changelog</h2>', stylesheets=[STYLE], margin=(8, 0, 0, 0))
        self.view = pmui.Column(title, self._table, sizing_mode="stretch_width", margin=(4, 12))

    def follow(self, view: RunView, *, may_undo: bool, may_ask: bool) -> None:
        """Show what the run says now; `may_undo` is about edits, `may_ask` about requests that wait."""
        lines = lines_of(view)
        self._offered |= {line.token: line for line in lines if line.token is not None}
        set_params(self._table, rows=table(lines, may_undo=may_undo, may_ask=may_ask))

    def _pressed(self, said: Any) -> None:
        token = said.get("token") if isinstance(said, dict) else None
        if isinstance(token, str) and token in self._offered:
            self._take_back(self._offered[token])
