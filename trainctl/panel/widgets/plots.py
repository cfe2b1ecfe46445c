"""The cards of a run page: each metric, and values that were edited, over the same steps, with a mark at each edit.

The browser draws them; this side sends what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainctl.config.changelog import Changelog
from trainctl.config.edit import parse_edit
from trainctl.config.values import is_finite
from trainctl.errors import EditError
from trainctl.panel.data.curves import UNSEEN, Curves, Mark
from trainctl.panel.data.run_view import RunView, value_at
from trainctl.panel.pages.session import names, remember, written
from trainctl.panel.pages.theme import BASE
from trainctl.panel.widgets.cards import Cards, Sent, range_of, remember_settings, settings_of_link
from trainctl.rundir.edits import applied_edits, merged
from trainctl.rundir.status import ALIVE
from trainctl.text import one_line

MAX_METRICS = 60
MAX_VALUES = 6  # of those that were edited; a person may add others
MAX_ADDED = 20
MAX_MARKS = 300
COLOUR = "#4c7fb8"
NOTHING_YET = "Nothing is logged yet. What the task gives to live.log(loss=…) is drawn here by step."


class Plots:
    """Follows a run: only new points are sent, and nothing while nothing changes."""

    def __init__(self, view: RunView, curves: Curves) -> None:
        self._curves = curves
        self._seen: dict[str, Mark] = {}
        self._told: dict[str, Any] = {}
        self._is_ready = False
        self._added = names("values")[:MAX_ADDED]
        self._view = view
        self._edits = self._of_edits()
        self.view = Cards(
            settings=settings_of_link(),
            is_one=True,
            height_of_all=True,
            stylesheets=[BASE],
            sizing_mode="stretch_width",
            margin=0,
        )
        self.view.on_told(self._hear)

    def follow(self, view: RunView, curves: Curves) -> None:
        """Show what is new."""
        is_other, self._view = not view.is_like(self._view), view
        if curves is not self._curves:
            self._curves, self._seen = curves, {}
        if is_other:
            self._edits = self._of_edits()
        self._send()

    def _send(self) -> None:
        if not self._is_ready:
            return
        metrics = self._curves.names[:MAX_METRICS]
        parts = {
            **self._edits,
            "metrics": metrics,
            "now": self._view.row.summary.step or 0,
            "empty": NOTHING_YET,
        }
        lines: list[tuple[str, list[Sent]]] = []
        for name in metrics:
            before = self._seen.get(name, UNSEEN)
            self._seen[name], is_whole, steps, values = self._curves.after(name, before)
            if steps or (is_whole and before != UNSEEN):
                lines.append((name, [(0, steps, values, not is_whole)]))
        new = {name: part for name, part in parts.items() if name not in self._told or self._told[name] != part}
        if new or lines:
            self.view.send(lines=lines, **new)
        self._told = parts

    def _of_edits(self) -> dict[str, Any]:
        """Return the run's edits, what is to come, the values that have a card, and the keys that could have one."""
        view, coming = self._view, ahead_of(self._view)
        known = plottable(view)
        edited = list(dict.fromkeys([*(key for _, _, numbers in coming for key in numbers), *edited_keys(view)]))
        shown = [key for key in edited if key in known][:MAX_VALUES]
        if not shown and view.row.summary.state in (*ALIVE, "queued"):
            shown = first_keys(known)
        shown += [key for key in self._added if key in known and key not in shown]
        edits = edits_of(view)[-MAX_MARKS:]
        return {
            "runs": [{"id": 0, "name": view.row.summary.run.name, "color": COLOUR, "edits": edits}],
            "values": [(key, {"log": wants_log(view, key), "points": changes_of(view, key)}) for key in shown],
            "offer": [key for key in known if key not in shown],
            "ahead": coming[:MAX_MARKS],
        }

    def _hear(self, said: dict[str, Any]) -> None:
        """Take a browser's message, which is outside input: a fresh page, a key that gets a card, settings."""
        kind = said["kind"]
        if kind == "ready":
            self._is_ready, self._seen, self._told = True, {}, {}
        elif kind == "add" and isinstance(key := said.get("key"), str):
            self._added = [*self._added, key][-MAX_ADDED:]
            self._edits = self._of_edits()
            remember(values=written(self._added))
        elif kind == "range":
            remember_settings({"range": range_of(said.get("range"))})
        elif kind == "settings" and isinstance(said.get("settings"), dict):
            remember_settings(said["settings"])
        self._send()


