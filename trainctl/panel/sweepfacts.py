"""What a sweep is at a glance: how many runs are in which state, which job is on which slot, and why some failed."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from trainctl.panel.runview import Row
from trainctl.panel.words import count, html
from trainctl.run.status import FAILED

STATES = ("running", "queued", "done", "failed", "timeout", "oom", "interrupted")
BAD = (*FAILED, "interrupted")
MAX_FAILURES = 200


def counts(rows: Mapping[str, Row]) -> str:
    """Say how many runs are in which state, and how fast they are together."""
    if not rows:
        return "No runs here yet; this page shows them as they start."
    states = [row.summary.state for row in rows.values()]
    parts = [
        f'<span><span class="chip {state}">{state}</span> <b>{states.count(state)}</b></span>'
        for state in STATES
        if state in states
    ]
    return f'<div class="facts"><span><b>{len(rows)}</b> runs</span>{"".join(parts)}</div>'


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
        f'<details><summary><span class="chip {row.summary.state}">{row.summary.state}</span> {html(name)}</summary>'
        f'<p class="bad">{html(row.summary.reason or "no reason is known")}</p>'
        f"<p>{_link(name, '?tab=log', 'its log')}</p></details>"
        for name, row in found[:MAX_FAILURES]
    )
    more = f"<p>and {len(found) - MAX_FAILURES} more</p>" if len(found) > MAX_FAILURES else ""
    return f"<details><summary><b>{len(found)} failed or interrupted</b></summary>{listed}{more}</details>"


def _memory(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f' <span class="dim">{pair[0] / 1024:.1f}/{pair[1] / 1024:.0f} GiB</span>'


def _on_slot(name: str, row: Row) -> str:
    step = row.summary.step
    return _link(name, "", name) + (f" {count(step)}" if step is not None else "")


def _link(name: str, query: str, text: str) -> str:
    return f'<a href="run/{html(quote(name, safe=""))}{query}">{html(text)}</a>'
