"""`trainctl ls`: all runs below a directory, one line each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from trainctl import text as amount
from trainctl.cli import terminal
from trainctl.cli.place import ROOT, JsonOption, SortOption, WhereOption, find_root, shown
from trainctl.cli.terminal import Column, print_grid
from trainctl.errors import SettingError
from trainctl.examine.examiner import Examiner
from trainctl.examine.where import chosen, in_order, terms_of
from trainctl.launch import registry
from trainctl.rundir.events import count_unread
from trainctl.rundir.paths import MOST_DIRS, FoundRuns, RunDir, list_at, search
from trainctl.rundir.status import FAILED, Seen, format_time
from trainctl.rundir.summary import Summary, summarize
from trainctl.rundir.sweep import Queued, read_backlog

_STATE_STYLES: dict[str, str] = {
    "running": "green",
    **dict.fromkeys(("paused", "stopped", "interrupted"), "yellow"),
    "queued": "dim",
}

# how much of a reason a table on a terminal shows
_MOST_CELLS = 32


def ls(
    root: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to look.", show_default=True)] = ROOT,
    state: Annotated[
        str | None, typer.Option(metavar="STATES", help="Only runs in these states: failed,running.")
    ] = None,
    where: WhereOption = None,
    sort: SortOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs below a directory with their state, progress and result."""
    summaries = choose(read_summaries(root), root, state, where or [], sort)
    if as_json:
        pages = _pages(root, summaries)
        terminal.print_json([{**as_record(one), "page": pages[one.run.path.parent]} for one in summaries])
    elif not summaries:
        terminal.print_line(
            f"no runs below {root}" if state is None and not where else f"no matching runs below {root}"
        )
    else:
        print_grid(_columns(summaries, root), has_tabs=True)
    if not as_json:
        _tell_launchers(root, summaries)
        for page in dict.fromkeys(_pages(root, summaries).values()):
            if page is not None:
                terminal.note(f"page: {page}", style="dim")


def choose(
    summaries: list[Summary], root: Path, state: str | None, where: Sequence[str], sort: str | None
) -> list[Summary]:
    """Return the summaries that match, in the requested order.

    Raises:
        SettingError: a state or a condition is not valid, or no run has what is asked about.
    """
    terms, states = terms_of(where), None if state is None else state.split(",")
    for each in states or ():
        if each not in get_args(Seen):
            raise SettingError(f"--state {each!r} is not a state; allowed are {', '.join(get_args(Seen))}")
    kept = [one for one in summaries if states is None or one.state in states]
    if terms or sort is not None:
        known = {one.run.path: one for one in kept}
        rows = chosen([row for path, row in Examiner().exam(root).rows.items() if path in known], terms, known)
        kept = [known[row.run.path] for row in (rows if sort is None else in_order(rows, sort, known))]
    if len(kept) < len(summaries):
        terminal.note(f"{len(kept)} of {len(summaries)} runs", style="dim")
    return kept


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
    """Return the column with the reason of a failure, and of unreadable files; see `shortened_reason`."""
    shortened = [shortened_reason(row.why) for row in summaries]
    return Column("reason", shortened, rank=rank, styles=[state_style(row.state) for row in summaries])


def shortened_reason(reason: str | None) -> str:
    """Shorten a reason to one cell; `trainctl show` has all of it."""
    most = _MOST_CELLS if terminal.is_terminal() else amount.LONGEST
    return amount.shortened(terminal.clean(reason or ""), most)


def read_summaries(root: Path) -> list[Summary]:
    """Read the runs at and below a directory, and report directories that were skipped."""
    found = search(find_root(root), list_at)
    tell_left_out(found)
    return [summarize(run) for run in found.runs]


def tell_left_out(found: FoundRuns) -> None:
    """Report where more runs may be."""
    if found.passed_over:
        terminal.note(f"passed over {_some(found.passed_over)} that may not be read", style="yellow")
    if found.beyond:
        terminal.note(
            f"stopped after {MOST_DIRS:,} directories without runs, and did not search {_some(found.beyond)}; "
            "name a directory nearer to the runs",
            style="yellow",
        )


