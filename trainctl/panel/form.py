"""The form of one run: a field per key, grouped by section; several edits are asked for in one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config.keys import join, split
from trainctl.panel.field import Change, Field
from trainctl.panel.pendingbar import set_params
from trainctl.panel.runview import RunView
from trainctl.panel.theme import GRID, SECTION, STYLE
from trainctl.panel.words import html

TOP = "general"
OWN = "trainctl"


class Form:
    """Fields for all keys of a run that are not hidden."""

    def __init__(self, view: RunView, on_change: Callable[[], None]) -> None:
        live = view.is_editable
        shown = {key: spec for key, spec in view.keys.items() if not spec.hidden}
        self.fields = {key: Field(key, view.keys, view.values.get(key), on_change, live=live) for key in shown}
        self._filter = pmui.TextInput(label="Filter keys", size="small", width=240, max_length=200, margin=(6, 8))
        self._filter.param.watch(lambda _event: self._show_found(), ["value_input"])
        self._none = panel.pane.HTML("", stylesheets=[STYLE], margin=(4, 12), visible=False)
        self._cards: dict[str, Any] = self._sections()
        self.view = pmui.Column(self._filter, self._none, *self._cards.values(), sizing_mode="stretch_width", margin=0)

    def changes(self) -> list[Change]:
        """Return what was changed and not asked for yet, in order of the fields."""
        return [change for field in self.fields.values() if (change := field.change()) is not None]

    def follow(self, view: RunView, *, may_ask: bool = True) -> None:
        """Take over the run's values, without touching what is being typed."""
        for key, field in self.fields.items():
            field.follow(view.values.get(key))
            field.allow(view.is_editable and may_ask)

    def accept(self, view: RunView, asked: dict[str, str]) -> None:
        """Let go of the texts that the run has taken; one that was changed since stays."""
        for key, text in asked.items():
            field = self.fields[key]
            field.follow(view.values.get(key), forget=field.text == text)

    def give_back(self, asked: dict[str, str]) -> None:
        """Put texts that were refused back where nothing else has been typed since."""
        for key, text in asked.items():
            field = self.fields[key]
            if field.change() is None:
                field.type(text)

    def discard(self, view: RunView) -> None:
        """Show the run's values everywhere."""
        for key, field in self.fields.items():
            field.follow(view.values.get(key), forget=True)

    def _show_found(self) -> None:
        """Show the fields whose keys have all the words of the filter in them, and the sections that have such ones."""
        words = (self._filter.value_input or "").lower().split()
        found = {key: all(word in key.lower() for word in words) for key in self.fields}
        for key, field in self.fields.items():
            set_params(field.view, visible=found[key])
        for title, card in self._cards.items():
            has_one = any(found[key] for key in self.fields if section_of(key) == title)
            set_params(card, visible=has_one, collapsed=title == OWN and not words)
        text = "" if any(found.values()) else f"No key has {html(' and '.join(words))} in it."
        set_params(self._none, object=text, visible=bool(text))

    def _sections(self) -> dict[str, Any]:
        sections: dict[str, list[Any]] = {TOP: [], **{section_of(key): [] for key in self.fields}}
        own = sections.pop(OWN, [])
        sections[OWN] = own  # last: nobody comes for these
        for key, field in self.fields.items():
            sections[section_of(key)].append(field.view)
        return {
            title: pmui.Card(
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
        }


def section_of(key: str) -> str:
    """Return the section that a key stands in: what is above it; one for all settings of trainctl."""
    above = split(key)[:-1]
    return OWN if above[:1] == (OWN,) else join(above) or TOP
