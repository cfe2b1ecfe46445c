"""The form of one run: a field per key, grouped by section; several edits are asked for in one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel_material_ui as pmui

from trainctl.config.keys import join, split
from trainctl.panel.field import Change, Field
from trainctl.panel.runview import RunView
from trainctl.panel.theme import GRID, SECTION
from trainctl.panel.words import html

TOP = "general"
OWN = "trainctl"


class Form:
    """Fields for all keys of a run that are not hidden."""

    def __init__(self, view: RunView, on_change: Callable[[], None]) -> None:
        live = view.is_editable
        shown = {key: spec for key, spec in view.keys.items() if not spec.hidden}
        self.fields = {key: Field(key, view.keys, view.values.get(key), on_change, live=live) for key in shown}
        self.view = pmui.Column(*self._sections(), sizing_mode="stretch_width", margin=0)

    def changes(self) -> list[Change]:
        """Return what was changed and not asked for yet, in order of the fields."""
        return [change for field in self.fields.values() if (change := field.change()) is not None]

    def follow(self, view: RunView) -> None:
        """Take over the run's values, without touching what is being typed."""
        for key, field in self.fields.items():
            field.follow(view.values.get(key))
            field.allow(view.is_editable)

    def accept(self, view: RunView, asked: dict[str, str]) -> None:
        """Let go of the texts that the run has taken; one that was changed since stays."""
        for key, text in asked.items():
            field = self.fields[key]
            field.follow(view.values.get(key), forget=field.text == text)

    def discard(self, view: RunView) -> None:
        """Show the run's values everywhere."""
        for key, field in self.fields.items():
            field.follow(view.values.get(key), forget=True)

    def _sections(self) -> list[Any]:
        sections: dict[str, list[Any]] = {TOP: [], **{section_of(key): [] for key in self.fields}}
        own = sections.pop(OWN, [])
        sections[OWN] = own  # last: nobody comes for these
        for key, field in self.fields.items():
            sections[section_of(key)].append(field.widget)
        return [
            pmui.Card(
                pmui.FlexBox(*widgets, gap="0px", sx=GRID, sizing_mode="stretch_width", margin=0),
                title=html(title),  # the card takes it for HTML
                sx=SECTION,
                variant="outlined",
                collapsed=title == OWN,
                sizing_mode="stretch_width",
                margin=(4, 8),
            )
            for title, widgets in sections.items()
            if widgets
        ]


def section_of(key: str) -> str:
    """Return the section that a key stands in: what is above it; one for all settings of trainctl."""
    above = split(key)[:-1]
    return OWN if above[:1] == (OWN,) else join(above) or TOP
