"""A row of fields and buttons that the browser draws: one look, one height, and each label beside its field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import panel
import param

from trainctl.panel.pages.theme import BASE

Kind = Literal["text", "choice", "check", "button"]


@dataclass(frozen=True, slots=True)
class Control:
    """One field or button of the row.

    Attributes:
        title: is shown while the pointer is on it.
        width: of the field, in pixels; 0 for that of its content.
        longest: how many characters can be typed.
        look: of a button: `main` for what a person came for, `bad` for what cannot be taken back.
        is_kept: whether what is typed outlives a reload.
        shortcut: the key that leads there.
    """

    name: str
    kind: Kind
    label: str
    title: str = ""
    width: int = 0
    longest: int = 500
    look: Literal["", "main", "bad"] = ""
    is_kept: bool = False
    shortcut: str = ""


class ControlRow(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """The part that runs in the browser, `control_row.js`.

    Attributes:
        controls: what each is.
        state: what each shows now, by name.
    """

    controls = param.List([])
    state = param.Dict({})

    _esm = Path(__file__).with_name("control_row.js").read_text()


class Controls:
    """The values of a row, and what a person does there.

    Args:
        controls: from left to right.
        on_change: is called after a value has changed.
        on_press: is called with the name of a button, after all that was typed before is known.
    """

    def __init__(
        self,
        controls: Sequence[Control],
        on_change: Callable[[], None] | None = None,
        on_press: Callable[[str], None] | None = None,
        **view: Any,
    ) -> None:
        self._controls = {control.name: control for control in controls}
        self._on_change = on_change
        self._on_press = on_press
        blank = {"text": "", "choice": "", "check": False, "button": ""}
        self._state: dict[str, dict[str, Any]] = {
            name: {"value": blank[one.kind], "serial": 0, "options": [], "label": one.label, "disabled": False}
            | {"hidden": False, "error": ""}
            for name, one in self._controls.items()
        }
        described = [dataclasses.asdict(one) for one in controls]
        self.view = ControlRow(
            controls=described, state=self._state, **{"stylesheets": [BASE], "margin": (0, 12), **view}
        )
        self.view.on_msg(lambda event: self._hear(event.data))

    def __contains__(self, name: object) -> bool:
        return name in self._controls

    def text(self, name: str) -> str:
        """Return the text of a field or a choice, stripped."""
        return str(self._state[name]["value"]).strip()

    def is_on(self, name: str) -> bool:
        """Whether a box is checked."""
        return bool(self._state[name]["value"])

    def shown(self, name: str) -> dict[str, Any]:
        """Return what a control shows: `value`, `label`, `options`, `error`, `disabled`, `hidden`."""
        return dict(self._state[name])

    def show(self, name: str, **what: Any) -> None:
        """Let a control show something else; nothing is sent if it shows that already."""
        before = self._state[name]
        if not any(before[each] != value for each, value in what.items()):
            return
        serial = before["serial"] + ("value" in what and before["value"] != what["value"])
        self._state = {**self._state, name: {**before, **what, "serial": serial}}
        self.view.state = self._state

    def _hear(self, said: Any) -> None:
        """Take a browser's message, which is outside input: all of it is checked."""
        if not isinstance(said, dict):
            return
        values, is_other = said.get("values"), False
        for name, value in values.items() if isinstance(values, dict) else ():
            if name in self._controls and self._is_right(name, value) and self._state[name]["value"] != value:
                self._state[name]["value"] = value  # the browser knows
                is_other = True
        if is_other and self._on_change is not None:
            self._on_change()
        pressed = said.get("pressed")
        if isinstance(pressed, str) and self._can_press(pressed) and self._on_press is not None:
            self._on_press(pressed)

    def _is_right(self, name: str, value: object) -> bool:
        one = self._controls[name]
        if one.kind == "check":
            return isinstance(value, bool)
        if not isinstance(value, str):
            return False
        return len(value) <= one.longest if one.kind == "text" else value in self._state[name]["options"]

    def _can_press(self, name: str) -> bool:
        one = self._controls.get(name)
        return one is not None and one.kind == "button" and not self._state[name]["disabled"]