def _some(directories: Sequence[Path]) -> str:
    what = "1 directory" if len(directories) == 1 else f"{len(directories):,} directories"
    shortened = ", …" if len(directories) > 3 else ""
    return f"{what} ({', '.join(shown(RunDir(path)) for path in directories[:3])}{shortened})"


def state_style(state: Seen) -> str:
    """Return the colour of a state."""
    return "red" if state in (*FAILED, "unreadable") else _STATE_STYLES.get(state, "")


def commands_cell(summary: Summary) -> str:
    """Describe the commands of a pipeline: `train done 5 min 12 s, test failed (1) 0.2 s`."""
    return ", ".join(map(str, summary.commands))


def result_cell(value: Any) -> str:
    """Write a result with four significant digits; `--json` has all of them."""
    return amount.value(value)


def metric_columns(summaries: Sequence[Summary], ranks: Sequence[int]) -> list[Column]:
    """Return one column per metric, in order of first appearance; those beyond `ranks` are left out first."""
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


def state_column(summaries: Sequence[Summary]) -> Column:
    """Return the column of states, coloured."""
    styles = [state_style(row.state) for row in summaries]
    return Column("state", [row.state for row in summaries], styles=styles)


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
    """Print below the table which launchers work at or below the root: those in the background have no terminal.

    Also print what waits for them in the queue of a cluster.
    """
    base = RunDir.at(root).path
    above = {parent for row in summaries for parent in row.run.path.parents if parent.is_relative_to(base)}
    for directory in sorted({base, *above}):
        for launcher in registry.find(directory):
            where = shown(RunDir.at(directory))
            host = "" if launcher.is_here else f" of {launcher.host}"
            since = amount.moment(launcher.started, day=False)
            terminal.note(f"process {launcher.pid}{host} has been launching jobs in {where} since {since}", style="dim")
        _tell_waiting(directory)


def _tell_waiting(sweep_dir: Path) -> None:
    waiting = read_backlog(sweep_dir)
    if waiting is None:
        return
    alike: dict[tuple[str, str, str], list[Queued]] = {}
    for each in waiting.queued:
        alike.setdefault((each.id.rpartition("_")[0], each.place, each.why), []).append(each)
    seen = "" if registry.find(sweep_dir) else f", when its launcher was last seen, {amount.moment(waiting.at)}"
    for first, *others in alike.values():
        more = f" and {len(others)} more" if others else ""
        since = "" if first.since is None else f"since {amount.duration(max(0.0, time.time() - first.since))}"
        told = ", ".join(filter(None, (f"{first.id}{more}", first.place, since, first.why)))
        terminal.print_line(f"queued ({told}){seen}")
    if waiting.jobs:
        terminal.note(f"{waiting.jobs:,} job{'s wait' if waiting.jobs > 1 else ' waits'} for that", style="dim")


def _columns(summaries: Sequence[Summary], root: Path) -> list[Column]:
    return [
        state_column(summaries),
        Column("name", [row.run.name_below(RunDir.at(root).path) for row in summaries]),
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
        reason_column(summaries, rank=1),
        edits_column([(row.run, row.edits, row.unread) for row in summaries], rank=9),
        Column("age", [amount.duration(row.age_s) for row in summaries], rank=10, is_right=True),
    ]


def edits_column(edits: Sequence[tuple[RunDir, int, int | None]], rank: int) -> Column:
    """Return the numbers of edits of each run, with those never read in yellow; None is looked up."""
    counts = [(count, count_unread(run) if unread is None and count else unread) for run, count, unread in edits]
    cells = [f"{count or ''}" + (f" ({unread} not read)" if unread else "") for count, unread in counts]
    return Column("edits", cells, rank=rank, is_right=True, styles=["yellow" if unread else "" for _, unread in counts])
