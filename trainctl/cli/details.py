"""`trainctl show`: everything that is known about one run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from trainctl import text as amount
from trainctl.cli import terminal
from trainctl.cli.place import JsonOption, RunArgument, find_run, shown
from trainctl.cli.runs import as_record, commands_cell, state_style
from trainctl.config.masking import Masking
from trainctl.rundir import files
from trainctl.rundir.logs import earlier_logs
from trainctl.rundir.masked import texts
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import Summary, read_tail, summarize

_LOG_LINES = 20
_MOST_LINES = 10_000  # in which a traceback is looked for
_LABEL_WIDTH = 11


def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show everything that is known about a run, and why it failed if it did."""
    found = find_run(run)
    summary = summarize(found)
    record, status = (texts(summary.masking, files.read_mapping(path)) for path in (found.run, found.status))
    ended_badly = not summary.is_alive and summary.state not in ("queued", "done", "stopped")
    log = _log_lines(found, summary.masking) if ended_badly else []
    trace, lines = last_traceback(log), log[-_LOG_LINES:]
    if as_json:
        more = {"status": status, "run": record, "log": _log_path(found), "earlier_logs": _earlier_logs(found)}
        terminal.print_json({**as_record(summary), **more, "traceback": trace or None, "log_tail": lines})
        return
    for label, text in _facts(summary, record, status):
        style = state_style(summary.state) if label == "state" else ""
        terminal.print_line(Text.assemble((f"{label:<{_LABEL_WIDTH}}", "bold"), (terminal.clean(text), style)))
    if lines:
        terminal.print_line()
        what = "traceback in" if trace else "lines of"
        terminal.print_line(f"the last {what} {shown(found)}/{found.log.name}:", style="bold")
        for line in trace or lines:
            terminal.print_line(Text(f"  {line}"))


def _facts(summary: Summary, record: dict[str, Any], status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and text of each known fact, the most important first."""
    run = summary.run
    facts = {
        "name": summary.name,
        "state": summary.state + (f": {summary.why}" if summary.why else ""),
        "commands": commands_cell(summary),
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
        **_parent(record.get("parent")),
        "identity": record.get("identity"),
        "command": _command(record),
        "cwd": record.get("cwd"),
        "git": _git(record.get("git")),
        "python": record.get("python"),
        "dir": run.path,
        "changelog": run.changelog if os.path.lexists(run.changelog) else None,
        "log": _log_path(run),
        "earlier": ", ".join(_earlier_logs(run)),
    }
    for label, text in facts.items():
        if text not in (None, ""):
            yield label, str(text)


def _parent(parent: Any) -> dict[str, Any]:
    """Return the run that is replayed, and the step at which the run forked from it."""
    if isinstance(parent, dict):
        return {"forked": f"from {parent.get('run')} at step {parent.get('step')}"}
    return {"replay of": parent}


def _progress(summary: Summary) -> str:
    parts = [f"step {amount.steps(summary.step, summary.total)}" if summary.step is not None else ""]
    if summary.is_alive:
        parts += [
            amount.rate(summary.rate),
            f"ETA {amount.duration(summary.eta_s)}" if summary.eta_s is not None else "",
        ]
        if summary.age_s is not None:
            parts.append(f"last sign of life {amount.duration(summary.age_s)} ago")
    return ", ".join(part for part in parts if part)


def _command(record: dict[str, Any]) -> str:
    argv, module = record.get("argv"), record.get("module")
    if not isinstance(argv, list):
        return ""
    return shlex.join(map(str, ["python", *(["-m", module, *argv[1:]] if isinstance(module, str) else argv)]))


def _git(facts: Any) -> str:
    if not isinstance(facts, dict) or "sha" not in facts:
        return ""
    return f"{facts['sha']}{' with uncommitted changes' if facts.get('dirty') else ''}"


def _log_lines(run: RunDir, masking: Masking) -> list[str]:
    tail = read_tail(run.log)
    lines = terminal.clean_lines(tail.decode(errors="replace"), _MOST_LINES) if tail else []
    return [masking.text(line) for line in lines]


def _log_path(run: RunDir) -> str | None:
    return str(run.log) if os.path.lexists(run.log) else None


def _earlier_logs(run: RunDir) -> list[str]:
    """Return the logs of earlier attempts, in their order."""
    return [str(path) for path in earlier_logs(run.log).values()]


_BEGIN = "Traceback (most recent call last):"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_LONGEST = 60
_MOST_AFTER = 10  # of a message of several lines, or of what was printed after it


def last_traceback(lines: Sequence[str]) -> list[str]:
    """Return the last traceback with its causes and the output after it; empty if there is none.

    >>> last_traceback(["step 1", "Traceback (most recent call last):", '  File "a.py"', "ValueError: no"])
    ['Traceback (most recent call last):', '  File "a.py"', 'ValueError: no']
    """
    begins = [place for place, line in enumerate(lines) if line == _BEGIN]
    if not begins:
        return []
    first = last = begins.pop()
    while begins and any(line in _CHAINED for line in lines[max(0, first - 2) : first]):
        first = begins.pop()
    end = last + 1
    while end < len(lines) and (lines[end].startswith(" ") or not lines[end]):
        end += 1
    return list(lines[first : end + _MOST_AFTER])[-_LONGEST:]
