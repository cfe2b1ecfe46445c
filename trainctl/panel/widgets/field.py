"""What a text means for a key: the edit that it asks for, or what is wrong with it; the fields of an action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import panel_material_ui as pmui

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.edit import QUOTED_NULL, parse_edit
from trainctl.errors import EditError
from trainctl.panel.pages.theme import READABLE
from trainctl.panel.server._bokeh import edit_readonly

MAX_SHOWN = 20_000  # characters of a value that a field shows; a longer one can be replaced from the command line


@dataclass(frozen=True, slots=True)
class PendingEdit:
    """An edit that is not asked for yet: `error` says why it cannot be."""

    key: str
    old: str
    new: str
    error: str | None = None


def change_of(key: str, text: str, value: Any, keys: Mapping[str, Key]) -> PendingEdit | None:
    """Return the edit that a text asks for, where the run has `value`; None when that is the same."""
    spec = keys[key]
    shown = text_of(value, spec)
    if text == shown:
        return None
    try:
        parsed = parse_edit(key, text, keys)
    except EditError as error:
        return PendingEdit(key, shown, text, _reason(error, spec))
    if type(parsed) is type(value) and parsed == value:
        return None
    return PendingEdit(key, shown, text)


def options_of(spec: Key) -> list[str] | None:
    """Return the texts that a key can have where these are few; None for any other key, and a plain switch."""
    if spec.choices is None and (spec.type != "bool" or not spec.optional):
        return None
    choices = spec.choices if spec.choices is not None else [True, False]
    return [text_of(choice, spec) for choice in choices] + (["null"] if spec.optional else [])


class Field:
    """A widget for an argument of an action, chosen by its type."""

    def __init__(
        self,
        key: str,
        keys: Mapping[str, Key],
        value: Any,
        on_change: Callable[[], None],
        *,
        live: bool,
        is_blank: bool = False,
    ) -> None:
        self._key = key
        self._keys = keys
        self._value = value
        self._is_blank = is_blank and value is None
        self._on_change = on_change
        self.shown = "" if self._is_blank else text_of(value, keys[key])
        self.view = self._make(keys[key])
        self._mark()
        self.view.param.watch(self._note, ["value_input" if isinstance(self.view, pmui.TextInput) else "value"])
        self.allow(live)

    @property
    def text(self) -> str:
        """What the widget says, as text."""
        if isinstance(self.view, pmui.Switch):
            return "true" if self.view.value else "false"
        text = self.view.value_input if isinstance(self.view, pmui.TextInput) else self.view.value
        return "" if text is None else str(text)

    def allow(self, live: bool) -> None:
        """Open or close the field with the run."""
        if self.view.disabled == live:
            self.view.disabled = not live

    def _note(self, *_events: Any) -> None:
        self._mark()
        self._on_change()

    def _mark(self) -> None:
        """Say below the field what is wrong with its text, else what it is for."""
        if isinstance(self.view, pmui.Switch):
            return
        is_left = self._is_blank and not self.text
        change = None if is_left else change_of(self._key, self.text, self._value, self._keys)
        wrong = change.error if change is not None else None
        self.view.param.update(error_state=wrong is not None, helper_text=wrong or short(self._keys[self._key].help))

    def _make(self, spec: Key) -> Any:
        shown = self.shown
        common: dict[str, Any] = {
            "label": self._key,
            "size": "small",
            "margin": (8, 6),
            "sizing_mode": "stretch_width",
            "sx": READABLE,
        }
        if (options := options_of(spec)) is not None:
            return pmui.Select(options=options if shown in options else [shown, *options], value=shown, **common)
        if spec.type == "bool" and shown in ("true", "false"):
            return pmui.Switch(value=shown == "true", **common)
        return pmui.TextInput(value=shown, max_length=2**20, **common)


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


def short(text: str | None) -> str:
    """Return a text that is cut where it is long."""
    text = text or ""
    return text if len(text) <= 60 else text[:60] + " …"
