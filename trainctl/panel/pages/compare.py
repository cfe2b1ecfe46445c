"""Up to eight runs beside each other: their states, curves, where their configs differ, and their edits by step."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.data.run_index import RunIndex
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.html import chip, html, run_link
from trainctl.panel.pages.session import argument, names, remember, tick_while_open, written
from trainctl.panel.pages.sweep import MOST_COMPARED
from trainctl.panel.pages.theme import STYLE, frame
from trainctl.panel.widgets.config import config_difference, difference_table, edits_by_step
from trainctl.panel.widgets.pending import set_object
from trainctl.panel.widgets.run_curves import RunCurves
from trainctl.panel.widgets.run_table import cell

TICK_MS = 1000
MOST_OFFERED = 500
EVEN = "table { table-layout: fixed; min-width: 640px; } th { overflow-wrap: anywhere; white-space: normal; }"
NONE_CHOSEN = "Choose runs: here by name, or in the table of all runs by their boxes."


def compare_page(watcher: Watcher) -> pmui.Page:
    """Make the page of the runs that the URL names."""
    return Compare(watcher).page


class Compare:
    """One browser's view of a few runs."""

    def __init__(self, watcher: Watcher) -> None:
        stack = ExitStack()
        stack.enter_context(watcher.watching_rows())
        self._watcher = watcher
        self._index = RunIndex()
        rows = watcher.fresh_rows()
        wanted = names("runs") or [argument("a"), argument("b")]
        chosen = [name for name in dict.fromkeys(wanted) if name in rows][:MOST_COMPARED]
        self._choice = pmui.MultiChoice(
            label="runs",
            options=list(dict.fromkeys([*chosen, *list(rows)[:MOST_OFFERED]])),
            value=chosen,
            max_items=MOST_COMPARED,
            variant="standard",
            margin=(8, 12),
            sizing_mode="stretch_width",
        )
        self._facts, self._config, self._edits = _pane(), _pane(), _pane()
        self._curves = RunCurves(watcher, stack, "run", height_of_all=True)
        self._choice.param.watch(lambda _event: self._other(), ["value"])
        main = [self._choice, self._facts, self._curves.view, self._config, self._edits]
        self.page = frame("trainctl · compare", main, "./")
        self._tick()
        tick_while_open(self._tick, TICK_MS, stack)

    def _other(self) -> None:
        remember(runs=written(self._choice.value) or None, a=None, b=None)
        self._tick()

    def _tick(self) -> None:
        rows = self._watcher.rows()
        found = {name: rows[name] for name in self._choice.value if name in rows}
        if found != self._index.rows:
            self._index.follow(found)
        self._curves.look(self._index, list(found))
        views = [view for name in found if (view := self._watcher.view(name)) is not None]
        if not views:
            set_object(self._facts, f'<p class="dim">{NONE_CHOSEN}</p>')
            for pane in (self._config, self._edits):
                set_object(pane, "")
            return
        set_object(self._facts, facts_table(self._index, list(found)))
        is_alone = len(views) == 1
        config = difference_table(
            [] if is_alone else config_difference(*views),
            ("key", *found),
            "This is one run; choose another to compare it with." if is_alone else "All have the same config.",
        )
        edits = difference_table(edits_by_step(*views), ("step", *found), "None of them was edited.")
        set_object(self._config, f'<h2 class="head">Where their configs differ, as they are now</h2>{config}')
        set_object(self._edits, f'<h2 class="head">Edits by step</h2>{edits}')


def facts_table(index: RunIndex, runs: list[str]) -> str:
    """Write a table with a column for each run: state, progress, result, last metrics."""
    shown = [
        "step",
        *(name for name in index.columns if name.split(".")[0] == "result"),
        *index.metrics,
        "took",
        "reason",
    ]
    lines = [f"<tr><td></td>{''.join(f'<th>{run_link(name)}</th>' for name in runs)}</tr>"]
    states = "".join(f"<td>{chip(index[name].values['state'])}</td>" for name in runs)
    lines.append(f"<tr><th>state</th>{states}</tr>")
    for column in dict.fromkeys(shown):
        cells = [cell(index[name], column) for name in runs]
        texts = [one if isinstance(one, str) else one[0] for one in cells]
        if any(texts):
            titles = [one if isinstance(one, str) else one[1] for one in cells]
            inner = "".join(
                f'<td class="mono value" title="{html(title)}">{html(text)}</td>'
                for text, title in zip(texts, titles, strict=True)
            )
            lines.append(f"<tr><th>{html(column)}</th>{inner}</tr>")
    return f'<div class="scroll" tabindex="0"><table>{"".join(lines)}</table></div>'


def _pane() -> Any:
    return panel.pane.HTML("", stylesheets=[STYLE, EVEN], sizing_mode="stretch_width", margin=(8, 12))
