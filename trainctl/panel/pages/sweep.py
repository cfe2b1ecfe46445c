"""The page of a sweep, or of any directory of runs: counters, slots, the table, and what becomes of the chosen runs."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import panel
import panel_material_ui as pmui

from trainctl.panel.data.run_view import RunRow
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages import theme
from trainctl.panel.pages.link import argument, remember
from trainctl.panel.pages.session import may_ask, tick_while_open
from trainctl.panel.pages.theme import STYLE, frame
from trainctl.panel.widgets import summary
from trainctl.panel.widgets.bulk import Bulk
from trainctl.panel.widgets.parameters import Relations
from trainctl.panel.widgets.pending import set_object, set_params
from trainctl.panel.widgets.results import ResultsPane
from trainctl.panel.widgets.run_curves import RunCurves
from trainctl.panel.widgets.runs import RunTable

TICK_MS = 1000
AGE_TICKS = 10  # while no run changes, only their ages go on
STILL_TICKS = 2  # the browser makes the table anew for other groups, and takes no cells meanwhile
TABS = ("curves", "parameters", "results")
NOTHING = "nothing"
STATES = ("all", *summary.STATES)


def overview_page(watcher: Watcher) -> pmui.Page:
    """Make the page with all runs below the root."""
    return Overview(watcher).page


class Overview:
    """One browser's view of all runs."""

    def __init__(self, watcher: Watcher) -> None:
        stack = ExitStack()
        stack.enter_context(watcher.watching_rows())
        self._watcher = watcher
        self._rows: dict[str, RunRow] = {}
        self._still = self._ticks = 0
        self._wanted_group = argument("group")
        rows = watcher.rows()
        self._facts = _pane(summary.counts(rows, len(watcher.passed_over)))
        self._slots = _pane(summary.slots(rows, watcher.memory()))
        self._failures = _pane(summary.failures(rows))
        self._with_controls()
        self._curves = RunCurves(watcher, stack, card_settings(), argument("by"), remember_cards)
        self._table = RunTable(self._found(rows), self._chose)
        self._bulk = Bulk(watcher, may_ask=may_ask())
        self._results: ResultsPane | None = None
        self._results_place = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._relations = Relations()
        self._link = panel.pane.HTML("", stylesheets=[STYLE], margin=(8, 12))
        set_params(self._columns, options=self._table.columns)
        self._hide()
        self._group_by()
        self._tabs = self._with_tabs()
        heads = [self._facts, self._slots, self._failures]
        main = [*heads, self._tabs, self._controls, self._link, self._bulk.view, self._table.view]
        self.page = frame(f"trainctl · {watcher.root.name}", main)
        self._rows = rows
        self._look_at_tab()
        if wanted := [name for name in argument("runs").split(",") if name]:
            self._table.choose(wanted)
            self._chose()
        tick_while_open(self._tick, TICK_MS, stack)

    def _with_controls(self) -> None:
        common: dict[str, Any] = {"size": "small", "margin": (6, 6)}
        self._filter = pmui.TextInput(
            label="Filter runs", value=argument("filter"), width=240, max_length=200, **common
        )
        state = argument("state")
        self._state = pmui.Select(
            label="state", options=list(STATES), value=state if state in STATES else "all", width=130, **common
        )
        self._group = pmui.Select(label="group by", options=[NOTHING], value=NOTHING, width=150, **common)
        self._columns = pmui.MultiChoice(label="hide columns", options=[], value=[], width=260, margin=(6, 6))
        self._filter.param.watch(lambda _event: self._filtered(), ["value_input"])
        self._state.param.watch(lambda _event: self._filtered(), ["value"])
        self._group.param.watch(lambda _event: self._group_by(), ["value"])
        self._columns.param.watch(lambda _event: self._hide(), ["value"])
        self._controls = pmui.FlexBox(
            self._filter, self._state, self._group, self._columns, gap="0px", align_items="flex-start"
        )

    def _with_tabs(self) -> Any:
        parts = (self._curves.view, self._relations.view, self._results_place)
        tabs = theme.tabs(TABS, parts)
        tabs.param.watch(lambda _event: self._turned(), ["active"])
        return tabs

    def _found(self, rows: dict[str, RunRow]) -> dict[str, RunRow]:
        """Return the rows that the filter leaves: all its words in the name, the overrides, the slot or the reason."""
        words = (self._filter.value_input or "").lower().split()
        state = self._state.value
        if not words and state == "all":
            return rows
        return {
            name: row
            for name, row in rows.items()
            if state in ("all", row.summary.state) and all(word in _text(name, row) for word in words)
        }

    def _filtered(self) -> None:
        remember(
            filter=self._filter.value_input or None, state=None if self._state.value == "all" else self._state.value
        )
        self._table.follow(self._found(self._rows), self._rows)

    def _group_by(self) -> None:
        options = [
            NOTHING,
            *(name for name in self._table.columns if name not in ("step", "left", "last sign", "took")),
        ]
        wanted = self._group.value if self._group.value != NOTHING else self._wanted_group
        self._wanted_group = ""
        set_params(self._group, options=options, value=wanted if wanted in options else NOTHING)
        groups = [self._group.value] if self._group.value != NOTHING else []
        remember(group=groups[0] if groups else None)
        if groups != self._table.view.groupby:
            self._still = STILL_TICKS
            self._table.view.groupby = groups

    def _hide(self) -> None:
        self._table.view.hidden_columns = list(self._columns.value)

    def _chose(self) -> None:
        names = self._table.chosen
        self._curves.choose(names)
        self._bulk.choose(names)
        remember(runs=",".join(names[:20]) or None)
        set_object(self._link, _said(names))

    def _turned(self) -> None:
        self._look_at_tab()

    def _look_at_tab(self) -> None:
        shown = TABS[self._tabs.active]
        self._bulk.look()
        if shown == "curves":
            self._curves.look(self._rows, list(self._found(self._rows)))
        elif shown == "results":
            if self._results is None:  # made when it is asked for; a plot could not be: it would be drawn too early
                self._results = ResultsPane()
                self._results_place.append(self._results.view)
            self._results.look(self._rows)
        else:
            self._relations.look(self._rows)

    def _tick(self) -> None:
        rows, self._ticks = self._watcher.rows(), self._ticks + 1
        self._still -= 1
        set_object(self._slots, summary.slots(rows, self._watcher.memory()))
        if rows is not self._rows or self._ticks % AGE_TICKS == 0 or self._still == -1:
            self._rows = rows
            set_object(self._facts, summary.counts(rows, len(self._watcher.passed_over)))
            set_object(self._failures, summary.failures(rows))
            if self._still < 0:
                self._table.follow(self._found(rows), rows)
        if self._columns.options != self._table.columns:
            set_params(self._columns, options=self._table.columns)
            self._group_by()
        self._look_at_tab()


