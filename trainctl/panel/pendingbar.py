"""The bar above the form: what would change, the note, Apply and Discard, and the run's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.field import Change, set_text
from trainctl.panel.theme import STYLE
from trainctl.panel.words import html

MAX_LISTED = 12
MAX_NOTE = 500


class PendingBar:
    """Shows the changes as `key old → new`; Apply only when there are some and all are right."""

    def __init__(self, apply: Callable[[], None], discard: Callable[[], None]) -> None:
        self._list = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(6, 4), min_width=220)
        self._answer = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(0, 4))
        self._note = pmui.TextInput(label="note", size="small", width=200, max_length=MAX_NOTE, margin=(4, 4))
        self._discard = pmui.Button(label="Discard", variant="outlined", size="small", disabled=True, margin=(6, 4))
        self._apply = pmui.Button(label="Apply", variant="contained", size="small", disabled=True, margin=(6, 4))
        self._apply.on_click(lambda _event: apply())
        self._discard.on_click(lambda _event: discard())
        self._waiting = False
        self._changes: Sequence[Change] = ()
        buttons = pmui.Row(self._note, self._discard, self._apply, margin=0)
        self.view = pmui.Paper(
            pmui.FlexBox(self._list, buttons, align_items="center", justify_content="space-between"),
            self._answer,
            elevation=2,
            sizing_mode="stretch_width",
            margin=(8, 8),
            styles={"position": "sticky", "top": "4px", "z-index": "20"},
        )
        self.show([])

    @property
    def note(self) -> str | None:
        """What the person wrote into the note; None when nothing."""
        return (self._note.value_input or "").strip()[:MAX_NOTE] or None

    def show(self, changes: Sequence[Change]) -> None:
        """List the changes."""
        self._changes = changes
        self._list.object = list_of(changes)
        self._update()

    def answer(self, text: str, kind: str = "dim", *, waiting: bool = False) -> None:
        """Say what became of the last request; while it is waited for, nothing else can be asked."""
        self._waiting = waiting
        self._answer.object = f'<div role="status" class="{html(kind)}">{html(text)}</div>' if text else ""
        self._update()

    def clear_note(self) -> None:
        set_text(self._note, "")

    def _update(self) -> None:
        wrong = any(change.error for change in self._changes)
        _set(self._apply, disabled=not self._changes or wrong or self._waiting)
        _set(self._discard, disabled=not self._changes)


def list_of(changes: Sequence[Change]) -> str:
    """Write the changes as HTML."""
    if not changes:
        return '<span class="dim">No pending edits. Change values below; Apply sends them together, as one edit.</span>'
    listed = "".join(
        f'<span class="edit mono{" wrong" if change.error else ""}"><b>{html(change.key)}</b> '
        f"<s>{html(_short(change.old))}</s> → {html(change.error or _short(change.new))}</span>"
        for change in changes[:MAX_LISTED]
    )
    more = f" and {len(changes) - MAX_LISTED} more" if len(changes) > MAX_LISTED else ""
    plural = "s" if len(changes) > 1 else ""
    return f"<span>{len(changes)} pending edit{plural}</span> &nbsp; {listed}{more}"


def _set(widget: Any, **values: Any) -> None:
    new = {name: value for name, value in values.items() if getattr(widget, name) != value}
    if new:
        widget.param.update(**new)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + " …"
