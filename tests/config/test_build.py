from __future__ import annotations

import copy
from typing import Any

import hydra.utils
import pytest
from hydra.errors import InstantiationException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue
from parts import Part, Point, Size, told

import trainctl
from trainctl.config.build import BuildError, build

OPTIM = """
encoder: {_target_: parts.Part, size: 3}
alias: ${encoder}
train:
  _target_: parts.Part
  direct: ${encoder}
  through: ${alias}
  relative: ${..encoder}
  listed: ["${encoder}", {deep: "${alias}"}]
  size: ${encoder.size}
  text: ${encoder.size}-wide
  head: {_target_: parts.Part, over: "${encoder}"}
  again: ${.head}
  optim: {_target_: parts.Part, _partial_: true, model: "${train.head}"}
"""


def test_node_reached_by_several_references_is_one_object() -> None:
    train = build(OmegaConf.create(OPTIM).train)
    encoder = train.direct
    assert encoder.size == 3
    assert all(
        each is encoder
        for each in (train.through, train.relative, train.listed[0], train.listed[1].deep, train.head.over)
    )
    assert train.again is train.head
    assert train.optim.keywords["model"] is train.head
    assert (train.size, train.text) == (3, "3-wide")


def test_each_call_builds_anew_and_leaves_the_config_as_it_was() -> None:
    config = OmegaConf.create(OPTIM)
    before = copy.deepcopy(config)
    OmegaConf.set_readonly(config, True)
    OmegaConf.set_struct(config, True)
    assert build(config.train).direct is not build(config.train).direct
    assert config == before


def test_node_that_is_not_shared_is_built_for_each_reference() -> None:
    config = OmegaConf.create(
        "inner: {_target_: parts.Part}\n"
        "model: {_target_: parts.Part, _shared_: false, inner: '${inner}'}\n"
        "first: ${model}\nsecond: ${model}"
    )
    built = build(config)
    assert isinstance(built.first, Part)
    assert built.first is not built.second
    assert built.first.inner is built.second.inner
    assert "_shared_" not in built.first.kwargs


def test_reference_into_a_node_is_the_object_that_stands_there() -> None:
    config = OmegaConf.create(
        "head: {_target_: parts.Part, of: '${model.encoder}'}\n"
        "model: {_target_: parts.Part, encoder: {_target_: parts.Part, depth: 2}, layers: [{_target_: parts.Part}]}\n"
        "last: ${model.layers.0}\nname: depth\ndepth: ${model.encoder.${name}}"
    )
    built = build(config)
    assert built.head.of is built.model.encoder
    assert built.last is built.model.layers[0]
    assert built.depth == 2


def test_containers_are_shared_where_they_are_plain() -> None:
    config = OmegaConf.create(
        "betas: [0.9, 0.99]\n"
        "a: {_target_: parts.Part, _convert_: all, betas: '${betas}'}\n"
        "b: {_target_: parts.Part, _convert_: all, betas: '${betas}'}"
    )
    built = build(config, _convert_="all")
    assert built["a"].betas is built["b"].betas is built["betas"]
    assert built["a"].betas == [0.9, 0.99]


def test_dataclass_object_is_passed_as_it_is() -> None:
    config = OmegaConf.create("p: {_target_: parts.Point, x: 4}\na: {_target_: parts.Part, p: '${p}'}")
    assert build(config.a).p == Point(4)
    assert type(build(config.a).p) is Point


def test_reference_in_a_structured_config_is_one_object() -> None:
    config = OmegaConf.create({"size": OmegaConf.structured(Size), "parts": {}})
    config.parts = OmegaConf.create(
        {key: {"_target_": "parts.Part", "_convert_": "object", "size": "${size}"} for key in "ab"}
    )
    built = build(config.parts)
    assert built.a.size is built.b.size
    assert built.a.size == Size(2, 3)


def test_items_that_have_moved_in_their_list_are_told_apart() -> None:
    config = OmegaConf.create("parts: [{_target_: parts.Part, n: 0}, {_target_: parts.Part, n: 1}]")
    del config.parts[0]
    config.parts.append({"_target_": "parts.Part", "n": 2})
    assert [each.n for each in build(config).parts] == [1, 2]


def test_below_recursive_false_targets_get_configs() -> None:
    config = OmegaConf.create(
        "inner: {_target_: parts.Part, k: 1}\n"
        "outer: {_target_: parts.Part, _recursive_: false, a: '${inner}', b: {c: '${inner}'}}"
    )
    outer = build(config.outer)
    assert outer.a == {"_target_": "parts.Part", "k": 1}
    assert outer.b.c == outer.a
    assert told(outer) == told(hydra.utils.instantiate(config.outer))


def test_overrides_and_arguments_pass_through_untouched() -> None:
    config = OmegaConf.create("{_target_: parts.Part, _args_: [1, 2], size: 3, deep: {a: 1, b: 2}}")
    point, weights = Part(), [object()]
    built = build(config, weights, size=point, deep={"a": 5})
    assert built.args == (weights,)
    assert built.args[0] is weights
    assert built.size is point
    assert built.deep == {"a": 5, "b": 2}
    assert build(config).args == (1, 2)


@pytest.mark.parametrize(
    "config", [{"_target_": Part, "x": [1, {"_target_": Part}]}, [{"_target_": "parts.Part"}], Size]
)
@pytest.mark.parametrize("convert", ["none", "partial", "object", "all"])
def test_plain_containers_and_dataclasses_are_built_as_hydra_builds_them(config: Any, convert: str) -> None:
    assert told(build(config, _convert_=convert) if isinstance(config, dict) else build(config)) == told(
        hydra.utils.instantiate(config, _convert_=convert)
        if isinstance(config, dict)
        else hydra.utils.instantiate(config)
    )


