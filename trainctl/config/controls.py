"""How single keys may be edited: their types, bounds, choices and locks."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Literal

from omegaconf import (
    BooleanNode,
    BytesNode,
    Container,
    DictConfig,
    EnumNode,
    FloatNode,
    IntegerNode,
    ListConfig,
    Node,
    OmegaConf,
    PathNode,
    StringNode,
    UnionNode,
)
from omegaconf.errors import OmegaConfBaseException

from trainctl.config import keys
from trainctl.config._omegaconf import declared_type, is_missing, is_optional, resolved, walk
from trainctl.config.settings_node import NODE, kept_node
from trainctl.config.snapshot import recorded_by_value
from trainctl.config.spec import ControlSpec, When, parse_spec
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
    """What an edit of one key must be.

    Attributes:
        locked: the reason why there can be none.
        when: an edit takes effect at the next step (`live`), at the next `live.epoch()` (`epoch`), or only in a run
            that is started anew (`restart`).
        max_change: the factor by which one edit may change the value, up or down.
        checkpoint_first: a checkpoint is taken before an edit takes effect.
    """

    type: Type
    optional: bool = False
    locked: str | None = None
    choices: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    log: bool = False
    step: float | None = None
    hidden: bool = False
    when: When = "live"
    max_change: float | None = None
    checkpoint_first: bool = False
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

    The type is that of a structured config's field, else that of the value. A field may carry a control in its metadata
    (`field(metadata={"trainctl": {"min": 0}})`); what `controls` says of its key goes before, word by word. Of the
    patterns that match a key, the most specific one (the longest without its `*`; of two equal ones the key's own
    name, else the later) rules. `model.*` covers all below `model`.

    Raises:
        SettingError: a control that is not one, does not fit its key, or whose pattern matches no key.
    """
    specs = {str(pattern): parse_spec(spec, str(pattern)) for pattern, spec in controls.items()}
    found = dict(_leaves(config))
    for pattern in specs:
        if not any(_matches(name, pattern) for name in found):
            below = any(name.startswith(f"{pattern}.") for name in found)
            hint = f"did you mean {pattern}.*?" if below else f"keys are {_some(sorted(found))}"
            raise SettingError(f"trainctl.controls: the pattern {pattern!r} matches no key of the config; {hint}")
    # recorded as entries, so that an edit of the whole would read back as edits of keys that are none
    for name in recorded_by_value(config) if any(key.type == "dict" for key in found.values()) else ():
        if found[name].type == "dict":
            found[name] = dataclasses.replace(found[name], locked="a resolver makes this mapping")
    return {name: _controlled(name, key, specs, editable) for name, key in found.items()}


def _controlled(name: str, key: Key, specs: Mapping[str, ControlSpec], editable: bool) -> Key:
    if keys.split(name)[0] == NODE:
        return dataclasses.replace(key, locked=FIXED)
    matching = [pattern for pattern in specs if _matches(name, pattern)]
    if matching:
        # max takes the first of equals: reversed, so that the later of two equally long ones rules
        pattern = max(reversed(matching), key=lambda pattern: (len(pattern.replace("*", "")), pattern == name))
        key = _with_spec(name, key, specs[pattern], f"trainctl.controls: {pattern!r}")
    return key if editable else dataclasses.replace(key, locked=_NOT_EDITABLE)


def is_controlled(name: str, controls: Iterable[str]) -> bool:
    """Whether one of the patterns of `trainctl.controls` is about a key."""
    return any(_matches(name, str(pattern)) for pattern in controls)


def lock_unbound(
    keys: Mapping[str, Key], bound: Collection[str], controls: Collection[str], trainer: str
) -> dict[str, Key]:
    """Return the keys with those locked that nothing follows while a trainer trains with objects built before it.

    What `trainctl.controls` says of a key goes before.
    """
    return {
        name: key
        if key.locked is not None or name in bound or is_controlled(name, controls)
        else dataclasses.replace(
            key,
            locked=f"nothing follows it while {trainer} trains: bind it with live.bind(…), or open it with "
            f"trainctl.controls: {{{name}: {{}}}}",
        )
        for name, key in keys.items()
    }


