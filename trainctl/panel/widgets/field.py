"""One key in the form: its widget, what was typed, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import panel_material_ui as pmui

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.edit import QUOTED_NULL, parse_edit
from trainctl.config.keys import split
from trainctl.errors import EditError
from trainctl.panel.pages.theme import CHANGED, NUDGE, READABLE
from trainctl.panel.server._bokeh import edit_readonly
from trainctl.panel.widgets import number

MAX_SHOWN = 20_000  # characters of a value that a field shows; a longer one can be replaced from the command line


@dataclass(frozen=True, slots=True)
class PendingEdit:
    """An edit that is not asked for yet: `error` says why it cannot be."""

    key: str
    old: str
    new: str
    error: str | None = None


class Field:
    """A widget for one key that can be edited, chosen by its type.

    What is being typed is never overwritten by what comes from the run.
    """

    def __init__(
        self,
        key: str,
        keys: Mapping[str, Key],
        value: Any,
        on_change: Callable[[], None],
        *,
        live: bool,
        is_blank: bool = False,
        label: str | None = None,
    ) -> None:
        self.key = key
        self._label = label or label_of(key)
        self._keys = keys
        self._spec = keys[key]
        self._value = value
        self._shown = "" if is_blank and value is None else text_of(value, self._spec)
        self._live = live
        self._following = False
        self._buttons: list[Any] = []
        self._slider: Any = None
        self.widget = self._make()
        self._mark()
        watched = ["value_input"] if isinstance(self.widget, _TEXTS) else ["value"]
        self._on_change = on_change
        self.widget.param.watch(self._note, watched)
        self.view = self._with_nudges()
        self._lock()

    @property
    def shown(self) -> str:
        """What the run says, as text."""
        return self._shown

    @property
    def text(self) -> str:
        """What the widget says, as text."""
        if isinstance(self.widget, pmui.Switch):
            return "true" if self.widget.value else "false"
        text = self.widget.value_input if isinstance(self.widget, _TEXTS) else self.widget.value
        return "" if text is None else str(text)

    def type(self, text: str) -> None:
        """Put a text into the field as if a person had typed it."""
        if text != self.text and not self.widget.disabled:
            set_text(self.widget, text)

    def change(self) -> PendingEdit | None:
        """Return what the person wants to change here; None while the widget says what the run says."""
        text = self.text
        if text == self._shown or self.widget.disabled:
            return None
        try:
            value = parse_edit(self.key, text, self._keys)
        except EditError as error:
            return PendingEdit(self.key, self._shown, text, _reason(error, self._spec))
        if type(value) is type(self._value) and value == self._value:
            return None
        return PendingEdit(self.key, self._shown, text)

    def follow(self, value: Any, *, forget: bool = False) -> None:
        """Take over the run's value; what was typed stays unless it is to be forgotten."""
        text = text_of(value, self._spec)
        typed = None if forget or self.change() is None else self.text
        if text == self._shown and not (forget and self.text != text):
            return
        self._value, self._shown = value, text
        if typed is None:
            self._show(text)
        self._mark()

    def allow(self, live: bool) -> None:
        """Open or close the field with the run."""
        if live != self._live:
            self._live = live
            self._lock()
            self._mark()

    def _note(self, *_events: Any) -> None:
        if not self._following:
            self._mark()
            self._on_change()

    def _show(self, text: str) -> None:
        self._following = True
        try:
            if isinstance(self.widget, pmui.Switch):
                self.widget.value = text == "true"
            elif isinstance(self.widget, _TEXTS):
                set_text(self.widget, text)
            else:
                self.widget.param.update(options=self._options(text), value=text)
        finally:
            self._following = False

    def _mark(self) -> None:
        """Show beside the field what is wrong, or what the run has now; set only what differs, an update costs time."""
        change = self.change()
        marks: dict[str, Any] = {"sx": {**READABLE, **(CHANGED if change and not change.error else {})}}
        if not isinstance(self.widget, pmui.Switch):
            wrong = change.error if change else None
            marks["error_state"] = wrong is not None
            marks["helper_text"] = (wrong or f"now {_short(change.old)}") if change else _short(self._spec.help or "")
        new = {name: mark for name, mark in marks.items() if getattr(self.widget, name) != mark}
        if new:
            self.widget.param.update(**new)
        if self._slider is not None:
            self._slide_to(self.text)

    def _lock(self) -> None:
        for widget in (self.widget, *self._buttons, *([self._slider] if self._slider is not None else [])):
            widget.disabled = not self._live

    def _with_nudges(self) -> Any:
        """Return the widget, with what helps to change a number beside and below it."""
        if (labels := number.buttons_of(self._spec)) is None or not isinstance(self.widget, _TEXTS):
            return self.widget
        name = self._label
        for label, up in zip(labels, (False, True), strict=True):
            tip = f"{number.WORDS[label]} {name}"
            button = pmui.Button(label=label, description=tip, variant="text", size="small", margin=0, sx=NUDGE)
            button.on_click(lambda _event, up=up: self._nudge(up=up))
            self._buttons.append(button)
        row = pmui.Row(self.widget, *self._buttons, sizing_mode="stretch_width", margin=0)
        if not number.has_slider(self._spec):
            return row
        self._slider = number.slider_of(name, self._shown, self._spec)
        self._slider.param.watch(self._slid, ["value_throttled"])
        return pmui.Column(row, self._slider, sizing_mode="stretch_width", margin=0)

    def _nudge(self, *, up: bool) -> None:
        text = number.nudged(self.text, self._spec, up=up)
        if text is not None:
            self.type(text)

    def _slid(self, event: Any) -> None:
        if not self._following and round(event.new) != number.position(self.text, self._spec):
            self.type(number.text_at(event.new, self._spec))

    def _slide_to(self, text: str) -> None:
        place = number.position(text, self._spec)
        if self._slider.value != place:
            before, self._following = self._following, True
            self._slider.value = place
            self._following = before

    def _make(self) -> Any:
        shown = self._shown
        common: dict[str, Any] = {
            "label": self._label,
            "size": "small",
            "margin": (8, 6),
            "sizing_mode": "stretch_width",
        }
        if self._spec.choices is None and self._spec.type == "bool" and not self._spec.optional and shown in _BOOLS:
            common["label"] += f" ({_short(self._spec.help)})" if self._spec.help else ""
            return pmui.Switch(value=shown == "true", **common)
        if self._spec.choices is not None or self._spec.type == "bool":
            return pmui.Select(options=self._options(shown), value=shown, **common)
        kind = pmui.TextAreaInput if "\n" in shown else pmui.TextInput
        return kind(value=shown, max_length=2**20, **common)

    def _options(self, shown: str) -> list[str]:
        choices = self._spec.choices if self._spec.choices is not None else [True, False]
        options = [text_of(choice, self._spec) for choice in choices] + (["null"] if self._spec.optional else [])
        return options if shown in options else [shown, *options]


