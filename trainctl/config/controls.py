"""How single keys may be edited: their types, bounds, choices and locks."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from omegaconf import (
    BooleanNode,
    BytesNode,
    Container,
    DictConfig,
    EnumNode,
    FloatNode,
    IntegerNode,
    Node,
    OmegaConf,
    PathNode,
    StringNode,
    UnionNode,
)
from omegaconf.errors import OmegaConfBaseException

from trainctl.config import keys
from trainctl.config._omegaconf import (
    LISTS,
    declared_type,
    is_list,
    is_missing,
    is_open,
    is_optional,
    is_optional_type,
    resolved,
    walk,
)
from trainctl.config.settings_node import NODE, kept_node
from trainctl.config.snapshot import recorded_by_value
from trainctl.config.spec import ControlSpec, When, parse_spec
from trainctl.errors import SettingError

Type = Literal["bool", "int", "float", "str", "bytes", "list", "dict", "any"]

NOT_EDITABLE = "trainctl.editable is false"
FIXED = "settings of trainctl are fixed for a run"

_NODE_TYPES: dict[type, Type] = {
    BooleanNode: "bool", IntegerNode: "int", FloatNode: "float", StringNode: "str", PathNode: "str", EnumNode: "str",
    BytesNode: "bytes", DictConfig: "dict", UnionNode: "any", **dict.fromkeys(LISTS, "list"),
}  # fmt: skip
_VALUE_TYPES: dict[type, Type] = {
    bool: "bool", int: "int", float: "float", str: "str", bytes: "bytes", DictConfig: "dict",
    **dict.fromkeys(LISTS, "list"),
}  # fmt: skip
_DECLARED: dict[Any, Type] = {
    bool: "bool", int: "int", float: "float", str: "str", Path: "str", bytes: "bytes", list: "list", tuple: "list",
    dict: "dict",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """How one key may be edited: its type, bounds, choices and locks.

    Attributes:
        optional: null is allowed.
        declared: a structured config or a control gives the type, so null is allowed only if `optional`.
        locked: why the key cannot be edited; None if it can.
        when: an edit takes effect at the next step (`live`), at the next `live.epoch()` (`epoch`), or only in a run
            that is started again (`restart`).
        max_change: the factor by which one edit may change the value, up or down.
        checkpoint_first: a checkpoint is taken before an edit takes effect.
    """

    type: Type
    optional: bool = False
    declared: bool = False
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
        """Return the fields that differ from the defaults, for `run.yaml`."""
        record: dict[str, Any] = {"type": self.type}
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                record[field.name] = value
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Key:
        """Read the output of `to_dict`; unknown entries, of a newer version, are ignored."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{"type": "any", **{name: value for name, value in record.items() if name in known}})


def keys_of(config: DictConfig, controls: Mapping[str, Any], editable: bool) -> dict[str, Key]:
    """Return every key of the config that is a leaf (lists are), with its type and control.

    The type is that of a structured config's field, else that of the value. A field may carry a control in its metadata
    (`field(metadata={"trainctl": {"min": 0}})`); `controls` overrides it word by word. Of the
    patterns that match a key, the most specific one (the longest without its `*`; of two equal ones the key's own
    name, else the later) rules. `model.*` covers all below `model`.

    Raises:
        SettingError: a control that is not one, does not fit its key, or whose pattern matches no key.
    """
    specs = {str(pattern): parse_spec(spec, str(pattern)) for pattern, spec in controls.items()}
    found = dict(_leaves(config))
    inside = _inside(config) if any(not any(matches(name, pattern) for name in found) for pattern in specs) else ()
    for pattern in specs:
        if not any(matches(name, pattern) for name in (*found, *inside)):
            below = any(name.startswith(f"{pattern}.") for name in found)
            hint = f"did you mean {pattern}.*?" if below else f"keys are {_some(sorted(found))}"
            raise SettingError(f"trainctl.controls: the pattern {pattern!r} matches no key of the config; {hint}")
    # recorded as entries, so that an edit of the whole would read back as edits of keys that do not exist
    for name in recorded_by_value(config) if any(key.type == "dict" for key in found.values()) else ():
        if found[name].type == "dict":
            found[name] = dataclasses.replace(found[name], locked="a resolver makes this mapping")
    return {name: _controlled(name, key, specs, editable) for name, key in found.items()}


def _controlled(name: str, key: Key, specs: Mapping[str, ControlSpec], editable: bool) -> Key:
    if keys.split(name)[0] == NODE:
        return dataclasses.replace(key, locked=FIXED)
    pattern = ruling(name, specs)
    if pattern is not None:
        key = _with_spec(name, key, specs[pattern], f"trainctl.controls: {pattern!r}")
    return key if editable else dataclasses.replace(key, locked=NOT_EDITABLE)


