"""How single keys may be edited: their types, bounds, choices and locks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Literal

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import UnionNode
from omegaconf.errors import OmegaConfBaseException
from omegaconf.nodes import BooleanNode, BytesNode, EnumNode, FloatNode, IntegerNode, PathNode, StringNode

from trainctl.config import keys
from trainctl.config.spec import ControlSpec, parse_spec
from trainctl.errors import SettingError

Type = Literal["bool", "int", "float", "str", "list", "dict", "any"]

_NOT_EDITABLE = "trainctl.editable is false"
FIXED = "settings of trainctl are fixed for a run"

_NODE_TYPES: dict[type, Type] = {
    BooleanNode: "bool", IntegerNode: "int", FloatNode: "float", StringNode: "str", PathNode: "str", EnumNode: "str",
    ListConfig: "list", DictConfig: "dict", UnionNode: "any",
}  # fmt: skip
_VALUE_TYPES: dict[type, Type] = {
    bool: "bool", int: "int", float: "float", str: "str", ListConfig: "list", DictConfig: "dict",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """What an edit of one key must be. `locked` is the reason why there can be none."""

    type: Type
    optional: bool = False
    locked: str | None = None
    choices: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    log: bool = False
    step: float | None = None
    hidden: bool = False
    help: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what differs from a plain key, for the record in `run.yaml`."""
        record: dict[str, Any] = {"type": self.type}
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                record[field.name] = value
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Key:
        """Read what `to_dict` wrote; entries that are not known are passed over (a newer version wrote them)."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{"type": "any", **{name: value for name, value in record.items() if name in known}})


def keys_of(config: DictConfig, controls: Mapping[str, Any], editable: bool) -> dict[str, Key]:
    """Return every key of the config that is a leaf (lists are), with its type and control.

    The type is that of a structured config's field, else that of the value. Of the patterns that match a key, the most
    specific one (the longest without its `*`; the later of two equal ones) rules. `model.*` covers all below `model`.

    Raises:
        SettingError: a control that is not one, does not fit its key, or whose pattern matches no key.
    """
    specs = {str(pattern): parse_spec(spec, str(pattern)) for pattern, spec in controls.items()}
    found = dict(_leaves(config, ()))
    for pattern in specs:
        if not any(fnmatchcase(name, pattern) for name in found):
            below = any(name.startswith(f"{pattern}.") for name in found)
            hint = f"did you mean {pattern}.*?" if below else f"keys are {_some(sorted(found))}"
            raise SettingError(f"trainctl.controls: the pattern {pattern!r} matches no key of the config; {hint}")
    return {name: _controlled(name, key, specs, editable) for name, key in found.items()}


def _controlled(name: str, key: Key, specs: Mapping[str, ControlSpec], editable: bool) -> Key:
    if keys.split(name)[0] == "trainctl":
        return dataclasses.replace(key, locked=FIXED)
    matching = [pattern for pattern in specs if fnmatchcase(name, pattern)]
    if matching:
        # max takes the first of equals: reversed, so that the later of two equally long ones rules
        pattern = max(reversed(matching), key=lambda pattern: len(pattern.replace("*", "")))
        key = _with_spec(name, key, specs[pattern], pattern)
    return key if editable else dataclasses.replace(key, locked=_NOT_EDITABLE)


def _with_spec(name: str, key: Key, spec: ControlSpec, pattern: str) -> Key:
    given = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    given = {name: value for name, value in given.items() if value is not None}
    key = dataclasses.replace(key, **given)
    for bound in ("min", "max", "step", "log"):
        if given.get(bound) and key.type not in ("int", "float", "any"):
            raise SettingError(
                f"trainctl.controls: {pattern!r} gives {bound} to {name}, which is of type {key.type}; "
                "bounds are for int and float"
            )
    return key


def _leaves(node: DictConfig, above: tuple[object, ...]) -> Iterator[tuple[str, Key]]:
    for name in list(node):
        if not above and name == "hydra":
            continue
        path = (*above, getattr(name, "name", name))  # an enum as key counts by its name
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not child._is_interpolation() and not child._is_missing() and child:
            yield from _leaves(child, path)  # an empty one is a leaf
        else:
            yield keys.join(path), _key_of(node, name, child)


def _key_of(parent: DictConfig, name: Any, node: Any) -> Key:
    value = _value(parent, name)
    if isinstance(node, BytesNode) or isinstance(value, bytes):
        return Key("any", locked="bytes cannot be edited")
    kind = next((kind for cls, kind in _NODE_TYPES.items() if isinstance(node, cls)), None)
    is_typed = kind is not None and node._metadata.ref_type is not Any
    optional = bool(node._is_optional()) if is_typed else value is None
    if isinstance(node, EnumNode):
        return Key("str", optional, choices=[member.name for member in node.enum_type])
    if isinstance(value, Enum):
        return Key("str", optional, choices=[member.name for member in type(value)])
    return Key(kind or _VALUE_TYPES.get(type(value), "any"), optional)


def _value(parent: DictConfig, name: Any) -> Any:
    if OmegaConf.is_missing(parent, name):
        return None
    try:
        return parent[name]
    except OmegaConfBaseException:
        return None  # an interpolation that cannot be resolved here: its key takes any value


def _some(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
