"""The page of a sweep, or of any directory of runs: curves, table, slots, and what can be done with chosen runs."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from urllib.parse import quote

import panel
import panel_material_ui as pmui

from trainctl.panel.data.run_view import RunRow
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages import theme
from trainctl.panel.pages.session import argument, may_ask, names, remember, tick_while_open, written
from trainctl.panel.pages.theme import STYLE, frame
from trainctl.panel.widgets import summary
from trainctl.panel.widgets.bulk import Bulk
from trainctl.panel.widgets.parameters import Relations
from trainctl.panel.widgets.pending import set_object
from trainctl.panel.widgets.results import ResultsPane
from trainctl.panel.widgets.run_curves import RunCurves
from trainctl.panel.widgets.run_table import RunTable, Shown

TICK_MS = 1000
TABS = ("curves", "parameters", "results")
MOST_COMPARED = 8
MOST_IN_LINK = 20


def overview_page(watcher: Watcher) -> pmui.Page:
    """Make the page with all runs below the root."""
    return Overview(watcher).page


class Overview:
    """One browser's view of all runs."""

    def __init__(self, watcher: Watcher) -> None:
        stack = ExitStack()
        stack.enter_context(watcher.watching_rows())
        self._watcher = watcher
        self._rows: dict[str, RunRow] = watcher.fresh_rows()
        self._heads = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(4, 12, 0, 12))
        self._curves = RunCurves(watcher, stack, argument("by"))
        self._table = RunTable(watcher, stack, shown_by_link(), self._was_set, self._chose)
        self._bulk = Bulk(watcher, may_ask=may_ask())
        self._results: ResultsPane | None = None
        self._results_place = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._relations = Relations(argument("outcome"), argument("parameter"), remember_relations, self._choose)
        self._link = panel.pane.HTML("", stylesheets=[STYLE], margin=(4, 12))
        self._tabs = theme.tabs(TABS, (self._curves.view, self._relations.view, self._results_place))
        self._tabs.param.watch(lambda _event: self._look_at_tab(), ["active"])
        self._table.look(self._rows, self._curves.metrics)
        self._look_at_tab()
        if wanted := names("runs"):
            self._choose(wanted)
        main = [self._heads, self._tabs, self._link, self._bulk.view, self._table.view]
        self.page = frame(f"trainctl · {watcher.root.name}", main)
        self._say()
        tick_while_open(self._tick, TICK_MS, stack)

    def _was_set(self, shown: Shown) -> None:
        for_link = dataclasses.asdict(shown) | {"sort": ("-" if shown.is_down else "") + shown.sort}
        del for_link["is_down"]
        remember(**{name: value or None for name, value in for_link.items()})
        self._look_at_tab()

    def _choose(self, chosen: list[str]) -> None:
        self._table.choose(chosen)
        self._chose()

    def _chose(self) -> None:
        chosen = self._table.chosen
        self._curves.choose(chosen)
        self._bulk.choose(chosen)
        remember(runs=written(chosen[:MOST_IN_LINK]) or None)
        set_object(self._link, _said(chosen))

    def _look_at_tab(self) -> None:
        shown = TABS[self._tabs.active]
        if shown == "curves":
            self._curves.look(self._table.index, self._table.found)
        elif shown == "results":
            if self._results is None:  # made on demand; a plot could not be: it would be drawn too early
                self._results = ResultsPane()
                self._results_place.append(self._results.view)
            self._results.look(self._rows)
        else:
            self._relations.look(self._table.index, self._table.found)

    def _tick(self) -> None:
        self._rows = self._watcher.rows()
        self._say()
        self._table.look(self._rows, self._curves.metrics)
        self._bulk.look()
        self._look_at_tab()

    def _say(self) -> None:
        slots = summary.slots(self._rows, self._watcher.memory())
        parts = [
            slots,
            summary.failures(self._rows),
            summary.shut(len(self._watcher.passed_over)),
            summary.unread(len(self._rows), self._watcher.left),
        ]
        set_object(self._heads, f'<div class="facts">{"".join(parts)}</div>' if any(parts) else "")


def shown_by_link() -> Shown:
    """Return the settings of the table from the link."""
    sort = argument("sort")
    said = {name: argument(name) for name in ("filter", "state", "group", "curve")}
    return Shown(sort=sort.removeprefix("-"), is_down=sort.startswith("-"), **said)


def remember_relations(outcome: str, key: str) -> None:
    """Write the choices of the parameters tab into the link."""
    remember(outcome=outcome or None, parameter=key or None)


def _said(chosen: list[str]) -> str:
    if not chosen:
        return ""
    text = f"{len(chosen)} chosen"
    if 1 < len(chosen) <= MOST_COMPARED:
        query = quote(written(chosen), safe="")
        text += f' · <a href="compare?runs={query}">compare {"both" if len(chosen) == 2 else "them"}</a>'
    return f"<span>{text}</span>"