def plottable(view: RunView) -> list[str]:
    """Return the keys whose value is a number now or was one, the edited ones first."""
    if view.changelog is None:
        return []
    editable = [key for key, spec in view.keys.items() if not spec.locked]
    return [key for key in dict.fromkeys([*edited_keys(view), *editable, *view.keys]) if _is_plottable(view, key)]


def edited_keys(view: RunView) -> list[str]:
    """Return the keys that were edited, the latest first."""
    edits = view.changelog.edits if view.changelog is not None else []
    return list(dict.fromkeys(key for edit in reversed(edits) for key in edit.values))


def first_keys(keys: list[str]) -> list[str]:
    """Return the key to show of a run that may yet be edited: a learning rate, else the first."""
    rates = [key for key in keys if key.rpartition(".")[2] in ("lr", "learning_rate")]
    return (rates or keys)[:1]


def changes_of(view: RunView, key: str) -> list[list[float]]:
    """Return the steps at which a key got a number, with that number; the first is step 0."""
    log: Changelog | None = view.changelog
    if log is None:
        return []
    found = [(0, value_at(log.base, key)), *((edit.step, edit.values[key]) for edit in log.edits if key in edit.values)]
    return [[step, float(value)] for step, value in found if is_finite(value)]


def edits_of(view: RunView) -> list[tuple[int, str]]:
    """Return the step of each edit, and in a line what it changed, with its note."""
    if view.changelog is None:
        return []
    found = []
    for edit in applied_edits(view.changelog, view.events):
        told = ", ".join(_told(key, value, edit.before) for key, value in list(edit.values.items())[:4])
        note = f" ({edit.note})" if edit.note else ""
        found.append((edit.step, f"step {edit.step:,}: {told}{note}"))
    return found


def ahead_of(view: RunView) -> list[tuple[int, str, dict[str, float]]]:
    """Return the coming edits of a replay and those that wait for a step: step, description, and numbers."""
    now = view.row.summary.step or 0
    found = [(one.step, f"replay of {one.source}", one.values) for one in view.ahead]
    found += [
        (event.at, "waiting", {key: _parsed(view, key, text) for key, text in event.edits.items()})
        for event in merged(view.events)
        if event.at is not None and event.edits and not event.is_final
    ]
    marks = [(step, _coming(step, why, values), _numbers(values)) for step, why, values in found if step > now]
    return sorted(marks, key=lambda mark: mark[0])


def wants_log(view: RunView, key: str) -> bool:
    """Whether a key's values are shown on a log axis at first: its control says so, or they span a decade."""
    values = [value for _, value in changes_of(view, key)]
    if not values or min(values) <= 0:
        return False
    spec = view.keys.get(key)
    return (spec is not None and spec.log) or max(values) / min(values) >= 10


def _told(key: str, value: Any, before: Any) -> str:
    return f"{key} {one_line(before[key])} → {one_line(value)}" if key in before else f"{key} = {one_line(value)}"


def _coming(step: int, why: str, values: Mapping[str, Any]) -> str:
    return f"ahead at step {step:,}: {', '.join(_told(key, value, {}) for key, value in values.items())} ({why})"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if is_finite(value)}


def _parsed(view: RunView, key: str, text: Any) -> Any:
    try:
        return parse_edit(key, text, view.keys) if isinstance(text, str) else text
    except EditError:
        return text


def _is_plottable(view: RunView, key: str) -> bool:
    return is_finite(view.values.get(key)) or bool(changes_of(view, key))
