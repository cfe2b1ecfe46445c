"""What of a config can be edited: its leaves, items of its lists, whole sections, and entries that are added.

An edit of an item or an entry is recorded as the new value of its *unit*: the leaf of step 0 that it lies in (a list,
say), or the topmost key that step 0 does not have. So a record is read without knowing any types.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from trainctl.config import keys
from trainctl.config._omegaconf import MISSING, entry_named, is_open, item_type, plain
from trainctl.config.assign import fitted, fitted_entry
from trainctl.config.changelog import put
from trainctl.config.controls import NOT_EDITABLE, Key, key_of, key_of_type, keys_of, ruling, with_flags
from trainctl.config.snapshot import plain_value
from trainctl.config.spec import parse_spec
from trainctl.config.values import is_same
from trainctl.errors import EditError

_FIXED = ("trainctl", "hydra")


class EditableKeys(dict[str, Key]):
    """The leaves of a config as it was at the start; `get` knows what lies in them now, and what is above them, too."""

    def __init__(self, config: DictConfig, controls: Mapping[str, Any], *, editable: bool) -> None:
        super().__init__(keys_of(config, controls, editable))
        self._config, self._editable = config, editable
        self.controls = {str(pattern): parse_spec(spec, str(pattern)) for pattern, spec in controls.items()}

    def with_help(self, texts: Mapping[str, str]) -> EditableKeys:
        """Return a copy with texts about keys that have none of their own."""
        told = {name: text for name, text in texts.items() if name in self and self[name].help is None}
        return self.replaced({name: dataclasses.replace(self[name], help=text) for name, text in told.items()})

    def replaced(self, found: Mapping[str, Key]) -> EditableKeys:
        """Return a copy in which leaves may be edited otherwise, and with them what lies in them."""
        other = copy.copy(self)
        other.update(found)
        return other

    @property
    def has_controls(self) -> bool:
        """Whether any control is given: else nothing in a list has one of its own."""
        return bool(self.controls)

    def get(self, name: str, default: Any = None) -> Any:
        """Return how a leaf, an item, an entry of a leaf, or a section may be edited."""
        found = super().get(name)
        return default if found is None and (found := self._there(name)) is None else found

    def addable(self, name: str) -> Key | None:
        """Return what a new entry must be; None where none can be added."""
        above, *rest = _deepest(self._config, keys.split(name))
        if not rest or not isinstance(above, DictConfig) or keys.split(name)[0] in _FIXED:
            return None
        return self._controlled(name, key_of_type(item_type(above)) if len(rest) == 1 else Key("any"))

    def control(self, name: str) -> Key:
        """Return what the controls say of a key, whether or not it is there."""
        return super().get(name) or self._controlled(name, Key("any"))

    def has_entries(self, name: str) -> bool:
        """Whether a mapping with entries is there now."""
        above, *rest = _deepest(self._config, keys.split(name))
        return not rest and isinstance(above, DictConfig) and len(above) > 0

    def is_there(self, name: str) -> bool:
        """Whether the section of a key is there: one that is null has no keys."""
        return not _deepest(self._config, keys.split(name)[:-1])[1:]

    def are_below(self, name: str) -> bool:
        """Whether a key is a section of the config as it was at the start."""
        return any(key.startswith(f"{name}.") for key in self)

    def _there(self, name: str) -> Key | None:
        parts = keys.split(name)
        if parts[0] in _FIXED:
            return None
        above, *rest = _deepest(self._config, parts[:-1])
        found = None if rest else entry_named(above, parts[-1])
        if found is None:
            return None
        key = key_of(above, *found, name)
        # a section has no type of its own: what is in it has
        return self._controlled(name, dataclasses.replace(key, type="dict") if self.are_below(name) else key)

    def _controlled(self, name: str, key: Key) -> Key:
        """Add what the controls say of the key itself, else how those of what it lies in lock or delay it."""
        if not self._editable:
            return dataclasses.replace(key, locked=NOT_EDITABLE)
        parts = keys.split(name)
        places = [keys.join(parts[:number]) for number in range(len(parts), 0, -1)]
        for place in places:
            pattern = ruling(place, self.controls)
            if pattern is not None:
                return with_flags(key, self.controls[pattern], is_own=place == name)
            known = super().get(place)
            if known is not None:
                return dataclasses.replace(key, locked=known.locked, when=known.when)
        return key


def _deepest(config: DictConfig, parts: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the container that parts of a key lead to, and the parts that lead on from there to nothing."""
    above: Any = config
    for number, part in enumerate(parts):
        found = entry_named(above, part)
        if found is None or not is_open(found[1]):
            return (above, *parts[number:])
        above = found[1]
    return (above,)


