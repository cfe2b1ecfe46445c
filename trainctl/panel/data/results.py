"""What came out of a sweep: runs that differ in their seed only are one row, with mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainctl.examine.cells import Cell
from trainctl.examine.columns import is_seed
from trainctl.examine.table import Table
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.widgets.runs import metrics_of, swept_of
from trainctl.rundir.fields import number


@dataclass(frozen=True, slots=True)
class Results:
    """A table: swept keys (without seeds), how many runs, then a cell or None per metric."""

    keys: list[str]
    metrics: list[str]
    rows: list[tuple[list[str], int, list[Cell | None]]]

    def table(self) -> Table:
        """Return it as the examiner's table, which is written in many formats."""
        lines: list[list[Any]] = [[*group, number, *cells] for group, number, cells in self.rows]
        return Table([*self.keys, "runs", *self.metrics], lines, len(self.keys))


def results_of(rows: Mapping[str, RunRow]) -> Results:
    """Group the runs that are done by what is swept besides the seed, in order of first appearance."""
    swept = swept_of(rows)
    keys = [key for key in swept if not is_seed(key)]
    metrics = [*_results(rows), *metrics_of(rows)]
    groups: dict[tuple[str, ...], list[RunRow]] = {}
    for at, row in enumerate(rows.values()):
        if row.summary.state == "done":
            groups.setdefault(tuple(swept[key][at] or "" for key in keys), []).append(row)
    return Results(
        keys,
        metrics,
        [(list(group), len(found), [_cell(found, name) for name in metrics]) for group, found in groups.items()],
    )


def value_of(row: RunRow, name: str) -> float | None:
    """Return a run's number of that name: its result, a part of it, or its last metric."""
    run = row.summary
    found: object = run.metrics.get(name)
    if name == "result":
        found = run.result
    elif name.startswith("result."):
        found = run.result.get(name.removeprefix("result.")) if isinstance(run.result, dict) else None
    value = number(found)
    return None if value is None else float(value)


def to_csv(table: Results) -> str:
    """Write one column each for mean, deviation and count; values as text that CSV readers take back."""
    return table.table().write("csv")


def to_markdown(table: Results) -> str:
    """Write a table as GitHub reads it."""
    return table.table().write("md")


def to_latex(table: Results) -> str:
    """Write a tabular in the style of booktabs."""
    return table.table().write("latex")


def _results(rows: Mapping[str, RunRow]) -> list[str]:
    """Return `result`, or one name per part when runs return mappings."""
    found: dict[str, None] = {}
    for row in rows.values():
        value = row.summary.result
        if isinstance(value, dict):
            found |= dict.fromkeys(f"result.{key}" for key in value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found["result"] = None
    return list(found)[:12]


def _cell(rows: Sequence[RunRow], name: str) -> Cell | None:
    return Cell.of(value_of(row, name) for row in rows)
