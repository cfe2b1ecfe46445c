"""The table of edits of one run: what changed at which step, by whom, what is ahead, and what was refused and why.

The changelog on a run's page: a table that is patched where it changes, with a button to take an edit back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import panel
import panel_material_ui as pmui

from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.rundir.edits import applied_edits, merged
from trainctl.rundir.events import Event, outcome
from trainctl.rundir.waiting import waiting
from trainctl.text import one_line

TABLE_STYLE = (
    STYLE
    + """
.tabulator, .tabulator .tabulator-row, .tabulator .tabulator-header, .tabulator .tabulator-footer {
  font-size: var(--small) !important; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 4px 8px; }
.tabulator .tabulator-row .tabulator-cell { padding: 4px 8px; }
.tabulator button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: 3px;
  cursor: pointer; padding: 0 8px; }
.tabulator .tabulator-tableholder .tabulator-placeholder .tabulator-placeholder-contents {
  color: inherit !important; font-size: var(--small); font-weight: normal; }
.tabulator .tabulator-row.tabulator-selected, .tabulator .tabulator-row.tabulator-selected:hover {
  background: var(--lit) !important; color: inherit !important; }
.tabulator .unread { background: #f5d76e; color: #222; border-radius: 3px; padding: 0 4px; }
"""
)


def show_frame(table: Any, new: pd.DataFrame) -> None:
    """Show other cells in a table: only those that differ are sent, all of them when its shape is another one."""
    old = table.value
    if len(new) != len(old) or list(new.columns) != list(old.columns):
        table.value = new
    elif changed := difference(old, new):
        table.patch(changed)


def difference(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, list[tuple[int, Any]]]:
    """Return the cells that differ between two tables of one shape, as `Tabulator.patch` wants them."""
    changed = {
        name: [
            (row, cell)
            for row, (was, cell) in enumerate(zip(old[name], new[name], strict=True))
            if was is not cell and was != cell and not (is_nan(was) and is_nan(cell))
        ]
        for name in new.columns
    }
    return {name: cells for name, cells in changed.items() if cells}


def is_nan(cell: Any) -> bool:
    """Whether a cell is the number that equals nothing, which stands for none."""
    return isinstance(cell, float) and math.isnan(cell)


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


def lines_of(view: RunView) -> list[EditRow]:
    """Return all rows: what is to come, what waits or was refused, what was applied; the latest first."""
    return [*reversed(ahead(view)), *reversed(open_requests(view)), *reversed(applied(view))][:MAX_ROWS]


def applied(view: RunView) -> list[EditRow]:
    """Return what the changelog says, the truth of what was applied; who and why come from the answered requests."""
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
    """Return the keys of the requests that were refused, or that wait for the run; actions too, done ones as well."""
    lines = []
    recorded = view.changelog.requests if view.changelog is not None else {}
    held = {one.event.id: one for one in waiting(view.events)} if view.row.summary.is_alive else {}
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


def table(lines: Sequence[EditRow], *, may_undo: bool = False, may_ask: bool = False) -> pd.DataFrame:
    """Return the cells as text; under `undo` is the button that takes an edit back, or cancels a request."""
    cells = [_cells(line, may_undo=may_undo, may_ask=may_ask) for line in lines]
    return pd.DataFrame(cells, columns=list(HEADS), dtype=object)


def _cells(line: EditRow, *, may_undo: bool, may_ask: bool) -> tuple[object, ...]:
    clock = time.strftime("%H:%M:%S", time.localtime(line.at)) if line.at is not None else ""
    undo = ""
    if may_ask and line.waiting is not None:
        undo = _button("cancel request", line.waiting[0], "✕")
    elif may_undo and line.number is not None:
        undo = _button("undo edit", line.number, "↶")
    return line.step, line.key, line.old, line.new, undo, line.status, line.who, line.note, clock


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


PAGE_ROWS = 12


class ChangeTable:
    """Shows the edits of one run, the latest first.

    Args:
        view: the run.
        take_back: is called with the row whose edit is to be undone, or whose request is to be cancelled.
    """

    def __init__(self, view: RunView, take_back: Callable[[EditRow], None]) -> None:
        self._take_back = take_back
        self._lines: list[EditRow] = []
        self._table = panel.widgets.Tabulator(
            table([]),
            disabled=True,
            selectable=False,
            show_index=False,
            layout="fit_data_stretch",
            theme="simple",
            pagination="local",
            page_size=PAGE_ROWS,
            # hiding the table while it is empty instead disturbs the browser while it is made
            configuration={"placeholder": "No edits."},
            formatters={"undo": {"type": "html"}, "status": {"type": "html"}},
            text_align={"step": "right"},
            sizing_mode="stretch_width",
            stylesheets=[TABLE_STYLE],
            margin=0,
        )
        self._table.on_click(self._clicked, column="undo")
        title = panel.pane.HTML('<h2 class="head">Changelog</h2>', stylesheets=[STYLE], margin=(8, 0, 0, 0))
        self.view = pmui.Column(title, self._table, sizing_mode="stretch_width", margin=(4, 12))
        self.follow(view, may_undo=False)

    def follow(self, view: RunView, *, may_undo: bool, may_ask: bool = False) -> None:
        """Show what the run says now; `may_undo` is about edits, `may_ask` about what waits."""
        self._lines = lines_of(view)
        new = table(self._lines, may_undo=may_undo, may_ask=may_ask)
        new["status"] = [_marked(status) for status in new["status"]]
        show_frame(self._table, new)

    def _clicked(self, event: Any) -> None:
        if 0 <= event.row < len(self._lines):
            line = self._lines[event.row]
            if line.number is not None or line.waiting is not None:
                self._take_back(line)


def _marked(status: str) -> str:
    """Return a status as HTML, yellow where nobody has read the new value, or the loop has not done it."""
    shown = html(status)
    return f'<span class="unread">{shown}</span>' if status.endswith((UNREAD, UNDONE)) else shown


def _button(what: str, number: int, sign: str) -> str:
    return f'<button type="button" title="{what} {number}" aria-label="{what} {number}">{sign}</button>'
