"""Changing a config in place, under the eyes of everybody who holds it or a part of it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from omegaconf import AnyNode, Container, DictConfig, Node, OmegaConf
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
    types_inside,
    unlocked,
    with_fields,
)
from trainctl.config.keys import name_in, split
from trainctl.config.snapshot import plain_value
from trainctl.config.values import is_same
from trainctl.errors import EditError


def fitted(config: DictConfig, key: str, value: Any, *, as_it_is: bool = False, asked: str | None = None) -> Any:
    """Return the plain value that a key will have once `value` is assigned, by the types of a structured config.

    Nothing is changed: the assignment is tried on a copy of the one node.

    Args:
        config: whose key.
        key: a dotted key.
        value: a plain value.
        as_it_is: only try, and return `value`, which may be a reference and is to stay one.
        asked: the key to name in the error, where it lies deeper.

    Raises:
        EditError: the config has no such key, or its type refuses the value.
    """
    _, _, node = _place(config, key)
    in_place = _takes_in_place(node, value)
    try:
        if in_place:
            trial = copy.deepcopy(node)
            set_value(trial, _shaped(value, node))
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

    Struct and read-only flags are lifted only here and only for the moment. Lists and mappings are filled again rather
    than replaced, so who holds one sees the change. A key that is not in `base` is an added entry: `???` takes it away.
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
        EditError: the config would not hold then what the record says.
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
    if _takes_in_place(node, value):
        set_value(node, _shaped(value, node))
    else:
        parent[name] = copy.deepcopy(value)


def _add(target: DictConfig, like: DictConfig, name: str, value: Any) -> None:
    """Add an entry, its name as those that are there have theirs."""
    target[name_in(dict.fromkeys(like.keys()), name)] = _of_type(copy.deepcopy(value), item_type(like), None)


def _opened(config: DictConfig, above: list[str], key: str, keys: Iterable[str]) -> DictConfig:
    """Return the section in which a key lies; those on the way to it that are null, or not there, are made again.

    Those are of a class that has all of `keys` that lie there.
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


def node_of(config: DictConfig, key: str) -> Node:
    """Return the node of a dotted key.

    Raises:
        EditError: the config has no such key.
    """
    return _place(config, key)[2]


def _place(config: DictConfig, key: str) -> tuple[DictConfig, Any, Node]:
    *above, last = split(key)
    parent = mapping_at(config, above)
    name = None if parent is None else key_named(parent, last)
    node = None if parent is None or name is None else child(parent, name)
    if parent is None or node is None:
        raise EditError(f"{key}: the config has no such key")
    return parent, name, node


def _takes_in_place(node: Node, value: Any) -> bool:
    """Whether the node itself takes the value; an untyped one is replaced when the kind of its value changes."""
    if is_list(node):
        return isinstance(value, list) or declared_type(node) is not Any
    if isinstance(node, DictConfig):
        return isinstance(value, dict) or declared_type(node) is not Any
    return not isinstance(node, AnyNode)


def _shaped(value: Any, node: Any) -> Any:
    """Return a plain value with its mappings made dataclasses where the node has or declares these."""
    if not isinstance(node, Container) or not isinstance(value, dict | list):
        return copy.deepcopy(value)
    return _of_type(copy.deepcopy(value), declared_type(node), node)


def _of_type(value: Any, kind: Any, old: Any) -> Any:
    """Return a plain value as a declared type has it; `old` is the node that is there, of a subclass perhaps."""
    is_container = is_open(old)
    if isinstance(value, dict):
        made = structured_class(kind)
        own = structured_class(OmegaConf.get_type(old)) if is_container and isinstance(old, DictConfig) else None
        if own is not None and (made is None or value.keys() >= set(old.keys())):
            made = own  # all that is there, as a record has it: it stays of its class
        if made is not None:
            return _made(with_fields(made, value), value, old if is_container else None)
    if not isinstance(value, dict | list):
        return value
    inner = item_type(old) if is_container else types_inside(kind)
    if isinstance(value, list):
        items = [node for _, node in entries(old)] if is_container and is_list(old) else []
        return [_of_type(one, inner, items[at] if at < len(items) else None) for at, one in enumerate(value)]
    return {name: _of_type(one, inner, _old(old, name) if is_container else None) for name, one in value.items()}


def _old(old: Any, name: Any) -> Any:
    found = entry_named(old, str(getattr(name, "name", name)))
    return None if found is None else found[1]


def _made(kind: type, values: dict[Any, Any], old: Any) -> DictConfig:
    """Return a dataclass with values; what is not given has its default, and what was added to the old one stays."""
    made: DictConfig = OmegaConf.structured(kind)
    with unlocked(made):
        for name, value in values.items():
            node, before = child(made, name), None if old is None else _old(old, name)
            if node is None and before is None:
                raise EditError(f"{kind.__name__} has no {name!r}; it has {', '.join(map(str, made))}")
            if node is None or not _takes_in_place(node, value):
                made[name] = value
            else:
                set_value(node, _of_type(value, declared_type(node), node if before is None else before))
    return made


def resolved(parent: DictConfig, name: Any) -> Any:
    """Return the current value of an entry: plain lists, `DictConfig` for mappings.

    Raises:
        OmegaConfBaseException: it is missing or cannot be resolved.
    """
    value = parent[name]
    return OmegaConf.to_container(value, resolve=True) if is_list(value) else value
