"""Summaries of a metric over a run: last, best, mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from trainctl.errors import SettingError
from trainctl.rundir import files
from trainctl.rundir.fields import as_float
from trainctl.rundir.metrics import with_numbers

Part = Literal["last", "min", "max", "mean", "first", "count"]
PARTS: tuple[str, ...] = get_args(Part)


@dataclass(slots=True)
class MetricSummary:
    """The values of one metric, in the order in which they were logged. NaN is neither the least nor the greatest."""

    first: float = math.nan
    last: float = math.nan
    min: float = math.nan
    max: float = math.nan
    mean: float = math.nan
    count: int = 0

    def add(self, values: list[float]) -> None:
        """Add further values."""
        if not self.count:
            self.first = values[0]
        count, mean = self.count + len(values), mean_of(values)
        if not self.count:
            self.mean = mean
        elif math.isfinite(self.mean) and math.isfinite(mean):
            self.mean += (mean - self.mean) * (len(values) / count)
        else:
            self.mean += mean  # what was infinite stays so
        self.count, self.last = count, values[-1]
        numbers = [value for value in (*values, self.min, self.max) if value == value]  # noqa: PLR0124  # not nan
        if numbers:
            self.min, self.max = min(numbers), max(numbers)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of at least one value; what is not a number, or infinite, counts.

    >>> mean_of([1.0, 2.0]), mean_of([1e308, 1e308]), mean_of([1.0, math.inf])
    (1.5, 1e+308, inf)
    """
    if not all(map(math.isfinite, values)):
        return sum(values)
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # of the sum, not of the mean
        return math.fsum(value / len(values) for value in values)


def read_curves(path: Path) -> dict[str, MetricSummary]:
    """Read `metrics.jsonl`, in blocks; torn and foreign lines are passed over. Empty when there is no such file.

    Raises:
        UnreadableError: it is there and cannot be read, or it has lines, and none of them is a record.
    """
    curves: dict[str, MetricSummary] = {}
    records, has_lines = 0, False
    try:
        for block in files.read_blocks(path):
            has_lines = has_lines or (block.endswith(b"\n") and not block.isspace())
            records += _add(curves, block)
    except FileNotFoundError:
        return {}
    if not records and has_lines:
        raise files.unreadable(path, "none of its lines is a record")
    return curves


def _add(curves: dict[str, MetricSummary], lines: bytes) -> int:
    values: dict[str, list[float]] = {}
    number = 0
    for record in files.parse_together(with_numbers(lines)):
        number += 1
        for name, value in record.items():
            if type(value) is float:
                values.setdefault(name, []).append(value)
            elif type(value) is int:
                values.setdefault(name, []).append(as_float(value))
    for name, new in values.items():
        if name not in ("step", "t"):
            curves.setdefault(name, MetricSummary()).add(new)
    return number


def metric_of(text: str) -> tuple[str, Part]:
    """Split the name of a metric summary, such as `accuracy:max`; the last value if no part is named.

    Raises:
        SettingError: there is no such part.

    >>> metric_of("accuracy:max"), metric_of("loss"), metric_of("val:loss:min")
    (('accuracy', 'max'), ('loss', 'last'), ('val:loss', 'min'))
    """
    name, colon, part = text.rpartition(":")
    if not colon:
        return text, "last"
    if part not in PARTS or not name:
        raise SettingError(f"the metric {text!r} ends in :{part}; allowed are {', '.join(':' + one for one in PARTS)}")
    return name, part  # type: ignore[return-value]  # one of them
