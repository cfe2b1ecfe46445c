"""`trainctl ls`: all runs below a directory, one line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl import text as amount
from trainctl.cli import terminal
from trainctl.cli.grid import Column, print_grid
from trainctl.cli.place import ROOT, JsonOption, find_root, name_below, shown
from trainctl.launch import registry
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import FAILED, Seen, format_time
from trainctl.rundir.summary import Summary, summarize

_STATE_STYLES: dict[str, str] = {"running": "green", "interrupted": "yellow", "queued": "dim"}

# how much of a reason a table on a terminal shows
_MOST_CELLS = 32


def ls(
    root: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to look.", show_default=True)] = ROOT,
    as_json: JsonOption = False,
) -> None:
    """List the runs below a directory: what each is doing, how far it is, and what came out."""
    summaries = read_summaries(root)
    if as_json:
        pages = _pages(root, summaries)
        terminal.print_json([{**as_record(one), "page": pages[one.run.path.parent]} for one in summaries])
    elif not summaries:
        terminal.print_line(f"no runs below {root}")
    else:
        print_grid(_columns(summaries, root))
    if not as_json:
        _tell_launchers(root, summaries)
        for page in dict.fromkeys(_pages(root, summaries).values()):
            if page is not None:
                terminal.note(f"page: {page}", style="dim")


def as_record(summary: Summary) -> dict[str, Any]:
    """Return a summary for JSON: the run by its path, times in ISO 8601."""
    record = {field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)}
    record["path"] = str(record.pop("run").path)
    del record["masking"]
    record["commands"] = [dataclasses.asdict(each) for each in summary.commands]
    for key in ("started", "ended"):
        record[key] = None if record[key] is None else format_time(record[key])
    return record


def reason_column(summaries: Sequence[Summary], rank: int) -> Column:
    """Return the column that says why a run came to nothing, and what of it cannot be read; see `shortened_reason`."""
    shortened = [shortened_reason(row.why) for row in summaries]
    return Column("reason", shortened, rank=rank, styles=[state_style(row.state) for row in summaries])


def shortened_reason(reason: str | None) -> str:
    """Return a reason; whole when piped, its beginning on a terminal."""
    text = terminal.clean(reason or "")
    is_short = len(text) <= _MOST_CELLS or not terminal.is_terminal()
    return text if is_short else f"{text[: _MOST_CELLS - 3]}..."


def read_summaries(root: Path) -> list[Summary]:
    """Read the runs at and below a directory, and say beside them what was passed over."""
    passed_over: list[Path] = []
    runs = find_runs(find_root(root), passed_over=passed_over)
    tell_passed_over(passed_over)
    return [summarize(run) for run in runs]


def tell_passed_over(directories: Sequence[Path]) -> None:
    """Say, beside the runs, where others may be."""
    if directories:
        some = ", ".join(shown(RunDir(path)) for path in directories[:3]) + (", …" if len(directories) > 3 else "")
        what = "1 directory" if len(directories) == 1 else f"{len(directories)} directories"
        terminal.note(f"passed over {what} that may not be read: {some}", style="yellow")


def state_style(state: Seen) -> str:
    """Return how a state is coloured."""
    return "red" if state in (*FAILED, "unreadable") else _STATE_STYLES.get(state, "")


def commands_cell(summary: Summary) -> str:
    """Say what became of the commands of a pipeline: `train done 5 min 12 s, test failed (1) 0.2 s`."""
    return ", ".join(map(str, summary.commands))


def result_cell(value: Any) -> str:
    """Write a result with four significant digits; `--json` has all of them."""
    return amount.value(value)


def metric_columns(summaries: Sequence[Summary], ranks: Sequence[int]) -> list[Column]:
    """Return one column per metric, in order of first appearance; those beyond `ranks` are the first to go."""
    keys = dict.fromkeys(key for summary in summaries for key in summary.metrics)
    return [
        Column(
            key,
            [amount.number(summary.metrics.get(key)) for summary in summaries],
            rank=ranks[place] if place < len(ranks) else 100 + place,
            is_right=True,
        )
        for place, key in enumerate(keys)
    ]


def state_column(summaries: Sequence[Summary], rank: int = 0) -> Column:
    """Return the column of states, coloured."""
    return Column(
        "state",
        ["paused" if row.paused else row.state for row in summaries],
        rank=rank,
        styles=["yellow" if row.paused else state_style(row.state) for row in summaries],
    )


def _commands_column(summaries: Sequence[Summary]) -> list[Column]:
    """Return the column of what commands did, where a run is a pipeline."""
    cells = [commands_cell(row) for row in summaries]
    return [Column("commands", cells, rank=5)] if any(cells) else []


def _pages(root: Path, summaries: Sequence[Summary]) -> dict[Path, str | None]:
    """Return the link of the page that shows the runs of each directory; None where no server runs."""
    from trainctl.panel.server.handle import url_of  # other commands need none of it

    parents = {RunDir.at(root).path, *(summary.run.path.parent for summary in summaries)}
    return {parent: url_of(parent, token=True) for parent in sorted(parents)}


def _tell_launchers(root: Path, summaries: Sequence[Summary]) -> None:
    """Say, beside the table, which launchers work at or below the root: those in the background have no terminal."""
    base = RunDir.at(root).path
    above = {parent for row in summaries for parent in row.run.path.parents if parent.is_relative_to(base)}
    for directory in sorted({base, *above}):
        for launcher in registry.find(directory):
            where = shown(RunDir.at(directory))
            host = "" if launcher.is_here else f" of {launcher.host}"
            since = amount.moment(launcher.started, day=False)
            terminal.note(f"process {launcher.pid}{host} launches jobs in {where} since {since}", style="dim")


def _columns(summaries: Sequence[Summary], root: Path) -> list[Column]:
    return [
        state_column(summaries),
        Column("name", [name_below(row.run, root) for row in summaries]),
        Column("slot", [row.slot or "" for row in summaries], rank=7),
        Column("step", [amount.steps(row.step, row.total) for row in summaries], rank=1, is_right=True),
        Column(
            "rate",
            [amount.rate(row.rate) if row.state == "running" else "" for row in summaries],
            rank=7,
            is_right=True,
        ),
        Column("ETA", [amount.duration(row.eta_s) for row in summaries], rank=4, is_right=True),
        *metric_columns(summaries, ranks=(2, 5)),
        Column("result", [result_cell(row.result) for row in summaries], rank=3, is_right=True),
        *_commands_column(summaries),
        reason_column(summaries, rank=6),
        Column("edits", [str(row.edits or "") for row in summaries], rank=9, is_right=True),
        Column("age", [amount.duration(row.age_s) for row in summaries], rank=10, is_right=True),
    ]