def _matches(name: str, pattern: str) -> bool:
    """Match a key by its own name, whatever letters it has, or by a pattern, as names of files are."""
    return name == pattern or fnmatchcase(name, pattern)


def _with_spec(name: str, key: Key, spec: ControlSpec, where: str) -> Key:
    given = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    given = {name: value for name, value in given.items() if value is not None}
    key = dataclasses.replace(key, **given)
    for bound in ("min", "max", "step", "log", "max_change"):
        if given.get(bound, False) is not False and key.type not in ("int", "float", "any"):
            raise SettingError(
                f"{where} gives {bound} to {name}, which is of type {key.type}; bounds are for int and float"
            )
    return key


def _leaves(config: DictConfig) -> Iterator[tuple[str, Key]]:
    kept = kept_node(config)
    settings = () if kept is None else walk(kept, into_lists=False, above=(NODE,))
    for path, parent, node in (*walk(config, skip=("hydra",), into_lists=False), *settings):
        key = keys.join(getattr(name, "name", name) for name in path)  # an enum as key counts by its name
        yield key, _with_field(key, parent, path[-1], _key_of(parent, path[-1], node))


def _with_field(path: str, parent: Container, name: Any, key: Key) -> Key:
    """Add what the field of a structured config says: the choices of its Literal, the control in its metadata."""
    cls = OmegaConf.get_type(parent)
    if not isinstance(cls, type) or not isinstance(name, str):
        return key
    fields = {field.name: field for field in getattr(cls, "__attrs_attrs__", ())}
    if dataclasses.is_dataclass(cls):
        fields = {field.name: field for field in dataclasses.fields(cls)}
    if name not in fields:
        return key
    choices = _choices(typing.get_type_hints(cls)[name])
    if choices is not None:
        optional = None in choices or key.optional
        key = dataclasses.replace(key, choices=[one for one in choices if one is not None], optional=optional)
    if "trainctl" in fields[name].metadata:
        where = f"the field {name!r} of {cls.__name__}, in its metadata"
        key = _with_spec(path, key, parse_spec(fields[name].metadata["trainctl"], where=where), where)
    return key


def _choices(hint: Any) -> list[Any] | None:
    """Return the values of a Literal, or of the Literals of a union, None among them where it may be null.

    >>> _choices(Literal["a", "b"] | None), _choices(Literal[1, 2]), _choices(int)
    (['a', 'b', None], [1, 2], None)
    """
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    parts = [[None] if part is type(None) else _choices(part) for part in typing.get_args(hint)]
    found = [one for part in parts if part is not None for one in part]
    return found if None not in parts and found != [None] else None


def _key_of(parent: Container, name: Any, node: Any) -> Key:
    value = _value(parent, name, node)
    if isinstance(node, BytesNode) or isinstance(value, bytes):
        return Key("any", locked="bytes cannot be edited")
    kind = next((kind for cls, kind in _NODE_TYPES.items() if isinstance(node, cls)), None)
    is_typed = kind is not None and declared_type(node) is not Any
    optional = is_optional(node) if is_typed else value is None
    if isinstance(node, EnumNode):
        return Key("str", optional, choices=[member.name for member in node.enum_type])
    if isinstance(value, Enum):
        return Key("str", optional, choices=[member.name for member in type(value)])
    return Key(kind or _VALUE_TYPES.get(type(value), "any"), optional)


def _value(parent: Container, name: Any, node: Node) -> Any:
    if is_missing(node):
        return None
    try:
        return resolved(parent, name, node)
    except OmegaConfBaseException:
        return None  # an interpolation that cannot be resolved here: its key takes any value


def _some(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
