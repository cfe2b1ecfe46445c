"""Pending edits: what a text means for a key, and the bar that lists them, with step, note, Apply and answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.edit import QUOTED_NULL, parse_edit
from trainctl.errors import EditError
from trainctl.panel.html import html
from trainctl.panel.pages.theme import ASIDE, REST, STYLE
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.text import shortened

MAX_SHOWN = 20_000  # characters of a value that a field shows; a longer one can be replaced from the command line
MAX_LISTED = 12
MAX_NOTE = 500
FORCE = "also if a value changes by more than its max_change, or if what an undo takes back was changed again since"
NOTE = Control("note", "text", "note", "stands in the changelog beside the edit", 180, MAX_NOTE, is_kept=True)
FIELDS = (
    Control("at", "text", "at step", "the step at which it is applied; empty: the next one", 88, 12, is_kept=True),
    NOTE,
    Control("force", "check", "force", FORCE),
    Control("discard", "button", "Discard"),
    Control("apply", "button", "Apply", look="main"),
)


@dataclass(frozen=True, slots=True)
class PendingEdit:
    """An edit that has not been requested yet; `error` says why it cannot be."""

    key: str
    old: str
    new: str
    error: str | None = None


def change_of(key: str, text: str, value: Any, keys: Mapping[str, Key]) -> PendingEdit | None:
    """Return the edit that a text asks for; None if the run has that value already."""
    spec = keys[key]
    shown = text_of(value, spec)
    if text == shown:
        return None
    try:
        parsed = parse_edit(key, text, keys)
    except EditError as error:
        return PendingEdit(key, shown, text, reason_of(error, spec))
    if type(parsed) is type(value) and parsed == value:
        return None
    return PendingEdit(key, shown, text)


def options_of(spec: Key) -> list[str] | None:
    """Return the texts to choose from where a key has few values; None for any other key, and for a plain switch."""
    if spec.choices is None and (spec.type != "bool" or not spec.optional):
        return None
    choices = spec.choices if spec.choices is not None else [True, False]
    return [text_of(choice, spec) for choice in choices] + (["null"] if spec.optional else [])


def text_of(value: Any, spec: Key) -> str:
    """Write a value as the text that `parse_edit` reads back as this value.

    >>> text_of("1e-4", Key("str")), text_of(0.0001, Key("float")), text_of(["a"], Key("list"))
    ('1e-4', '0.0001', '[a]')
    """
    if isinstance(value, str) and spec.type == "str":
        return QUOTED_NULL[0] if value == "null" else value
    text = yaml.inline(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " …"


def reason_of(error: EditError, spec: Key) -> str:
    """Say what is wrong, without the key, which the field shows, and without the parser's words."""
    reason = str(error.__cause__ or error)
    if reason.startswith("it is not YAML"):
        example = {"list": "a list, such as [1, 2]", "dict": "a mapping, such as {a: 1}"}.get(spec.type, "a YAML value")
        return f"not {example}"
    return reason


class PendingBar:
    """Shows the changes as `key old → new`; Apply only when there are some and all are right."""

    def __init__(self, apply: Callable[[], None], discard: Callable[[], None]) -> None:
        self._list = panel.pane.HTML("", stylesheets=[STYLE], styles=REST, margin=(8, 12), min_width=220)
        self._answers = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(0, 12))
        asks = {"apply": apply, "discard": discard}
        self.fields = Controls(FIELDS, self._update, lambda name: asks[name](), styles=ASIDE, margin=(4, 12))
        self._busy = False
        self._changes: Sequence[PendingEdit] = ()
        self.view = pmui.Paper(
            pmui.FlexBox(
                self._list, self.fields.view, align_items="center", justify_content="space-between", gap="0px"
            ),
            self._answers,
            elevation=2,
            sizing_mode="stretch_width",
            margin=(8, 12),
            css_classes=["applies"],
            styles={"position": "sticky", "top": "4px", "z-index": "20"},
        )
        self.show([])

    @property
    def note(self) -> str | None:
        """The note; None if it is empty."""
        return self.fields.text("note") or None

    @property
    def force(self) -> bool:
        """Whether the edit applies regardless of `max_change`, and an undo regardless of later changes."""
        return self.fields.is_on("force")

    @property
    def at(self) -> int | None:
        """The step at which the edit is to be applied; None for the next one, or while the field says no step."""
        text = self._at_text
        return int(text) if _is_step(text) else None

    @property
    def is_ready(self) -> bool:
        """Whether the listed edits can be requested."""
        is_right = not any(change.error for change in self._changes) and not self._is_at_wrong
        return bool(self._changes) and is_right and not self._busy

    @property
    def why_not_ready(self) -> str:
        """Why the listed edits cannot be requested, in a few words."""
        if self._busy:
            return "the run has not taken the last edit yet"
        wrong = [change.key for change in self._changes if change.error]
        if wrong:
            return f"{', '.join(wrong)} cannot have that value"
        return "the step is not a number, such as 1200" if self._is_at_wrong else "nothing is changed"

    def show(self, changes: Sequence[PendingEdit]) -> None:
        """List the changes."""
        self._changes = changes
        set_object(self._list, list_of(changes))
        self._update()

    def answer(self, lines: str, *, busy: bool = False) -> None:
        """Show the answers; while the run has not taken up the last request, no other edit can be asked for."""
        self._busy = busy
        set_object(self._answers, lines)
        self._update()

    def clear(self) -> None:
        """Empty the note and the step; nothing is forced."""
        self.fields.show("force", value=False)
        self.fields.show("note", value="")
        self.fields.show("at", value="")
        self._update()

    @property
    def _at_text(self) -> str:
        return self.fields.text("at").replace(",", "")

    @property
    def _is_at_wrong(self) -> bool:
        return bool(self._at_text) and not _is_step(self._at_text)

    def _update(self) -> None:
        self.fields.show("at", error="not a step, such as 1200" if self._is_at_wrong else "")
        self.fields.show("apply", disabled=not self.is_ready)
        self.fields.show("discard", disabled=not self._changes)


def list_of(changes: Sequence[PendingEdit]) -> str:
    """Write the changes as HTML."""
    if not changes:
        return '<span class="dim">No pending edits. Change values below; Apply sends them together, as one edit.</span>'
    listed = "".join(
        f'<span class="edit mono{" wrong" if change.error else ""}"><b>{html(change.key)}</b> '
        f"<s>{html(shortened(change.old, 80))}</s> → {html(change.error or shortened(change.new, 80))}</span>"
        for change in changes[:MAX_LISTED]
    )
    more = f" and {len(changes) - MAX_LISTED} more" if len(changes) > MAX_LISTED else ""
    plural = "s" if len(changes) > 1 else ""
    return f"<span>{len(changes)} pending edit{plural}</span> &nbsp; {listed}{more}"


def set_params(widget: Any, **values: Any) -> None:
    """Set only the parameters that differ: each update costs the browser some milliseconds."""
    new = {name: value for name, value in values.items() if getattr(widget, name) != value}
    if new:
        widget.param.update(**new)


def set_object(pane: Any, text: str) -> None:
    """Replace what a pane shows if it differs."""
    if pane.object != text:
        pane.object = text


def _is_step(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0
