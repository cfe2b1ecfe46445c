"""Changing a config in place, so that everybody who holds it or a part of it sees the change.

An edit of an item of a list or of an added entry is recorded as the new value of its *unit*: the leaf of step 0 that it
lies in (a list, say), or the topmost key that step 0 does not have. So a record is read without knowing any types.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.config._omegaconf import (
    MISSING,
    child,
    declared_type,
    empty_like,
    entries,
    entry_named,
    is_list,
    is_open,
    item_type,
    key_named,
    mapping_at,
    part_of,
    plain,
    set_value,
    structured_class,
    unlocked,
    with_fields,
)
from trainctl.config.changelog import put
from trainctl.config.keys import Units, join, name_in, split
from trainctl.config.snapshot import plain_value
from trainctl.config.structured import of_type, shaped, takes_in_place
from trainctl.config.values import differences, is_same
from trainctl.errors import EditError


def fitted(config: DictConfig, key: str, value: Any, *, as_it_is: bool = False, asked: str | None = None) -> Any:
    """Return the plain value that a key will have once `value` is assigned, by the types of a structured config.

    Nothing is changed: the assignment is tried on a copy of the one node.

    Args:
        config: whose key.
        key: a dotted key.
        value: a plain value.
        as_it_is: only try, and return `value` unchanged, which may be an interpolation.
        asked: the key to name in the error, where it lies deeper.

    Raises:
        EditError: the config has no such key, or its type refuses the value.
    """
    node = node_of(config, key)
    in_place = takes_in_place(node, value)
    try:
        if in_place:
            trial = copy.deepcopy(node)
            set_value(trial, shaped(value, node))
        else:
            OmegaConf.create({"any": copy.deepcopy(value)})
        return plain_value(plain(trial)) if in_place and not as_it_is else value
    except Exception as error:  # OmegaConf lets errors of others through: a number that is too large for a float
        raise EditError(f"{asked or key}: {_reason(error, value)}; nothing was changed") from error


def fitted_entry(parent: DictConfig, name: str, value: Any, key: str) -> Any:
    """Return the plain value that a new entry of a mapping will have, by the type of its entries.

    Raises:
        EditError: they are of another type, or the mapping has other keys.
    """
    try:
        trial = empty_like(parent)
        with unlocked(trial):
            _add(trial, parent, name, value)
        return plain_value(plain(next(node for _, node in entries(trial))))
    except Exception as error:
        raise EditError(f"{key}: {_reason(error, value)}; nothing was changed") from error


def _reason(error: Exception, value: Any) -> str:
    # set alone, a node leaves OmegaConf's placeholders in its message
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return reason.replace("$VALUE_TYPE", type(value).__name__).replace("$VALUE", f"{value}")


def assign(config: DictConfig, values: Mapping[str, Any], base: Collection[str] = ()) -> None:
    """Set keys of the config to values that `fitted` or `fitted_entry` returned.

    Struct and read-only flags are lifted only here and only meanwhile. Lists and mappings are refilled rather than
    replaced, so holders of one see the change. A key that is not in `base` is an added entry, which `???` removes.
    """
    for key, value in values.items():
        *above, last = split(key)
        parent = mapping_at(config, above)
        is_gone = type(value) is str and value == MISSING
        if parent is None and is_gone:
            continue  # of a section that is null
        parent = _opened(config, above, key, values) if parent is None else parent
        name = key_named(parent, last)
        with unlocked(parent):
            if name is None and not is_gone:
                _add(parent, parent, last, value)
            elif is_gone and key not in base:
                if name is not None:
                    del parent[name]
            else:
                _set(parent, name, value, key)


def rehearse(config: DictConfig, values: Mapping[str, Any], base: Collection[str] = ()) -> None:
    """Try `assign` on a copy of the sections that it changes.

    Raises:
        EditError: the config would then not hold the recorded values.
    """
    tops = dict.fromkeys(split(key)[0] for key in values)
    trial = part_of(config, [name for name in (key_named(config, top) for top in tops) if name is not None])
    assign(trial, values, base)
    for key, value in values.items():
        found = _found(trial, split(key))
        held = MISSING if found is None else plain_value(plain(found))
        if not is_same(held, value):
            raise EditError(f"{key}: the config would not hold the value as it is recorded; nothing was changed")


def _found(config: DictConfig, parts: Iterable[str]) -> Node | None:
    found: Node | None = config
    for part in parts:
        entry = entry_named(found, part)
        if entry is None:
            return None
        found = entry[1]
    return found


def _set(parent: DictConfig, name: Any, value: Any, key: str) -> None:
    node = child(parent, name)
    if node is None:
        raise EditError(f"{key}: the config has no such key")
    if takes_in_place(node, value):
        set_value(node, shaped(value, node))
    else:
        parent[name] = copy.deepcopy(value)


def _add(target: DictConfig, like: DictConfig, name: str, value: Any) -> None:
    """Add an entry, with a key of the same type as the existing ones."""
    target[name_in(dict.fromkeys(like.keys()), name)] = of_type(copy.deepcopy(value), item_type(like), None)


def _opened(config: DictConfig, above: list[str], key: str, keys: Iterable[str]) -> DictConfig:
    """Return the section of a key; sections on the way that are null or missing are created.

    Such a section gets a class that has all fields named in `keys`.
    """
    parent, paths = config, [list(split(each)) for each in keys]
    for depth, part in enumerate(above, start=1):
        name = key_named(parent, part)
        node = None if name is None else child(parent, name)
        with unlocked(parent):
            if node is None:
                _add(parent, parent, part, {})
            elif not is_open(node):
                kind = structured_class(declared_type(node))
                if kind is None and declared_type(node) is Any:
                    parent[name] = {}
                else:
                    names = {path[depth] for path in paths if len(path) > depth and path[:depth] == above[:depth]}
                    set_value(node, {} if kind is None else OmegaConf.structured(with_fields(kind, names)))
        found = entry_named(parent, part)
        if found is None or not isinstance(found[1], DictConfig):
            raise EditError(f"{key}: the config has no such key")
        parent = found[1]
    return parent


def current(config: DictConfig, key: str) -> Any:
    """Return the plain value that a key has now, interpolations resolved; None when it is missing or has none.

    Raises:
        EditError: the config has no such key.
    """
    *above, last = split(key)
    parent: Any = _found(config, above)
    found = None if parent is None else entry_named(parent, last)
    if found is None:
        raise EditError(f"{key}: the config has no such key")
    try:
        return plain_value(parent[found[0]])
    except OmegaConfBaseException:
        return None


def changes(config: DictConfig, values: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the changes that new values of units make: key, old and new value of each leaf, item and entry in them."""
    for unit, new in values.items():
        try:
            old = current(config, unit)
        except EditError:  # a new entry
            old = None
        is_single = not isinstance(new, list | dict) and not isinstance(old, list | dict)
        yield from ((unit, old, new),) if is_single else differences(unit, old, new)


