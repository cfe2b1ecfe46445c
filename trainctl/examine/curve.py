"""What remains of a metric's values over a run: the last, the best, the mean."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from trainctl.errors import SettingError
from trainctl.run import files

Part = Literal["last", "min", "max", "mean", "first", "count"]
PARTS: tuple[str, ...] = get_args(Part)
_BLOCK = 1 << 20


@dataclass(slots=True)
class Curve:
    """The values of one metric, in the order in which they were logged. NaN is neither the least nor the greatest."""

    first: float = math.nan
    last: float = math.nan
    min: float = math.nan
    max: float = math.nan
    mean: float = math.nan
    count: int = 0

    def add(self, values: list[float]) -> None:
        """Take further values."""
        if not self.count:
            self.first = values[0]
        total = math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
        count = self.count + len(values)
        self.mean = total / count if not self.count else self.mean + (total - len(values) * self.mean) / count
        self.count, self.last = count, values[-1]
        numbers = [value for value in (*values, self.min, self.max) if value == value]  # noqa: PLR0124  # not nan
        if numbers:
            self.min, self.max = min(numbers), max(numbers)


def read_curves(path: Path) -> dict[str, Curve]:
    """Read `metrics.jsonl`, in blocks; torn and foreign lines are passed over. Empty when there is no such file.

    Raises:
        OSError: it is there and cannot be read.
    """
    curves: dict[str, Curve] = {}
    try:
        with path.open("rb") as file:
            rest = b""
            while block := file.read(_BLOCK):
                whole, _, rest = (rest + block).rpartition(b"\n")
                _add(curves, whole)
            _add(curves, rest)
    except FileNotFoundError:
        return {}
    return curves


def _add(curves: dict[str, Curve], lines: bytes) -> None:
    values: dict[str, list[float]] = {}
    for record in _records(lines):
        for name, value in record.items():
            if type(value) is float or type(value) is int:
                values.setdefault(name, []).append(value)
    for name, new in values.items():
        if name not in ("step", "t"):
            curves.setdefault(name, Curve()).add(new)


def _records(lines: bytes) -> Iterable[dict[str, Any]]:
    try:  # all in one call is five times as fast as line by line
        found = json.loads(b"[" + lines.strip().replace(b"\n", b",") + b"]")
    except ValueError:
        return files.parse_lines(lines)
    return (record for record in found if isinstance(record, dict))


def metric_of(text: str) -> tuple[str, Part]:
    """Take apart how a person names a metric: `accuracy:max`; the last value when no part is named.

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
