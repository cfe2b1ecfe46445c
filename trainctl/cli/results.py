"""`trainctl table`: what came out of the runs of a directory, beside what they differ in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.grid import Column, print_grid
from trainctl.cli.place import JsonOption, find_root, name_below
from trainctl.cli.runs import as_record, metric_columns, reason_column, result_cell, state_column
from trainctl.examine import varying
from trainctl.run import amount
from trainctl.run.rundir import find_runs
from trainctl.run.summary import Summary, summarize


def table(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="The runs to compare.")], as_json: JsonOption = False
) -> None:
    """Compare the runs below a directory: the overrides they differ in, their results and last metrics."""
    summaries = sorted(
        (summarize(run) for run in find_runs(find_root(root))), key=lambda row: name_below(row.run, root)
    )
    if as_json:
        terminal.print_json(_records(summaries))
    elif not summaries:
        terminal.print_line(f"no runs below {terminal.clean(root)}")
    else:
        print_grid(_columns(summaries, root))


def _records(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    columns = varying([row.overrides for row in summaries])
    records = []
    for number, row in enumerate(summaries):
        record = as_record(row)
        record["varying"] = {key: values[number] for key, values in columns.items()}
        records.append(record)
    return records


def _columns(summaries: Sequence[Summary], root: Path) -> list[Column]:
    columns = [Column("name", [terminal.clean(name_below(row.run, root)) for row in summaries])]
    if any(row.state != "done" for row in summaries):
        columns.append(state_column(summaries))
    for key, values in varying([row.overrides for row in summaries]).items():
        columns.append(Column(terminal.clean(key), [terminal.clean(value or "") for value in values], rank=2))
    return [
        *columns,
        *_result_columns(summaries),
        reason_column(summaries, rank=6),
        *metric_columns(summaries, ranks=(3, 4, 5)),
        Column("edits", [str(row.edits or "") for row in summaries], rank=7, is_right=True),
        Column("took", [amount.duration(row.duration_s) for row in summaries], rank=8, is_right=True),
    ]


def _result_columns(summaries: Sequence[Summary]) -> list[Column]:
    """Return one column, or one per key when every run that has a result returned a mapping."""
    results = [row.result for row in summaries if row.result is not None]
    if not results or not all(isinstance(result, dict) for result in results):
        return [Column("result", [result_cell(row.result) for row in summaries], rank=1, is_right=True)]
    keys = dict.fromkeys(key for result in results for key in result)
    return [
        Column(
            terminal.clean(f"result.{key}"),
            [result_cell((row.result or {}).get(key)) for row in summaries],
            rank=1,
            is_right=True,
        )
        for key in keys
    ]
