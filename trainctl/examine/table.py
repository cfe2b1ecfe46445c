"""The examiner's table: its columns and their values."""

from __future__ import annotations

import itertools
import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from trainctl.config.values import is_number
from trainctl.errors import SettingError
from trainctl.examine.columns import apart, at_end, is_seed, parameters, same
from trainctl.examine.curve import Part, metric_of
from trainctl.examine.frame import frame_of, with_means
from trainctl.examine.row import AT_END, OWN, Row


def make_table(
    named: Mapping[str, Row],
    *,
    by: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    best: str | None = None,
    most: int,
) -> pd.DataFrame:
    """Make the table of named rows; see `Examiner.table`."""
    rows = list(named.values())
    differing, constants = parameters([row.parameters for row in rows]) if rows else ({}, {})
    constants = at_end(constants, [row.end for row in rows])
    wanted, names = _list(metrics), _names(rows)
    left_out = {"metrics": [] if wanted else names[most:], "parameters": list(differing)[most:]}
    # not all of the names: pandas copies the attributes of a table with each of its columns
    told = {kind: f"{len(these)} more {kind}, such as {these[0]}" for kind, these in left_out.items() if these}
    differing = dict(itertools.islice(differing.items(), most))
    shown = {one: metric_of(one) for one in (*wanted, *([best] if best else ())) if one not in names}
    shown = {one: shown.get(one, (one, "last")) for one in (wanted or names[:most])}
    _check_metrics([*wanted, *([best] if best else [])], rows)
    get = {head: _getter(name, part) for head, (name, part) in shown.items()}
    if by is None and best is None:
        table = _of_runs(named, differing, constants, get, is_short=bool(wanted))
    else:
        table = _grouped(named, differing, constants, get, by, best, wanted)
    table.attrs |= {"left_out": told} if told else {}
    return table


def _grouped(
    named: Mapping[str, Row],
    differing: dict[str, list[Any]],
    constants: dict[str, Any],
    get: dict[str, Callable[[Row], Any]],
    by: str | Sequence[str] | None,
    best: str | None,
    wanted: Sequence[str],
) -> pd.DataFrame:
    rows = list(named.values())
    keys = [key for key in differing if not is_seed(key)] if by in ("params", None) else _list(by)
    _check_keys(keys, rows, differing, constants)
    get = {head: value for head, value in get.items() if head in wanted or head not in keys or head in differing}
    groups: dict[Any, _RunGroup] = {}
    for name, row in named.items():
        given = row.parameters
        values = [given.get(key) if key in differing or key in constants else _found(row, key) for key in keys]
        groups.setdefault(tuple(map(same, values)), _RunGroup(values)).rows[name] = row
    found = list(groups.values())
    own = ["best run"] if best is not None else ["runs", "not done"]
    levels: dict[str, list[Any]] = {}
    for at, key in enumerate(keys):
        levels[apart(key, (*levels, *own), "parameter")] = [group.values[at] for group in found]
    table = _of_groups(found, levels, get) if best is None else _of_best(found, levels, get, best)
    table.attrs["constants"] = {key: value for key, value in constants.items() if key not in keys}
    return table


@dataclass(frozen=True, slots=True)
class _RunGroup:
    """Runs that agree in the values of some keys."""

    values: list[Any]
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def done(self) -> dict[str, Row]:
        return {name: row for name, row in self.rows.items() if row.state == "done"}


def _found(row: Row, key: str) -> Any:
    """Return what runs are grouped by that is not a key of all of their configs."""
    value = row.parameters.get(key)
    return row.value(key) if value is None else value


def _getter(name: str, part: Part) -> Callable[[Row], Any]:
    return lambda row: row.value(name, part)


