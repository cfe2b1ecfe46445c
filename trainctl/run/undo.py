"""Taking an edit back: a new edit, with the values that the old one replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainctl.config import yaml
from trainctl.errors import EditError
from trainctl.run.applied import Applied


def to_undo(applied: Sequence[Applied], wanted: int | bool, *, force: bool = False, step: int | None = None) -> Applied:
    """Return the edit to take back: that of the number; for True the last one that is no undo and is not undone yet.

    With `force` it does not matter whether it is undone already, nor whether its keys were changed again. Edits after
    `step` (an earlier attempt made them, and they come again) are not there yet.

    Raises:
        EditError: there is none, it is undone already, or one of its keys was changed later, or had no value before.
    """
    reached = [one for one in applied if step is None or one.step <= step]
    undone = _undone(reached)
    if wanted is True:
        left = [one for one in reached if one.undo is None and one.number not in undone]
        if not left:
            raise EditError("undo: no edit of this run is left to undo")
        found = max(left, key=lambda one: one.number)
    else:
        by_number = {one.number: one for one in applied}
        if wanted not in by_number:
            there = f"its edits are 1 to {len(applied)}" if applied else "it has none"
            raise EditError(f"undo of edit {wanted}: the run has no such edit; {there} (`trainctl log` shows them)")
        found = by_number[int(wanted)]
        if found not in reached:
            raise EditError(
                f"undo of edit {wanted}: it comes again at step {found.step}, and the run is at step {step}"
            )
    asked = f"undo of edit {found.number}"
    missing = sorted(found.values.keys() - found.before.keys())
    if missing:
        raise EditError(f"{asked}: {missing[0]} had no value before; it cannot be taken away")
    if force:
        return found
    if found.number in undone:
        raise EditError(f"{asked}: edit {undone[found.number]} has undone it already; nothing was changed")
    _check_untouched(reached, found, undone, asked)
    return found


def _undone(applied: Sequence[Applied]) -> dict[int, int]:
    """Return which edits are undone at present, by which: an undo that is itself undone does not count."""
    undone: dict[int, int] = {}
    for one in sorted(applied, key=lambda one: one.number, reverse=True):
        if one.undo is not None and one.number not in undone:
            undone.setdefault(one.undo, one.number)
    return undone


def _check_untouched(applied: Sequence[Applied], found: Applied, undone: dict[int, int], asked: str) -> None:
    """Refuse when a later edit set one of the keys; an edit and its undo, both later, are as if they were not."""
    later = applied[applied.index(found) + 1 :]
    numbers = {one.number for one in later}
    for one in reversed(later):
        touched = sorted(one.values.keys() & found.values.keys())
        if touched and one.number not in undone and (one.undo is None or one.undo not in numbers):
            value = _short(one.values[touched[0]])
            raise EditError(
                f"{asked}: {touched[0]} was changed again, to {value} by edit {one.number} at step {one.step}; "
                "undo that first, or ask again with force"
            )


def _short(value: Any) -> str:
    text = yaml.inline(value)
    return text if len(text) <= 60 else text[:60] + "…"
