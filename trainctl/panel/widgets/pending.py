"""The bar above the form: what would change, at which step, the note, Apply and Discard, and the run's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.html import html
from trainctl.panel.pages.theme import ASIDE, REST, STYLE
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.panel.widgets.field import PendingEdit

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
        """What the person wrote into the note; None when nothing."""
        return self.fields.text("note") or None

    @property
    def force(self) -> bool:
        """Whether the edit is meant whatever `max_change` says, and whatever was changed since what it takes back."""
        return self.fields.is_on("force")

    @property
    def at(self) -> int | None:
        """The step at which the edit is to be applied; None for the next one, or while the field says no step."""
        text = self._at_text
        return int(text) if _is_step(text) else None

    @property
    def is_ready(self) -> bool:
        """Whether what is listed can be asked for."""
        is_right = not any(change.error for change in self._changes) and not self._is_at_wrong
        return bool(self._changes) and is_right and not self._busy

    @property
    def why_not_ready(self) -> str:
        """Why what is listed cannot be asked for, in some words."""
        if self._busy:
            return "the run has not taken the last edit yet"
        wrong = [change.key for change in self._changes if change.error]
        if wrong:
            return f"{', '.join(wrong)} cannot have that value"
        return "the step is none, such as 1200" if self._is_at_wrong else "nothing is changed"

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
        f"<s>{html(_short(change.old))}</s> → {html(change.error or _short(change.new))}</span>"
        for change in changes[:MAX_LISTED]
    )
    more = f" and {len(changes) - MAX_LISTED} more" if len(changes) > MAX_LISTED else ""
    plural = "s" if len(changes) > 1 else ""
    return f"<span>{len(changes)} pending edit{plural}</span> &nbsp; {listed}{more}"


def set_params(widget: Any, **values: Any) -> None:
    """Set what differs only: each update costs the browser some milliseconds."""
    new = {name: value for name, value in values.items() if getattr(widget, name) != value}
    if new:
        widget.param.update(**new)


def set_object(pane: Any, text: str) -> None:
    """Replace what a pane shows if it differs."""
    if pane.object != text:
        pane.object = text


def _is_step(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + " …"