def _of_runs(
    named: Mapping[str, Row],
    differing: dict[str, list[Any]],
    constants: dict[str, Any],
    get: dict[str, Callable[[Row], Any]],
    *,
    is_short: bool,
) -> pd.DataFrame:
    rows = list(named.values())
    columns: dict[str, list[Any]] = {"run": list(named)}
    if any(row.state != "done" for row in rows):
        columns["state"] = [row.state for row in rows]
    shown = {head: [value(row) for row in rows] for head, value in get.items()}
    own: dict[str, list[Any]] = {}
    if not is_short:
        if any(row.edits for row in rows):
            own["edits"] = [row.edits for row in rows]
        own["took_s"] = [row.took_s for row in rows]
    own["reason"] = [row.why for row in rows]
    own = {head: values for head, values in own.items() if any(value is not None for value in values)}
    for key, values in differing.items():
        columns[apart(key, (*columns, *own), "parameter")] = values
    for key in dict.fromkeys(key for row in rows for key in row.end):
        columns[apart(f"{key}{AT_END}", (*columns, *own), "edited")] = [
            row.end.get(key, row.start.get(key)) for row in rows
        ]
    keys = list(columns)
    taken = ChainMap(columns, own)
    for head, values in shown.items():
        columns[apart(head, taken, "metric")] = values
    columns |= own
    table = frame_of({"run": columns.pop("run")}, columns)
    table.attrs = {"constants": constants, "keys": keys, "means": []}
    return table


def _of_groups(
    groups: list[_RunGroup], keys: dict[str, list[Any]], get: dict[str, Callable[[Row], Any]]
) -> pd.DataFrame:
    counts = {"runs": [len(group.done) for group in groups]}
    failed = [len(group.rows) - len(group.done) for group in groups]
    if any(failed):
        counts["not done"] = failed
    done = [(at, row) for at, group in enumerate(groups) for row in group.done.values()]
    metrics = {head: [value(row) for _, row in done] for head, value in get.items()}
    return with_means(keys, counts, [at for at, _ in done], metrics)


def _of_best(
    groups: list[_RunGroup], keys: dict[str, list[Any]], get: dict[str, Callable[[Row], Any]], best: str
) -> pd.DataFrame:
    name, part = metric_of(best)
    if part not in ("min", "max"):
        raise SettingError(f"best={best!r} does not say which is best; write {name}:max or {name}:min")
    heads = list(get) if best in get else [best, *(head for head in get if head != name)]
    get = {best: _getter(name, part), **get}
    winners: list[tuple[str, Row] | None] = []
    for group in groups:
        rated = [(get[best](row), (one, row)) for one, row in group.done.items()]
        rated = [(value, one) for value, one in rated if is_number(value) and not math.isnan(value)]
        first = (max if part == "max" else min)(rated, key=lambda pair: pair[0], default=None)  # of equal ones
        winners.append(first and first[1])  # None: all have failed, say
    columns: dict[str, list[Any]] = {"best run": [one and one[0] for one in winners]}
    for head in heads:
        columns[apart(head, (*keys, *columns), "metric")] = [one and get[head](one[1]) for one in winners]
    table = frame_of(keys, columns)
    table.attrs = {"constants": {}, "keys": [*keys, "best run"], "means": []}
    return table


def _names(rows: Sequence[Row]) -> list[str]:
    """Return what the runs have to show: results, metrics, what parsers found, each in order of first appearance."""
    results = dict.fromkeys(name for row in rows for name in row.results())
    curves = dict.fromkeys(name for row in rows for name in row.metrics)
    return list({**results, **curves, **dict.fromkeys(name for row in rows for name in row.found)})


def _check_metrics(wanted: Sequence[str], rows: Sequence[Row]) -> None:
    known = _names(rows)
    for one in wanted:
        name = one if one in known else metric_of(one)[0]
        if name not in known and rows and not _is_own(name, rows):
            raise SettingError(f"there is no metric {name!r}; these runs have {', '.join(sorted(known)) or 'none'}")


def _is_own(name: str, rows: Sequence[Row]) -> bool:
    """Whether runs have it without any parser, return value or metric."""
    return name in OWN or (name.endswith(AT_END) and any(row.value(name) is not None for row in rows))


def _check_keys(keys: Sequence[str], rows: Sequence[Row], *known: Mapping[str, Any]) -> None:
    there = {key for one in known for key in one}
    for key in keys:
        if key not in there and rows and all(_found(row, key) is None for row in rows):
            shown = ", ".join(sorted(known[0])) or "nothing"
            raise SettingError(f"no run has a parameter {key!r}; they differ in {shown}")


def _list(given: str | Sequence[str] | None) -> list[str]:
    if given is None:
        return []
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else list(given)
