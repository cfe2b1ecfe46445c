"""What a sweep is at a glance: how many runs are in which state, which job is on which slot, and why some failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from trainctl.panel.runview import Row
from trainctl.panel.words import chip, count, html
from trainctl.run.status import FAILED, Seen

STATES: tuple[Seen, ...] = ("running", "queued", "done", "failed", "timeout", "oom", "interrupted", "unreadable")
BAD: tuple[Seen, ...] = (*FAILED, "interrupted", "unreadable")
MAX_FAILURES = 200


def counts(rows: Mapping[str, Row], passed_over: int = 0) -> str:
    """Say how many runs are in which state, and how many directories may not be read."""
    shut = f'<span class="dim">directories that may not be read: {passed_over}</span>' if passed_over else ""
    if not rows:
        return f"No runs here yet; this page shows them as they start. {shut}"
    states = [row.summary.state for row in rows.values()]
    parts = [f"<span>{chip(state)} <b>{states.count(state)}</b></span>" for state in STATES if state in states]
    return f'<div class="facts"><span><b>{len(rows)}</b> runs</span>{"".join(parts)}{shut}</div>'


def slots(rows: Mapping[str, Row], memory: Mapping[str, tuple[float, float]] | None = None) -> str:
    """Show each slot that was ever used, with the run that is on it now; nothing when no run had a slot.

    `memory` is used and total MiB by slot, where that is known.
    """
    known: dict[str, list[str]] = {}
    for name, row in rows.items():
        if row.summary.slot is not None:
            on = known.setdefault(row.summary.slot, [])
            if row.summary.state == "running":
                on.append(name)
    if not known:
        return ""
    cells = "".join(
        f'<span class="slot{"" if on else " idle"}"><b>{html(slot)}</b> '
        f"{', '.join(_on_slot(name, rows[name]) for name in on) or 'idle'}{_memory((memory or {}).get(slot))}</span>"
        for slot, on in sorted(known.items())
    )
    return f'<div class="slots" role="group" aria-label="slots">{cells}</div>'


def failures(rows: Mapping[str, Row]) -> str:
    """List what failed or was cut off, each reason one click away and the log a second; nothing when nothing did."""
    found = [(name, row) for name, row in rows.items() if row.summary.state in BAD]
    if not found:
        return ""
    listed = "".join(
        f"<details><summary>{chip(row.summary.state)} {html(name)}</summary>"
        f'<p class="bad">{html(row.summary.why or "no reason is known")}</p>'
        f"<p>{_link(name, '?tab=log', 'its log')}</p></details>"
        for name, row in found[:MAX_FAILURES]
    )
    more = f"<p>and {len(found) - MAX_FAILURES} more</p>" if len(found) > MAX_FAILURES else ""
    return f"<details><summary><b>{_counted(found)}</b></summary>{listed}{more}</details>"


def _counted(found: Sequence[tuple[str, Row]]) -> str:
    unreadable = sum(row.summary.state == "unreadable" for _, row in found)
    ended, shut = f"{len(found) - unreadable} failed or interrupted", f"{unreadable} unreadable"
    return ended if not unreadable else shut if unreadable == len(found) else f"{ended}, {shut}"


def _memory(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f' <span class="dim">{pair[0] / 1024:.1f}/{pair[1] / 1024:.0f} GiB</span>'


def _on_slot(name: str, row: Row) -> str:
    step = row.summary.step
    return _link(name, "", name) + (f" {count(step)}" if step is not None else "")


def _link(name: str, query: str, text: str) -> str:
    return f'<a href="run/{html(quote(name, safe=""))}{query}">{html(text)}</a>'
