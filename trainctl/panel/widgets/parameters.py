"""What the parameters of finished runs have to do with what came out: one parameter at a time, and all side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import panel
import panel_material_ui as pmui
from bokeh.models import ColumnDataSource

from trainctl.panel.data.results import names_of, swept_of, value_of
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.widgets import figures
from trainctl.panel.widgets.pending import set_params


class Relations:
    """Two plots of the runs that are done."""

    def __init__(self) -> None:
        self._rows: Mapping[str, RunRow] = {}
        self._seen: object = None
        common: dict[str, Any] = {"size": "small", "margin": (6, 6), "width": 200}
        self._key = pmui.Select(label="parameter", options=[""], value="", **common)
        self._metric = pmui.Select(label="outcome", options=[""], value="", **common)
        self._points = ColumnDataSource({"x": [], "y": [], "run": []})
        self._lines = ColumnDataSource({"x": [], "y": [], "run": [], "said": [], "color": []})
        self._ends = ColumnDataSource({"x": [], "y": [], "text": []})
        self._scatter, self._parallel = self._drawn_scatter(), self._drawn_parallel()
        for widget in (self._key, self._metric):
            widget.param.watch(lambda _event: self._draw(), ["value"])
        self.view = pmui.Column(
            pmui.FlexBox(self._key, self._metric, gap="0px"),
            panel.pane.Bokeh(self._scatter, sizing_mode="stretch_width", margin=(0, 4)),
            panel.pane.Bokeh(self._parallel, sizing_mode="stretch_width", margin=(0, 4)),
            sizing_mode="stretch_width",
            margin=0,
        )

    def look(self, rows: Mapping[str, RunRow]) -> None:
        """Draw anew when other runs are done."""
        done = {name: row for name, row in rows.items() if row.summary.state == "done"}
        seen = [id(row) for row in done.values()]
        if seen == self._seen:
            return
        self._seen, self._rows = seen, done
        keys, metrics = list(swept_of(done)), names_of(done)
        set_params(self._key, options=keys or [""], value=_kept(self._key.value, keys))
        set_params(self._metric, options=metrics or [""], value=_kept(self._metric.value, metrics))
        self._draw()

    def _draw(self) -> None:
        metric = self._metric.value
        values = {name: found for name, row in self._rows.items() if (found := value_of(row, metric)) is not None}
        swept = {key: dict(zip(self._rows, column, strict=True)) for key, column in swept_of(self._rows).items()}
        by = swept.get(self._key.value, {})
        points, words = points_of([by.get(name) for name in values])
        self._points.data = {"x": points, "y": list(values.values()), "run": list(values)}
        figures.set_places(self._scatter, words)
        self._scatter.xaxis.axis_label, self._scatter.yaxis.axis_label = self._key.value, metric
        columns = {key: scaled([parameter[name] for name in values]) for key, parameter in swept.items()}
        columns[metric] = scaled([f"{value:.6g}" for value in values.values()])
        self._lines.data, self._ends.data = lines_of(columns, values)
        figures.set_places(self._parallel, list(columns))

    def _drawn_scatter(self) -> Any:
        made = figures.plot()
        drawn = made.scatter("x", "y", source=self._points, size=9, color=figures.LINE, alpha=0.8)
        figures.hover(made, [drawn], ("run", "@run"), ("parameter", "@x"), ("outcome", "@y"))
        return made

    def _drawn_parallel(self) -> Any:
        made = figures.plot(height=260)
        drawn = made.multi_line("x", "y", source=self._lines, line_color="color", line_width=2, line_alpha=0.75)
        figures.hover(made, [drawn], ("run", "@run"), ("", "@said"))
        made.yaxis.visible = made.ygrid.visible = False
        text = {"text_font_size": "10px", "text_color": "#808890", "text_baseline": "middle"}
        made.text("x", "y", text="text", source=self._ends, x_offset=5, **text)
        return made


def points_of(parameter: list[str | None]) -> tuple[list[float], list[str] | None]:
    """Return the places on the x axis: the numbers themselves, or one place per value, with the values in order.

    >>> points_of(["0.1", "1"]), points_of(["new", "batch", "new"])
    (([0.1, 1.0], None), ([0.0, 1.0, 0.0], ['new', 'batch']))
    """
    numbers = [number for text in parameter if (number := number_of(text)) is not None]
    if len(numbers) == len(parameter):
        return numbers, None
    words = list(dict.fromkeys(text or "" for text in parameter))
    return [float(words.index(text or "")) for text in parameter], words


Columns = Mapping[str, list[tuple[float, str]]]


def lines_of(columns: Columns, values: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a line per run over all columns, and the texts that stand at the columns."""
    ranks = scaled([repr(value) for value in values.values()])
    lines = {
        "x": [list(range(len(columns)))] * len(values),
        "y": [[column[at][0] for column in columns.values()] for at in range(len(values))],
        "run": list(values),
        "said": [", ".join(f"{key}={column[at][1]}" for key, column in columns.items()) for at in range(len(values))],
        "color": [figures.between(rank) for rank, _ in ranks],
    }
    places = [(at, *place) for at, column in enumerate(columns.values()) for place in dict.fromkeys(column)]
    return lines, {"x": [p[0] for p in places], "y": [p[1] for p in places], "text": [p[2] for p in places]}


def scaled(texts: list[str | None]) -> list[tuple[float, str]]:
    """Return each text's place between 0 and 1: numbers by size, others in order of first appearance.

    >>> scaled(["1", "3", "2"]), scaled(["b", "a", None])
    ([(0.0, '1'), (1.0, '3'), (0.5, '2')], [(0.0, 'b'), (0.5, 'a'), (1.0, '')])
    """
    words = [text or "" for text in texts]
    numbers = [number_of(text) for text in words]
    order = list(dict.fromkeys(words))
    places = [
        float(order.index(word)) if number is None else number for word, number in zip(words, numbers, strict=True)
    ]
    if any(number is None for number in numbers):
        places = [float(order.index(word)) for word in words]
    low, high = min(places, default=0.0), max(places, default=0.0)
    return [
        ((place - low) / (high - low) if high > low else 0.5, word) for place, word in zip(places, words, strict=True)
    ]


def number_of(text: str | None) -> float | None:
    """Return the number that a text writes; None for any other text, and for what is not finite."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _kept(value: str, options: list[str]) -> str:
    return value if value in options else next(iter(options), "")
