"""The table of runs: sorted, filtered and grouped on the server; only the visible rows are sent to the browser."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import panel
import param

from trainctl.errors import SettingError
from trainctl.examine.columns import mean_text
from trainctl.panel.data.curves import UNSEEN, Mark, thinned
from trainctl.panel.data.run_index import LAST, NOT_GROUPED, SECONDS, RunEntry, RunIndex, mean_of
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.theme import BASE, STATE_COLORS
from trainctl.panel.server._bokeh import tell
from trainctl.panel.widgets import summary
from trainctl.rundir.fields import number, whole
from trainctl.text import LONGEST, clean, count, duration, moment, rate
from trainctl.text import value as short

MOST_IN_SIGHT = 400
MOST_TEXT = 300
CURVE = "curve"
CURVE_POINTS = 40
AGES_S = 10.0  # between updates of the ages, while no run changes
NOTHING_HERE = "No run is here yet; each has a row here as soon as it waits for its slot."
NOTHING_FOUND = "No run passes the filter."

_RIGHT = {"step", "total", "steps/s", "left", "took", "edits"}
_COUNTS = ("step", "total")


class RunGrid(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """Draws the rows that it is sent, and reports what a person does; see `run_table.js`."""

    colours = param.String(
        "".join(f".chip.{state} {{ background: {color}; }}\n" for state, color in STATE_COLORS.items())
    )

    _esm = Path(__file__).with_name("run_table.js")


@dataclass(frozen=True, slots=True)
class Shown:
    """The settings: filter, state, sort column and direction, group column, and the metric of the sparklines."""

    filter: str = ""
    state: str = ""
    sort: str = ""
    is_down: bool = False
    group: str = ""
    curve: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a run, or the head of a group with its value and runs."""

    names: tuple[str, ...]
    group: Any = None
    is_group: bool = False