def node_of(config: DictConfig, key: str) -> Node:
    """Return the node of a dotted key.

    Raises:
        EditError: the config has no such key.
    """
    *above, last = split(key)
    parent = mapping_at(config, above)
    found = None if parent is None else entry_named(parent, last)
    if found is None:
        raise EditError(f"{key}: the config has no such key")
    return found[1]


def deepest(config: DictConfig, parts: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the deepest container on the path of a key, and the parts of the path that are not there."""
    above: Any = config
    for number, part in enumerate(parts):
        found = entry_named(above, part)
        if found is None or not is_open(found[1]):
            return (above, *parts[number:])
        above = found[1]
    return (above,)


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
    """Return the values with those of a null section gathered in one mapping, so that the record shows the section."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        parts = split(key)
        missing = len(deepest(config, parts[:-1])) - 1
        section = join(parts[: len(parts) - missing])
        if missing and units.is_section(section):
            put(found.setdefault(section, {}), join(parts[len(parts) - missing :]), value)
        else:
            found[key] = value
    return found


def _parent(config: DictConfig, key: str) -> tuple[Any, str]:
    *above, last = split(key)
    parent, *rest = deepest(config, tuple(above))
    if rest or not isinstance(parent, DictConfig):
        raise EditError(f"{key}: the config has no such key")
    return parent, last


def _now(config: DictConfig, unit: str) -> Any:
    """Return the plain value of a unit with interpolations unresolved; an empty mapping if it is not there."""
    found = entry_named(*_parent(config, unit))
    return {} if found is None else plain_value(plain(found[1]))


def _with(whole: Any, rest: Sequence[str], value: Any, key: str) -> Any:
    """Return a plain value with a nested one set in it; null and `???` on the way become mappings."""
    if not rest:
        return value
    part, *below = rest
    whole = {} if whole is None or (type(whole) is str and whole == MISSING) else whole
    if isinstance(whole, list) and _is_index(whole, part):
        whole[int(part)] = _with(whole[int(part)], below, value, key)
    elif isinstance(whole, dict):
        name = name_in(whole, part)
        whole[name] = _with(whole.get(name), below, value, key)
    else:
        raise EditError(f"{key}: there is no such key")
    return whole


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
    return {key: None} if whole is None else dict(_leaves(whole, units.section(key), split(key)))


def _leaves(value: Mapping[Any, Any], base: Any, above: tuple[object, ...]) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        old = base.get(name) if isinstance(base, Mapping) else None
        if isinstance(inner, Mapping) and inner and isinstance(old, Mapping) and old:
            yield from _leaves(inner, old, (*above, name))
        else:
            yield join((*above, name)), inner


def resolved(parent: DictConfig, name: Any) -> Any:
    """Return the current value of an entry: plain lists, `DictConfig` for mappings.

    Raises:
        OmegaConfBaseException: it is missing or cannot be resolved.
    """
    value = parent[name]
    return OmegaConf.to_container(value, resolve=True) if is_list(value) else value