def test_nothing_is_nothing() -> None:
    assert build(None) is None
    assert build(OmegaConf.create("a: null")).a is None


def test_resolvers_that_return_references_share_too() -> None:
    config = OmegaConf.create(
        "parts: {a: {_target_: parts.Part}, b: {_target_: parts.Part}}\nall: ${oc.dict.values:parts}\none: ${parts.b}"
    )
    built = build(config)
    assert [each is built.parts[key] for key, each in zip("ab", built.all, strict=True)] == [True, True]
    assert built.one is built.parts.b


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "a: {_target_: parts.Part, x: '${b}'}\nb: {_target_: parts.Part, y: ['${a}']}",
            r"cycle: a -> b -> b\.y -> a$",
        ),
        ("a: {_target_: parts.Part, x: '${a}'}", "a.x: references form a cycle: it refers to a node that it stands in"),
        (
            "a: {_target_: parts.Part, x: {_target_: parts.Part, y: '${..x}'}}",
            "a.x.y: references form a cycle: it refers",
        ),
        ("a: ${b}\nb: ${a}", "references form a cycle"),
        ("a: {b: {_target_: parts.Nothing}}", r"^a\.b: .*Nothing"),
        ("a: [{_target_: parts.broken}]", r"^a\[0\]: the target parts.broken failed: ValueError: no such optimizer"),
        ("a: {_target_: parts.Part, _args_: 3}", "a: _args_ must be a list, it is 3"),
        ("a: {_target_: parts.Part, _partial_: 3}", "a: _partial_ must be true or false, it is 3"),
        ("a: {_target_: parts.Part, _recursive_: 'x'}", "a: _recursive_ must be true or false, it is 'x'"),
    ],
)
def test_refusal_names_the_key(text: str, sentence: str) -> None:
    with pytest.raises(BuildError, match=sentence) as caught:
        build(OmegaConf.create(text))
    assert isinstance(caught.value, InstantiationException)
    assert isinstance(caught.value, trainctl.TrainctlError)


def test_missing_value_and_lost_reference_name_the_key() -> None:
    with pytest.raises(MissingMandatoryValue, match=r"a\.x"):
        build(OmegaConf.create({"a": {"_target_": "parts.Part", "x": MISSING}}))
    with pytest.raises(InterpolationKeyError, match="nowhere"):
        build(OmegaConf.create("a: {_target_: parts.Part, x: '${nowhere}'}"))
    partial = build(OmegaConf.create({"a": {"_target_": "parts.Part", "_partial_": True, "x": MISSING, "y": 1}})).a
    assert partial.keywords == {"y": 1}


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(BuildError, match="this is int"):
        build(3)
    with pytest.raises(BuildError, match="a list takes no keys, these were given: size"):
        build([], size=3)


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab c", max_size=3) | st.floats(allow_nan=False)


def _nodes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = st.dictionaries(st.sampled_from("pqrs"), children, max_size=3)
    modes = st.fixed_dictionaries(
        {},
        optional={
            "_convert_": st.sampled_from(["none", "partial", "object", "all"]),
            "_recursive_": st.booleans(),
            "_partial_": st.booleans(),
            "_args_": st.lists(children, max_size=2),
        },
    )
    target = st.tuples(plain, modes).map(lambda pair: {"_target_": "parts.Part", **pair[0], **pair[1]})
    return plain | st.lists(children, max_size=3) | target


TREES = st.dictionaries(st.sampled_from("abc"), st.recursive(VALUES, _nodes, max_leaves=12), min_size=1, max_size=3)


@given(TREES)
def test_config_without_references_is_built_as_hydra_builds_it(tree: dict[str, Any]) -> None:
    config = OmegaConf.create(tree)
    assert told(build(config)) == told(hydra.utils.instantiate(config))


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_graph_of_objects_is_the_graph_of_references(drawn: list[list[int]], chance: Any) -> None:
    """Node n refers to nodes before it: to those at the top, through an alias, or to one that stands inside another."""
    config: dict[str, Any] = {}
    graph: dict[str, list[str]] = {}
    places: list[str] = []
    for number, references in enumerate(drawn):
        name = f"n{number}"
        wanted = [places[each % len(places)] for each in references] if places else []
        config[name] = {
            "_target_": "parts.Part",
            "own": {"_target_": "parts.Part"},
            "uses": [f"${{{each}}}" for each in wanted],
        }
        config[f"alias{number}"] = f"${{{name}.own}}"
        graph[name] = [_meant(each) for each in wanted]
        places += [name, f"{name}.own", f"alias{number}"]
    keys = list(config)
    chance.shuffle(keys)  # a reference may stand before what it refers to
    built = build(OmegaConf.create({key: config[key] for key in keys}))
    for name, wanted in graph.items():
        assert [id(each) for each in built[name].uses] == [id(_object(built, each)) for each in wanted]
    objects = {id(_object(built, each)) for name in graph for each in (name, f"{name}.own")}
    assert len(objects) == 2 * len(graph)


def _meant(place: str) -> str:
    return f"n{place.removeprefix('alias')}.own" if place.startswith("alias") else place


def _object(built: DictConfig, place: str) -> Any:
    name, _, own = place.partition(".")
    return built[name].own if own else built[name]
