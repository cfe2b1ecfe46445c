"""A table as a plot; matplotlib is imported here only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trainctl.errors import SettingError
from trainctl.examine.cells import is_number
from trainctl.examine.frame import values_of
from trainctl.examine.writing import keys_of
from trainctl.text import clean

_MOST_TICKS = 40


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw each column of numbers by row: over the first parameter if that is a number, else row by row.

    Raises:
        SettingError: matplotlib is not installed, there is no number to draw, or the format is unknown.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no window, no state
    except ImportError as error:
        raise SettingError("a plot needs matplotlib: pip install 'hydra-trainctl[plot]'") from error
    if not path.suffix:
        raise SettingError(
            f"{str(path)!r} does not say in which format it is to be drawn; end it in .png, .pdf or .svg"
        )
    columns = values_of(table)
    heads = _drawn(table, columns)
    keys = [columns[head] for head in keys_of(table) if head in columns]
    figure = Figure(figsize=(7, 1 + 2.4 * len(heads)), layout="constrained")
    labels = [", ".join(map(_label, values)) for values in zip(*keys, strict=True)] or [""] * len(table)
    is_line = len(keys) == 1 and all(map(is_number, keys[0]))
    places = keys[0] if is_line else list(range(len(labels)))
    for number, head in enumerate(heads):
        axes: Any = figure.add_subplot(len(heads), 1, number + 1)
        errors = [one if one and math.isfinite(one) else 0.0 for one in columns.get(f"{head} std", [0.0] * len(labels))]
        points = zip(places, columns[head], errors, strict=True)
        drawn = sorted(point for point in points if is_number(point[1]) and math.isfinite(point[1]))
        xs, ys, sizes = zip(*drawn, strict=True) if drawn else ((), (), ())
        axes.errorbar(xs, ys, yerr=sizes, fmt="o-" if is_line else "o", capsize=3)
        _mark_not_finite(axes, places, columns[head])
        axes.set_ylabel(_label(head))
        axes.grid(alpha=0.3)
        if is_line:
            axes.set_xlabel(_label(keys_of(table)[0]))
        elif len(labels) <= _MOST_TICKS:
            axes.set_xticks(places, labels, rotation=30, ha="right")
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise SettingError(f"{str(path)!r} cannot be drawn: {error}") from error


def _mark_not_finite(axes: Any, places: Sequence[Any], values: Sequence[Any]) -> None:
    """Write `nan` or `inf` at the foot of the plot where a value has no place in it."""
    foot = axes.get_xaxis_transform()
    for place, value in zip(places, values, strict=True):
        if is_number(value) and not math.isfinite(value):
            axes.plot([place], [0.04], "x", color="tab:red", transform=foot)
            axes.text(place, 0.08, str(float(value)), color="tab:red", ha="center", transform=foot)


def _drawn(table: pd.DataFrame, columns: dict[str, list[Any]]) -> list[str]:
    """Return the columns of numbers; counts and times only where there is nothing else.

    Raises:
        SettingError: there is no number.
    """
    means = table.attrs.get("means", ())
    other = {*keys_of(table), *(f"{head} {part}" for head in means for part in ("std", "count"))}
    numbers = [head for head, values in columns.items() if head not in other and any(map(is_number, values))]
    if not numbers:
        raise SettingError("there is no number to draw in this table; name a metric")
    return [head for head in numbers if head not in ("runs", "not done", "edits", "took_s")] or numbers


def _label(value: Any) -> str:
    """Write a value as it is: between two dollar signs matplotlib would set a formula, or fail to."""
    return f"{value:g}" if isinstance(value, float) else clean(value).replace("$", r"\$")
