"""The line about a run: state, step, rate, time left, last metrics, slot, process, last sign of life."""

from __future__ import annotations

import time

from trainctl.panel.runview import Row
from trainctl.panel.words import chip, count, duration, html, number, rate, result
from trainctl.run.commandstate import CommandState

MAX_METRICS = 6


def facts(row: Row) -> str:
    """Write the line as HTML."""
    run = row.summary
    parts = [chip(run.state)]
    if run.paused:
        parts.append('<span class="chip interrupted">paused</span>')
    if run.step is not None:
        of = f" / {count(run.total)}" if run.total else ""
        parts.append(f"<span>step <b>{count(run.step)}</b>{of}</span>")
    if run.state == "running" and run.rate:
        left = f" · {duration(run.eta_s)} left" if run.eta_s is not None else ""
        parts.append(f"<span>{rate(run.rate)} steps/s{left}</span>")
    parts += [
        f"<span>{html(name)} <b>{number(value)}</b></span>" for name, value in list(run.metrics.items())[:MAX_METRICS]
    ]
    if run.result is not None:
        parts.append(f"<span>result <b>{html(result(run.result))}</b></span>")
    if run.slot is not None:
        parts.append(f"<span>slot {html(run.slot)}</span>")
    if run.attempt > 1:
        parts.append(f"<span>attempt {run.attempt}</span>")
    parts.append(f'<span class="dim">{_process(row)}</span>')
    commands = "".join(map(_command, run.commands))
    reason = f'<div class="bad">{html(run.why)}</div>' if run.why else ""
    more = f'<div class="facts">{commands}</div>' if commands else ""
    return f'<div class="facts">{"".join(parts)}</div>{more}{reason}{_bar(run.step, run.total)}'


def age(row: Row) -> str:
    """Say how long ago the run last wrote something; so coarsely that a page is not redrawn for nothing."""
    if row.seen is None:
        return ""
    seconds = time.time() - row.seen
    if seconds < 60:
        return "just now" if seconds < 5 else "< 1 min ago"
    return f"{duration(seconds // 60 * 60 if seconds < 3600 else seconds // 3600 * 3600)} ago"


def took(command: CommandState) -> str:
    """Say how long a command took; of one that runs coarsely, as ages."""
    seconds = command.duration_s
    if seconds is not None and command.state == "running":
        seconds = seconds // 60 * 60 or None
    return duration(seconds)


def _command(command: CommandState) -> str:
    said = f'<span class="chip {html(command.state)}">{html(command.how)}</span>'
    return f"<span>{html(command.name)} {said} {took(command)}</span>"


def _process(row: Row) -> str:
    run = row.summary
    if run.state == "running":
        return f"seen {age(row)} · pid {run.pid} · {html(run.host)}"
    return f"{age(row)} on {html(run.host)}" if run.host else ""


def _bar(step: int | None, total: int | None) -> str:
    if not total or step is None:
        return ""
    share = max(0.0, min(100.0, 100.0 * step / total))
    return f'<div class="bar"><i style="width:{share:.1f}%"></i></div>'
