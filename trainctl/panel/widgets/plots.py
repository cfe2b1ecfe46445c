"""The two plots of a run page: a metric, and below it a value, over the same steps, with a mark at each edit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import panel
import panel_material_ui as pmui
from bokeh.models import ColumnDataSource

from trainctl.panel.data.curves import UNSEEN, Curves, Mark, dotted, not_finite
from trainctl.panel.data.run_view import RunView, value_at
from trainctl.panel.widgets import figures
from trainctl.panel.widgets.pending import set_params
from trainctl.text import one_line

_NO_GAPS: dict[str, list[Any]] = {"first": [], "last": [], "what": []}


class Plots:
    """Follows a run: what is new is streamed, and nothing is drawn while nothing changes."""

    def __init__(self, view: RunView, curves: Curves) -> None:
        self._curves = curves
        self._mark: Mark = UNSEEN
        self._smoothed: float | None = None
        self._view = view
        self._metric_data = ColumnDataSource({"step": [], "raw": [], "value": []})
        self._gaps = ColumnDataSource(_NO_GAPS)
        self._value_data = ColumnDataSource({"step": [], "value": []})
        self._points = ColumnDataSource({"step": [], "value": [], "text": []})
        self._edits = ColumnDataSource({"step": [], "text": []})
        names = curves.names
        common: dict[str, Any] = {"size": "small", "margin": (6, 6)}
        self._metric = pmui.Select(label="metric", options=names, value=next(iter(names), None), width=180, **common)
        self._smooth = pmui.FloatSlider(
            label="smoothing", start=0, end=0.99, step=0.01, value=0, width=130, tooltips=False, **common
        )
        self._metric_log = pmui.Switch(label="log", value=False, **common)
        keys = plottable(view)
        self._key = pmui.Select(label="value", options=keys, value=first_key(view, keys), width=220, **common)
        self._value_log = pmui.Switch(label="log ", value=_wants_log(view, self._key.value), **common)
        self._figures = self._drawn()
        panes = [panel.pane.Bokeh(made, sizing_mode="stretch_width", margin=(0, 4)) for made in self._figures]
        self._set_axes()
        self._metric.param.watch(self._other_metric, ["value"])
        self._smooth.param.watch(self._other_metric, ["value_throttled"])
        self._key.param.watch(self._other_key, ["value"])
        for switch in (self._metric_log, self._value_log):
            switch.param.watch(lambda _event: self._set_axes(), ["value"])
        self.view = pmui.Paper(
            pmui.FlexBox(self._metric, self._smooth, self._metric_log, align_items="center", gap="0px"),
            panes[0],
            pmui.FlexBox(self._key, self._value_log, align_items="center", gap="0px"),
            panes[1],
            variant="outlined",
            sizing_mode="stretch_width",
            margin=(4, 8),
        )
        self.follow(view, curves)

    def follow(self, view: RunView, curves: Curves) -> None:
        """Show what is new."""
        is_other, self._view = view.changelog is not self._view.changelog, view
        if curves is not self._curves:
            self._curves, self._mark = curves, UNSEEN
        if (names := curves.names) != self._metric.options:
            set_params(self._metric, options=names, value=self._metric.value or next(iter(names), None))
        self._stream()
        if is_other:
            keys = plottable(view)
            set_params(self._key, options=keys, value=self._key.value or first_key(view, keys))
        self._show_value()

    def _drawn(self) -> tuple[Any, Any]:
        top = figures.plot()
        raw = top.line("step", "raw", source=self._metric_data, color=figures.LINE, alpha=0.3)
        line = top.line("step", "value", source=self._metric_data, color=figures.LINE, line_width=1.8, line_cap="round")
        figures.hover(top, [raw, line], ("step", "@step{0,0}"), ("value", "@raw{0.[000000]}"))
        figures.mark_edits(top, self._edits)
        figures.mark_gaps(top, self._gaps)
        low = figures.plot(x_range=top.x_range)
        low.step("step", "value", source=self._value_data, mode="after", color=figures.LINE, line_width=2)
        points = low.scatter("step", "value", source=self._points, color=figures.EDIT, size=8)
        figures.hover(low, [points], ("step", "@step{0,0}"), ("edit", "@text"))
        low.xaxis.axis_label = "step"
        return top, low

    def _set_axes(self) -> None:
        for made, switch in zip(self._figures, (self._metric_log, self._value_log), strict=True):
            figures.set_log(made, "y", is_log=switch.value)

    def _other_metric(self, *_events: Any) -> None:
        self._mark = UNSEEN
        self._stream()

    def _other_key(self, *_events: Any) -> None:
        wanted = _wants_log(self._view, self._key.value)
        if wanted != self._value_log.value:
            self._value_log.value = wanted
        self._show_value()

    def _stream(self) -> None:
        if self._metric.value is None:
            return
        before = self._mark
        self._mark, is_whole, steps, values = self._curves.after(self._metric.value, before)
        if not is_whole and not steps:
            return
        if not is_whole and (self._gaps.data["first"] or not all(map(math.isfinite, values))):
            self._mark, is_whole, steps, values = self._curves.after(self._metric.value, UNSEEN)
        if is_whole:
            self._smoothed = None
        columns: Sequence[Sequence[float]] = (steps, values, self._smooth_more(values))
        if is_whole and self._mark_gaps(steps, values):
            columns = (*dotted(steps, values), dotted(steps, columns[2])[1])
        # arrays are sent as they are, lists number by number
        names = ("step", "raw", "value")
        new: dict[str, Any] = {name: np.array(one, float) for name, one in zip(names, columns, strict=True)}
        if is_whole:
            self._metric_data.data = new
        else:
            self._metric_data.stream(new)

    def _smooth_more(self, values: Sequence[float]) -> list[float]:
        """Go on with the moving average, which begins again after what is not finite."""
        weight = self._smooth.value
        smooth: list[float] = []
        for value in values:
            if self._smoothed is None or not math.isfinite(self._smoothed) or not math.isfinite(value):
                self._smoothed = value
            else:
                self._smoothed = weight * self._smoothed + (1 - weight) * value
            smooth.append(self._smoothed)
        return smooth

    def _mark_gaps(self, steps: Sequence[int], values: Sequence[float]) -> bool:
        """Mark where the metric is NaN or infinite; return whether it is anywhere."""
        gaps = not_finite(steps, values)
        if gaps or self._gaps.data["first"]:
            self._gaps.data = {name: [gap[at] for gap in gaps] for at, name in enumerate(_NO_GAPS)}
        return bool(gaps)

    def _show_value(self) -> None:
        """Show the steps at which the chosen key changed, and its value until now."""
        edits = edits_of(self._view)
        marks = {"step": [step for step, _ in edits], "text": [text for _, text in edits]}
        if marks != dict(self._edits.data):
            self._edits.data = marks
        if self._key.value is None:
            return
        found = changes_of(self._view, self._key.value)
        now = max(self._view.row.summary.step or 0, found[-1][0] if found else 0)
        line = {"step": [*(step for step, _ in found), now], "value": [*(value for _, value in found), *_last(found)]}
        if not found:
            line = {"step": [], "value": []}
        if line != dict(self._value_data.data):
            self._value_data.data = line
        points = {
            "step": [step for step, _ in found],
            "value": [value for _, value in found],
            "text": [f"{self._key.value} = {one_line(value)}" for _, value in found],
        }
        if points != dict(self._points.data):
            self._points.data = points


def plottable(view: RunView) -> list[str]:
    """Return the keys whose value is a number now or was one, the edited ones first."""
    if view.changelog is None:
        return []
    edited = {key: None for edit in reversed(view.changelog.edits) for key in edit.values}
    editable = [key for key, spec in view.keys.items() if not spec.locked]
    return [key for key in dict.fromkeys([*edited, *editable, *view.keys]) if changes_of(view, key)]


def first_key(view: RunView, keys: list[str]) -> str | None:
    """Return the key to show first: the last one edited, else a learning rate, else the first."""
    edited = view.changelog is not None and bool(view.changelog.edits)
    rates = [key for key in keys if key.rpartition(".")[2] in ("lr", "learning_rate")]
    return next(iter(keys if edited else [*rates, *keys]), None)


def changes_of(view: RunView, key: str) -> list[tuple[int, float]]:
    """Return the steps at which a key got a number, with that number; the first is step 0."""
    if view.changelog is None:
        return []
    found = [(0, value_at(view.changelog.base, key))]
    found += [(edit.step, edit.values[key]) for edit in view.changelog.edits if key in edit.values]
    return [(step, float(value)) for step, value in found if isinstance(value, int | float) and math.isfinite(value)]


def edits_of(view: RunView) -> list[tuple[int, str]]:
    """Return each step with edits and what they were, in a line."""
    if view.changelog is None:
        return []
    return [
        (edit.step, ", ".join(f"{key} = {one_line(value)}" for key, value in list(edit.values.items())[:4]))
        for edit in view.changelog.edits
    ]


def _last(found: list[tuple[int, float]]) -> list[float]:
    return [value for _, value in found[-1:]]


def _wants_log(view: RunView, key: str | None) -> bool:
    """Whether a key's values are shown on a log axis at first: its control says so, or they span a decade."""
    values = [value for _, value in changes_of(view, key)] if key is not None else []
    if not values or min(values) <= 0 or key is None:
        return False
    spec = view.keys.get(key)
    return (spec is not None and spec.log) or max(values) / min(values) >= 10
