"""OmegaConf's private names: no other file of the package uses one.

OmegaConf's public access resolves references, raises for `???`, and respects the flags of a config. Whoever records,
compares or checks a config wants it as it is written, so everything here looks past struct and read-only and resolves
nothing unless its name says so. `tests/config/test_omegaconf_seam.py` says what each private name must do.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeGuard, get_args, get_origin

import omegaconf
from omegaconf import (
    AnyNode,
    BooleanNode,
    Container,
    DictConfig,
    FloatNode,
    IntegerNode,
    ListConfig,
    Node,
    OmegaConf,
    StringNode,
    UnionNode,
    flag_override,
)
from omegaconf._utils import _resolve_optional, is_structured_config
from omegaconf.basecontainer import BaseContainer

KNOWN = ("2.3.", "2.4.")
IS_KNOWN = omegaconf.__version__.startswith(KNOWN)
MISSING = "???"
LISTS: tuple[type, ...] = (ListConfig, *filter(None, [getattr(omegaconf, "TupleConfig", None)]))  # from 2.4 on
_SINGLE = frozenset({AnyNode, BooleanNode, FloatNode, IntegerNode, StringNode})  # faster than isinstance

Place = tuple[Any, ...]  # the keys from the top of a config to a node

_log = logging.getLogger(__name__)


class Leaf(NamedTuple):
    """A leaf of a config: a value, an empty container, or a container that is None, `???` or an interpolation.

    Attributes:
        path: the keys that lead to it; an item of a list has its index.
        container: its parent.
        node: the node itself.
    """

    path: tuple[Any, ...]
    container: Container
    node: Node


def walk(
    container: Container, *, skip: Collection[Any] = (), into_lists: bool = True, above: tuple[Any, ...] = ()
) -> Iterator[Leaf]:
    """Yield the leaves of a config in its order.

    Args:
        container: whose leaves.
        skip: keys at the top to leave out, with all below them.
        into_lists: false takes a list for one leaf.
        above: what each path begins with.
    """
    for key, node in entries(container):
        if key in skip:
            continue
        if type(node) not in _SINGLE:
            held: Any = node._value() if isinstance(node, UnionNode) else node
            if (isinstance(held, DictConfig) or (into_lists and is_list(held))) and len(held):
                yield from walk(held, into_lists=into_lists, above=(*above, key))
                continue
        yield Leaf((*above, key), container, node)


def entries(container: Container) -> Iterable[tuple[Any, Any]]:
    """Return the keys, or indexes, and nodes of a container; none of one that is None, `???` or an interpolation."""
    if not is_open(container):
        return ()
    content: Any = container._value() if IS_KNOWN else _entries_by_access(container)
    return content.items() if isinstance(content, dict) else enumerate(content)


def _entries_by_access(container: Any) -> Any:
    _say_unknown()
    if isinstance(container, DictConfig):
        return {key: container._get_node(key, validate_access=False) for key in container}
    return [container._get_node(index, validate_access=False) for index in range(len(container))]


def child(container: Container, key: Any) -> Node | None:
    """Return the node of an entry; None where there is none."""
    below: Any = container
    found: Node | None = below._get_node(key, validate_access=False) if is_open(below) else None
    return found


def key_named(container: DictConfig, name: str) -> Any:
    """Return the key whose text is `name`: a config may have numbers and enums as keys; None where there is none."""
    keys = container.keys()  # none of one that is None, `???` or an interpolation, where iteration would raise
    return next((key for key in keys if str(getattr(key, "name", key)) == name), None)


def entry_named(container: Any, name: str) -> tuple[Any, Node] | None:
    """Return key and node of the entry or item whose key has this text; None where there is none."""
    if is_list(container):
        is_index = name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
        key = int(name) if is_index and len(name) < 10 and is_open(container) and int(name) < len(container) else None
    else:
        key = key_named(container, name) if isinstance(container, DictConfig) else None
    node = None if key is None else child(container, key)
    return None if node is None else (key, node)


def mapping_at(config: DictConfig, names: Sequence[str]) -> DictConfig | None:
    """Return the mapping at a path of names; None if it or a container on the way is not a mapping with entries."""
    found: Any = config
    for name in names:
        key = key_named(found, name)
        found = None if key is None else child(found, key)
        if not isinstance(found, DictConfig) or not is_open(found):
            return None
    return found if is_open(found) else None


def is_open(node: Any) -> bool:
    """Whether a node is a container that has its entries: it is not None, not `???`, and not an interpolation."""
    return isinstance(node, Container) and not isinstance(node._value(), str | None)


def is_list(node: Any) -> TypeGuard[ListConfig]:
    """Whether a node is a list or, from OmegaConf 2.4 on, a tuple."""
    return isinstance(node, LISTS)


def is_none(node: Node) -> bool:
    """Whether a node is None."""
    return node._is_none()


def is_missing(node: Node) -> bool:
    """Whether a node is `???`."""
    value = node._value()
    return isinstance(value, str) and value == MISSING and node._is_missing()


def text_of(node: Node) -> str | None:
    """Return the text of an interpolation; None for everything else."""
    value = node._value()
    is_text = isinstance(value, str) and "${" in value and OmegaConf.is_interpolation(node)
    return str(value) if is_text else None


def text_at(config: DictConfig, names: Sequence[str]) -> str | None:
    """Return the text of the interpolation at a path of names; None if there is none."""
    found: tuple[Any, Node] | None = None
    node: Any = config
    for name in names:
        found = entry_named(node, name)
        if found is None:
            return None
        node = found[1]
    return text_of(node)


def raw(node: Node) -> Any:
    """Return a value unresolved: the text of an interpolation, `???`, a plain value, or an open container itself."""
    if is_open(node):
        return node
    value = node._value()
    return raw(value) if isinstance(value, Node) else value  # a union holds the node of its value


def plain(node: Node) -> Any:
    """Return a value unresolved, with containers as plain lists and dicts."""
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else raw(node)


def resolved(container: Any, key: Any, node: Node) -> Any:
    """Return `container[key]`, but faster where there is nothing to resolve.

    Raises:
        OmegaConfBaseException: it is missing, or a reference leads nowhere.
    """
    return container[key] if is_missing(node) or text_of(node) is not None else raw(node)


def resolved_text(text: str, container: Any) -> Any:
    """Return the value of an interpolation as if it stood in a container, since a resolver may ask for its parent."""
    return raw(target_of(AnyNode(text, parent=container)))


def target_of(node: Node) -> Node:
    """Return the node that a chain of references ends at; the node itself if it is not an interpolation.

    Raises:
        OmegaConfBaseException: it leads nowhere.
    """
    return node._dereference_node()


def is_optional(node: Node) -> bool:
    """Whether the type of a node allows None."""
    return bool(node._is_optional())


def is_optional_type(hint: Any) -> tuple[bool, Any]:
    """Return whether a declared type allows None, and the type without None."""
    found: tuple[bool, Any] = _resolve_optional(hint)
    return found


def declared_type(node: Node) -> Any:
    """Return the type that a structured config declares for a node; `Any` if none."""
    return node._metadata.ref_type


def item_type(container: Any) -> Any:
    """Return the type declared for the entries of a container; `Any` if none."""
    return container._metadata.element_type


def types_inside(kind: Any) -> Any:
    """Return the entry type of a declared container type; `Any` if none."""
    _, kind = _resolve_optional(kind)
    if get_origin(kind) in (list, tuple, dict):
        arguments = get_args(kind)
        return arguments[-1] if arguments and arguments[-1] is not Ellipsis else arguments[0] if arguments else Any
    return Any


def structured_class(kind: Any) -> type | None:
    """Return the dataclass or attrs class of a declared type, optional or not; None for all other types."""
    _, kind = _resolve_optional(kind)
    return kind if isinstance(kind, type) and is_structured_config(kind) else None


def empty_like(container: DictConfig) -> DictConfig:
    """Return an empty mapping that accepts the same types of keys and values as another one."""
    meta = container._metadata
    twin = DictConfig({}, key_type=meta.key_type, element_type=meta.element_type)
    twin._set_parent(container)
    return twin


def parent_of(node: Node) -> Any:
    """Return the container that a node stands in; None at the top."""
    return node._get_parent()


def place_of(node: Node) -> Place:
    """Return the keys that lead to a node from the top of its config."""
    keys: list[Any] = []
    while (parent := parent_of(node)) is not None:
        keys.append(_key_of(node))
        node = parent
    return tuple(reversed(keys))


def _key_of(node: Node) -> Any:
    """Return the key of a node in its parent; in a list by searching, since items keep their old index when moved."""
    parent = node._get_parent()
    items = entries(parent) if isinstance(parent, Container) and not isinstance(parent, DictConfig) else ()
    return next((index for index, item in items if item is node), node._key())


def unlocked(node: Node) -> AbstractContextManager[Any]:
    """Lift struct and read-only from a node for the length of a `with` block."""
    return flag_override(node, ["struct", "readonly"], False)


def set_value(node: Node, value: Any) -> None:
    """Set the value of a node in place, as its type converts it."""
    with unlocked(node):
        node._set_value(value)


def set_type(container: Any, kind: Any) -> None:
    """Make a container an instance of a structured config: `OmegaConf.to_object` returns such an object."""
    container._metadata.object_type = kind


def set_parent(node: Node, parent: Any) -> None:
    """Make a container the parent of a node without adding an entry: references of the node resolve from there."""
    node._set_parent(parent)


def free_copy(node: Any) -> Any:
    """Return a copy with the same parent in which anything can be set, including objects."""
    twin = copy.deepcopy(node)
    twin._set_parent(node._get_parent())
    twin._set_flag(flags=["allow_objects", "struct", "readonly"], values=[True, False, False])
    return twin


def copy_sharing(config: DictConfig, key: str) -> DictConfig:
    """Return a copy that shares the node at `key`, if any; with an unknown OmegaConf nothing is shared."""
    if not IS_KNOWN:
        _say_unknown()
        return config.copy()
    content: Any = config._value()
    if key not in content:
        return config.copy()
    config.__dict__["_content"] = {name: node for name, node in content.items() if name != key}
    try:
        twin = config.copy()
    finally:
        config.__dict__["_content"] = content
    twin.__dict__["_content"][key] = content[key]
    return twin


def with_fields(kind: type, names: Collection[Any]) -> type:
    """Return a structured class, or the smallest of its subclasses, that has all these fields; else the class itself.

    So a value whose subclass was lost when it became null gets it back.
    """
    if set(names) <= _fields(kind):
        return kind
    below: list[type] = kind.__subclasses__()
    for each in below:  # it grows
        below += each.__subclasses__()
    fitting = [each for each in below if set(names) <= _fields(each)]
    return min(fitting, key=lambda each: len(_fields(each)), default=kind)


def _fields(kind: Any) -> set[str]:
    if dataclasses.is_dataclass(kind):
        return {each.name for each in dataclasses.fields(kind)}
    return {each.name for each in getattr(kind, "__attrs_attrs__", ())}


def part_of(config: DictConfig, keys: Collection[Any]) -> DictConfig:
    """Return a copy of some entries of a mapping in a mapping of the same types and flags; the mapping is only read."""
    twin = DictConfig({})
    twin.__dict__["_metadata"] = copy.deepcopy(config._metadata)
    for key in keys:
        node = child(config, key)
        if node is not None:
            twin._value()[key] = own = copy.deepcopy(node)
            own._set_parent(twin)
    return twin


def replace(container: Any, key: Any, value: Any) -> None:
    """Put an untyped value at a key, regardless of the type of the entry."""
    container._value()[key] = AnyNode(value, key=key, parent=container)


def take_over(config: Any, other: DictConfig, keep: Collection[Any]) -> None:
    """Move the nodes of another config into a config, with types, references and flags, except the keys in `keep`."""
    content, own = config._value(), dict(entries(other))
    for key in [key for key in content if key not in keep and key not in own]:
        del content[key]
    for key, node in own.items():
        if key not in keep:
            node._set_parent(config)
            node._invalidate_flags_cache()
            content[key] = node


def registered_resolvers() -> Mapping[str, Any]:
    """Return the registry of resolvers, as Hydra's launchers hand it to the processes of jobs."""
    return BaseContainer._resolvers