_BOOLS = ("true", "false")
_TEXTS = (pmui.TextInput, pmui.TextAreaInput)


def label_of(key: str) -> str:
    """Return what stands above the field: the last part, the section says the rest."""
    parts = split(key)
    return ".".join(parts[1:]) if parts[0] == "trainctl" and len(parts) > 1 else parts[-1]


def set_text(widget: Any, text: str) -> None:
    """Replace what a text field shows, also what was typed into it and not left yet: `value` alone would keep that."""
    with edit_readonly(widget):
        widget.param.update(value=text, value_input=text)


def text_of(value: Any, spec: Key) -> str:
    """Write a value as the text that `parse_edit` reads back as this value.

    >>> text_of("1e-4", Key("str")), text_of(0.0001, Key("float")), text_of(["a"], Key("list"))
    ('1e-4', '0.0001', '[a]')
    """
    if isinstance(value, str) and spec.type == "str":
        return QUOTED_NULL[0] if value == "null" else value
    text = yaml.inline(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " …"


def _reason(error: EditError, spec: Key) -> str:
    """Say what is wrong without the key, which the field stands for, and without the parser's words."""
    reason = str(error.__cause__ or error)
    if reason.startswith("it is not YAML"):
        example = {"list": "a list, such as [1, 2]", "dict": "a mapping, such as {a: 1}"}.get(spec.type, "a YAML value")
        return f"not {example}"
    return reason


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + " …"
