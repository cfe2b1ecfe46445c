"""The form of one run: its keys as a tree of texts; the browser makes a widget where one is edited.

The browser says what is typed, this side what it means; several edits make one request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import panel
import param

from trainctl.config.controls import Key
from trainctl.config.keys import join, split
from trainctl.panel.data.run_view import RunView
from trainctl.panel.pages.theme import BASE
from trainctl.panel.widgets.pending import (
    MAX_SHOWN,
    PendingEdit,
    change_of,
    options_of,
    set_params,
    text_of,
)
from trainctl.text import number

OWN = "trainctl"
TOO_LONG = "locked here: longer than a page shows; trainctl set changes it"
MAX_TYPED = 2**20
_STYLE = Path(__file__).with_name("key_tree.css").read_text()


class KeyTree(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """The part that runs in the browser, `key_tree.js`.

    Attributes:
        lines: all groups and keys with their first texts, as JSON: one text costs the server little, however many.
        changed: the texts of the keys that have another one by now.
        state: whether keys can be edited, the number of the last message that was heard, and what was typed.
    """

    lines = param.String("[]")
    changed = param.Dict({})
    state = param.Dict({"is_open": False, "heard": 0, "texts": {}})

    _esm = Path(__file__).with_name("key_tree.js").read_text()


class Form:
    """All keys of a run that are not hidden, and what was typed for some of them and not asked for yet."""

    def __init__(self, view: RunView, on_change: Callable[[], None], on_apply: Callable[[], None]) -> None:
        self._on_change = on_change
        self._on_apply = on_apply
        self._is_open = view.is_editable
        self._typed: dict[str, str] = {}
        self._heard = 0
        self._keys: dict[str, Key] = {}
        self.view = KeyTree(stylesheets=[BASE, _STYLE], sizing_mode="stretch_width", margin=(4, 12))
        self.view.on_msg(lambda event: self._hear(event.data))
        self._lay_out(view)
        self._tell()

    def changes(self) -> list[PendingEdit]:
        """Return what was changed and not asked for yet, in order of the keys."""
        if not self._is_open:
            return []
        found = (self._change(key) for key in self._keys if key in self._typed)
        return [change for change in found if change is not None]

    def follow(self, view: RunView, *, may_ask: bool = True) -> None:
        """Take over the run's values, without touching what was typed."""
        self._is_open = view.is_editable and may_ask
        if _shown_keys(view) != self._keys:  # another attempt has others, and an edit may add one
            self._lay_out(view)
        else:
            self._take_values(view.values)
        self._tell()

    def accept(self, view: RunView, asked: Mapping[str, str]) -> None:
        """Forget the texts that the run has taken; one that was changed since stays."""
        self._take_values(view.values)
        self._typed = {key: text for key, text in self._typed.items() if asked.get(key) != text}
        self._tell()

    def give_back(self, asked: Mapping[str, str]) -> None:
        """Put texts that were refused back where nothing else has been typed since."""
        self._typed = {**{key: text for key, text in asked.items() if key in self._keys}, **self._typed}
        self._tell()

    def discard(self, view: RunView) -> None:
        """Show the run's values everywhere."""
        self._typed = {}
        self._take_values(view.values)
        self._tell()

    def _lay_out(self, view: RunView) -> None:
        """Make the tree for the keys that the run has."""
        self._keys = _shown_keys(view)
        self._values = {key: view.values.get(key) for key in self._keys}
        self._first = {key: text_of(value, self._keys[key]) for key, value in self._values.items()}
        self._now = dict(self._first)
        self._typed = {key: text for key, text in self._typed.items() if key in self._keys}
        lines = json.dumps(lines_of(self._keys, self._first), separators=(",", ":"))
        set_params(self.view, lines=lines, changed={})

    def _take_values(self, values: Mapping[str, Any]) -> None:
        for key, before in self._values.items():
            value = values.get(key)
            if type(value) is not type(before) or value != before:
                self._values[key], self._now[key] = value, text_of(value, self._keys[key])
        set_params(self.view, changed={key: text for key, text in self._now.items() if text != self._first[key]})

    def _change(self, key: str) -> PendingEdit | None:
        return change_of(key, self._typed[key], self._values[key], self._keys)

    def _tell(self) -> None:
        """Tell the browser what it may do, and what is wrong with each typed text."""
        marks = {}
        for key, text in self._typed.items() if self._is_open else ():
            change = self._change(key)
            marks[key] = {"text": text, "error": change.error if change else None, "same": change is None}
        set_params(self.view, state={"is_open": self._is_open, "heard": self._heard, "texts": marks})

    def _hear(self, said: Any) -> None:
        """Take a browser's message, which is outside input: all of it is checked."""
        if not isinstance(said, dict) or not self._is_open:
            return
        texts = said.get("texts")
        for key, text in texts.items() if isinstance(texts, dict) else ():
            if key in self._keys and not _why_locked(self._keys[key], self._first[key]) and _is_text_or_none(text):
                self._typed.pop(key, None)
                if text is not None:
                    self._typed[key] = text
        self._heard = serial if isinstance(serial := said.get("serial"), int) else self._heard
        self._tell()
        if texts:
            self._on_change()
        if said.get("apply") is True:
            self._on_apply()