def is_controlled(name: str, controls: Iterable[str]) -> bool:
    """Whether one of the patterns of `trainctl.controls` matches a key."""
    return any(matches(name, str(pattern)) for pattern in controls)


def lock_unbound(
    keys: Mapping[str, Key], bound: Collection[str], controls: Collection[str], trainer: str
) -> dict[str, Key]:
    """Return the keys with those locked that no binding follows while a trainer trains with objects built before.

    Keys in `trainctl.controls` are not locked.
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


def ruling(name: str, patterns: Iterable[str]) -> str | None:
    """Return the most specific of the patterns that match a key; None where none does."""
    matching = [pattern for pattern in patterns if matches(name, pattern)]
    # max takes the first of equals: reversed, so that the later of two equally long ones rules
    return max(reversed(matching), key=lambda one: (len(one.replace("*", "")), one == name)) if matching else None


def with_flags(key: Key, spec: ControlSpec, *, is_own: bool) -> Key:
    """Return a key inside a list with the locks and delays of its own control, or of the control of a container."""
    given = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    wanted = given if is_own else {name: given[name] for name in ("locked", "hidden", "when", "checkpoint_first")}
    return dataclasses.replace(key, **{name: value for name, value in wanted.items() if value is not None})


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern is the name of a key, or matches it as a file name pattern does."""
    return name == pattern or fnmatchcase(name, pattern)


def _with_spec(name: str, key: Key, spec: ControlSpec, where: str) -> Key:
    given = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    given = {name: value for name, value in given.items() if value is not None}
    key = dataclasses.replace(key, **given, declared=key.declared or "type" in given)
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
        key = keys.dotted(path)
        yield key, key_of(parent, path[-1], node, key)


def _inside(config: DictConfig) -> set[str]:
    """Return the keys of all items of lists, at any depth."""
    found = set()
    for leaf in walk(config, skip=("hydra",), into_lists=False):
        if is_list(leaf.node) and is_open(leaf.node):
            for below in walk(leaf.node, above=leaf.path):
                found |= {keys.dotted(below.path[:end]) for end in range(len(leaf.path) + 1, len(below.path) + 1)}
    return found


def _with_field(path: str, parent: Container, name: Any, key: Key) -> Key:
    """Add the choices and the control of a structured config's field: from its Literal and its metadata."""
    cls = OmegaConf.get_type(parent)
    if not isinstance(cls, type) or not isinstance(name, str) or not isinstance(parent, DictConfig):
        return key
    fields = {field.name: field for field in getattr(cls, "__attrs_attrs__", ())}
    if dataclasses.is_dataclass(cls):
        fields = {field.name: field for field in dataclasses.fields(cls)}
    if name not in fields:
        return key
    choices = _choices(typing.get_type_hints(cls)[name])
    if choices is not None:
        optional = None in choices or key.optional
        known = [one for one in choices if one is not None]
        key = dataclasses.replace(key, choices=known, optional=optional, declared=True)
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


def key_of(parent: Container, name: Any, node: Any, path: str) -> Key:
    """Return the `Key` of an entry or item: from its declared type, else from its value, and from its field."""
    value = _value(parent, name, node)
    kind = next((kind for cls, kind in _NODE_TYPES.items() if isinstance(node, cls)), None)
    is_typed = kind is not None and declared_type(node) is not Any
    optional = is_optional(node) if is_typed else value is None
    key = Key(kind or _VALUE_TYPES.get(type(value), "any"), optional, is_typed)
    if isinstance(node, EnumNode):
        key = dataclasses.replace(key, type="str", choices=[member.name for member in node.enum_type])
    elif isinstance(value, Enum):
        key = dataclasses.replace(key, type="str", choices=[member.name for member in type(value)])
    return _with_field(path, parent, name, key)


def key_of_type(hint: Any) -> Key:
    """Return the `Key` of a declared type.

    >>> key_of_type(float) == Key("float", declared=True), key_of_type(Any) == Key("any")
    (True, True)
    """
    optional, kind = is_optional_type(hint)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Key("str", optional, True, choices=[member.name for member in kind])
    named = _DECLARED.get(typing.get_origin(kind) or kind)
    return Key(named, optional, True) if named is not None else Key("any")


def _value(parent: Container, name: Any, node: Node) -> Any:
    if is_missing(node):
        return None
    try:
        return resolved(parent, name, node)
    except OmegaConfBaseException:
        return None  # an interpolation that cannot be resolved here: its key takes any value


def _some(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