class RunTable:
    """Shows the runs that pass the filter; chosen runs stay chosen whatever the filter.

    Args:
        watcher: reads the runs.
        stack: closes what the page keeps open.
        shown: what the link says.
        on_shown: is called when a person has set something, with what is set now.
        on_choice: is called when a person has chosen other runs.
    """

    def __init__(
        self,
        watcher: Watcher,
        stack: ExitStack,
        shown: Shown,
        on_shown: Callable[[Shown], None],
        on_choice: Callable[[], None],
    ) -> None:
        self._watcher = watcher
        self._watching = stack.enter_context(ExitStack())
        self._sketched: list[str] = []
        self.index = RunIndex(watcher.examined)
        self.shown = shown
        self._on_shown, self._on_choice = on_shown, on_choice
        self.found: list[str] = []
        self.metrics: Sequence[str] = ()
        self._lines: list[Line] = []
        self._open: set[Any] = set()
        self._chosen: dict[str, None] = {}
        self._anchor: int | None = None
        self._window = (0, 60)
        self._wrong = ""
        self._there: dict[str, None] = {}
        self._is_ready = False
        self._aged = 0.0
        self._sent_rows: dict[int, Any] = {}
        self._sent: dict[str, Any] = {}
        self._curves: dict[str, tuple[Mark, list[int | None]]] = {}
        self.view = RunGrid(stylesheets=[BASE], sizing_mode="stretch_width", margin=0)
        self.view.on_msg(self._told)

    @property
    def chosen(self) -> list[str]:
        """The names of the runs that a person has chosen, as far as they are there."""
        return [name for name in self._chosen if name in self.index.rows]

    def choose(self, names: Sequence[str]) -> None:
        """Mark these runs as chosen."""
        self._chosen = dict.fromkeys(names)
        self._send()

    def look(self, rows: Mapping[str, RunRow], metrics: Sequence[str] = ()) -> None:
        """Show what the rows say now; `metrics` are those that have curves, the most telling first."""
        is_other = self.index.follow(rows) or self.index.is_waiting or list(metrics) != list(self.metrics)
        self.metrics = list(metrics)
        if is_other:
            self._arrange()
        if is_other or self._is_curve_shown or time.monotonic() - self._aged > AGES_S:
            self._aged = time.monotonic()
            self._send()

    @property
    def _is_curve_shown(self) -> bool:
        return bool(self.metrics)

    @property
    def _curve(self) -> str:
        return self.shown.curve if self.shown.curve in self.metrics else next(iter(self.metrics), "")

    def _told(self, event: Any) -> None:
        what = event.data
        if not isinstance(what, dict):
            return
        kind, at, column = what.get("kind"), whole(what.get("at")), what.get("column")
        if kind == "ready":
            self._is_ready, self._sent, self._sent_rows = True, {}, {}
        elif kind == "window":
            first, last = whole(what.get("first")) or 0, whole(what.get("last")) or 0
            self._window = max(0, first), max(0, min(last, first + MOST_IN_SIGHT))
        elif kind == "filter" and isinstance(what.get("text"), str):
            self._set(filter=what["text"][:MOST_TEXT])
        elif kind == "state" and isinstance(what.get("state"), str):
            self._set(state=what["state"][:MOST_TEXT])
        elif kind == "sort" and isinstance(column, str):
            self._sort(column)
        elif kind == "group" and isinstance(column, str):
            self._set(group=column if column in self._grouped_by() else "")
        elif kind == "curve" and isinstance(what.get("metric"), str):
            self._curves = {}
            self._set(curve=what["metric"])
        elif kind == "fold" and at is not None and at < len(self._lines) and self._lines[at].is_group:
            self._open ^= {repr(self._lines[at].group)}
            self._arrange()
        elif kind == "choose" and at is not None and at < len(self._lines):
            self._pick(at, is_chosen=bool(what.get("is")), to_anchor=bool(what.get("shift")))
        elif kind == "all":
            self._chosen = dict.fromkeys(self.found) if what.get("is") else {}
            self._on_choice()
        self._send()

    def _set(self, **changed: Any) -> None:
        values = {name: getattr(self.shown, name) for name in Shown.__slots__}
        self.shown = Shown(**(values | changed))
        self._arrange()
        self._on_shown(self.shown)

    def _sort(self, column: str) -> None:
        """Sort by a column; again the other way round, and again as at first."""
        if column not in self.index.columns:
            return
        if self.shown.sort != column:
            self._set(sort=column, is_down=False)
        else:
            self._set(sort="" if self.shown.is_down else column, is_down=not self.shown.is_down)

    def _pick(self, at: int, *, is_chosen: bool, to_anchor: bool) -> None:
        first = self._anchor if to_anchor and self._anchor is not None else at
        names = [
            name
            for line in self._lines[min(first, at) : max(first, at) + 1]
            if not line.is_group
            for name in line.names
        ]
        if is_chosen:
            self._chosen |= dict.fromkeys(names)
        else:
            self._chosen = {name: None for name in self._chosen if name not in names}
        self._anchor = at
        self._on_choice()

    def _arrange(self) -> None:
        """Arrange the lines: the runs that pass the filter, sorted and grouped."""
        try:
            found, self._wrong = self.index.found(self.shown.filter), ""
        except SettingError as error:
            before = [name for name in self.found if name in self.index.rows]
            found, self._wrong = before or list(self.index.rows), str(error)
        if self.shown.state:
            found = [name for name in found if self.index[name].values["state"] == self.shown.state]
        self.found = self.index.in_order(found, self.shown.sort, is_down=self.shown.is_down)
        if self.shown.group in self._grouped_by():
            lines = []
            for value, names in self.index.groups(self.found, self.shown.group).items():
                lines.append(Line(tuple(names), value, is_group=True))
                if repr(value) in self._open:
                    lines += [Line((name,)) for name in names]
        else:
            lines = [Line((name,)) for name in self.found]
        if lines != self._lines:
            self._lines, self._sent_rows = lines, {}

    def _grouped_by(self) -> list[str]:
        return [name for name in self.index.columns if name not in NOT_GROUPED and name not in self.index.metrics]

    def _columns(self) -> list[dict[str, Any]]:
        """Return the columns; an empty one is left out until some run has a value in it."""
        for name in self.index.columns:
            if name not in self._there and (name not in (*LAST, "started") or self.index.has(name)):
                self._there[name] = None
        kinds = {"state": "state", "run": "run"}
        names = [name for name in self.index.columns if name in self._there]
        columns: list[dict[str, Any]] = [{"name": "", "kind": "check"}]
        columns += [
            {"name": name, "kind": kinds.get(name, "text"), "right": name in _RIGHT or self.index.is_of_numbers(name)}
            for name in names
        ]
        if self.metrics:
            place = 1 + len(set(names).intersection(self.index.leading))
            columns.insert(place, {"name": CURVE, "kind": "curve"})
        return columns

    def _send(self) -> None:
        if not self._is_ready:
            return
        groups = self._grouped_by()
        columns = self._columns()
        parts: dict[str, Any] = {
            "directory": str(self._watcher.root),
            "columns": columns,
            "sort": [self.shown.sort, self.shown.is_down],
            "filter": self.shown.filter,
            "wrong": self._wrong,
            "states": sorted(self.index.state_counts().items(), key=lambda one: _STATES.get(one[0], 99)),
            "state": self.shown.state,
            "groups": ["", *groups],
            "group": self.shown.group if self.shown.group in groups else "",
            "curves": list(self.metrics),
            "curve": self._curve,
            "empty": NOTHING_FOUND if len(self.index) else NOTHING_HERE,
            "total": len(self._lines),
            "found": len(self.found),
            "known": len(self.index),
            "chosen": len(self.chosen),
        }
        told = {name: part for name, part in parts.items() if self._sent.get(name) != part}
        for several in (("states", "state"), ("groups", "group"), ("curves", "curve"), ("total", "found", "known")):
            if told.keys() & set(several):  # they are shown together
                told |= {name: parts[name] for name in several}
        if "columns" in told:
            self._sent_rows = {}
        is_anew = not self._sent_rows
        first, last = self._window
        in_sight = range(first, min(last, len(self._lines)))
        self._sketch([name for at in in_sight if not self._lines[at].is_group for name in self._lines[at].names])
        rows = [(at, row) for at in in_sight if (row := self._row(at, columns)) != self._sent_rows.get(at)]
        self._sent_rows |= dict(rows)
        self._sent |= told
        if told or rows:
            tell(self.view, json.dumps({**told, "rows": rows, "again": is_anew}))

    def _sketch(self, names: list[str]) -> None:
        names = names if self.metrics else []
        if names != self._sketched:
            self._sketched = names
            before = self._watching.pop_all()
            self._watching.enter_context(self._watcher.sketching(names))
            before.close()

    def _row(self, at: int, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        line = self._lines[at]
        if line.is_group:
            return {
                "group": True,
                "open": repr(line.group) in self._open,
                "cells": [self._group_cell(line, str(column["name"]), bool(column.get("right"))) for column in columns],
            }
        (name,) = line.names
        entry = self.index[name]
        return {
            "name": name,
            "href": f"run/{quote(name, safe='')}",
            "chosen": name in self._chosen,
            "cells": [self._sparkline(name) if one["kind"] == CURVE else cell(entry, one["name"]) for one in columns],
        }

    def _group_cell(self, line: Line, column: str, is_number: bool) -> Any:
        if column == "run":
            return f"{len(line.names):,} run{'s' * (len(line.names) != 1)}"
        entries = [self.index[name] for name in line.names]
        if column == self.shown.group:
            return short(line.group) or "none"
        if column in ("", "state", "started", CURVE, *LAST):
            return ""
        if column in self.index.swept or column in self.index.edited:
            texts = {short(entry.values.get(column)) for entry in entries}
            return texts.pop() if len(texts) == 1 else ""
        mean, deviation = mean_of(entries, column) if is_number else (None, None)
        if mean is None:
            return ""
        return [mean_text(mean, deviation), f"mean and deviation over the runs that are done: {mean!r}, {deviation!r}"]

    def _sparkline(self, name: str) -> list[int | None] | None:
        sketch = self._watcher.sketch(name)
        if sketch is None:
            return None
        mark, _, steps, values = sketch.after(self._curve, UNSEEN)
        kept = self._curves.get(name)
        if kept is None or kept[0] != mark:
            kept = self._curves[name] = mark, heights(thinned(steps, values, CURVE_POINTS)[1].tolist())
        return kept[1]


_STATES = {state: at for at, state in enumerate(("running", "paused", *summary.STATES[1:]))}


def cell(entry: RunEntry, column: str) -> Any:
    """Return a cell's text; with the full text where it is shortened, and whether it shows edits."""
    value = entry.values.get(column)
    if column in entry.said:
        return [entry.said[column], "; ".join(f"{key} {said}" for key, said in entry.said.items()), True]
    if value is None:
        return ""
    if column == "last sign":
        return summary.age(entry.row)
    if column in SECONDS:
        return duration(number(value))
    if column == "started":
        is_today = time.time() - value < 12 * 3600
        return [moment(value, day=not is_today), moment(value)]
    if column == "edits":
        return [count(value), "; ".join(f"{key} {said}" for key, said in entry.said.items()) or "edits", True]
    if column in _COUNTS:
        return count(value)
    if column == "steps/s":
        return [rate(value), f"{value!r} steps per second"]
    text = short(value)
    whole_text = clean(repr(value) if isinstance(value, int | float) else value)[: 10 * LONGEST]
    return text[:LONGEST] if text == whole_text else [text[:LONGEST], whole_text]


def heights(values: Sequence[float]) -> list[int | None]:
    """Return a curve as heights between 0 and 100; None where it has no point.

    >>> heights([1.0, 3.0, math.nan, 2.0])
    [0, 100, None, 50]
    """
    finite = [one for one in values if math.isfinite(one)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    spread = high - low
    return [
        None if not math.isfinite(one) else 50 if not 0 < spread < math.inf else round(100 * (one - low) / spread)
        for one in values
    ]
