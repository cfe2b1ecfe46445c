"""`trainctl table`: the results of the runs below a directory, with the parameters they differ in."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainctl import text as amount
from trainctl.cli import terminal
from trainctl.cli.place import ROOT, JsonOption, SortOption, WhereOption, find_root
from trainctl.cli.runs import (
    as_record,
    choose,
    edits_column,
    read_summaries,
    result_cell,
    shortened_reason,
    state_style,
    tell_left_out,
)
from trainctl.cli.terminal import Column, print_grid
from trainctl.examine.columns import apart, at_end, constants_line, parameters, varying
from trainctl.examine.examiner import MOST_COLUMNS, Examiner
from trainctl.examine.row import Row
from trainctl.examine.where import chosen, in_order, terms_of
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import Summary
from trainctl.rundir.sweep import left_out

if TYPE_CHECKING:
    import pandas as pd


_MOST_COLUMNS = 200  # of the results and of the metrics; a file of a run may name 60,000


def table(
    root: Annotated[Path, typer.Argument(metavar="[DIR]", help="The runs to compare.", show_default=True)] = ROOT,
    by: Annotated[
        str | None,
        typer.Option(help='Parameters such as norm,lr: a row for each of their values; "params": all but seeds.'),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What to show: accuracy:max, also :min :mean :last :first :count; took_s. May be repeated."),
    ] = None,
    best: Annotated[str | None, typer.Option(help="The best run of each row of --by, by accuracy:max, say.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="csv, json, latex, md, text, tsv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this file, .png, .pdf or .svg.")] = None,
    regex: Annotated[str, typer.Option(help="Only runs whose path contains this pattern.")] = ".*",
    where: WhereOption = None,
    sort: SortOption = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the runs below a directory: the parameters they differ in, their results and last metrics."""
    if as_json:
        by_name = sorted(read_summaries(root), key=lambda row: row.run.name_below(RunDir.at(root).path))
        terminal.print_json(_records(choose(by_name, root, None, where or [], sort)))
        return
    examiner = Examiner().exam(find_root(root), regex, workers=workers)
    tell_left_out(examiner.found)
    rows, terms = list(examiner.rows.values()), terms_of(where or [])
    kept = chosen(rows, terms) if terms else rows
    if sort is not None:
        kept = in_order(kept, sort)
    examiner.rows = {row.run.path: row for row in kept}
    if len(kept) < len(rows):
        terminal.note(f"{len(kept)} of {len(rows)} runs", style="dim")
    if not examiner.rows and form in (None, "text"):
        terminal.print_line(f"no matching runs below {root}" if rows else f"no runs below {root}")
        return
    asked = [part for one in metric or [] for part in one.split(",")]
    is_plain, is_printed = by is None and best is None and not asked, form in (None, "text")
    if not is_plain or not is_printed or plot is not None:
        made = examiner.table(by=by, metrics=asked, best=best, most=_MOST_COLUMNS if is_printed else MOST_COLUMNS)
        for kind, which in made.attrs.get("left_out", {}).items():
            terminal.note(f"left out: {which}; name what you want by {'--metric' if kind == 'metrics' else '--by'}")
        if plot is not None:
            from trainctl.examine.writing import plot as draw

            draw(made, plot)
        if form is not None and not is_printed:
            from trainctl.examine.writing import write

            sys.stdout.write(_as_shown(write(made, form)))
            return
    if is_plain:
        named = examiner.named() if sort is not None else dict(sorted(examiner.named().items()))
        differing, constants = parameters([row.parameters for row in named.values()])
        constants = at_end(constants, [row.end for row in named.values()])
        print_grid(_columns(named, differing), has_tabs=form is None)
    else:
        constants = made.attrs["constants"]
        print_grid(_grid(made), has_tabs=form is None)
    if line := constants_line(constants):
        terminal.note(line, style="dim")
    for overrides, why in left_out(root).items():
        terminal.note(f"left out: {overrides}: {why}", style="dim")


def _as_shown(text: str) -> str:
    """Return a written table as it is when piped; as a terminal may show it else, with the tabs between its cells."""
    if not terminal.is_terminal():
        return text
    return "".join("\t".join(map(terminal.clean, line.split("\t"))) + "\n" for line in text.splitlines())


def _records(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    columns = varying([row.overrides for row in summaries])
    records = []
    for number, row in enumerate(summaries):
        record = as_record(row)
        record["varying"] = {key: values[number] for key, values in columns.items()}
        records.append(record)
    return records


def _grid(made: pd.DataFrame) -> list[Column]:
    """Return the table with all columns except empty ones."""
    from trainctl.examine.frame import values_of
    from trainctl.examine.writing import keys_of, shown

    values, keys = values_of(made), keys_of(made)
    return [
        Column(
            head,
            cells,
            rank=0 if head in keys else 1,
            is_right=any(isinstance(value, int | float) for value in values[head]),
        )
        for head, cells in shown(made).items()
    ]


def _columns(named: Mapping[str, Row], differing: Mapping[str, Sequence[Any]]) -> list[Column]:
    rows = list(named.values())
    columns = [Column("name", list(named))]
    if any(row.state != "done" for row in rows):
        columns.append(Column("state", [row.state for row in rows], styles=[_style(row) for row in rows]))
    edited = {key: [row.start.get(key) for row in rows] for row in rows for key in row.changes if key not in differing}
    for key, values in {**differing, **edited}.items():
        columns.append(
            Column(key, [_parameter(row, key, value) for row, value in zip(rows, values, strict=True)], rank=2)
        )
    found = [row.results() for row in rows]
    for name in _first(name for results in found for name in results) or ["result"]:
        cells = [result_cell(results.get(name)) for results in found]
        columns.append(Column(name, cells, rank=1, is_right=True))
    reasons = [shortened_reason(row.why) for row in rows]
    columns.append(Column("reason", reasons, rank=1, styles=[_style(row) for row in rows]))
    for place, name in enumerate(_first(name for row in rows for name in row.metrics)):
        cells = [amount.number(row.value(name)) if name in row.metrics else "" for row in rows]
        head = apart(name, [column.title for column in columns], "metric")
        columns.append(Column(head, cells, rank=3 + place if place < 3 else 100 + place, is_right=True))
    return [
        *columns,
        edits_column([(row.run, row.edits, None) for row in rows], rank=7),
        Column("took", [amount.duration(row.took_s) for row in rows], rank=8, is_right=True),
    ]


def _first(names: Iterable[str]) -> list[str]:
    """Return each name once, of very many the first; the others are asked for by name, with --metric."""
    return list(itertools.islice(dict.fromkeys(names), _MOST_COLUMNS))


def _parameter(row: Row, key: str, value: Any) -> str:
    """Write a value as it is, however many digits it has: it tells rows apart. One that was edited tells how."""
    if key in row.changes:
        return amount.changed(row.changes[key])
    return amount.value(value, exact=True)


def _style(row: Row) -> str:
    return state_style(row.state)
