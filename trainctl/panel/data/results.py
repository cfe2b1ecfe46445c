"""What came out of a sweep: runs that differ in their seed only are one row, with mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from trainctl.examine.columns import is_seed, varying
from trainctl.examine.frame import with_means
from trainctl.panel.data.run_view import RunRow
from trainctl.rundir.fields import number

MAX_METRICS = 8
MAX_SWEPT = 12


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


def swept_of(rows: Mapping[str, RunRow]) -> dict[str, list[str | None]]:
    """Return the overrides in which the runs differ with each run's value; of our own settings only the seed."""
    found = varying([row.summary.overrides for row in rows.values()])
    shown = {key: values for key, values in found.items() if key == "trainctl.seed" or not key.startswith("trainctl.")}
    return dict(list(shown.items())[:MAX_SWEPT])


def metrics_of(rows: Mapping[str, RunRow]) -> list[str]:
    """Return the metrics that the runs have logged."""
    return list(dict.fromkeys(name for row in rows.values() for name in row.summary.metrics))[:MAX_METRICS]
