"""One section of the form: closed it is only a title, open it has a field per key, as far as they are not too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config.controls import Key
from trainctl.panel.html import html
from trainctl.panel.pages.theme import GRID, SECTION, STYLE
from trainctl.panel.widgets.field import Field, text_of
from trainctl.panel.widgets.key_groups import FIELDS, Group
from trainctl.panel.widgets.pending import set_object, set_params
from trainctl.text import LONGEST

MAX_TEXTS = 300  # keys that a section lists as text; a filter finds the others

_TEXTS = """
.keys { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 4px 12px; }
.keys div { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lock { opacity: .8; } .lock svg { width: 11px; height: 11px; vertical-align: -1px; margin-right: 3px; }
"""
_LOCK = (
    '<svg viewBox="0 0 16 16" aria-hidden="true"><path fill="currentColor"'
    ' d="M3 7h1V5a4 4 0 0 1 8 0v2h1v8H3zm3 0h4V5a2 2 0 0 0-4 0z"/></svg>'
)

# the whole head opens and closes the section, not only the arrow in it
_HEAD: Any = SECTION["& .MuiCardHeader-root"]
CLICKABLE = {
    **SECTION,
    "& .MuiCardHeader-root": {**_HEAD, "position": "relative"},
    # what is turned or moved would hold the part that covers the head: the arrow in the button is turned instead
    "& .MuiCardHeader-root .MuiIconButton-root": {"padding": "2px", "position": "static", "transform": "none"},
    "& .MuiCardHeader-root [aria-expanded=true] svg": {"transform": "rotate(180deg)"},
    "& .MuiCardHeader-root .MuiIconButton-root::after": {"content": '""', "position": "absolute", "inset": 0},
    "& small": {"fontWeight": 400, "opacity": 0.78, "marginLeft": "6px"},
}

Make = Callable[[str, str, Any], Field]


class Section:
    """Has a field for each key that is shown and can be edited, and for each whose edit is not asked for yet.

    Args:
        group: title, keys and their labels.
        specs: what is known of each key.
        make: makes the field of a key, with a label and a value.
    """

    def __init__(self, group: Group, specs: Mapping[str, Key], make: Make) -> None:
        self.title = group.title
        self.fields: dict[str, Field] = {}
        self.is_open = False
        self.found = list(group.labels)
        self._labels = group.labels
        self._specs = specs
        self._make = make
        self._values: Mapping[str, Any] = {}
        self._limit = FIELDS
        self._drawn: list[str] = []  # keys whose fields are in sight
        self._grid: Any = None
        self._more: Any = None
        self._texts: Any = None
        look: dict[str, Any] = {"variant": "outlined", "sizing_mode": "stretch_width", "margin": (4, 8)}
        self.card = pmui.Card(collapsed=True, sx=CLICKABLE, **look)
        self.card.param.watch(self._turned, ["collapsed"])

    @property
    def size(self) -> tuple[int, int]:
        """How many of the keys that are looked for can be edited, and how many are text."""
        fields = sum(self._specs[key].locked is None for key in self.found)
        return fields, len(self.found) - fields

    def find(self, words: list[str]) -> None:
        """Look only for keys that have all the words in them."""
        self.found = [key for key in self._labels if all(word in key.lower() for word in words)]
        self._limit = FIELDS

    def turn(self, *, is_open: bool, values: Mapping[str, Any]) -> None:
        """Open or close the section, which shows the keys that are looked for."""
        self.is_open, self._values = is_open, values
        self._draw()

    def follow(self, values: Mapping[str, Any]) -> None:
        """Take over the run's values."""
        self._values = values
        for key, field in self.fields.items():
            field.follow(values.get(key))
        if self._texts is not None and self.is_open:
            set_object(self._texts, self._listed(self._drawn))

    def field(self, key: str) -> Field:
        """Return the field of a key; one that is not there is made."""
        if key not in self.fields:
            self.fields[key] = self._make(key, self._labels[key], self._values.get(key))
        return self.fields[key]

    def _turned(self, event: Any) -> None:
        if event.new == self.is_open:  # a person has done it
            self.turn(is_open=not event.new, values=self._values)

    def _ask_more(self) -> None:
        self._limit += FIELDS
        self._draw()

    def _shown(self) -> list[str]:
        """Return the keys that have a field in sight: the first ones, and those whose edit is not asked for yet."""
        if not self.is_open:
            return []
        editable = [key for key in self.found if self._specs[key].locked is None]
        pending = {key for key, field in self.fields.items() if field.change() is not None}
        return [key for place, key in enumerate(editable) if place < self._limit or key in pending]

    def _draw(self) -> None:
        shown = self._drawn = self._shown()
        for key in [key for key in self.fields if key not in shown]:
            if self.fields[key].change() is None:
                del self.fields[key]
        parts = [self._with_fields(shown)] if shown else []
        if self.is_open and (left := self.size[0] - len(shown)) > 0:
            parts.append(self._with_more(min(left, FIELDS)))
        if self.is_open and len(shown) < len(self.found):
            parts.append(self._with_texts(shown))
        title = html(self.title)  # the card takes it for HTML
        if not self.is_open:
            title += f" <small>{len(self.found):,} key{'s' if len(self.found) != 1 else ''}</small>"
        set_params(self.card, objects=parts, title=title, collapsed=not self.is_open, visible=bool(self.found))

    def _with_fields(self, shown: list[str]) -> Any:
        views = [self.field(key).view for key in shown]
        if self._grid is None:
            self._grid = pmui.FlexBox(gap="0px", sx=GRID, sizing_mode="stretch_width", margin=0)
        set_params(self._grid, objects=views)
        return self._grid

    def _with_more(self, number: int) -> Any:
        if self._more is None:
            self._more = pmui.Button(variant="text", size="small", margin=(4, 6))
            self._more.on_click(lambda _event: self._ask_more())
        set_params(self._more, label=f"Edit {number} more")
        return self._more

    def _with_texts(self, shown: list[str]) -> Any:
        if self._texts is None:
            style = [STYLE, _TEXTS]
            self._texts = panel.pane.HTML("", stylesheets=style, sizing_mode="stretch_width", margin=(4, 8))
        set_object(self._texts, self._listed(shown))
        return self._texts

    def _listed(self, shown: list[str]) -> str:
        """Write the keys without a field as HTML."""
        seen = set(shown)
        left = [key for key in self.found if key not in seen]
        cells = "".join(
            text_cell(self._labels[key], self._values.get(key), self._specs[key]) for key in left[:MAX_TEXTS]
        )
        more = f'<p class="dim">and {len(left) - MAX_TEXTS:,} more: the filter finds them</p>'
        return f'<div class="keys">{cells}</div>' + (more if len(left) > MAX_TEXTS else "")


def text_cell(label: str, value: Any, spec: Key) -> str:
    """Write a key and its value as HTML, with a sign that it is locked; why is told by the sign."""
    text = text_of(value, spec)[:LONGEST]
    sign = ""
    if spec.locked is not None:
        reason = html(spec.locked if spec.locked.startswith("locked") else f"locked: {spec.locked}")
        sign = f'<span class="lock" role="img" title="{reason}" aria-label="{reason}">{_LOCK}</span>'
    name = f'<div class="dim" title="{html(spec.help or label)}">{sign}{html(label)}</div>'
    return f'<div>{name}<div class="mono" title="{html(text)}">{html(text)}</div></div>'
