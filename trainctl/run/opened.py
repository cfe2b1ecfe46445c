"""Runs of trackers that the task has opened itself, where that cannot be seen from outside: loggers of Lightning."""

from __future__ import annotations

_opened: dict[str, dict[str, str]] = {}


def note(tracker: str, **place: str) -> None:
    """Say that this process has a run open on a tracker, and where; trainctl sends to it instead of opening another."""
    _opened[tracker] = place


def noted(tracker: str) -> dict[str, str]:
    """Return where this process has a run open on a tracker; empty when nobody has said so."""
    return _opened.get(tracker, {})


def forget() -> None:
    """Forget all that was noted: the run of this process has ended."""
    _opened.clear()