def lines_of(keys: Mapping[str, Key], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the lines of the tree: a group above the keys that it holds; a group of one group is one with it.

    >>> [line["label"] for line in lines_of({"seed": Key("int"), "a.b.x": Key("int"), "a.b.y": Key("int")}, {})]
    ['seed', 'a.b', 'x', 'y']
    """
    nested: dict[Any, Any] = {}
    for key in sorted(keys, key=lambda key: split(key)[0] == OWN):  # trainctl's settings come last
        *above, name = split(key)
        node: dict[Any, Any] = nested
        for part in above:
            node = node.setdefault((part,), {})
        node[name] = key
    return list(_lines(nested, (), keys, texts))


def _lines(node: Any, above: tuple[str, ...], keys: Mapping[str, Key], texts: Mapping[str, str]) -> Iterable[Any]:
    """Walk through nested keys, of which the groups are named by tuples; `above` has one name per level."""
    for name, found in node.items():
        if isinstance(found, str):
            yield {"depth": len(above), "label": name, "key": found, **_about(keys[found], texts.get(found, ""))}
            continue
        path = name
        while len(found) == 1 and isinstance(next(iter(found)), tuple):
            path, found = path + next(iter(found)), next(iter(found.values()))
        label = join(path)
        yield {"depth": len(above), "label": label, "path": "\n".join((*above, label))}
        yield from _lines(found, (*above, label), keys, texts)


def _about(spec: Key, text: str) -> dict[str, Any]:
    """Return what the browser needs to know of a key, and no more."""
    said: dict[str, Any] = {
        "text": text[:MAX_SHOWN],
        "type": spec.type,
        "locked": _why_locked(spec, text),
        "help": spec.help,
        "options": options_of(spec),
    }
    if spec.type in ("int", "float"):
        said |= {"min": spec.min, "max": spec.max, "step": spec.step, "log": spec.log or None, "takes": _takes(spec)}
    return {name: value for name, value in said.items() if value is not None}


def _takes(spec: Key) -> str | None:
    if spec.min is not None and spec.max is not None:
        return f"{number(spec.min)} to {number(spec.max)}"
    if spec.min is not None:
        return f"at least {number(spec.min)}"
    return None if spec.max is None else f"at most {number(spec.max)}"


def _shown_keys(view: RunView) -> dict[str, Key]:
    return {key: spec for key, spec in view.keys.items() if not spec.hidden}


def _why_locked(spec: Key, text: str) -> str | None:
    """Say why a key cannot be edited on the page."""
    if spec.locked is None:
        return TOO_LONG if len(text) > MAX_SHOWN else None
    return spec.locked if spec.locked.startswith("locked") else f"locked: {spec.locked}"


def _is_text_or_none(text: Any) -> bool:
    return text is None or (isinstance(text, str) and len(text) <= MAX_TYPED)
