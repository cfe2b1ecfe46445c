"""The changelog on a run's page: a table that is patched where it changes, with a button to take an edit back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.changes import Line, lines_of, table
from trainctl.panel.runview import RunView
from trainctl.panel.tables import TABLE_STYLE, show_frame
from trainctl.panel.theme import STYLE

PAGE_ROWS = 12
_UNDO = "↶"


class ChangeTable:
    """Shows the edits of one run, the latest first."""

    def __init__(self, view: RunView, undo: Callable[[Line], None]) -> None:
        self._undo = undo
        self._lines: list[Line] = []
        self._table = panel.widgets.Tabulator(
            table([], may_undo=False),
            disabled=True,
            selectable=False,
            show_index=False,
            layout="fit_data_stretch",
            theme="simple",
            pagination="local",
            page_size=PAGE_ROWS,
            # hiding the table while it is empty instead disturbs the browser while it is made
            configuration={"placeholder": "No edits."},
            formatters={"undo": {"type": "html"}},
            text_align={"step": "right"},
            sizing_mode="stretch_width",
            stylesheets=[TABLE_STYLE],
            margin=(0, 8),
        )
        self._table.on_click(self._clicked, column="undo")
        title = panel.pane.HTML('<h2 class="head">Changelog</h2>', stylesheets=[STYLE], margin=(6, 12, 0, 12))
        self.view = pmui.Paper(title, self._table, variant="outlined", sizing_mode="stretch_width", margin=(4, 8))
        self.follow(view, may_undo=False)

    def follow(self, view: RunView, *, may_undo: bool) -> None:
        """Show what the run says now."""
        self._lines = lines_of(view)
        new = table(self._lines, may_undo=may_undo)
        new["undo"] = [_button(number) for number in new["undo"]]
        show_frame(self._table, new)

    def _clicked(self, event: Any) -> None:
        if 0 <= event.row < len(self._lines) and self._lines[event.row].number is not None:
            self._undo(self._lines[event.row])


def _button(number: str) -> str:
    if not number:
        return ""
    title = f"take back edit {number}"
    return f'<button type="button" title="{title}" aria-label="undo edit {number}">{_UNDO}</button>'
