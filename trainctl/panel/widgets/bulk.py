"""One request to several runs at once: an edit, a pause, a stop. Each run answers for itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.data.run_view import RunView
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.server.limits import Bucket
from trainctl.panel.widgets.actions import action_button, asks_again
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.panel.widgets.pending import FORCE, NOTE, set_object, set_params
from trainctl.panel.widgets.requests import Asking, turns

MAX_RUNS = 200
MAX_LISTED = 20
ACTIONS = ("pause", "resume", "stop")
FIELDS = (
    Control("key", "choice", "key", width=200),
    Control("value", "text", "new value", width=140, longest=10_000),
    dataclasses.replace(NOTE, is_kept=False),
    Control("force", "check", "force", FORCE),
    Control("apply", "button", "Apply to chosen", look="main"),
    *map(action_button, ACTIONS),
)


class Bulk:
    """A key, a value and a note for all chosen runs that are running, and buttons for pause, resume and stop."""

    def __init__(self, watcher: Watcher, *, may_ask: bool) -> None:
        self._watcher = watcher
        self._may_ask = may_ask
        self._names: list[str] = []
        self._asked: dict[str, Asking] = {}
        self._turns: dict[str, Bucket] = {}
        self.fields = Controls(FIELDS, on_press=self._pressed, margin=(4, 12))
        self._wrong = ""
        self._said = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(4, 12))
        self.view = pmui.Column(self.fields.view, self._said, sizing_mode="stretch_width", margin=0)
        self.view.visible = False

    def choose(self, names: Sequence[str]) -> None:
        """Address other runs from now on; earlier requests are still answered."""
        self._names = list(names)[:MAX_RUNS]
        running = self._running()
        set_params(self.view, visible=bool(names))
        set_params(self.fields.view, visible=bool(running))  # nothing can be asked of runs that have ended
        keys: dict[str, None] = {}
        for view in list(running.values())[:MAX_LISTED]:
            keys |= dict.fromkeys(key for key, spec in view.keys.items() if not spec.locked and not spec.hidden)
        before = self.fields.text("key")
        value = before if before in keys else next(iter(keys), "")
        self.fields.show("key", options=list(keys) or [""], value=value)
        for name in ("apply", *ACTIONS):
            self.fields.show(name, disabled=not running or not self._may_ask)
        can_stop = any("stop" in view.row.summary.looks for view in running.values())
        self._wrong = ""
        self.fields.show("apply", label=f"Apply to {len(running)}" if running else "Apply to chosen")
        self.fields.show("stop", hidden=not can_stop and bool(running), label="Stop")

    def look(self) -> None:
        """Show the runs' answers."""
        for name, asking in self._asked.items():
            view = self._watcher.fresh_view(name)
            if view is not None:
                asking.settle(view)
        listed = [f'<div role="status" class="bad">{html(self._wrong)}</div>'] if self._wrong else []
        listed += [
            f"<div><b>{html(name)}</b> {asking.lines()}</div>"
            for name, asking in list(self._asked.items())[:MAX_LISTED]
        ]
        more = f"<div>and {len(self._asked) - MAX_LISTED} more</div>" if len(self._asked) > MAX_LISTED else ""
        set_object(self._said, "".join(listed) + more)

    def _running(self) -> dict[str, RunView]:
        views = {name: self._watcher.view(name) for name in self._names}
        return {name: view for name, view in views.items() if view is not None and view.is_editable}

    def _pressed(self, name: str) -> None:
        if asks_again(self.fields, name):
            return
        if name == "apply":
            self._edit()
        else:
            self._ask(name, action=name)

    def _edit(self) -> None:
        fields = self.fields
        key, text = fields.text("key"), fields.text("value")
        if not key:
            self._refuse("none of the chosen runs has a key that can be edited")
            return
        label = f"{key} = {text}"[:80]
        self._ask(label, texts={key: text}, note=fields.text("note") or None, force=fields.is_on("force"))
        fields.show("note", value="")
        fields.show("force", value=False)

    def _ask(self, label: str, **what: Any) -> None:
        running = self._running()
        if not running:
            self._refuse("none of the chosen runs is running any more")
            return
        self._asked, self._wrong = {}, ""
        for name, view in running.items():
            allowance = self._turns.setdefault(name, turns())
            self._asked[name] = asking = Asking(may_ask=self._may_ask, allowance=allowance)
            asking.ask(view, label, **what)
        self.look()

    def _refuse(self, reason: str) -> None:
        """Answer a click that cannot be carried out: none is ignored silently."""
        self._asked, self._wrong = {}, f"not asked: {reason}"
        self.look()
