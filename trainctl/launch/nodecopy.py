"""Deep copies of OmegaConf's nodes that are what its own are, sooner.

Hydra copies the whole config of a job six times. OmegaConf builds each node of a copy through its constructor, which
checks a value that is about to be replaced, and has each node's metadata taken apart and put together by `copy`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import omegaconf
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode, BooleanNode, BytesNode, FloatNode, IntegerNode, PathNode, StringNode

# Internals of OmegaConf are used below that no release promises: each minor release is to be looked at first.
IS_KNOWN = omegaconf.__version__.startswith("2.3.")

_LEAVES = frozenset((AnyNode, BooleanNode, BytesNode, FloatNode, IntegerNode, PathNode, StringNode))
_METADATA = frozenset((Metadata, ContainerMetadata))
_ATOMS = frozenset((type(None), bool, int, float, str, bytes))
_TYPES = ("ref_type", "object_type", "key", "key_type", "element_type")

_known_types: set[tuple[Any, ...]] = set()  # of metadata, and of its key


def copy_dict(node: DictConfig, memo: dict[int, Any]) -> DictConfig:
    """Return what `DictConfig.__deepcopy__` returns."""
    twin: DictConfig = _copy_container(DictConfig, node, memo, _dict_content)
    return twin


def copy_list(node: ListConfig, memo: dict[int, Any]) -> ListConfig:
    """Return what `ListConfig.__deepcopy__` returns."""
    twin: ListConfig = _copy_container(ListConfig, node, memo, _list_content)
    return twin


def _copy_container(kind: type[Any], node: Any, memo: dict[int, Any], copy_content: Callable[..., Any]) -> Any:
    own = node.__dict__
    twin = object.__new__(kind)
    flags_cache = own["_flags_cache"]
    twin.__dict__.update(
        _metadata=_copy_metadata(own["_metadata"], memo),
        _parent=own["_parent"],  # retained, not copied
        _flags_cache=flags_cache if flags_cache is None else copy.deepcopy(flags_cache, memo),
        _content=copy_content(own["_content"], twin, memo),
    )
    return twin


def _dict_content(content: Any, parent: DictConfig, memo: dict[int, Any]) -> Any:
    if not isinstance(content, dict):
        return content  # None, `???`, an interpolation
    return {key: _copy_child(child, parent, memo) for key, child in content.items()}


def _list_content(content: Any, parent: ListConfig, memo: dict[int, Any]) -> Any:
    if not isinstance(content, list):
        return content
    return [_copy_child(child, parent, memo) for child in content]


def _copy_child(child: Any, parent: Any, memo: dict[int, Any]) -> Any:
    twin = memo.get(id(child))
    if twin is None:
        kind = type(child)
        if kind in _LEAVES:
            twin = _copy_leaf(child, kind, memo)
        elif kind is DictConfig:
            twin = copy_dict(child, memo)
        elif kind is ListConfig:
            twin = copy_list(child, memo)
        else:
            twin = _copy_alone(child, memo)
        memo[id(child)] = twin
    twin.__dict__["_parent"] = parent
    return twin


def _copy_leaf(node: Any, kind: type[Any], memo: dict[int, Any]) -> Any:
    own = node.__dict__
    twin = object.__new__(kind)
    values = twin.__dict__
    values["_metadata"] = _copy_metadata(own["_metadata"], memo)
    values["_parent"] = None
    values["_flags_cache"] = None
    values["_val"] = own["_val"]  # not copied
    return twin


def _copy_alone(node: Any, memo: dict[int, Any]) -> Any:
    """Have a node of any other kind copy itself, without its parent."""
    own = node.__dict__
    parent = own["_parent"]
    own["_parent"] = None
    try:
        return copy.deepcopy(node, memo)
    finally:
        own["_parent"] = parent


def _copy_metadata(metadata: Metadata, memo: dict[int, Any]) -> Any:
    kind = type(metadata)
    own = metadata.__dict__
    flags, cache = own["flags"], own["resolver_cache"]
    if kind not in _METADATA or id(metadata) in memo or not _is_empty(flags, dict, memo):
        return copy.deepcopy(metadata, memo)
    twin = object.__new__(kind)
    values = twin.__dict__ = own.copy()
    types = (own["ref_type"], own["object_type"], own.get("key_type"), own.get("element_type"), type(own["key"]))
    if types not in _known_types:
        _copy_types(values, types, memo)
    memo[id(metadata)] = twin
    memo[id(flags)] = values["flags"] = {}
    if _is_empty(cache, defaultdict, memo) and cache.default_factory is dict:
        memo[id(cache)] = values["resolver_cache"] = defaultdict(dict)
    else:
        values["resolver_cache"] = copy.deepcopy(cache, memo)
    return twin


def _is_empty(value: Any, kind: type[Any], memo: dict[int, Any]) -> bool:
    """Say whether a dict is empty and not copied yet: nodes that share one do so in the copy too."""
    return not value and type(value) is kind and id(value) not in memo


def _copy_types(values: dict[str, Any], types: tuple[Any, ...], memo: dict[int, Any]) -> None:
    """Copy what may not be its own copy; remember the types when all are."""
    is_known = True
    for name in _TYPES:
        value = values.get(name)
        if type(value) not in _ATOMS and not isinstance(value, type):
            values[name] = copy.deepcopy(value, memo)
            is_known = False
    if is_known:
        _known_types.add(types)
