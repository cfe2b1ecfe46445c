"""What runs are doing, in a few lines: one run's facts and what its processes use; a sweep's slots and failures."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence

import psutil

from trainctl.panel.data.run_view import RunRow
from trainctl.panel.html import chip, html, run_link
from trainctl.rundir.status import ALIVE, FAILED, CommandState, Seen
from trainctl.rundir.summary import Summary
from trainctl.text import count, duration, number, rate, result, size

MAX_METRICS = 6
STATES: tuple[Seen, ...] = (*ALIVE, "queued", "done", "stopped", *FAILED, "interrupted", "unreadable")
BAD: tuple[Seen, ...] = (*FAILED, "interrupted", "unreadable")
MAX_FAILURES = 200
BETWEEN_S = 3.0  # between two measurements of a run's processes
_MIB = 2**20


def facts(row: RunRow, figures: Iterable[str] = ()) -> str:
    """Write the line as HTML; `figures` are what its processes use."""
    run = row.summary
    parts = [chip(run.state)]
    if run.step is not None:
        of = f" / {count(run.total)}" if run.total else ""
        parts.append(f"<span>step <b>{count(run.step)}</b>{of}</span>")
    if run.state == "running" and run.rate:
        left = f" · {duration(run.eta_s)} left" if run.eta_s is not None else ""
        parts.append(f"<span>{rate(run.rate)}{left}</span>")
    parts += [
        f"<span>{html(name)} <b>{number(value)}</b></span>" for name, value in list(run.metrics.items())[:MAX_METRICS]
    ]
    if run.result is not None:
        parts.append(f"<span>result <b>{html(result(run.result))}</b></span>")
    if run.slot is not None:
        parts.append(f"<span>slot {html(run.slot)}</span>")
    if run.attempt > 1:
        parts.append(f"<span>attempt {run.attempt}</span>")
    parts += [f'<span class="dim">{one}</span>' for one in (*figures, _process(row))]
    commands = "".join(map(_command, run.commands))
    reason = f'<div class="bad">{html(run.why)}</div>' if run.why else ""
    more = f'<div class="facts">{commands}</div>' if commands else ""
    return f'<div class="facts">{"".join(parts)}</div>{more}{reason}{_bar(run.step, run.total)}'


def age(row: RunRow) -> str:
    """Say how long ago the run last wrote something; coarsely, so that a page is not redrawn needlessly."""
    if row.seen is None:
        return ""
    seconds = time.time() - row.seen
    if seconds < 60:
        return "just now" if seconds < 5 else "< 1 min ago"
    return f"{duration(seconds // 60 * 60 if seconds < 3600 else seconds // 3600 * 3600)} ago"


def took(command: CommandState) -> str:
    """Say how long a command took; coarsely while it runs."""
    seconds = command.duration_s
    if seconds is not None and command.state == "running":
        seconds = seconds // 60 * 60 or None
    return duration(seconds)


def _command(command: CommandState) -> str:
    said = f'<span class="chip {html(command.state)}">{html(command.how)}</span>'
    return f"<span>{html(command.name)} {said} {took(command)}</span>"


def _process(row: RunRow) -> str:
    run = row.summary
    if run.is_alive:
        return f"seen {age(row)} · pid {run.pid} · {html(run.host)}"
    return f"{age(row)} on {html(run.host)}" if run.host else ""


def _bar(step: int | None, total: int | None) -> str:
    if not total or step is None:
        return ""
    share = max(0.0, min(100.0, 100.0 * step / total))
    return f'<div class="bar"><i style="width:{share:.1f}%"></i></div>'


def shut(passed_over: int) -> str:
    """Say how many directories were not looked into; nothing when all were."""
    return f'<span class="dim">directories not looked into: {passed_over}</span>' if passed_over else ""


def unread(known: int, left: int) -> str:
    """Say how many runs are still to be read; nothing when none is."""
    said = f"{known:,} of {known + left:,} runs are read by now; the others follow"
    return f'<span class="dim" role="status">{said}</span>' if left else ""


def slots(rows: Mapping[str, RunRow], memory: Mapping[str, tuple[float, float]] | None = None) -> str:
    """Show each slot with the run that is on it now; nothing once no launcher is at work with them.

    `memory` is used and total MiB by slot, where that is known: a launcher that works tells it.
    """
    known: dict[str, list[str]] = {}
    for name, row in rows.items():
        if row.summary.slot is not None:
            on = known.setdefault(row.summary.slot, [])
            if row.summary.is_alive:
                on.append(name)
    if not (any(known.values()) or memory or any(row.summary.state == "queued" for row in rows.values())):
        return ""
    cells = "".join(
        f'<span class="slot{"" if on else " idle"}"><b>{html(slot)}</b> '
        f"{', '.join(_on_slot(name, rows[name]) for name in on) or 'idle'}{_memory((memory or {}).get(slot))}</span>"
        for slot, on in sorted(known.items())
    )
    return f'<div class="slots" role="group" aria-label="slots">{cells}</div>'


def failures(rows: Mapping[str, RunRow]) -> str:
    """List failed and interrupted runs: each reason one click away, its log a second one; empty if there are none."""
    found = [(name, row) for name, row in rows.items() if row.summary.state in BAD]
    if not found:
        return ""
    listed = "".join(
        f"<details><summary>{chip(row.summary.state)} {html(name)}</summary>"
        f'<p class="bad">{html(row.summary.why or "no reason is known")}</p>'
        f"<p>{run_link(name, 'its log', '?tab=log')}</p></details>"
        for name, row in found[:MAX_FAILURES]
    )
    more = f"<p>and {len(found) - MAX_FAILURES} more</p>" if len(found) > MAX_FAILURES else ""
    return f"<details><summary><b>{_counted(found)}</b></summary>{listed}{more}</details>"


def _counted(found: Sequence[tuple[str, RunRow]]) -> str:
    unreadable = sum(row.summary.state == "unreadable" for _, row in found)
    ended, shut = f"{len(found) - unreadable} failed or interrupted", f"{unreadable} unreadable"
    return ended if not unreadable else shut if unreadable == len(found) else f"{ended}, {shut}"


def _memory(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f' <span class="dim">{pair[0] / 1024:.1f}/{pair[1] / 1024:.0f} GiB</span>'


def _on_slot(name: str, row: RunRow) -> str:
    step = row.summary.step
    return run_link(name) + (f" {count(step)}" if step is not None else "")


class Usage:
    """Measures a run's processes every few seconds: the one named by its status, and all that it has started."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._spent: dict[psutil.Process, float] = {}
        self._figures: list[str] = []

    def figures(self, run: Summary, gpu: tuple[float, float] | None = None) -> list[str]:
        """Return figures such as `CPU 98 %`; nothing for a run on another machine, or one that has ended.

        Args:
            run: what is known of the run.
            gpu: used and total MiB of the GPUs of its slot, as its launcher reads them.
        """
        if not run.is_alive or run.pid is None or run.host != socket.gethostname():
            self._looked, self._spent, self._figures = 0.0, {}, []
        elif (passed := time.monotonic() - self._looked) >= BETWEEN_S:
            self._looked += passed
            self._figures = self._look(run.pid, passed)
        return [*self._figures, *_gpu(gpu)] if self._figures else []

    def _look(self, pid: int, passed: float) -> list[str]:
        before, self._spent, memory = self._spent, {}, 0
        for process in _family(pid):
            try:
                times = process.cpu_times()
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            self._spent[process] = times.user + times.system
        if not self._spent:
            return []
        said = [f"memory {size(memory)}"]
        if before:  # a process that is new counts from its start
            share = sum(spent - before.get(process, 0.0) for process, spent in self._spent.items()) / passed
            said.insert(0, f"CPU {100 * share:.0f} %")
        return said


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _gpu(memory: tuple[float, float] | None) -> list[str]:
    return [] if memory is None else [f"GPU memory {size(memory[0] * _MIB)} of {size(memory[1] * _MIB)}"]