def card_settings() -> dict[str, Any]:
    """Return what the link says of the cards."""
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        found["smooth"] = min(max(float(argument("smooth") or 0), 0.0), 0.99)
    with contextlib.suppress(ValueError):
        found["height"] = int(argument("height") or 0)
    found |= {name: argument(name) == "1" for name in ("logx", "outliers")}
    return found | {"log": [one for one in argument("log").split(",") if one], "filter": argument("metrics")}


def remember_cards(changed: dict[str, Any]) -> None:
    """Write into the link what was set of the cards; what is as at first is left out."""
    told: dict[str, str | None] = {}
    for name, value in changed.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else "1" if value is True else str(value or "")
        told["metrics" if name == "filter" else name] = text[:500] or None
    remember(**told)


def _text(name: str, row: RunRow) -> str:
    run = row.summary
    return " ".join((name, run.state, *run.overrides, run.slot or "", run.why or "")).lower()


def _said(names: list[str]) -> str:
    if not names:
        return (
            '<span class="dim">Choose runs in the table to overlay their metrics, or to ask something of them.</span>'
        )
    text = f"{len(names)} chosen"
    if len(names) == 2:
        one, other = (quote(name, safe="") for name in names)
        text += f' · <a href="compare?a={one}&amp;b={other}">compare both</a>'
    return text


def _pane(text: str) -> Any:
    return panel.pane.HTML(text, stylesheets=[STYLE], sizing_mode="stretch_width", margin=(4, 12))
