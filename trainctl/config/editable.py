"""Which keys of a config can be edited: its leaves, items of its lists, whole sections, and entries that are added."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from trainctl.config import keys
from trainctl.config._omegaconf import entry_named, item_type
from trainctl.config.assign import deepest
from trainctl.config.controls import NOT_EDITABLE, Key, key_of, key_of_type, keys_of, lock_unbound, ruling, with_flags
from trainctl.config.spec import parse_spec

_ANY = Key("any")
_FIXED = ("trainctl", "hydra")


class EditableKeys(dict[str, Key]):
    """The leaves of a config at the start; `get` also knows items and entries inside them, and sections above them."""

    def __init__(self, config: DictConfig, controls: Mapping[str, Any], *, editable: bool) -> None:
        super().__init__(keys_of(config, controls, editable))
        self._config, self._editable = config, editable
        self.controls = {str(pattern): parse_spec(spec, str(pattern)) for pattern, spec in controls.items()}

    def with_help(self, texts: Mapping[str, str]) -> EditableKeys:
        """Return a copy with help texts for keys that have none."""
        told = {name: text for name, text in texts.items() if name in self and self[name].help is None}
        return self.replaced({name: dataclasses.replace(self[name], help=text) for name, text in told.items()})

    def replaced(self, found: Mapping[str, Key]) -> EditableKeys:
        """Return a copy with other `Key`s for some leaves, and so for everything inside them."""
        other = copy.copy(self)
        other.update(found)
        return other

    def without_unbound(self, bound: Collection[str], trainer: str) -> EditableKeys:
        """Return a copy in which keys that no binding follows are locked while a trainer trains."""
        return self.replaced(lock_unbound(self, bound, self.controls, trainer))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the `Key` of a leaf, an item, an entry of a leaf, or a section."""
        found = super().get(name)
        return default if found is None and (found := self._there(name)) is None else found

    def addable(self, name: str) -> Key | None:
        """Return the `Key` of a new entry; None if none can be added there."""
        above, *rest = deepest(self._config, keys.split(name))
        if not rest or not isinstance(above, DictConfig) or keys.split(name)[0] in _FIXED:
            return None
        return self._controlled(name, key_of_type(item_type(above)) if len(rest) == 1 else Key("any"))

    def control(self, name: str) -> Key:
        """Return the `Key` that the controls give to a key, whether or not it exists."""
        return super().get(name) or (self._controlled(name, Key("any")) if self.controls else _ANY)

    def has_entries(self, name: str) -> bool:
        """Whether a mapping with entries is there now."""
        above, *rest = deepest(self._config, keys.split(name))
        return not rest and isinstance(above, DictConfig) and len(above) > 0

    def is_there(self, name: str) -> bool:
        """Whether the section of a key is there: one that is null has no keys."""
        return not deepest(self._config, keys.split(name)[:-1])[1:]

    def are_below(self, name: str) -> bool:
        """Whether a key is a section of the config as it was at the start."""
        return any(key.startswith(f"{name}.") for key in self)

    def _there(self, name: str) -> Key | None:
        parts = keys.split(name)
        if parts[0] in _FIXED:
            return None
        above, *rest = deepest(self._config, parts[:-1])
        found = None if rest else entry_named(above, parts[-1])
        if found is None:
            return None
        key = key_of(above, *found, name)
        # a section has no type of its own; its entries have
        return self._controlled(name, dataclasses.replace(key, type="dict") if self.are_below(name) else key)

    def _controlled(self, name: str, key: Key) -> Key:
        """Apply the control of the key itself, else the locks and delays of the containers it is in."""
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
