"""The table of runs: one row each, swept keys and metrics as columns; brought up to date cell by cell.

How tables are shown, and how one is brought up to date without drawing it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import panel
from bokeh.models.widgets.tables import NumberFormatter, ScientificFormatter

from trainctl.examine import varying
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.html import chip, html, run_link
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets import summary
from trainctl.text import duration, result

TABLE_STYLE = (
    STYLE
    + """
.tabulator, .tabulator .tabulator-row, .tabulator .tabulator-header, .tabulator .tabulator-footer {
  font-size: 12.5px !important; }
.tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 4px 8px; }
.tabulator .tabulator-row .tabulator-cell { padding: 3px 8px; }
.tabulator button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: 3px;
  cursor: pointer; padding: 0 6px; }
.tabulator .tabulator-tableholder .tabulator-placeholder .tabulator-placeholder-contents {
  color: inherit !important; font-size: 12.5px; font-weight: normal; }
.tabulator .tabulator-row.tabulator-selected, .tabulator .tabulator-row.tabulator-selected:hover {
  background: color-mix(in srgb, #4c7fb8 24%, transparent) !important; color: inherit !important; }
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


MAX_METRICS = 8
MAX_SWEPT = 12
PAGE_ROWS = 25
NONE = math.nan

_COUNTS = ("step", "total", "edits")
# all text is HTML here, escaped where it is made: titles and the heads of groups are taken for HTML anyhow
_RIGHT = ("step", "total", "steps/s", "left", "edits", "took")


class RunTable:
    """Shows rows by name, those that are chosen marked; `on_choice` is called when a person chooses others."""

    def __init__(self, rows: Mapping[str, RunRow], on_choice: Callable[[], None]) -> None:
        self._cells: dict[str, tuple[object, dict[str, Any]]] = {}
        self._names: list[str] = []
        self._there = {"state", "run", "step"}  # columns stay once they are there: a filter takes rows away only
        self._setting = False
        self._on_choice = on_choice
        data = self._frame(rows, rows)
        self.view = panel.widgets.Tabulator(
            data,
            disabled=True,
            selectable="checkbox",
            show_index=False,
            layout="fit_data_stretch",
            theme="simple",
            pagination="local",
            page_size=PAGE_ROWS,
            formatters=formatters_of(data),
            titles={name: html(name) for name in data.columns},
            text_align=dict.fromkeys(_RIGHT, "right"),
            sizing_mode="stretch_width",
            stylesheets=[TABLE_STYLE],
            margin=(0, 8),
        )
        self.view.param.watch(self._chose, ["selection"])

    @property
    def columns(self) -> list[str]:
        """The names of the columns, but that of the run's own name."""
        return [name for name in self.view.value.columns if name != "run"]

    @property
    def chosen(self) -> list[str]:
        """The names of the runs that a person has chosen."""
        return [self._names[at] for at in self.view.selection if at < len(self._names)]

    def choose(self, names: list[str]) -> None:
        """Mark these runs as chosen."""
        self._setting = True
        self.view.selection = [at for at, name in enumerate(self._names) if name in set(names)]
        self._setting = False

    def follow(self, rows: Mapping[str, RunRow], among: Mapping[str, RunRow] | None = None) -> None:
        """Show what the runs' rows say now; who was chosen stays so. `among` are all runs, if these are only some."""
        chosen, names = self.chosen, self._names
        new = self._frame(rows, rows if among is None else among)
        if list(new.columns) != list(self.view.value.columns):
            titles = {name: html(name) for name in new.columns}
            self.view.param.update(value=new, formatters=formatters_of(new), titles=titles)
        else:
            show_frame(self.view, new)
        if names != self._names:
            self.choose(chosen)

    def _chose(self, _event: Any) -> None:
        if not self._setting:
            self._on_choice()

    def _frame(self, rows: Mapping[str, RunRow], among: Mapping[str, RunRow]) -> pd.DataFrame:
        """Return the cells; those of a row that has not changed are not made again."""
        self._names = list(rows)
        found = []
        for name, row in rows.items():
            age = summary.age(row)
            kept = self._cells.get(name)
            if kept is None or kept[0] is not row or kept[1]["last sign"] != age:
                kept = self._cells[name] = (row, cells_of(name, row, age))
            found.append(kept[1])
        frame = frame_of(found, rows, among, self._there)
        self._there |= set(frame.columns)
        return frame


def cells_of(name: str, row: RunRow, age: str) -> dict[str, Any]:
    """Return the cells of one run: HTML, or numbers where they are to be sorted as such, NaN for none."""
    run = row.summary
    is_running = run.is_alive
    return {
        "state": chip(run.state),
        "run": run_link(name),
        "slot": html(run.slot),
        "step": _number(run.step),
        "total": _number(run.total),
        "steps/s": _number(run.rate) if is_running else NONE,
        "left": duration(run.eta_s),
        "result": html(result(run.result)),
        "edits": _number(run.edits or None),
        "took": duration(run.duration_s) if not is_running else "",
        "last sign": age,
        "reason": html((run.why or "")[:120]),
    }


def frame_of(
    cells: list[dict[str, Any]], rows: Mapping[str, RunRow], among: Mapping[str, RunRow], there: set[str]
) -> pd.DataFrame:
    """Return the table: the run, what is swept, how far it is, its metrics.

    Columns without anything are left out, unless they are among those that are `there`.
    """
    swept = {
        key: [value for name, value in zip(among, values, strict=True) if name in rows]
        for key, values in swept_of(among).items()
    }
    metrics = metrics_of(among)
    columns: dict[str, Any] = {name: [row[name] for row in cells] for name in ("state", "run")}
    columns |= {key: [html(value) for value in values] for key, values in swept.items()}
    columns |= {name: [row[name] for row in cells] for name in ("slot", "step", "total", "steps/s", "left")}
    columns |= {
        name: [_number(row.summary.metrics.get(name)) for row in rows.values()]
        for name in metrics
        if name not in columns
    }
    columns |= {name: [row[name] for row in cells] for name in ("result", "edits", "took", "last sign", "reason")}
    kept = {name: column for name, column in columns.items() if name in there or _has(column)}
    return pd.DataFrame({name: _typed(column) for name, column in kept.items()})


def swept_of(rows: Mapping[str, RunRow]) -> dict[str, list[str | None]]:
    """Return the overrides in which the runs differ with each run's value; of our own settings only the seed."""
    found = varying([row.summary.overrides for row in rows.values()])
    shown = {key: values for key, values in found.items() if key == "trainctl.seed" or not key.startswith("trainctl.")}
    return dict(list(shown.items())[:MAX_SWEPT])


def metrics_of(rows: Mapping[str, RunRow]) -> list[str]:
    """Return the metrics that the runs have logged."""
    return list(dict.fromkeys(name for row in rows.values() for name in row.summary.metrics))[:MAX_METRICS]


def formatters_of(frame: pd.DataFrame) -> dict[str, Any]:
    """Return how the columns are written: numbers as numbers, ours as HTML, all else as text."""
    found: dict[str, Any] = {}
    for name in frame.columns:
        if frame[name].dtype.kind == "O":
            found[name] = {"type": "html"}
        elif name in _COUNTS:
            found[name] = NumberFormatter(format="0,0", nan_format="")
        elif frame[name].dtype.kind == "f":
            found[name] = ScientificFormatter(precision=5, power_limit_high=7, power_limit_low=-4, nan_format="")
    return found


def _number(value: float | None) -> float:
    return NONE if value is None else float(value)


def _has(column: list[Any]) -> bool:
    return any(cell not in ("", None) and cell == cell for cell in column)  # noqa: PLR0124  # nan equals nothing


def _typed(column: list[Any]) -> pd.Series[Any]:
    is_numbers = all(isinstance(cell, float) for cell in column)
    return pd.Series(column, dtype=float if is_numbers and column else object)
