"""What came out of a sweep: runs that differ in their seed only are one row, with mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from trainctl.examine.columns import is_seed
from trainctl.examine.frame import with_means
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.widgets.runs import metrics_of, swept_of
from trainctl.rundir.fields import number


def results_of(rows: Mapping[str, RunRow]) -> pd.DataFrame:
    """Group the runs that are done by what is swept besides the seed, in order of first appearance."""
    swept = swept_of(rows)
    keys = [key for key in swept if not is_seed(key)]
    groups: dict[tuple[str, ...], list[RunRow]] = {}
    for at, row in enumerate(rows.values()):
        if row.summary.state == "done":
            groups.setdefault(tuple(swept[key][at] or "" for key in keys), []).append(row)
    done = [(at, row) for at, found in enumerate(groups.values()) for row in found]
    return with_means(
        {key: [group[at] for group in groups] for at, key in enumerate(keys)},
        {"runs": [len(found) for found in groups.values()]},
        [at for at, _ in done],
        {name: [value_of(row, name) for _, row in done] for name in names_of(rows)},
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


def names_of(rows: Mapping[str, RunRow]) -> list[str]:
    """Return what the runs have to show: results, then metrics."""
    return [*_results(rows), *metrics_of(rows)]


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
