"""Actions of a run besides edits: pause, resume, checkpoint, evaluate, stop, and the task's own."""

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
from trainctl.panel.pages.theme import ASIDE, SECTION, STYLE
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.panel.widgets.pending import options_of, reason_of, set_object, text_of
from trainctl.panel.widgets.requests import outcome_of
from trainctl.rundir.events import LOOKS, latest

BUILT_IN = ("pause", "resume", "checkpoint", "evaluate", "stop")
SURE = "Stop now?"
BUTTON = "the button"  # no argument has this name

Do = Callable[[str, dict[str, Any]], None]


def action_button(name: str) -> Control:
    """Return the button of a built-in action: what cannot be taken back is red."""
    return Control(name, "button", name.capitalize(), look="bad" if name == "stop" else "")


class ActionBar:
    """A button per action; stop asks again, and one with arguments has a field for each.

    What the training loop does by itself has a button once the loop has looked for it, and beside it stands what was
    asked for, by whom, and then what was done.
    """

    def __init__(self, view: RunView, do: Do) -> None:
        self._do = do
        self._names = [name for name in BUILT_IN if name in view.actions]
        self._buttons = Controls(list(map(action_button, self._names)), on_press=self._clicked, margin=0)
        self._told = panel.pane.HTML("", stylesheets=[STYLE], margin=(4, 12))
        own = {name: said for name, said in view.actions.items() if name not in BUILT_IN}
        self._own = {name: OwnAction(name, said, do) for name, said in own.items()}
        self.view = pmui.FlexBox(
            self._buttons.view,
            self._told,
            gap="0px",
            align_items="center",
            margin=(0, 12),
            sizing_mode=None,
            styles=ASIDE,
        )
        self.own = pmui.Card(
            *(action.fields.view for action in self._own.values()),
            title="actions",
            sx=SECTION,
            variant="outlined",
            sizing_mode="stretch_width",
            margin=(4, 12),
            visible=bool(own),
        )
        self.follow(view, may_ask=False)

    def follow(self, view: RunView, *, may_ask: bool) -> None:
        """Show the buttons that apply now."""
        run = view.row.summary
        is_open = run.is_alive
        for name in self._names:
            fits = {"pause": not run.paused, "resume": run.paused}.get(name, name in run.looks)
            self._buttons.show(name, hidden=not (is_open and fits), disabled=not may_ask)
        set_object(self._told, told(view))
        for action in self._own.values():
            action.allow(is_open and may_ask)

    def _clicked(self, name: str) -> None:
        if asks_again(self._buttons, name):
            return
        self._do(name, {})


def asks_again(buttons: Controls, name: str) -> bool:
    """Whether a press is the first one of Stop, which asks again; a press of anything else takes that back."""
    is_first = name == "stop" and buttons.shown("stop")["label"] != SURE
    if name in BUILT_IN and "stop" in buttons:
        buttons.show("stop", label=SURE if is_first else "Stop")
    return is_first


def told(view: RunView) -> str:
    """Write as HTML the last request of each action in this attempt, and its outcome."""
    began = time.time() - (view.row.summary.duration_s or 0)
    last = {event.action: event for event in latest(view.events).values() if event.action in LOOKS and event.t >= began}
    lines = []
    for name in sorted(last, key=list(LOOKS).index):
        said, kind = outcome_of(last[name])
        if last[name].state == "applied":
            lines.append(f'<div role="status" class="{kind}"><b class="mono">{html(name)}</b> {html(said)}</div>')
    return "".join(lines)


class OwnAction:
    """One of the task's own actions: its button, and a field for each argument."""

    def __init__(self, name: str, said: Mapping[str, Any], do: Do) -> None:
        self._name = name
        self._do = do
        given = said.get("arguments")
        records: dict[str, Any] = given if isinstance(given, dict) else {}
        self._keys = {argument: Key.from_dict(record) for argument, record in records.items()}
        self._defaults = {
            argument: text_of(record["default"], self._keys[argument])
            for argument, record in records.items()
            if "default" in record
        }
        fields = {argument: self._field(argument) for argument in records}
        button = Control(BUTTON, "button", name, str(said.get("help") or ""))
        self.fields = Controls([button, *fields.values()], self._update, lambda _name: self._ask(), margin=(4, 8))
        for argument, field in fields.items():
            default, options = self._defaults.get(argument, ""), options_of(self._keys[argument]) or []
            self.fields.show(
                argument,
                options=options if default in options else [default, *options],
                value=default == "true" if field.kind == "check" else default,
            )
        self._is_open = False
        self._update()

    def allow(self, is_open: bool) -> None:
        """Enable or disable it with the run."""
        self._is_open = is_open
        for argument in self._keys:
            self.fields.show(argument, disabled=not is_open)
        self._update()

    def _field(self, argument: str) -> Control:
        spec = self._keys[argument]
        if options_of(spec) is not None:
            return Control(argument, "choice", argument, spec.help or "")
        is_switch = spec.type == "bool" and self._defaults.get(argument) in ("true", "false")
        return Control(
            argument, "check" if is_switch else "text", argument, spec.help or "", 0 if is_switch else 140, 2**20
        )

    def _text(self, argument: str) -> str:
        value = self.fields.shown(argument)["value"]
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

    def _update(self) -> None:
        wrong = {}
        for argument in self._keys:
            text = self._text(argument)
            try:
                if text != self._defaults.get(argument, ""):
                    parse_edit(argument, text, self._keys)
            except EditError as error:
                wrong[argument] = reason_of(error, self._keys[argument])
            self.fields.show(argument, error=wrong.get(argument, ""))
        is_whole = all(argument in self._defaults or self._text(argument) for argument in self._keys)
        self.fields.show(BUTTON, disabled=not self._is_open or bool(wrong) or not is_whole)

    def _ask(self) -> None:
        texts = {argument: self._text(argument) for argument in self._keys}
        self._do(self._name, {name: text for name, text in texts.items() if text != self._defaults.get(name)})


def label_of(name: str, arguments: Mapping[str, Any]) -> str:
    """Write an action as a person asks for it."""
    return " ".join([name, *(f"{key}={yaml.inline(value)}" for key, value in arguments.items())])
