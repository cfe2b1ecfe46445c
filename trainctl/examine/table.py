"""The examiner's table: which columns it has, and what stands in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainctl.errors import SettingError
from trainctl.examine import writing
from trainctl.examine.cells import Cell
from trainctl.examine.columns import is_seed, parameters, same
from trainctl.examine.curve import Part, metric_of
from trainctl.examine.row import AT_END, OWN, Row
from trainctl.examine.writing import apart
from trainctl.rundir import files


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values, or of `Cell`s where several runs are one row.

    Attributes:
        keys: how many of the columns say which row it is; the others say what came out.
        constants: the parameters that are the same in all runs.
    """

    columns: list[str]
    rows: list[list[Any]]
    keys: int = 1
    constants: dict[str, Any] = field(default_factory=dict)

    def write(self, form: str = "text") -> str:
        """Write the table as `csv`, `tsv`, `md`, `latex`, `json` or `text`.

        Raises:
            SettingError: the format is none of these.
        """
        try:
            write = writing.FORMS[form]
        except KeyError:
            known = ", ".join(sorted(writing.FORMS))
            raise SettingError(f"there is no format {form!r}; allowed are {known}") from None
        return files.encoded(write(self)).decode()  # a file's name may be no Unicode

    def frame(self) -> Any:
        """Return a pandas DataFrame; of a `Cell` the mean, deviation and count are columns of their own."""
        import pandas as pd

        heads, rows = writing.spread(self)
        frame = pd.DataFrame(rows, columns=heads)
        frame.attrs["constants"] = dict(self.constants)
        return frame

    def plot(self, path: str | Path) -> None:
        """Draw what came out, by row, into a file whose ending says its format; needs matplotlib.

        Raises:
            SettingError: matplotlib is not installed, there is no number to draw, or the format is unknown.
        """
        from trainctl.examine.plot import plot

        plot(self, Path(path))

    def __str__(self) -> str:
        return self.write("text")

    def _repr_html_(self) -> str:
        return str(self.frame()._repr_html_())


def make_table(
    named: Mapping[str, Row],
    *,
    by: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    best: str | None = None,
) -> Table:
    """Make a table of named rows; see `Examiner.table`."""
    rows = list(named.values())
    differing, constants = parameters([row.parameters for row in rows]) if rows else ({}, {})
    wanted = _list(metrics)
    shown = {one: metric_of(one) for one in (*wanted, *([best] if best else ())) if one not in _names(rows)}
    shown = {one: shown.get(one, (one, "last")) for one in (wanted or _names(rows))}
    _check_metrics([*wanted, *([best] if best else [])], rows)
    get = {head: _getter(name, part) for head, (name, part) in shown.items()}
    if by is None and best is None:
        return _of_runs(named, differing, constants, get, is_short=bool(wanted))
    keys = [key for key in differing if not is_seed(key)] if by in ("params", None) else _list(by)
    _check_keys(keys, rows, differing, constants)
    get = {head: value for head, value in get.items() if head in wanted or head not in keys or head in differing}
    groups: dict[Any, _RunGroup] = {}
    for name, row in named.items():
        given = row.parameters
        values = [given.get(key) if key in differing or key in constants else _found(row, key) for key in keys]
        groups.setdefault(tuple(map(same, values)), _RunGroup(values)).rows[name] = row
    constants = {key: value for key, value in constants.items() if key not in keys}
    if best is not None:
        return _of_best(list(groups.values()), keys, get, best, constants)
    return _of_groups(list(groups.values()), keys, get, constants)


@dataclass(frozen=True, slots=True)
class _RunGroup:
    """Runs that agree in the values of some keys."""

    values: list[Any]
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def done(self) -> dict[str, Row]:
        return {name: row for name, row in self.rows.items() if row.state == "done"}


def _found(row: Row, key: str) -> Any:
    """Return what runs are grouped by that is no key of all of their configs."""
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
) -> Table:
    rows = list(named.values())
    columns: dict[str, list[Any]] = {"run": list(named)}
    if any(row.state != "done" for row in rows):
        columns["state"] = [row.state for row in rows]
    shown = {head: [value(row) for row in rows] for head, value in get.items()}
    own: dict[str, list[Any]] = {"edits": [row.edits or None for row in rows], "took_s": [row.took_s for row in rows]}
    own = {head: values for head, values in own.items() if not is_short}
    own["reason"] = [row.why for row in rows]
    own = {head: values for head, values in own.items() if any(value is not None for value in values)}
    for key, values in differing.items():
        columns[apart(key, (*columns, *own), "parameter")] = values
    for key in dict.fromkeys(key for row in rows for key in row.end):
        columns[apart(f"{key}{AT_END}", (*columns, *own), "edited")] = [
            row.end.get(key, row.start.get(key)) for row in rows
        ]
    keys = len(columns)
    for head, values in shown.items():
        columns[apart(head, (*columns, *own), "metric")] = values
    columns |= own
    lines = [list(line) for line in zip(*columns.values(), strict=True)]
    return Table(list(columns), lines, keys, constants)


def _of_groups(
    groups: list[_RunGroup], keys: list[str], get: dict[str, Callable[[Row], Any]], constants: dict[str, Any]
) -> Table:
    failed = [len(group.rows) - len(group.done) for group in groups]
    own = ["runs", "not done"] if any(failed) else ["runs"]
    lines = []
    for group, number in zip(groups, failed, strict=True):
        counts = [len(group.done), number][: len(own)]
        lines.append([*group.values, *counts, *(Cell.of(map(value, group.done.values())) for value in get.values())])
    return Table(_heads(keys, own, get), lines, len(keys), constants)


def _of_best(
    groups: list[_RunGroup], keys: list[str], get: dict[str, Callable[[Row], Any]], best: str, constants: dict[str, Any]
) -> Table:
    name, part = metric_of(best)
    if part not in ("min", "max"):
        raise SettingError(f"best={best!r} does not say which is best; write {name}:max or {name}:min")
    heads = list(get) if best in get else [best, *(head for head in get if head != name)]
    get = {best: _getter(name, part), **get}
    lines = []
    for group in groups:
        rated = [(get[best](row), one) for one, row in group.done.items()]
        rated = [(value, one) for value, one in rated if _is_number(value)]
        if rated:
            winner = (max if part == "max" else min)(rated, key=lambda pair: pair[0])[1]  # the first of equal ones
            lines.append([*group.values, winner, *(get[head](group.rows[winner]) for head in heads)])
        else:
            lines.append([*group.values, None, *(None for _ in heads)])  # all have failed, say
    return Table(_heads(keys, ["best run"], heads), lines, len(keys) + 1, constants)


def _heads(keys: Sequence[str], own: Sequence[str], metrics: Iterable[str]) -> list[str]:
    """Return the heads of parameters, of our own columns and of metrics, in this order, each once."""
    heads: list[str] = []
    for key in keys:
        heads.append(apart(key, (*heads, *own), "parameter"))
    heads += own
    for metric in metrics:
        heads.append(apart(metric, heads, "metric"))
    return heads


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
    """Say whether runs have it without any parser, return value or metric."""
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
