"""One figure of `docs/benchmarks.md`: a table, ratios that must not get worse, and bars."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Figure:
    """What was measured to answer one question.

    Attributes:
        key: its name on the command line.
        title: the heading.
        how: what was done, in sentences.
        heads: of the table.
        rows: the first cell a name, then numbers, text, or None where there is nothing to tell.
        ratios: trainctl by something else, by what it is: lower is better, so a rise of it is a regression.
        bars: drawn beside the table: name, number.
        unit: of the bars.
        notes: what is left out and why, and how to read it.
        failures: who is here and has not done the work; the measurement fails by it.
    """

    key: str
    title: str
    how: str
    heads: Sequence[str]
    rows: list[list[Any]] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    bars: list[tuple[str, float]] = field(default_factory=list)
    unit: str = ""
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Rounds:
    """Numbers by who and what, one of each a round; whoever cannot be measured is left out with the reason."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[str, list[float]]] = {}
        self.left_out: dict[str, str] = {}

    def add(self, who: str, found: Mapping[str, float]) -> None:
        """Add what one round has found."""
        for what, number in found.items():
            self.numbers.setdefault(who, {}).setdefault(what, []).append(number)

    def median(self, who: str, what: str) -> float | None:
        numbers = self.numbers.get(who, {}).get(what)
        return statistics.median(numbers) if numbers else None

    def ratio(self, who: str, other: str, what: str, of_other: str | None = None) -> float | None:
        """Return the median of the rounds' ratios of one to the other: what disturbs a round disturbs both."""
        pairs = zip(
            self.numbers.get(who, {}).get(what, []), self.numbers.get(other, {}).get(of_other or what, []), strict=False
        )
        ratios = [one / two for one, two in pairs if two > 0]
        return statistics.median(ratios) if ratios else None


def known(ratios: Mapping[str, float | None]) -> dict[str, float]:
    """Return those that could be measured."""
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def times(ratio: float | None) -> str | None:
    """Return a ratio as a cell.

    >>> times(2.345), times(0.00012), times(4120), times(None)
    ('2.3 x', '0.00012 x', '4,120 x', None)
    """
    if ratio is None:
        return None
    return f"{ratio:,.0f} x" if ratio >= 100 else f"{ratio:.2g} x"
