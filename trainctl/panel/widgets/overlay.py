"""One metric of several runs over their steps, with a mark on each curve where the run was edited."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import panel
import panel_material_ui as pmui
from bokeh.models import ColumnDataSource

from trainctl.panel.data.curves import UNSEEN, Mark, dotted
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.html import run_link
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets import figures
from trainctl.panel.widgets.pending import set_object, set_params
from trainctl.panel.widgets.plots import edits_of

MAX_RUNS = 20
MAX_DRAWN = 1500
_NO_LINE: tuple[Any, Any] = ([], [])
_NO_MARKS: dict[str, list[Any]] = {"step": [], "value": [], "text": [], "color": []}


_COLOURS_OF_LINES = [figures.COLOURS[place % len(figures.COLOURS)] for place in range(MAX_RUNS)]


class Overlay:
    """Draws the runs that are chosen; they are watched for as long as they are."""

    def __init__(self, watcher: Watcher, stack: ExitStack, metric: str = "") -> None:
        self._watcher = watcher
        self._names: list[str] = []
        self._watching = stack.enter_context(ExitStack())
        self._seen: dict[str, Mark] = {}
        self._shape: object = None
        # all lines in one source, and all marks in another: each model more costs every page that is opened
        self._lines = ColumnDataSource(
            {"step": [[]] * MAX_RUNS, "value": [[]] * MAX_RUNS, "text": [""] * MAX_RUNS, "color": _COLOURS_OF_LINES}
        )
        self._drawn_lines = [_NO_LINE] * MAX_RUNS
        self._marks = ColumnDataSource(_NO_MARKS)
        self._edited: dict[str, dict[str, list[Any]]] = {}
        self._offering = False
        self._wanted = metric
        common: dict[str, Any] = {"size": "small", "margin": (6, 6)}
        self.metric = pmui.Select(label="metric", options=[""], value="", width=180, **common)
        self._smooth = pmui.FloatSlider(
            label="smoothing", start=0, end=0.99, step=0.01, value=0, width=130, tooltips=False, **common
        )
        self._log_y = pmui.Switch(label="log y", value=False, **common)
        self._log_x = pmui.Switch(label="log x", value=False, **common)
        self._figure = self._drawn()
        self._legend = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(2, 12))
        self.metric.param.watch(lambda _event: self._changed(), ["value"])
        self._smooth.param.watch(lambda _event: self._changed(), ["value_throttled"])
        for switch in (self._log_x, self._log_y):
            switch.param.watch(lambda _event: self._set_axes(), ["value"])
        self.view = pmui.Column(
            pmui.FlexBox(self.metric, self._smooth, self._log_y, self._log_x, align_items="center", gap="0px"),
            self._legend,
            panel.pane.Bokeh(self._figure, sizing_mode="stretch_width", margin=(0, 4)),
            sizing_mode="stretch_width",
            margin=0,
            visible=False,
        )

    def choose(self, names: Sequence[str]) -> None:
        """Show other runs."""
        chosen = list(names)[:MAX_RUNS]
        if chosen == self._names:
            return
        self._names = chosen
        set_params(self.view, visible=bool(chosen))
        self._watching.close()
        for name in chosen:
            self._watching.enter_context(self._watcher.watching(name))
        self.look(again=True)

    def _changed(self) -> None:
        if not self._offering:
            self.look(again=True)

    def look(self, *, again: bool = False) -> None:
        """Take over what is new."""
        curves = {name: found for name in self._names if (found := self._watcher.curves(name)) is not None}
        self._offer(list(dict.fromkeys(metric for found in curves.values() for metric in found.names)))
        shape = (tuple(curves), self.metric.value)
        if shape != self._shape:
            self._shape, self._seen, self._edited, again = shape, {}, {}, True
            self._figure.yaxis.axis_label = self.metric.value
            set_object(self._legend, _legend_of(list(curves)))
            self._drawn_lines = [_NO_LINE] * MAX_RUNS
        is_other = again
        for place, (name, found) in enumerate(curves.items()):
            seen, _, steps, values = found.after(self.metric.value, UNSEEN)
            if again or self._seen.get(name) != seen:
                self._seen[name], is_other = seen, True
                self._take(place, name, steps, smoothed(values, self._smooth.value))
        if is_other:  # all at once: a line that is patched alone is drawn wrongly by the browser
            steps_of_all, values_of_all = zip(*self._drawn_lines, strict=True)
            texts = [*curves, *[""] * (MAX_RUNS - len(curves))]
            self._lines.data = {
                "step": list(steps_of_all),
                "value": list(values_of_all),
                "text": texts,
                "color": _COLOURS_OF_LINES,
            }
        marks = _joined(self._edited.values())
        if marks != dict(self._marks.data):
            self._marks.data = marks

    def _offer(self, known: list[str]) -> None:
        chosen = self._wanted if self._wanted in known else self.metric.value
        if chosen in known:
            self._wanted = ""
        self._offering = True
        set_params(self.metric, options=known or [""], value=chosen if chosen in known else next(iter(known), ""))
        self._offering = False

    def _take(self, place: int, name: str, steps: list[int], values: list[float]) -> None:
        """Keep a line and its marks; of a long line so many points as a screen can show."""
        every = slice(None, None, -(-len(steps) // MAX_DRAWN) or 1)
        xs, ys = dotted(steps[every], values[every])
        self._drawn_lines[place] = (np.array(xs, float), np.array(ys, float))
        view = self._watcher.view(name)
        edits = edits_of(view) if view is not None and steps else []
        self._edited[name] = {
            "step": [step for step, _ in edits],
            "value": [values[min(bisect_left(steps, step), len(steps) - 1)] for step, _ in edits],
            "text": [text for _, text in edits],
            "color": [_COLOURS_OF_LINES[place]] * len(edits),
        }

    def _drawn(self) -> Any:
        """Make the plot with as many lines as it will ever have."""
        made = figures.plot(height=300)
        lines = made.multi_line(
            "step", "value", source=self._lines, line_color="color", line_width=1.8, line_cap="round"
        )
        marks = made.scatter(
            "step", "value", source=self._marks, size=9, fill_color=figures.EDIT, line_color="color", line_width=1.5
        )
        figures.hover(made, [lines], ("run", "@text"), ("step", "$data_x{0,0}"), ("value", "$data_y{0.[000000]}"))
        figures.hover(made, [marks], ("step", "@step{0,0}"), ("edit", "@text"))
        made.xaxis.axis_label = "step"
        return made

    def _set_axes(self) -> None:
        for axis, switch in (("x", self._log_x), ("y", self._log_y)):
            figures.set_log(self._figure, axis, is_log=switch.value)


def _legend_of(names: list[str]) -> str:
    """Name the lines by colour, each a link to its run."""
    parts = (
        f'<span><i class="key" style="background:{_COLOURS_OF_LINES[place]}"></i>{run_link(name)}</span>'
        for place, name in enumerate(names)
    )
    return f'<div class="facts">{"".join(parts)}</div>'


def _joined(marks: Iterable[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Return the marks of all lines, line after line."""
    found = list(marks)
    return {name: [cell for one in found for cell in one[name]] for name in _NO_MARKS}


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average; it begins with the first value, and goes on after one that is not finite.

    >>> smoothed([0.0, 1.0, 1.0], 0.5)
    [0.0, 0.5, 0.75]
    """
    found: list[float] = []
    last: float | None = None
    for value in values:
        last = value if last is None or not math.isfinite(last) else weight * last + (1 - weight) * value
        found.append(last)
    return found
