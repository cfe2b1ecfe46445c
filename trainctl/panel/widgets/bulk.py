"""One request to several runs at once: an edit, a pause, a stop. Each run answers for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.auth.rate_limit import Bucket
from trainctl.panel.data.run_view import RunView
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets.actions import SURE, action_button
from trainctl.panel.widgets.field import set_text
from trainctl.panel.widgets.pending import MAX_NOTE, set_object, set_params
from trainctl.panel.widgets.requests import Asking, turns

MAX_RUNS = 200
MAX_LISTED = 20


class Bulk:
    """A key, a value and a note for all chosen runs that are running, and buttons for pause, resume and stop."""

    def __init__(self, watcher: Watcher, *, may_ask: bool) -> None:
        self._watcher = watcher
        self._may_ask = may_ask
        self._names: list[str] = []
        self._asked: dict[str, Asking] = {}
        self._turns: dict[str, Bucket] = {}
        common: dict[str, Any] = {"size": "small", "margin": (6, 6)}
        self._key = pmui.Select(label="key", options=[""], value="", width=200, **common)
        self._value = pmui.TextInput(label="new value", width=140, max_length=10_000, **common)
        self._note = pmui.TextInput(label="note", width=180, max_length=MAX_NOTE, **common)
        self._apply = pmui.Button(label="Apply to chosen", variant="contained", size="small", margin=(10, 6))
        self._apply.on_click(lambda _event: self._edit())
        self._actions = {name: action_button(name, self._do, (10, 4)) for name in ("pause", "resume", "stop")}
        self._wrong = ""
        self._said = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(2, 8))
        fields = pmui.FlexBox(
            self._key, self._value, self._note, self._apply, *self._actions.values(), gap="0px", align_items="center"
        )
        self.view = pmui.Column(fields, self._said, sizing_mode="stretch_width", margin=0)
        self.view.visible = False

    def choose(self, names: Sequence[str]) -> None:
        """Speak to other runs from now on; what was asked of the earlier ones is still answered."""
        self._names = list(names)[:MAX_RUNS]
        set_params(self.view, visible=bool(names))
        running = self._running()
        keys: dict[str, None] = {}
        for view in list(running.values())[:MAX_LISTED]:
            keys |= dict.fromkeys(key for key, spec in view.keys.items() if not spec.locked and not spec.hidden)
        value = self._key.value if self._key.value in keys else next(iter(keys), "")
        set_params(self._key, options=list(keys) or [""], value=value)
        for widget in (self._apply, *self._actions.values()):
            set_params(widget, disabled=not running or not self._may_ask)
        can_stop = any("stop" in view.row.summary.looks for view in running.values())
        set_params(self._actions["stop"], visible=can_stop or not running)
        self._wrong = ""
        set_params(self._apply, label=f"Apply to {len(running)}" if running else "Apply to chosen")
        set_params(self._actions["stop"], label="Stop")

    def look(self) -> None:
        """Take over what the runs have answered."""
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

    def _edit(self) -> None:
        key, text = self._key.value, self._value.value_input or ""
        if not key:
            self._refuse("none of the chosen runs has a key that can be edited")
            return
        label = f"{key} = {text}"[:80]
        self._ask(label, texts={key: text}, note=(self._note.value_input or "").strip() or None)
        set_text(self._note, "")

    def _do(self, name: str) -> None:
        stop = self._actions["stop"]
        if name == "stop" and stop.label != SURE:
            stop.label = SURE  # the second click stops
            return
        set_params(stop, label="Stop")
        self._ask(name, action=name)

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
        """Answer a click that asks for nothing: none is passed over in silence."""
        self._asked, self._wrong = {}, f"not asked: {reason}"
        self.look()
