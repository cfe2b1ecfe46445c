"""Our deep copies of OmegaConf's nodes are OmegaConf's own, in everything a node has."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.base import Node

from trainctl.launch import nodecopy
from trainctl.launch.nodecopy import copy_dict, copy_list

pytestmark = pytest.mark.skipif(not nodecopy.IS_KNOWN, reason="with another OmegaConf nothing is substituted")


class Kind(Enum):
    NEW = 1
    OLD = 2


@dataclass
class Inner:
    kind: Kind = Kind.NEW
    weight: float | None = None
    names: list[str] = field(default_factory=lambda: ["a", "${outer.x}"])
    must: int = MISSING


@dataclass
class Outer:
    x: int = 1
    raw: bytes = b"\x00"
    path: Path = Path("here")
    either: Union[int, str] = 3  # noqa: UP007  # as OmegaConf knows it
    inner: Inner = field(default_factory=Inner)
    table: dict[str, Inner] = field(default_factory=lambda: {"one": Inner()})
    by_kind: dict[Kind, int] = field(default_factory=lambda: {Kind.OLD: 2})
    maybe: Inner | None = None


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8).filter(lambda text: "${" not in text),  # half an interpolation is no config
    st.sampled_from(["???", "${a}", "${.b}_${c:d}", Kind.OLD, Path("p"), b"q"]),
    st.builds(Outer),
)
keys = st.one_of(st.text(max_size=3), st.integers(0, 3), st.booleans(), st.sampled_from(Kind))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)
configs = st.dictionaries(keys, trees, max_size=4).map(OmegaConf.create)
flags = st.tuples(st.integers(0, 40), st.sampled_from(["struct", "readonly", "allow_objects"]), st.booleans())


def nodes(root: Any) -> list[Any]:
    """List a node and all below it, as they lie in their containers."""
    content = root.__dict__.get("_content")
    below = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    below = [content] if isinstance(content, Node) else below  # of a union
    return [root, *[node for child in below for node in nodes(child)]]


def describe(root: Any) -> Any:
    """Return all that the nodes of a tree hold, each other node by its place."""
    found = nodes(root)
    places = {id(node): place for place, node in enumerate(found)}

    def shown(value: Any) -> Any:
        if isinstance(value, Node):
            return places.get(id(value), "outside")
        if isinstance(value, defaultdict):
            return "defaultdict", value.default_factory, dict(value)
        if isinstance(value, dict):
            return [(key, type(key), shown(item)) for key, item in value.items()]
        if isinstance(value, list):
            return [shown(item) for item in value]
        return type(value), repr(value)

    metadata = [(type(node._metadata), shown(dict(sorted(vars(node._metadata).items())))) for node in found]
    others = [shown({k: v for k, v in sorted(vars(node).items()) if k != "_metadata"}) for node in found]
    return [type(node) for node in found], metadata, others


@settings(max_examples=150, deadline=None)
@given(configs, st.lists(flags, max_size=3))
def test_copy_holds_what_omegaconfs_copy_holds(config: DictConfig, chosen: list[tuple[int, str, bool]]) -> None:
    found = nodes(config)
    for place, name, value in chosen:
        found[place % len(found)]._set_flag(name, value)
    for node in found:
        node._get_flag("struct")  # which it remembers
    before = describe(config)
    assert describe(copy_dict(config, {})) == describe(copy.deepcopy(config))
    assert describe(config) == before
    for node in nodes(config):
        ours = {DictConfig: copy_dict, ListConfig: copy_list}.get(type(node))
        if ours is not None:
            assert describe(ours(node, {})) == describe(copy.deepcopy(node))


def test_copy_shares_nothing_that_can_change() -> None:
    config = OmegaConf.create({"a": [{"b": 1}], "outer": Outer()})
    twin = copy_dict(config, {})
    twin.a[0].b = 2
    twin.outer.inner.names.append("c")
    twin._metadata.resolver_cache["now"]["%Y"] = "2000"
    OmegaConf.set_readonly(twin.outer, True)
    assert config == OmegaConf.create({"a": [{"b": 1}], "outer": Outer()})
    assert config._metadata.resolver_cache == {}
    assert OmegaConf.is_readonly(config.outer) is not True
    assert twin.outer.inner._get_parent() is twin.outer


def test_copy_keeps_what_is_shared_shared_and_its_parent() -> None:
    config = OmegaConf.create({"a": {"b": {"c": 1}}})
    shared = {"struct": True}
    for node in (config.a, config.a.b):
        node._metadata.flags = shared
    config.a._metadata.resolver_cache["now"]["%Y"] = "2000"
    for copier in (copy.deepcopy, lambda node: copy_dict(node, {})):
        twin = copier(config.a)
        assert twin._metadata.flags is twin.b._metadata.flags is not shared
        assert twin._metadata.resolver_cache["now"] == {"%Y": "2000"}
        assert twin._get_parent() is config
    pair = [config.a, config.a.b]
    for one, other in (copy.deepcopy(pair), _copied(pair)):
        assert one.b is other


def _copied(pair: list[Any]) -> list[Any]:
    memo: dict[int, Any] = {}
    one = memo[id(pair[0])] = copy_dict(pair[0], memo)
    return [one, memo[id(pair[1])]]


def test_unpickled_config_is_copied_alike() -> None:
    config = pickle.loads(pickle.dumps(OmegaConf.create({"a": [1, {"outer": Outer()}], "b": "${a}"})))
    assert describe(copy_dict(config, {})) == describe(copy.deepcopy(config))
