"""`trainctl show`: everything that is known about one run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from trainctl.cli import terminal
from trainctl.cli.place import JsonOption, RunArgument, find_run, shown
from trainctl.cli.runs import STATE_STYLES, as_record
from trainctl.run import amount, files
from trainctl.run.rundir import RunDir
from trainctl.run.summary import Summary, read_tail, summarize

_LOG_LINES = 20
_LABEL_WIDTH = 11


def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show everything that is known about a run, and why it failed if it did."""
    found = find_run(run)
    summary, record, status = summarize(found), files.read_mapping(found.run), files.read_mapping(found.status)
    ended_badly = summary.state in ("failed", "interrupted")
    lines = _last_log_lines(found) if ended_badly else []
    if as_json:
        terminal.print_json({**as_record(summary), "status": status, "run": record, "log_tail": lines})
        return
    for label, text in _facts(summary, record, status):
        style = STATE_STYLES[summary.state] if label == "state" else ""
        terminal.print_line(Text.assemble((f"{label:<{_LABEL_WIDTH}}", "bold"), (terminal.clean(text), style)))
    if lines:
        terminal.print_line()
        terminal.print_line(f"the last lines of {terminal.clean(shown(found))}/{found.log.name}:", style="bold")
        for line in lines:
            terminal.print_line(Text(f"  {line}"))


def _facts(summary: Summary, record: dict[str, Any], status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and text of each fact that is known, the most wanted first."""
    run = summary.run
    facts = {
        "name": summary.name,
        "state": summary.state + (f": {summary.reason}" if summary.reason else ""),
        "result": amount.value(summary.result, exact=True),
        "overrides": shlex.join(summary.overrides),
        "progress": _progress(summary),
        "metrics": "  ".join(f"{key} {amount.number(value)}" for key, value in summary.metrics.items()),
        "edits": f"{summary.edits} (see: trainctl log {shlex.quote(shown(run))})" if summary.edits else "",
        "started": amount.moment(summary.started),
        "ended": amount.moment(summary.ended),
        "took" if summary.ended else "for": amount.duration(summary.duration_s),
        "attempt": str(summary.attempt),
        "exit": " ".join(str(status[key]) for key in ("exit_code", "signal") if status.get(key) is not None),
        "slot": summary.slot or "",
        "process": " on ".join(str(part) for part in (summary.pid, summary.host) if part is not None),
        "seed": record.get("seed"),
        "replay of": record.get("parent"),
        "identity": record.get("identity"),
        "command": _command(record),
        "cwd": record.get("cwd"),
        "git": _git(record.get("git")),
        "python": record.get("python"),
        "dir": run.path,
        "changelog": run.changelog if run.changelog.exists() else None,
        "log": run.log if run.log.exists() else None,
    }
    for label, text in facts.items():
        if text not in (None, ""):
            yield label, str(text)


def _progress(summary: Summary) -> str:
    parts = [f"step {amount.steps(summary.step, summary.total)}" if summary.step is not None else ""]
    if summary.state == "running":
        parts += [
            amount.rate(summary.rate),
            f"ETA {amount.duration(summary.eta_s)}" if summary.eta_s is not None else "",
        ]
        if summary.age_s is not None:
            parts.append(f"last sign of life {amount.duration(summary.age_s)} ago")
    return ", ".join(part for part in parts if part)


def _command(record: dict[str, Any]) -> str:
    argv = record.get("argv")
    return shlex.join(map(str, argv)) if isinstance(argv, list) else ""


def _git(facts: Any) -> str:
    if not isinstance(facts, dict) or "sha" not in facts:
        return ""
    return f"{facts['sha']}{' with uncommitted changes' if facts.get('dirty') else ''}"


def _last_log_lines(run: RunDir) -> list[str]:
    return terminal.clean_lines(read_tail(run.log).decode(errors="replace"), _LOG_LINES) if run.log.is_file() else []
