"""The curves of many runs, a card for each metric: as lines, or as bands of groups where the runs are too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import numpy as np

from trainctl.examine.columns import is_seed
from trainctl.panel.data.curves import UNSEEN, Curves, Mark, thinned
from trainctl.panel.data.line_groups import PALETTE, Colouring, bands, colouring, in_order
from trainctl.panel.data.run_index import RunIndex, typed
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.session import remember
from trainctl.panel.pages.theme import BASE
from trainctl.panel.widgets.cards import Cards, Sent, range_of, remember_settings, settings_of_link
from trainctl.text import changed

MOST_LINES = 100
MOST_READ = 500  # runs of which bands are made
MOST_METRICS = 200
MOST_POINTS, LEAST_POINTS, POINTS_OF_ALL = 300, 60, 12_000  # of one line, and of all lines of a card
MOST_EDITS = 50  # of one run that are marked
NOTHING_YET = (
    "Nothing is logged yet. What a run gives to live.log(loss=…) is drawn here, a card for each name, "
    "with the lines of all runs."
)
NO_RUN_LEFT = "No run passes the filter."


class RunCurves:
    """Draws the visible cards, and sends only their new points.

    Args:
        watcher: reads the runs.
        stack: closes what the page keeps open.
        by: the key that decides the colours; empty: the first that is swept.
        height_of_all: whether all cards are shown, however many; else they scroll.
    """

    def __init__(self, watcher: Watcher, stack: ExitStack, by: str, *, height_of_all: bool = False) -> None:
        self._watcher = watcher
        self._watching = stack.enter_context(ExitStack())
        self._wanted_by = by
        self._is_ready = False
        self._in_sight: list[str] = []
        settings = settings_of_link()
        self._range: tuple[float, float] | None = settings["range"]
        self._index = RunIndex()
        self._rows: Mapping[str, RunRow] = {}
        self._names: list[str] = []
        self._drawn: list[str] = []
        self._chosen: Sequence[str] = ()
        self._ids: dict[str, int] = {}
        self._parts: dict[str, Any] = {}
        self._told_parts: dict[str, Any] = {}
        self._sent: dict[tuple[str, str], tuple[Mark, int]] = {}
        self._sent_bands: dict[str, object] = {}
        self._colouring = Colouring([], [], [])
        self.view = Cards(
            settings=settings,
            height_of_all=height_of_all,
            stylesheets=[BASE],
            sizing_mode="stretch_width",
            margin=0,
        )
        self.view.on_told(self._told)

    def look(self, index: RunIndex, names: Sequence[str]) -> None:
        """Follow the runs; `names` are those to draw."""
        if index.rows is not self._rows or list(names) != self._names:
            self._index, self._rows, self._names = index, index.rows, list(names)
            self._arrange()
        self._send()

    def choose(self, names: Sequence[str]) -> None:
        """Highlight some runs."""
        self._chosen = names
        self._parts["chosen"] = [self._id(name) for name in names]
        self._send()

    @property
    def metrics(self) -> list[str]:
        """The metrics that have a card, the most telling first."""
        return list(self._parts.get("metrics", ()))

    def _told(self, what: dict[str, Any]) -> None:
        kind = what["kind"]
        if kind == "ready":
            self._is_ready, self._told_parts = True, {}
            self._forget()
        elif kind == "visible" and isinstance(what.get("metrics"), list):
            self._in_sight = [one for one in what["metrics"] if isinstance(one, str)][:MOST_METRICS]
        elif kind == "range":
            self._range = range_of(what.get("range"))
            remember_settings({"range": self._range})
            self._forget()
        elif kind == "by" and isinstance(what.get("by"), str):
            self._wanted_by = what["by"]
            self._arrange()
            remember(by=self._wanted_by or None)
        elif kind == "settings" and isinstance(what.get("settings"), dict):
            remember_settings(what["settings"])
        self._send()

    def _forget(self) -> None:
        self._sent, self._sent_bands = {}, {}

    def _id(self, name: str) -> int:
        return self._ids.setdefault(name, len(self._ids))

    def _arrange(self) -> None:
        """Find out which runs are drawn, in which colours, and which cards there are."""
        index = self._index
        keys = [*sorted(index.swept, key=is_seed), "state", "run"]
        by = self._wanted_by if self._wanted_by in keys else _telling(index)
        drawn = _spread(self._names, MOST_READ)
        was_lines = len(self._drawn) <= MOST_LINES
        if drawn != self._drawn:
            self._drawn = drawn
            before = self._watching.pop_all()
            self._watching.enter_context(self._watcher.sketching(drawn))
            before.close()  # after the new ones are registered: shared ones stay open
            there = set(drawn)
            self._sent = {place: seen for place, seen in self._sent.items() if place[1] in there}
        if was_lines != (len(drawn) <= MOST_LINES):
            self._forget()
        entries = [index[name] for name in drawn]
        self._colouring = self._coloured(by)
        self._parts |= {
            "keys": keys,
            "by": by,
            "legend": self._colouring.legend if by != "run" or len(drawn) <= len(PALETTE) else [],
        }
        self._parts["runs"] = [
            {
                "id": self._id(name),
                "name": name,
                "href": f"run/{quote(name, safe='')}",
                "color": self._colouring.colours[at],
                "said": ", ".join(f"{key}={entry.overrides[key]}" for key in index.swept if key in entry.overrides),
                "edits": list(edits_of_row(entry.row))[:MOST_EDITS],
            }
            for at, (name, entry) in enumerate(zip(drawn, entries, strict=True))
        ]
        self._parts["note"] = _note(len(drawn), len(self._names), len(self._rows))
        self._parts["empty"] = NOTHING_YET if self._names or not self._rows else NO_RUN_LEFT

    def _coloured(self, by: str) -> Colouring:
        """Colour the drawn runs among all that are known: a run keeps its colour whatever the filter."""
        names = list(dict.fromkeys([*_spread(list(self._rows), MOST_READ), *self._drawn]))
        entries = [self._index[name] for name in names]
        if by in ("state", "run"):
            values = [entry.values[by] for entry in entries]
        else:
            values = [None if (text := entry.overrides.get(by)) is None else typed(text) for entry in entries]
        found = colouring(by, values)
        colours, groups = dict(zip(names, found.colours, strict=True)), dict(zip(names, found.groups, strict=True))
        shown = {colours[name] for name in self._drawn}
        legend = [sign for sign in found.legend if sign[2] or sign[1] in shown]
        return Colouring([colours[name] for name in self._drawn], [groups[name] for name in self._drawn], legend)

    def _offer(self, sketches: Mapping[str, Curves]) -> None:
        known = {one: None for name in self._drawn for one in self._rows[name].summary.metrics}
        known |= {one: None for sketch in sketches.values() for one in sketch.names}
        finals = [
            (row.summary.result, row.summary.metrics)
            for name in self._drawn
            if (row := self._rows[name]).summary.state == "done"
        ]
        self._parts["metrics"] = in_order(known, finals)[:MOST_METRICS]

    def _send(self) -> None:
        if not self._is_ready:
            return
        found = {name: self._watcher.sketch(name) for name in self._drawn}
        sketches = {name: sketch for name, sketch in found.items() if sketch is not None}
        self._offer(sketches)
        parts = {name: part for name, part in self._parts.items() if self._told_parts.get(name) != part}
        shown = [metric for metric in self._in_sight if metric in self._parts["metrics"]]
        if len(self._drawn) <= MOST_LINES:
            lines = [(metric, new) for metric in shown if (new := list(self._lines(metric, sketches)))]
            if parts or lines:
                self.view.send(lines=lines, **parts)
        else:
            made = [(metric, each) for metric in shown if (each := self._bands(metric, sketches)) is not None]
            if parts or made:
                self.view.send(bands=made, **parts)
        self._told_parts |= parts

    def _lines(self, metric: str, sketches: Mapping[str, Curves]) -> Iterator[Sent]:
        """Yield the new points of each run's line; a line that has grown a lot is thinned and sent again."""
        most = max(LEAST_POINTS, min(MOST_POINTS, POINTS_OF_ALL // max(1, len(sketches))))
        for name, sketch in sketches.items():
            mark, sent = self._sent.get((metric, name), (UNSEEN, 0))
            now, is_whole, steps, values = sketch.after(metric, mark)
            if now == mark or not (steps or is_whole):
                continue
            if not is_whole and sent + len(steps) > 2 * most:
                now, is_whole, steps, values = sketch.after(metric, UNSEEN)
            if is_whole:
                if not steps and mark == UNSEEN:
                    continue  # this run has no such metric yet
                steps, values = self._within(steps, values)
                x, y = thinned(steps, values, most)
                self._sent[metric, name] = now, len(x)
                yield self._id(name), x, y, False
            else:
                self._sent[metric, name] = now, sent + len(steps)
                yield self._id(name), steps, values, True

    def _within(self, steps: list[int], values: list[float]) -> tuple[list[int], list[float]]:
        """Return the points within the chosen steps, and one more on each side."""
        if self._range is None or not steps:
            return steps, values
        first = max(0, int(np.searchsorted(steps, self._range[0])) - 1)
        last = int(np.searchsorted(steps, self._range[1], side="right")) + 1
        return steps[first:last], values[first:last]

    def _bands(self, metric: str, sketches: Mapping[str, Curves]) -> list[dict[str, Any]] | None:
        """Return the bands of a metric; None if they have not changed."""
        found = {name: sketch.after(metric, UNSEEN) for name, sketch in sketches.items()}
        seen = (tuple(one[0] for one in found.values()), tuple(self._colouring.groups), self._range)
        if self._sent_bands.get(metric) == seen:
            return None
        self._sent_bands[metric] = seen
        lines = [tuple(np.asarray(each, float) for each in self._within(*one[2:])) for one in found.values()]
        place = {name: at for at, name in enumerate(self._drawn)}
        groups = [self._colouring.groups[place[name]] for name in found]
        colours = dict(zip(self._colouring.groups, self._colouring.colours, strict=True))
        return [
            {
                "label": band.group,
                "color": colours[band.group],
                "runs": band.runs,
                "steps": band.steps,
                "low": band.low,
                "middle": band.middle,
                "high": band.high,
            }
            for band in bands(lines, groups)  # type: ignore[arg-type]  # of two arrays each
        ]


def edits_of_row(row: RunRow) -> Iterator[tuple[int, str]]:
    """Yield each edit of a run: its step, and what it changed: `lr 0.1 → 0.001 @1500`."""
    found = [
        (each[at][0], f"{key} {changed(each[at - 1 : at + 1])}")
        for key, each in row.summary.changes.items()
        for at in range(1, len(each))
    ]
    yield from sorted(found)


def _telling(index: RunIndex) -> str:
    """Return the key that decides the colours at first: the swept key, other than a seed, that most runs have."""
    texts = {
        key: [entry.overrides[key] for entry in index.entries if key in entry.overrides]
        for key in index.swept
        if not is_seed(key)
    }
    having = {key: len(known) for key, known in texts.items() if len(set(known)) > 1}
    return max(having, key=having.__getitem__) if having else "run" if len(index) <= len(PALETTE) else "state"


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most `most` names, evenly spread over all."""
    if len(names) <= most:
        return list(names)
    return [names[at * len(names) // most] for at in range(most)]


def _note(drawn: int, wanted: int, known: int) -> str:
    if drawn > MOST_LINES:
        of = f"{drawn:,} of {wanted:,}" if drawn < wanted else f"{drawn:,}"
        return f"{of} runs as bands: the middle, and a tenth to nine tenths of each group"
    return "" if wanted == known else f"{wanted:,} of {known:,} runs"
