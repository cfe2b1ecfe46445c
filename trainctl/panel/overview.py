"""The table of runs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pandas as pd
import panel
import panel_material_ui as pmui

from trainctl.panel import facts
from trainctl.panel.runview import Row
from trainctl.panel.session import tick_while_open
from trainctl.panel.theme import STYLE, frame
from trainctl.panel.watcher import Watcher
from trainctl.panel.words import count, duration, html, number, rate, result

TICK_MS = 500
MAX_METRICS = 6

_TABLE_STYLE = (
    STYLE
    + """
.tabulator, .tabulator .tabulator-row, .tabulator .tabulator-header { font-size: 13px !important; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 4px 8px; }
.tabulator .tabulator-row .tabulator-cell { padding: 4px 8px; }
"""
)

# columns whose cells are HTML of ours, everything in it escaped; all others are shown as plain text
_HTML_COLUMNS = ("state", "run")


def overview_page(watcher: Watcher) -> pmui.Page:
    """Make the page with all runs below the root."""
    return Overview(watcher).page


class Overview:
    """One browser's view of the table."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        rows = watcher.rows()
        self._counts = panel.pane.HTML(counts(rows), stylesheets=[STYLE], sizing_mode="stretch_width", margin=(6, 12))
        data = frame_of(rows)
        self._table = panel.widgets.Tabulator(
            data,
            disabled=True,
            selectable=False,
            show_index=False,
            layout="fit_data_stretch",
            theme="simple",
            formatters={name: {"type": "html"} for name in _HTML_COLUMNS},
            text_align={"step": "right", "steps/s": "right", "edits": "right"},
            widths={"state": 95, "step": 130, "left": 110, "took": 110, "last sign": 110},
            sizing_mode="stretch_width",
            stylesheets=[_TABLE_STYLE],
            margin=(0, 12),
        )
        self.page = frame(f"trainctl · {watcher.root.name}", [self._counts, self._table])
        stack = ExitStack()
        stack.enter_context(watcher.watching_rows())
        tick_while_open(self._tick, TICK_MS, stack)

    def _tick(self) -> None:
        rows = self._watcher.rows()
        text = counts(rows)
        if text != self._counts.object:
            self._counts.object = text
        new, old = frame_of(rows), self._table.value
        if len(new) != len(old) or list(new.columns) != list(old.columns):
            self._table.value = new
            return
        if changed := difference(old, new):
            self._table.patch(changed)


def difference(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, list[tuple[int, Any]]]:
    """Return the cells that differ between two tables of one shape, as `Tabulator.patch` wants them."""
    changed = {
        name: [(row, cell) for row, (was, cell) in enumerate(zip(old[name], new[name], strict=True)) if was != cell]
        for name in new.columns
    }
    return {name: cells for name, cells in changed.items() if cells}


def frame_of(rows: dict[str, Row]) -> pd.DataFrame:
    """Return the cells of the table: text, so that a cell is either what a person reads or empty."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row.summary.metrics))[:MAX_METRICS]
    cells: dict[str, list[Any]] = {
        "state": [f'<span class="chip {row.summary.state}">{row.summary.state}</span>' for row in rows.values()],
        "run": [f'<a href="run/{html(quote(name, safe=""))}">{html(name)}</a>' for name in rows],
        "slot": [row.summary.slot or "" for row in rows.values()],
        "step": [_step(row) for row in rows.values()],
        "steps/s": [rate(row.summary.rate) if row.summary.state == "running" else "" for row in rows.values()],
        "left": [duration(row.summary.eta_s) for row in rows.values()],
        **{name: [number(row.summary.metrics.get(name)) for row in rows.values()] for name in names},
        "result": [result(row.summary.result) for row in rows.values()],
        "edits": [str(row.summary.edits) if row.summary.edits else "" for row in rows.values()],
        "took": [duration(row.summary.duration_s) for row in rows.values()],
        "last sign": [facts.age(row) for row in rows.values()],
        "reason": [(row.summary.reason or "")[:120] for row in rows.values()],
    }
    empty = [name for name, column in cells.items() if name not in ("state", "run", "step") and not any(column)]
    return pd.DataFrame({name: column for name, column in cells.items() if name not in empty})


def counts(rows: dict[str, Row]) -> str:
    """Say how many runs are in which state."""
    if not rows:
        return "No runs here yet; this page shows them as they start."
    states = [row.summary.state for row in rows.values()]
    parts = [
        f'<span><span class="chip {state}">{state}</span> <b>{states.count(state)}</b></span>'
        for state in ("running", "queued", "done", "failed", "interrupted")
        if state in states
    ]
    return f'<div class="facts"><span><b>{len(rows)}</b> runs</span>{"".join(parts)}</div>'


def _step(row: Row) -> str:
    run = row.summary
    return count(run.step) + (f" / {count(run.total)}" if run.total and run.step is not None else "")
