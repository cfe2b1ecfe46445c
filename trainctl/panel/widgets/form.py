"""The form of one run: keys in sections, open ones with fields; several edits are asked for in one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.server._bokeh import hold
from trainctl.panel.widgets.field import Field, PendingEdit
from trainctl.panel.widgets.key_groups import OWN, grouped, to_open
from trainctl.panel.widgets.pending import set_params
from trainctl.panel.widgets.section import Section


class Form:
    """All keys of a run that are not hidden. A field costs time and memory: it is made when it is first needed."""

    def __init__(self, view: RunView, on_change: Callable[[], None]) -> None:
        self._view = view
        self._on_change = on_change
        self._may_edit = view.is_editable
        self._typed = self._filtered = ""
        self._filter = pmui.TextInput(label="Filter keys", size="small", width=240, max_length=200, margin=(6, 8))
        self._said = panel.pane.HTML("", stylesheets=[STYLE], margin=(4, 12), visible=False)
        self._lay_out()
        self.view = pmui.Column(self._filter, self._said, *self._cards, sizing_mode="stretch_width", margin=0)

    def _lay_out(self) -> None:
        """Make the sections for the keys that the run has: another attempt may have others, and an edit may add one."""
        self._keys = self._view.keys
        specs = {key: spec for key, spec in self._keys.items() if not spec.hidden}
        self._order = {key: place for place, key in enumerate(specs)}
        self._sections = [Section(group, specs, self._make) for group in grouped(specs)]
        self._section_of = {key: section for section in self._sections for key in section.found}
        self._open_unfiltered: set[Section] | None = None  # while there is a filter
        self._turn(to_open({section: section.size for section in self._sections if section.title != OWN}))
        self._cards = [section.card for section in self._sections]

    def _lay_out_again(self) -> None:
        """Lay the form out for other keys; what is open stays so, and so does what was typed."""
        opened = {section.title for section in self._sections if section.is_open}
        typed = {change.key: change.new for change in self.changes()}
        self._lay_out()
        self._turn({section for section in self._sections if section.is_open or section.title in opened})
        for key, text in typed.items():
            if (section := self._section_of.get(key)) is not None:
                section.field(key).type(text)
        if self._filtered:
            self._show_found(self._filtered.lower().split())
        set_params(self.view, objects=[self._filter, self._said, *self._cards])

    @property
    def fields(self) -> dict[str, Field]:
        """The fields that there are, in order of the keys."""
        found = {key: field for section in self._sections for key, field in section.fields.items()}
        return dict(sorted(found.items(), key=lambda item: self._order[item[0]]))

    def look(self) -> None:
        """Follow the filter once nothing has been typed into it since the last look."""
        before, self._typed = self._typed, self._filter.value_input or ""
        if before == self._typed != self._filtered:
            self._filtered = self._typed
            self._show_found(self._typed.lower().split())

    def changes(self) -> list[PendingEdit]:
        """Return what was changed and not asked for yet, in order of the keys."""
        return [change for field in self.fields.values() if (change := field.change()) is not None]

    def follow(self, view: RunView, *, may_ask: bool = True) -> None:
        """Take over the run's values, without touching what is being typed."""
        self._view, self._may_edit = view, view.is_editable and may_ask
        if view.keys.keys() != self._keys.keys():
            self._lay_out_again()
        for section in self._sections:
            section.follow(view.values)
        for field in self.fields.values():
            field.allow(self._may_edit)

    def accept(self, view: RunView, asked: dict[str, str]) -> None:
        """Let go of the texts that the run has taken; one that was changed since stays."""
        fields = self.fields
        for key, text in asked.items():
            if (field := fields.get(key)) is not None:
                field.follow(view.values.get(key), forget=field.text == text)

    def give_back(self, asked: dict[str, str]) -> None:
        """Put texts that were refused back where nothing else has been typed since."""
        for key, text in asked.items():
            section = self._section_of[key]
            field = section.field(key)
            if field.change() is None:
                field.type(text)
            section.turn(is_open=section.is_open, values=self._view.values)

    def discard(self, view: RunView) -> None:
        """Show the run's values everywhere."""
        for key, field in self.fields.items():
            field.follow(view.values.get(key), forget=True)

    def _make(self, key: str, label: str, value: Any) -> Field:
        return Field(key, self._keys, value, self._on_change, live=self._may_edit, label=label)

    def _turn(self, opened: set[Section]) -> None:
        with hold(freeze=True):  # or Panel would look through the whole document once per section
            for section in self._sections:
                section.turn(is_open=section in opened, values=self._view.values)

    def _show_found(self, words: list[str]) -> None:
        """Show the keys that have all the words of the filter in them; without words what was open before it."""
        if words and self._open_unfiltered is None:
            self._open_unfiltered = {section for section in self._sections if section.is_open}
        for section in self._sections:
            section.find(words)
        with_some = [section for section in self._sections if section.found]
        if words:
            opened = to_open({section: section.size for section in with_some}) or set(with_some[:1])
        else:
            opened, self._open_unfiltered = self._open_unfiltered or set(), None
        self._turn(opened)
        said = ""
        if not with_some:
            said = f"No key has {html(' and '.join(words))} in it."
        elif words and len(opened) < len(with_some):
            number = sum(len(section.found) for section in with_some)
            said = f"{number:,} keys found in {len(with_some)} sections; open one, or add a word."
        set_params(self._said, object=said, visible=bool(said))