def watch(node: Node, is_read: Callable[[], bool]) -> None:
    """Call `is_read` whenever somebody takes the value of a node, until it returns true; a later watch replaces this.

    Until then the class of the node is a subclass of its own; afterwards a read costs what it cost before. Fetching a
    container from its parent or looking into it reads it, and so does copying or pickling a node.
    """
    unwatch(node)
    node.__dict__[_IS_READ] = is_read
    object.__setattr__(node, "__class__", _watched(type(node)))


def unwatch(node: Node) -> Callable[[], bool] | None:
    """Stop watching a node; return the callback of the watch."""
    kind = type(node)
    if "_unwatched" in vars(kind):
        object.__setattr__(node, "__class__", vars(kind)["_unwatched"])
    is_read: Callable[[], bool] | None = _DICT(node).pop(_IS_READ, None)
    return is_read


_IS_READ = "_trainctl_is_read"
_DICT: Callable[[Node], dict[str, Any]] = vars(Node)["__dict__"].__get__  # the attribute itself may be watched


@functools.cache
def _watched(kind: type[Any]) -> type[Any]:
    """Return the class of watched nodes: all of OmegaConf reads a value from `_val`, a content from `__dict__`."""

    def take(node: Any) -> Any:
        _notice(node)
        return _DICT(node) if has_content else _DICT(node)["_val"]

    def put(node: Any, value: Any) -> None:
        _DICT(node)["_val"] = value

    def copied(node: Any, memo: dict[int, Any]) -> Any:
        _notice(node)
        with _bare(node):
            return kind.__deepcopy__(node, memo)

    def pickled(node: Any, protocol: Any) -> Any:
        _notice(node)
        unwatch(node)  # pickle compares the class of the node with the one that it was given
        return node.__reduce_ex__(protocol)

    def invalidate(node: Any) -> None:  # a flag of a container above was set, which takes no value
        with _bare(node):
            kind._invalidate_flags_cache(node)

    has_content = issubclass(kind, Container | UnionNode)
    body: dict[str, Any] = {"__dict__": property(take)} if has_content else {"_val": property(take, put)}
    body |= {"__deepcopy__": copied, "__reduce_ex__": pickled, "_invalidate_flags_cache": invalidate}
    body |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "_unwatched": kind}
    made: type[Any] = types.new_class(kind.__name__, (kind,), exec_body=lambda space: space.update(body))
    return made


def _notice(node: Node) -> None:
    is_read = _DICT(node).get(_IS_READ)
    if is_read is None or is_read():
        unwatch(node)


@contextlib.contextmanager
def _bare(node: Node) -> Iterator[None]:
    is_read = unwatch(node)
    try:
        yield
    finally:
        if is_read is not None:
            watch(node, is_read)


@functools.cache
def _say_unknown() -> None:
    _log.warning(
        "trainctl was not tested with OmegaConf %s (but with %s*); configs are read in a slower way",
        omegaconf.__version__,
        "*, ".join(KNOWN),
    )
