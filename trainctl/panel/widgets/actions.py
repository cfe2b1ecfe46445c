"""What can be asked of a run besides edits: pause, resume, checkpoint, evaluate, stop, and the task's own actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.edit import parse_edit
from trainctl.errors import EditError
from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.panel.pages.theme import ASIDE, GRID, SECTION, STYLE
from trainctl.panel.widgets.field import Field
from trainctl.panel.widgets.pending import set_object, set_params
from trainctl.panel.widgets.requests import outcome_of
from trainctl.rundir.events import LOOKS, latest

BUILT_IN = ("pause", "resume", "checkpoint", "evaluate", "stop")
SURE = "Stop now?"

Do = Callable[[str, dict[str, Any]], None]


def action_button(name: str, ask: Callable[[str], None], margin: tuple[int, int]) -> Any:
    """Return the button of a built-in action: what cannot be taken back is red."""
    color = "error" if name == "stop" else "primary"
    button = pmui.Button(label=name.capitalize(), variant="outlined", size="small", color=color, margin=margin)
    button.on_click(lambda _event: ask(name))
    return button


class ActionBar:
    """A button per action; stop asks again, and one with arguments has a field for each.

    What the training loop does by itself has a button once the loop has looked for it, and beside it stands what was
    asked for, by whomever, and then what was done.
    """

    def __init__(self, view: RunView, do: Do) -> None:
        self._do = do
        self._buttons = {name: action_button(name, self._clicked, (3, 4)) for name in BUILT_IN if name in view.actions}
        self._told = panel.pane.HTML("", stylesheets=[STYLE], margin=(3, 4))
        own = {name: said for name, said in view.actions.items() if name not in BUILT_IN}
        self._own = {name: OwnAction(name, said, do) for name, said in own.items()}
        self.view = pmui.FlexBox(
            *self._buttons.values(), self._told, gap="0px", align_items="center", margin=(0, 8), styles=ASIDE
        )
        self.own = pmui.Card(
            *(action.view for action in self._own.values()),
            title="actions",
            sx=SECTION,
            variant="outlined",
            sizing_mode="stretch_width",
            margin=(4, 8),
            visible=bool(own),
        )
        self.follow(view, may_ask=False)

    def follow(self, view: RunView, *, may_ask: bool) -> None:
        """Offer what makes sense now."""
        run = view.row.summary
        is_open = run.is_alive
        for name, button in self._buttons.items():
            fits = {"pause": not run.paused, "resume": run.paused}.get(name, name in run.looks)
            set_params(button, visible=is_open and fits, disabled=not may_ask)
        set_object(self._told, told(view))
        for action in self._own.values():
            action.allow(is_open and may_ask)

    def _clicked(self, name: str) -> None:
        button = self._buttons[name]
        if name == "stop" and button.label != SURE:
            button.label = SURE  # the second click stops; any other action takes it back
            return
        if "stop" in self._buttons:
            set_params(self._buttons["stop"], label="Stop")
        self._do(name, {})


def told(view: RunView) -> str:
    """Write as HTML what the loop was last asked for in this attempt, action by action, and what has come of it."""
    began = time.time() - (view.row.summary.duration_s or 0)
    last = {event.action: event for event in latest(view.events).values() if event.action in LOOKS and event.t >= began}
    lines = []
    for name in sorted(last, key=list(LOOKS).index):
        said, kind = outcome_of(last[name])
        if last[name].state == "applied":
            lines.append(f'<div role="status" class="{kind}"><b class="mono">{html(name)}</b> {html(said)}</div>')
    return "".join(lines)


class OwnAction:
    """One of the task's own actions: its fields and its button."""

    def __init__(self, name: str, said: Mapping[str, Any], do: Do) -> None:
        self._name = name
        self._do = do
        given = said.get("arguments")
        records: dict[str, Any] = given if isinstance(given, dict) else {}
        self._keys = {argument: Key.from_dict(record) for argument, record in records.items()}
        self._has_default = {argument for argument, record in records.items() if "default" in record}
        self._fields = {
            argument: Field(argument, self._keys, record.get("default"), self._update, live=True, is_blank=True)
            for argument, record in records.items()
        }
        self._button = pmui.Button(label=name, variant="outlined", size="small", margin=(10, 8))
        self._button.on_click(lambda _event: self._ask())
        fields = [field.view for field in self._fields.values()]
        if hint := said.get("help"):
            fields.append(
                panel.pane.HTML(f'<span class="dim">{html(hint)}</span>', stylesheets=[STYLE], margin=(14, 8))
            )
        self.view = pmui.FlexBox(self._button, *fields, gap="0px", sx=GRID, sizing_mode="stretch_width", margin=0)
        self._is_open = False
        self._update()

    def allow(self, is_open: bool) -> None:
        self._is_open = is_open
        for field in self._fields.values():
            field.allow(is_open)
        self._update()

    def _update(self) -> None:
        set_params(self._button, disabled=not self._is_open or self._arguments() is None)

    def _arguments(self) -> dict[str, Any] | None:
        """Return what the fields say, without what is left to its default; None while something is missing or wrong."""
        found: dict[str, Any] = {}
        for name, field in self._fields.items():
            text = field.text
            if text == field.shown and name in self._has_default:
                continue
            try:
                parse_edit(name, text, self._keys)
            except EditError:
                return None
            found[name] = text
        return found

    def _ask(self) -> None:
        arguments = self._arguments()
        if arguments is not None and self._is_open:
            self._do(self._name, arguments)


def label_of(name: str, arguments: Mapping[str, Any]) -> str:
    """Write an action as a person asks for it."""
    return " ".join([name, *(f"{key}={yaml.inline(value)}" for key, value in arguments.items())])
