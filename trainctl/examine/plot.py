"""A table as a picture; matplotlib is imported here only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from trainctl.errors import SettingError
from trainctl.examine.cells import Cell
from trainctl.examine.writing import Written
from trainctl.text import clean

_MOST_TICKS = 40


def plot(table: Written, path: Path) -> None:
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
    heads = _drawn(table)
    figure = Figure(figsize=(7, 1 + 2.4 * len(heads)), layout="constrained")
    labels = [", ".join(_label(value) for value in row[: table.keys]) for row in table.rows]
    numbers = [row[0] for row in table.rows] if table.keys == 1 else []
    is_line = bool(numbers) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
    for number, at in enumerate(heads):
        axes: Any = figure.add_subplot(len(heads), 1, number + 1)
        places = numbers if is_line else list(range(len(labels)))
        drawn = sorted(
            (x, *_point(row[at])) for x, row in zip(places, table.rows, strict=True) if _point(row[at])[0] is not None
        )
        xs, ys, errors = ([one[part] for one in drawn] for part in range(3))
        axes.errorbar(xs, ys, yerr=[one or 0.0 for one in errors], fmt="o-" if is_line else "o", capsize=3)
        axes.set_ylabel(_label(table.columns[at]))
        axes.grid(alpha=0.3)
        if is_line:
            axes.set_xlabel(_label(table.columns[0]))
        elif len(labels) <= _MOST_TICKS:
            axes.set_xticks(places, labels, rotation=30, ha="right")
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise SettingError(f"{str(path)!r} cannot be drawn: {error}") from error


def _drawn(table: Written) -> list[int]:
    """Return the columns of numbers; counts and times only where there is nothing else.

    Raises:
        SettingError: there is no number.
    """
    numbers = [
        at for at in range(table.keys, len(table.columns)) if any(_point(row[at])[0] is not None for row in table.rows)
    ]
    if not numbers:
        raise SettingError("there is no number to draw in this table; name a metric")
    return [at for at in numbers if table.columns[at] not in ("runs", "not done", "edits", "took_s")] or numbers


def _point(value: Any) -> tuple[float | None, float | None]:
    if isinstance(value, Cell):
        return value.mean, value.deviation if value.deviation is not None and math.isfinite(value.deviation) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (float(value), None) if is_number else (None, None)


def _label(value: Any) -> str:
    """Write a value as it is: between two dollar signs matplotlib would set a formula, or fail to."""
    return f"{value:g}" if isinstance(value, float) else clean(value).replace("$", r"\$")
