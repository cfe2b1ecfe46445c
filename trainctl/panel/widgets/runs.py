"""How tables of Tabulator are shown, and how one is brought up to date without drawing it again."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from trainctl.panel.pages.theme import STYLE

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
