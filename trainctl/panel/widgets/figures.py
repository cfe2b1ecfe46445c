"""How plots look: plain, small, readable on light and dark ground, and drawn by Bokeh alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models import (
    BasicTicker,
    BasicTickFormatter,
    FixedTicker,
    HoverTool,
    LinearScale,
    LogScale,
    LogTicker,
    NumeralTickFormatter,
    PrintfTickFormatter,
)
from bokeh.plotting import figure

LINE = "#4c7fb8"  # seen on white and on near-black alike
EDIT = "#d98200"
GREY = "#88888855"
COLOURS = (
    "#4c7fb8", "#d9822b", "#3f9c53", "#c8504b", "#8d6bb8", "#8c6d52", "#d26fae", "#7f8790", "#a7a02f", "#2fa3ad",
)  # fmt: skip


def plot(*, height: int = 230) -> Any:
    """Return an empty plot. It is made once per page and only changed from then on.

    A plot that is put into a page which is shown already is measured before it is ready, and the browser says so.
    """
    made: Any = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="xpan,xwheel_zoom,box_zoom,reset,save",
        toolbar_location="right",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_left=72,
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.xaxis.major_label_text_color = made.yaxis.major_label_text_color = "#808890"
    made.xaxis.axis_label_text_color = made.yaxis.axis_label_text_color = "#808890"
    for grid in (made.xgrid, made.ygrid):
        grid.grid_line_color = GREY
    for axis in (*made.xaxis, *made.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = GREY
        axis.minor_tick_line_color = None
    made.xaxis.formatter = NumeralTickFormatter(format="0,0")
    made.xaxis.ticker = BasicTicker(desired_num_ticks=6)
    return made


def set_log(made: Any, axis: str, *, is_log: bool) -> None:
    """Let an axis (`x` or `y`) run in powers, or not."""
    if isinstance(getattr(made, f"{axis}_scale"), LogScale) == is_log:
        return
    setattr(made, f"{axis}_scale", LogScale() if is_log else LinearScale())
    for drawn in getattr(made, f"{axis}axis"):
        drawn.ticker = LogTicker(mantissas=[1, 2, 5]) if is_log else BasicTicker(desired_num_ticks=6)
        drawn.formatter = PrintfTickFormatter(format="%.4g") if is_log else BasicTickFormatter()
    for grid in getattr(made, f"{axis}grid"):
        grid.ticker = getattr(made, f"{axis}axis")[0].ticker


def set_places(made: Any, words: Sequence[str] | None) -> None:
    """Name the whole numbers of the x axis from 0 on; None: it is a line of numbers."""
    made.xaxis.major_label_overrides = dict(enumerate(words or ()))
    made.xaxis.ticker = BasicTicker() if words is None else FixedTicker(ticks=list(range(len(words))))
    made.xaxis.formatter = PrintfTickFormatter(format="%.4g")


def hover(made: Any, renderers: Sequence[Any], *rows: tuple[str, str]) -> None:
    """Show values under the pointer."""
    made.add_tools(HoverTool(renderers=list(renderers), tooltips=list(rows), visible=False))


def between(share: float) -> str:
    """Return a colour between blue (0) and orange (1).

    >>> between(0.0), between(1.0)
    ('#4c7fb8', '#d98200')
    """
    ends = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (LINE, EDIT)]
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in zip(*ends, strict=True))
