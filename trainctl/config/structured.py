"""Plain values as a structured config declares them: mappings become dataclasses, at any depth."""

from __future__ import annotations

import copy
from typing import Any

from omegaconf import AnyNode, Container, DictConfig, Node, OmegaConf

from trainctl.config._omegaconf import (
    child,
    declared_type,
    entries,
    entry_named,
    is_list,
    is_open,
    item_type,
    set_value,
    structured_class,
    types_inside,
    unlocked,
    with_fields,
)
from trainctl.errors import EditError


def takes_in_place(node: Node, value: Any) -> bool:
    """Whether the value can be set in the node; an untyped node is replaced if the kind of its value changes."""
    if is_list(node):
        return isinstance(value, list) or declared_type(node) is not Any
    if isinstance(node, DictConfig):
        return isinstance(value, dict) or declared_type(node) is not Any
    return not isinstance(node, AnyNode)


def shaped(value: Any, node: Any) -> Any:
    """Convert mappings in a plain value to the dataclasses that the node has or declares."""
    if not isinstance(node, Container) or not isinstance(value, dict | list):
        return copy.deepcopy(value)
    return of_type(copy.deepcopy(value), declared_type(node), node)


def of_type(value: Any, kind: Any, old: Any) -> Any:
    """Convert a plain value to a declared type; `old` is the present node, which may be of a subclass."""
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
        return [of_type(one, inner, items[at] if at < len(items) else None) for at, one in enumerate(value)]
    return {name: of_type(one, inner, _old(old, name) if is_container else None) for name, one in value.items()}


def _old(old: Any, name: Any) -> Any:
    found = entry_named(old, str(getattr(name, "name", name)))
    return None if found is None else found[1]


def _made(kind: type, values: dict[Any, Any], old: Any) -> DictConfig:
    """Return a dataclass with values; other fields have their defaults, and fields added to the old one stay."""
    made: DictConfig = OmegaConf.structured(kind)
    with unlocked(made):
        for name, value in values.items():
            node, before = child(made, name), None if old is None else _old(old, name)
            if node is None and before is None:
                raise EditError(f"{kind.__name__} has no {name!r}; it has {', '.join(map(str, made))}")
            if node is None or not takes_in_place(node, value):
                made[name] = value
            else:
                set_value(node, of_type(value, declared_type(node), node if before is None else before))
    return made
