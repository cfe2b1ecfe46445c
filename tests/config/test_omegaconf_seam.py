"""What each private name of OmegaConf must do, on every supported OmegaConf, and what the seam makes of them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from enum import Enum
from typing import Any, Optional

import omegaconf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import AnyNode, DictConfig, IntegerNode, ListConfig, OmegaConf, UnionNode
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import InterpolationKeyError, ReadonlyConfigError, ValidationError

from trainctl.config import _omegaconf as seam


class Color(Enum):
    RED = 1


@dataclasses.dataclass
class Inner:
    width: int = 3


@dataclasses.dataclass
class Schema:
    size: int = 1
    maybe: int | None = None
    either: int | float = 2
    names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    weights: dict[Color, float] = dataclasses.field(default_factory=lambda: {Color.RED: 0.5})
    inner: Inner = dataclasses.field(default_factory=Inner)
    late: Inner = "???"  # type: ignore[assignment]


@pytest.fixture
def config() -> Any:
    created: Any = OmegaConf.structured(Schema)
    return created


@pytest.fixture
def untyped() -> Any:
    text: Any = {"a": {"b": 1, "r": "${.b}"}, "l": [1, {"x": "???"}], "none": None, "m": "???", "r": "${a}", "e": {}}
    created: Any = OmegaConf.create(text)
    OmegaConf.set_struct(created, True)
    OmegaConf.set_readonly(created, True)
    return created


def test_the_installed_version_is_known() -> None:
    assert seam.IS_KNOWN, f"run this file on OmegaConf {omegaconf.__version__} and add it to KNOWN"


# One test for each private name.


def test_value_is_what_is_written(config: Any, untyped: Any) -> None:
    top = untyped._value()
    assert type(top) is dict
    assert list(top) == ["a", "l", "none", "m", "r", "e"]
    assert type(top["l"]._value()) is list
    assert [top[key]._value() for key in ("none", "m", "r")] == [None, "???", "${a}"]
    assert isinstance(config._value()["either"], UnionNode)
    assert config._value()["either"]._value()._value() == 2
    assert config._value()["late"]._value() == "???"
    assert DictConfig("${x}")._value() == "${x}"


def test_get_node_gives_the_node_itself_and_none_for_what_is_not_there(config: Any, untyped: Any) -> None:
    assert untyped._get_node("r", validate_access=False) is untyped._value()["r"]
    assert untyped._get_node("nothing", validate_access=False) is None  # though it is a struct
    assert untyped._get_node("l")._get_node(0, validate_access=False)._value() == 1
    assert config.weights._get_node("RED", validate_access=False)._value() == 0.5  # a key is converted
    assert config.weights._get_node("BLUE", validate_access=False) is None


def test_is_none_and_is_missing_resolve_nothing(untyped: Any) -> None:
    nodes = untyped._value()
    assert [key for key in nodes if nodes[key]._is_none()] == ["none"]
    assert [key for key in nodes if nodes[key]._is_missing()] == ["m"]


def test_dereference_node_leads_to_the_node_that_is_meant(untyped: Any) -> None:
    assert untyped._get_node("r")._dereference_node() is untyped._get_node("a")
    assert untyped.a._get_node("b")._dereference_node() is untyped.a._get_node("b")
    with pytest.raises(InterpolationKeyError):
        AnyNode("${nowhere}", parent=untyped)._dereference_node()


def test_is_optional_says_whether_the_type_allows_none(config: Any) -> None:
    assert {key: config._get_node(key)._is_optional() for key in ("size", "maybe", "either", "names")} == {
        "size": False, "maybe": True, "either": False, "names": False,
    }  # fmt: skip


def test_metadata_holds_the_types_of_a_structured_config(config: Any) -> None:
    assert config._get_node("size")._metadata.ref_type is int
    assert OmegaConf.create({"x": 1})._get_node("x")._metadata.ref_type is Any
    assert config._get_node("inner")._metadata.ref_type is Inner
    assert config.names._metadata.element_type is str
    assert config.weights._metadata.element_type is float
    assert OmegaConf.create({})._metadata.element_type is Any
    made = OmegaConf.create({"width": 4}, flags={"allow_objects": True})
    made._metadata.object_type = Inner
    assert OmegaConf.to_object(made) == Inner(4)


def test_get_parent_and_key_lead_to_the_top(untyped: Any) -> None:
    node = untyped.a._get_node("b")
    assert (node._key(), node._get_parent()._key()) == ("b", "a")
    assert node._get_parent()._get_parent() is untyped
    assert untyped._get_parent() is None


def test_key_of_an_item_goes_stale_when_items_move() -> None:
    items: Any = OmegaConf.create([2, 1])
    node = items._get_node(1)
    items.sort()
    assert node._key() == 1
    assert seam.place_of(node)[-1] == 0


def test_set_parent_says_where_references_resolve() -> None:
    alone = OmegaConf.create({"x": "${top}"})
    alone._set_parent(OmegaConf.create({"top": 7}))
    assert alone.x == 7
    alone._set_parent(None)
    with pytest.raises(InterpolationKeyError):
        alone.x  # noqa: B018


def test_set_value_converts_and_refuses(config: Any) -> None:
    node = config._get_node("size")
    node._set_value("12")
    assert config.size == 12
    with pytest.raises(ValidationError):
        node._set_value("twelve")
    names = config.names
    names._set_value(["b", "c"])
    assert config.names is names
    assert names == ["b", "c"]
    OmegaConf.set_readonly(config, True)
    with pytest.raises(ReadonlyConfigError):
        config._get_node("size")._set_value(1)


def test_set_flag_takes_several_flags_at_once() -> None:
    config = OmegaConf.create({})
    OmegaConf.set_readonly(config, True)
    config._set_flag(flags=["allow_objects", "struct", "readonly"], values=[True, False, False])
    config.x = object()
    assert isinstance(config.x, object)


def test_invalidate_flags_cache_has_flags_asked_again_below(untyped: Any) -> None:
    node = untyped._get_node("a")
    assert node._get_flag("readonly")
    node.__dict__["_parent"] = None
    assert node._get_flag("readonly")
    node._invalidate_flags_cache()
    assert not node._get_flag("readonly")
    assert not node._get_node("b")._get_flag("readonly")


def test_content_in_the_dict_of_a_config_is_its_entries(untyped: Any) -> None:
    assert untyped.__dict__["_content"] is untyped._value()
    content = untyped.__dict__["_content"]
    untyped.__dict__["_content"] = {"a": content["a"]}
    assert list(untyped) == ["a"]


def test_resolvers_is_the_registry() -> None:
    assert "oc.env" in BaseContainer._resolvers
    assert seam.registered_resolvers() is BaseContainer._resolvers


# What the seam makes of them.


def test_a_walk_yields_values_and_what_has_no_entries(untyped: Any) -> None:
    found = {leaf.path: seam.plain(leaf.node) for leaf in seam.walk(untyped)}
    assert found == {
        ("a", "b"): 1, ("a", "r"): "${.b}", ("l", 0): 1, ("l", 1, "x"): "???", ("none",): None, ("m",): "???",
        ("r",): "${a}", ("e",): {},
    }  # fmt: skip
    assert all(leaf.container._get_node(leaf.path[-1]) is leaf.node for leaf in seam.walk(untyped))
    assert [leaf.path for leaf in seam.walk(untyped, skip=("a", "m"), into_lists=False)] == [
        ("l",), ("none",), ("r",), ("e",),
    ]  # fmt: skip


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "x", "???", "${a}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc") | st.integers(0, 3), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abcd"), values))
def test_a_walk_passes_all_that_is_written_once(written: dict[Any, Any]) -> None:
    def leaves(value: Any, path: tuple[Any, ...]) -> Any:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        if (path and not value) or not isinstance(value, dict | list):
            yield path, value
        for key, inner in inside:
            yield from leaves(inner, (*path, key))

    config = OmegaConf.create(written)
    found = [(leaf.path, seam.plain(leaf.node)) for leaf in seam.walk(config)]
    assert found == [each for each in leaves(written, ()) if each[0]]
    assert all(
        (seam.text_of(leaf.node) == "${a}") is (value == "${a}")
        for leaf, (_, value) in zip(seam.walk(config), found, strict=True)
    )
    assert all(
        seam.is_missing(leaf.node) is (value == "???")
        for leaf, (_, value) in zip(seam.walk(config), found, strict=True)
    )


@given(st.dictionaries(st.sampled_from("abcd"), values))
def test_the_slow_way_of_an_unknown_version_finds_the_same(written: dict[Any, Any]) -> None:
    config = OmegaConf.create(written)
    known = [(leaf.path, id(leaf.node)) for leaf in seam.walk(config)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seam, "IS_KNOWN", False)
        assert [(leaf.path, id(leaf.node)) for leaf in seam.walk(config)] == known
        assert seam.copy_sharing(config, "a") == config


def test_an_unknown_version_is_named_once(
    untyped: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(seam, "IS_KNOWN", False)
    seam._say_unknown.cache_clear()
    list(seam.walk(untyped))
    list(seam.walk(untyped))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert omegaconf.__version__ in caplog.text


def test_names_lead_past_flags_to_entries(config: Any, untyped: Any) -> None:
    assert seam.key_named(config.weights, "RED") is Color.RED
    assert seam.mapping_at(untyped, ["a"]) is untyped.a
    assert [seam.mapping_at(untyped, [name]) for name in ("l", "none", "m", "r", "nothing")] == [None] * 5
    assert seam.mapping_at(config, ["late"]) is None
    assert seam.child(untyped, "nothing") is None
    assert seam.child(config._get_node("late"), "width") is None


def test_raw_values_and_kinds(config: Any, untyped: Any) -> None:
    node = untyped._get_node
    assert [seam.raw(node(key)) for key in ("none", "m", "r")] == [None, "???", "${a}"]
    assert seam.raw(node("a")) is untyped.a
    assert seam.raw(config._get_node("either")) == 2
    assert [key for key in untyped if seam.is_open(node(key))] == ["a", "l", "e"]
    assert [key for key in untyped if seam.text_of(node(key)) is not None] == ["r"]
    assert seam.is_missing(config._get_node("late"))
    assert seam.plain(node("l")) == [1, {"x": "???"}]
    assert [seam.declared_type(config._get_node(key)) for key in ("size", "inner")] == [int, Inner]
    assert seam.item_type(config.weights) is float
    assert seam.is_optional(config._get_node("maybe"))


def test_resolved_is_what_access_gives(config: Any, untyped: Any) -> None:
    for each in (config, untyped):
        for key, node in seam.entries(each):
            try:
                expected = each[key]
            except omegaconf.MissingMandatoryValue:
                with pytest.raises(omegaconf.MissingMandatoryValue):
                    seam.resolved(each, key, node)
            else:
                found = seam.resolved(each, key, node)
                assert found == expected
                assert type(found) is type(expected)
    assert seam.resolved_text("${a.b}", untyped) == 1
    assert seam.resolved_text("${.b}", untyped.a) == 1


def test_set_value_goes_past_flags_and_leaves_them(untyped: Any) -> None:
    seam.set_value(untyped.a._get_node("b"), 5)
    assert untyped.a.b == 5
    with pytest.raises(ReadonlyConfigError):
        untyped.a.b = 6


def test_a_free_copy_stays_in_its_place(untyped: Any) -> None:
    twin = seam.free_copy(untyped.a)
    twin.new = "${none}"
    assert twin.new is None  # resolved from the top
    assert "new" not in untyped.a
    assert copy.deepcopy(untyped.a)._get_parent() is untyped


def test_a_sharing_copy_has_the_same_node_at_its_key(untyped: Any) -> None:
    twin: Any = seam.copy_sharing(untyped, "a")
    assert twin._get_node("a") is untyped._get_node("a")
    assert twin._get_node("l") is not untyped._get_node("l")
    assert OmegaConf.to_container(twin) == OmegaConf.to_container(untyped)
    assert seam.copy_sharing(untyped, "nothing") == untyped


def test_replace_puts_a_value_past_its_type(config: Any) -> None:
    seam.replace(config, "size", "{now}")
    assert config.size == "{now}"
    assert pickle.loads(pickle.dumps(config)).size == "{now}"


def test_take_over_moves_nodes_with_their_types(config: Any) -> None:
    mine: Any = OmegaConf.create({"hydra": {"x": 1}, "gone": 2, "size": "old", "r": "${size}"})
    config.size = 9
    OmegaConf.set_struct(config, False)
    seam.take_over(mine, config, keep=("hydra", "r"))
    assert mine.size == 9
    assert mine.r == 9
    assert isinstance(mine._get_node("size"), IntegerNode)
    assert "gone" not in mine
    assert mine.hydra == {"x": 1}
    assert isinstance(mine.names, ListConfig)
    assert isinstance(mine.inner, DictConfig)
    assert mine.inner._get_parent() is mine


def watched(node: Any, *, counts: bool = True) -> list[int]:
    """Watch a node; return a list that gets an entry per read."""
    seen: list[int] = []

    def is_read() -> bool:
        seen.append(1)
        return counts

    seam.watch(node, is_read)
    return seen


KEYS = ("size", "maybe", "either", "names", "weights", "inner")
READS: dict[str, Any] = {
    "attribute": getattr, "item": lambda config, key: config[key], "get": lambda config, key: config.get(key),
    "items": lambda config, key: list(config.items()), "values": lambda config, key: list(config.values()),
    "container": lambda config, key: OmegaConf.to_container(config, throw_on_missing=False),
    "yaml": lambda config, key: OmegaConf.to_yaml(config), "select": OmegaConf.select,
    "copy": lambda config, key: copy.deepcopy(config), "pickle": lambda config, key: pickle.loads(pickle.dumps(config)),
    "merge": lambda config, key: OmegaConf.merge(config, {}), "comparison": lambda config, key: config == config.copy(),
    "unpacking": lambda config, key: dict(**config), "text": lambda config, key: str(config),
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("way", READS)
def test_a_watched_node_tells_of_its_first_read_and_is_an_ordinary_one_then(key: str, way: str) -> None:
    config: Any = OmegaConf.structured(Schema(late=Inner()))
    node, expected = config._get_node(key), READS[way](config, key)
    kind, attributes = type(node), set(vars(node))
    seen = watched(node)
    assert READS[way](config, key) == expected
    assert (seen, type(node), set(vars(node))) == ([1], kind, attributes)
    assert READS[way](config, key) == expected
    assert seen == [1]


@pytest.mark.parametrize("key", KEYS)
def test_a_watched_node_is_not_read_by_what_takes_no_value(key: str) -> None:
    config: Any = OmegaConf.structured(Schema(late=Inner()))
    config._get_node(key)._get_flag("struct")
    seen = watched(config._get_node(key))
    for other in KEYS:
        assert other == key or getattr(config, other) != 0
    assert (list(config), len(config)) == (list(config.keys()), 7)
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    config._invalidate_flags_cache()
    assert seen == []


@pytest.mark.parametrize("key", KEYS)
def test_a_watched_node_stays_one_while_reads_do_not_count(key: str) -> None:
    config: Any = OmegaConf.structured(Schema(late=Inner()))
    node = config._get_node(key)
    kind, seen = type(node), watched(node, counts=False)
    twin = copy.deepcopy(config)
    assert seen
    assert twin == config
    assert type(node) is not kind
    assert type(twin._get_node(key)) is kind
    assert seam.unwatch(node) is not None
    assert type(node) is kind


def test_a_watched_value_can_be_set_and_tells_who_reads_it_through_a_reference(untyped: Any) -> None:
    node = untyped.a._get_node("b")
    seen = watched(node)
    seam.set_value(node, 5)
    assert seen == []
    assert node.__dict__["_val"] == 5
    assert untyped.a.r == 5
    assert seen == [1]


def test_a_list_that_somebody_holds_tells_who_looks_into_it(untyped: Any) -> None:
    held = untyped.l
    seen = watched(held)
    assert held[0] == 1
    assert seen == [1]


def test_declared_types_tell_what_is_optional_structured_and_inside() -> None:
    """`_resolve_optional` and `is_structured_config` of `omegaconf._utils`."""
    assert seam.is_optional_type(Optional[int]) == (True, int)  # noqa: UP045
    assert seam.is_optional_type(Any)[1] is Any
    assert seam.structured_class(Optional[Inner]) is Inner  # noqa: UP045
    assert [seam.structured_class(kind) for kind in (int, Any, dict[str, Inner])] == [None, None, None]
    kinds = (list[int], tuple[Inner, ...], dict[str, float], Optional[list[str]], int, Any)  # noqa: UP045
    assert [seam.types_inside(kind) for kind in kinds] == [int, Inner, float, str, Any, Any]


def test_value_is_of_the_smallest_subclass_that_has_its_fields() -> None:
    """`__dataclass_fields__`, and `__attrs_attrs__` of attrs."""
    below = dataclasses.make_dataclass("Below", [("more", int, 1)], bases=(Inner,))
    dataclasses.make_dataclass("Lowest", [("most", int, 1)], bases=(below,))
    names = [each.name for each in dataclasses.fields(Inner)]
    assert seam.with_fields(Inner, names) is Inner
    assert seam.with_fields(Inner, [*names, "more"]) is below
    assert seam.with_fields(Inner, [*names, "most"]).__name__ == "Lowest"
    assert seam.with_fields(Inner, [*names, "none"]) is Inner


def test_empty_mapping_takes_what_another_one_takes(config: Any) -> None:
    twin = seam.empty_like(config.weights)
    assert len(twin) == 0
    twin["RED"] = 1.0
    assert list(twin.items()) == [(Color.RED, 1.0)]
    with pytest.raises(ValidationError, match="Float"):
        twin[Color.RED] = "x"


def test_entry_is_found_by_its_text_in_mappings_and_lists(config: Any, untyped: Any) -> None:
    assert seam.entry_named(untyped.l, "0") == (0, seam.child(untyped.l, 0))
    assert [seam.entry_named(untyped.l, name) for name in ("2", "-1", "00", "x", "\u0660")] == [None] * 5
    found = seam.entry_named(config.weights, "RED")
    assert found is not None
    assert found[0] is Color.RED
    assert seam.entry_named(untyped, "none") is not None
