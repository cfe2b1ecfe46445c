"""Changing a config in place, under the eyes of everybody who holds it or a part of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import AnyNode, DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.config._omegaconf import child, declared_type, key_named, mapping_at, set_value, unlocked
from trainctl.config.keys import split
from trainctl.config.snapshot import plain_value
from trainctl.errors import EditError


def fitted(config: DictConfig, key: str, value: Any, *, as_it_is: bool = False) -> Any:
    """Return the plain value that a key will have once `value` is assigned, by the types of a structured config.

    Nothing is changed: the assignment is tried on a copy of the one node.

    Args:
        config: whose key.
        key: a dotted key.
        value: a plain value.
        as_it_is: only try, and return `value`, which may be a reference and is to stay one.

    Raises:
        EditError: the config has no such key, or its type refuses the value.
    """
    _, _, node = _place(config, key)
    in_place = _takes_in_place(node, value)
    trial = copy.deepcopy(node) if in_place else OmegaConf.create({})
    try:
        set_value(trial, value if in_place else {"any": copy.deepcopy(value)})
        return value if as_it_is or not in_place else plain_value(trial)
    except Exception as error:  # OmegaConf lets errors of others through: a number that is too large for a float
        # set alone, a node leaves OmegaConf's placeholders in its message
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = reason.replace("$VALUE_TYPE", type(value).__name__).replace("$VALUE", f"{value}")
        raise EditError(f"{key}: {reason}; nothing was changed") from error


def assign(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Set keys of the config to values that `fitted` returned.

    Struct and read-only flags are lifted only here and only for the moment. Lists and mappings are filled anew rather
    than replaced, so who holds one sees the change.
    """
    for key, value in values.items():
        parent, name, node = _place(config, key)
        with unlocked(parent):
            if _takes_in_place(node, value):
                set_value(node, copy.deepcopy(value))
            else:
                parent[name] = copy.deepcopy(value)


def current(config: DictConfig, key: str) -> Any:
    """Return the plain value that a key has now, interpolations resolved; None when it is missing or has none.

    Raises:
        EditError: the config has no such key.
    """
    parent, name, _ = _place(config, key)
    try:
        return plain_value(parent[name])
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
    if isinstance(node, ListConfig):
        return isinstance(value, list) or declared_type(node) is not Any
    if isinstance(node, DictConfig):
        return isinstance(value, dict) or declared_type(node) is not Any
    return not isinstance(node, AnyNode)


def resolved(parent: DictConfig, name: Any) -> Any:
    """Return the current value of an entry: plain lists, `DictConfig` for mappings.

    Raises:
        OmegaConfBaseException: it is missing or cannot be resolved.
    """
    value = parent[name]
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