class Units:
    """Tells in which unit of the record a key lies.

    Args:
        base: the config at step 0, nested.
    """

    def __init__(self, base: Mapping[Any, Any]) -> None:
        self._base = base
        self.leaves = keys.leaves(base)

    def of(self, key: str) -> tuple[str, tuple[str, ...]]:
        """Return the unit of a key and the parts that lead on from there; a section is a unit of its own."""
        parts, below = keys.split(key), self._base
        for number, part in enumerate(parts):
            try:
                value = below[keys.find(below, part)]
            except KeyError:
                value = None
            if not isinstance(value, Mapping) or not value:
                return keys.join(parts[: number + 1]), parts[number + 1 :]
            below = value
        return key, ()

    def is_section(self, key: str) -> bool:
        """Whether step 0 has entries below a key."""
        return key not in self.leaves and bool(self.section(key))

    def section(self, key: str) -> Mapping[Any, Any]:
        """Return what step 0 has at a key; nothing where that is not a mapping."""
        below: Any = self._base
        for part in keys.split(key):
            try:
                below = below[keys.find(below, part)] if isinstance(below, Mapping) else {}
            except KeyError:
                return {}
        return below if isinstance(below, Mapping) else {}


def units_of(config: DictConfig, units: Units, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return edits of any keys as the new values of their units, as the config will hold them.

    Nothing is changed: all is tried on copies.

    Raises:
        EditError: the config has no such key, or its type refuses the value.
    """
    found: dict[str, Any] = {}
    for key, value in _of_null_sections(config, units, values).items():
        unit, rest = units.of(key)
        if value == MISSING and type(value) is str and unit not in units.leaves:
            found[unit] = MISSING  # an added entry is taken away
            continue
        if rest:
            whole = found[unit] if unit in found else _now(config, unit)
            value = _with(copy.deepcopy(whole), rest, value, key)
        if units.is_section(unit):
            found |= _section(config, units, unit, value)
        elif unit not in units.leaves and entry_named(*_parent(config, unit)) is None:
            above, name = _parent(config, unit)
            found[unit] = fitted_entry(above, name, value, key)
        else:
            is_first = unit in units.leaves and is_same(value, units.leaves[unit])
            found[unit] = fitted(config, unit, value, as_it_is=is_first, asked=key)
    return found


def _of_null_sections(config: DictConfig, units: Units, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with those of a section that is null now as one mapping: so the record tells of it."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        parts = keys.split(key)
        missing = len(_deepest(config, parts[:-1])) - 1
        section = keys.join(parts[: len(parts) - missing])
        if missing and units.is_section(section):
            put(found.setdefault(section, {}), keys.join(parts[len(parts) - missing :]), value)
        else:
            found[key] = value
    return found


def _parent(config: DictConfig, key: str) -> tuple[Any, str]:
    *above, last = keys.split(key)
    parent, *rest = _deepest(config, tuple(above))
    if rest or not isinstance(parent, DictConfig):
        raise EditError(f"{key}: the config has no such key")
    return parent, last


def _now(config: DictConfig, unit: str) -> Any:
    """Return the plain value of a unit, its references as they are written; nothing for one that is not there."""
    found = entry_named(*_parent(config, unit))
    return {} if found is None else plain_value(plain(found[1]))


def _with(whole: Any, rest: tuple[str, ...], value: Any, key: str) -> Any:
    """Set what lies deeper in a plain value."""
    below = whole
    for part in rest[:-1]:
        below = _step(below, part, key)
    if isinstance(below, list) and _is_index(below, rest[-1]):
        below[int(rest[-1])] = value
    elif isinstance(below, dict):
        below[keys.name_in(below, rest[-1])] = value
    else:
        raise EditError(f"{key}: there is no such key")
    return whole


def _step(below: Any, part: str, key: str) -> Any:
    if isinstance(below, list) and _is_index(below, part):
        return below[int(part)]
    if isinstance(below, dict):
        return below.setdefault(keys.name_in(below, part), {})
    raise EditError(f"{key}: there is no such key")


def _is_index(items: list[Any], part: str) -> bool:
    return part.isascii() and part.isdigit() and int(part) < len(items)


def _section(config: DictConfig, units: Units, key: str, value: Any) -> dict[str, Any]:
    """Return a section's new value: None, or its leaves. One that is there and gets a mapping was taken apart before.

    Raises:
        EditError: it cannot be None, or something else than a mapping.
    """
    if value is not None and not isinstance(value, dict):
        raise EditError(f"{key}: that is a section, and takes a mapping of its keys; nothing was changed")
    above, name = _parent(config, key)
    is_there = entry_named(above, name) is not None
    whole = fitted(config, key, value, asked=key) if is_there else fitted_entry(above, name, value, key)
    return {key: None} if whole is None else dict(_leaves(whole, units.section(key), keys.split(key)))


def _leaves(value: Mapping[Any, Any], base: Any, above: tuple[object, ...]) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        old = base.get(name) if isinstance(base, Mapping) else None
        if isinstance(inner, Mapping) and inner and isinstance(old, Mapping) and old:
            yield from _leaves(inner, old, (*above, name))
        else:
            yield keys.join((*above, name)), inner


def differences(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs between two plain values: key, old and new value of each; None for what is not there.

    >>> list(differences("a", [{"p": 1, "q": 2}], [{"p": 3, "q": 2}, 5]))
    [('a.0.p', 1, 3), ('a.1', None, 5)]
    """
    before, after = _inside(old), _inside(new)
    if before is None and after is None:
        if not is_same(old, new):
            yield name, old, new
        return
    for part in {**(before or {}), **(after or {})}:
        yield from differences(f"{name}.{keys.join([part])}", (before or {}).get(part), (after or {}).get(part))


def _inside(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, list) and value:
        return dict(enumerate(value))
    return value if isinstance(value, dict) and value else None
