from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from trainctl.config.script import (
    ConfigScript,
    ConfigScriptDict,
    ConfigScriptList,
    ConfigScriptNoCache,
    MetaConfig,
    deep_replace,
    parse_args,
    script_of,
    unroll,
)
from trainctl.errors import ScriptError


class Built:
    def __init__(self, config: Any, *parts: Any) -> None:
        self.config = config
        self.parts = parts


@dataclass
class Data(ConfigScript):
    path: str = "data/train.txt"
    length: int = 256

    def unroll(self, metaconfig: MetaConfig) -> Built:
        return Built(self, metaconfig.convert_path(self.path))


@dataclass
class Model(ConfigScript):
    data: Data = field(default_factory=Data)
    dim: int = 8

    def unroll(self, metaconfig: MetaConfig) -> Built:
        return Built(self, self.data.unroll(metaconfig))


@dataclass
class Train(ConfigScript):
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    others: list[Data] = field(default_factory=list)
    named: dict[str, Data] = field(default_factory=dict)
    lr: float = 0.1

    def unroll(self, metaconfig: MetaConfig) -> Built:
        others = [each.unroll(metaconfig) for each in self.others]
        named = {key: each.unroll(metaconfig) for key, each in self.named.items()}
        return Built(self, self.model.unroll(metaconfig), self.data.unroll(metaconfig), others, named)


@dataclass
class TrainSchema(Train):
    """What is referred to has no value of its own: OmegaConf takes no `${…}` over a dataclass."""

    model: Any = field(default_factory=Model)
    data: Any = None
    others: list[Any] = field(default_factory=list)


@dataclass
class ModelSchema(Model):
    data: Any = None


@dataclass
class Step(ConfigScriptNoCache):
    def unroll(self, metaconfig: MetaConfig) -> Built:
        return Built(self)


@dataclass
class BigModel(Model):
    def unroll(self, metaconfig: MetaConfig) -> Built:
        return Built(self, super().unroll(metaconfig))


@pytest.fixture
def stored() -> Iterator[Any]:
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainSchema)
    yield store.load("train_schema.yaml").node
    store.repo.pop("train_schema.yaml")


def test_config_that_several_refer_to_is_unrolled_once_for_each_meta() -> None:
    data = Data(length=3)
    train = Train(Model(data), data, [data], {"a": data})
    built = train.unroll(MetaConfig())
    model, own, (listed,), named = built.parts
    assert model.parts[0] is own is listed is named["a"]
    assert built.config is train
    assert train.unroll(MetaConfig()).parts[1] is not own
    meta = MetaConfig()
    assert train.unroll(meta) is train.unroll(meta)


def test_equal_configs_are_not_one() -> None:
    meta = MetaConfig()
    assert Data().unroll(meta) is not Data().unroll(meta)


def test_config_that_was_collected_does_not_lend_its_result_to_another() -> None:
    """A cache by `id` alone gives a new object the result of a dead one."""
    meta = MetaConfig()
    for length in range(200):
        assert Data(length=length).unroll(meta).config.length == length
        gc.collect(0)


def test_uncached_config_is_unrolled_each_time() -> None:
    step, meta = Step(), MetaConfig()
    assert step.unroll(meta) is not step.unroll(meta)


def test_unroll_of_a_base_class_can_be_called() -> None:
    big, meta = BigModel(), MetaConfig()
    built = big.unroll(meta)
    assert built is big.unroll(meta)
    assert built.parts[0].config is big


def test_cycle_is_named() -> None:
    @dataclass
    class Link(ConfigScript):
        next: Any = None

        def unroll(self, metaconfig: MetaConfig) -> Any:
            return self.next.unroll(metaconfig)

    first = Link()
    first.next = Link(first)
    meta = MetaConfig()
    with pytest.raises(ScriptError, match=r"these configs unroll each other: Link -> Link -> Link$"):
        first.unroll(meta)
    first.next = Data()
    assert first.unroll(meta).config is first.next  # nothing of the failed one is left


def test_lists_and_mappings_are_unrolled_as_one() -> None:
    data, meta = Data(), MetaConfig()
    one = data.unroll(meta)
    assert ConfigScriptList([data, data, 3]).unroll(meta) == [one, one, 3]
    assert ConfigScriptDict(a=data, b=None).unroll(meta) == {"a": one, "b": None}
    assert unroll([data, {"a": data}], meta) == [one, {"a": one}]


def test_meta_makes_paths_absolute_and_tells_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    meta = MetaConfig("project", verbose=True)
    assert meta.path("a/b") == os.path.join(os.getcwd(), "project", "a/b")
    assert meta.path("/a") == meta.convert_path("/a") == "/a"
    assert meta.path(None) is None
    data = Data()
    data.unroll(meta)
    data.unroll(meta)
    assert capsys.readouterr().out == "Data: unrolling\nData: unrolled before\n"


def test_node_of_a_hydra_config_is_unrolled_by_its_schema(stored: Any) -> None:
    schemas = {"train": OmegaConf.structured(stored), "data": OmegaConf.structured(Data(length=5))}
    schemas["train"].model = OmegaConf.structured(ModelSchema)
    schemas["train"].others = [None, OmegaConf.structured(Data)]
    written = {"train": {"data": "${data}", "model": {"data": "${train.data}"}, "named": {"b": {"length": 1}}}}
    config: Any = OmegaConf.merge(schemas, written)
    config.train.others[0] = "${data}"
    built = unroll(config.train)
    model, own, (first, second), named = built.parts
    assert model.parts[0] is own is first
    assert (own.config.length, second.config.length, named["b"].config.length) == (5, 256, 1)
    assert type(built.config) is TrainSchema
    assert built.config.lr == 0.1
    assert unroll(OmegaConf.create({"a": [1, {"b": None}]})) == {"a": [1, {"b": None}]}


def test_missing_value_and_cycle_are_named(stored: Any) -> None:
    config = OmegaConf.structured(stored)
    config.model.data.path = MISSING
    with pytest.raises(MissingMandatoryValue, match=r"model\.data\.path"):
        script_of(config)
    config = OmegaConf.create("a: [{b: '${c}'}]\nc: ['${a}']")
    with pytest.raises(ScriptError, match="a: references form a cycle"):
        script_of(config)


def test_deep_replace_keeps_references_and_the_given_config() -> None:
    data = Data()
    train = Train(Model(data), data, [data, Data(length=1)], {"a": Data()})
    changed = deep_replace(
        train, lr=0.5, model={"dim": 4, "data": {"length": 9}}, others={"1": {"length": 7}}, named={"a": {"path": "x"}}
    )
    assert changed.model.data is changed.data is changed.others[0]
    assert (changed.lr, changed.model.dim, changed.data.length, changed.others[1].length) == (0.5, 4, 9, 7)
    assert changed.named["a"].path == "x"
    assert asdict(train) == asdict(Train(Model(data), data, [data, Data(length=1)], {"a": Data()}))
    other = Data(length=2)
    assert deep_replace(train, data=other).data is other


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"modl": 3}, "^modl: there is no such key; there are model, data, others, named, lr$"),
        ({"model": {"dmi": 3}}, r"^model\.dmi: there is no such key; there are data, dim$"),
        ({"others": {"4": {"length": 1}}}, r"^others\.4: there is no such key; there are 0$"),
        ({"named": {"b": {"length": 1}}}, r"^named\.b: there is no such key; there are a$"),
    ],
)
def test_key_that_is_not_there_is_named(overrides: dict[str, Any], sentence: str) -> None:
    train = Train(others=[Data()], named={"a": Data()})
    with pytest.raises(ScriptError, match=sentence):
        deep_replace(train, **overrides)
    assert train == Train(others=[Data()], named={"a": Data()})


def test_arguments_are_read_as_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "epochs=1", "lr=1e-4", "model.data.path=a=b", "flag=true", "none=null"])
    assert parse_args() == {
        "epochs": 1,
        "lr": 1e-4,
        "model": {"data": {"path": "a=b"}},
        "flag": True,
        "none": None,
    }
    with pytest.raises(ScriptError, match="'--epochs': arguments are written key=value"):
        parse_args(["--epochs", "3"])


@given(st.lists(st.lists(st.integers(0, 20), max_size=3), min_size=1, max_size=8))
def test_graph_of_what_is_built_is_the_graph_of_configs(drawn: list[list[int]]) -> None:
    @dataclass
    class Node(ConfigScript):
        below: list[Any]

        def unroll(self, metaconfig: MetaConfig) -> Built:
            return Built(self, *(each.unroll(metaconfig) for each in self.below))

    nodes: list[Node] = []
    for links in drawn:
        nodes.append(Node([nodes[each % len(nodes)] for each in links] if nodes else []))
    meta = MetaConfig()
    built = {id(node): node.unroll(meta) for node in nodes}
    for node in nodes:
        assert [id(part) for part in built[id(node)].parts] == [id(built[id(each)]) for each in node.below]
    assert len({id(each) for each in built.values()}) == len(nodes)


def moved(unroll: Any) -> Any:
    """Do what the demo of micro_config does in `ConfigScriptModel.meta_unroll`, with its own use of the cache."""

    def new_unroll(self: Any, metaconfig: MetaConfig) -> Any:
        if metaconfig.unrolled is None:
            metaconfig.unrolled = {}
        if id(self) in metaconfig.unrolled:
            return metaconfig.unrolled[id(self)]
        built = [self.mark, unroll(self, metaconfig)]
        metaconfig.unrolled[id(self)] = built
        return built

    return new_unroll


@dataclass
class Moved(ConfigScript):
    mark: str = "moved"

    meta_unroll = moved


@dataclass
class Part(Moved):
    dim: int = 1

    def unroll(self, metaconfig: MetaConfig) -> Any:
        return self.dim


@dataclass
class BiggerPart(Part):
    def unroll(self, metaconfig: MetaConfig) -> Any:
        return super().unroll(metaconfig) + 1


@dataclass
class PartAsItIs(Part):
    pass


@dataclass
class CountedPart(Part):
    @classmethod
    def meta_unroll(cls, unroll: Any) -> Any:
        return ConfigScript.meta_unroll(lambda self, metaconfig: ("counted", unroll(self, metaconfig)))


@dataclass
class CountedAsItIs(CountedPart):
    pass


class Loud:
    @staticmethod
    def meta_unroll(unroll: Any) -> Any:
        return lambda self, metaconfig: ("loud", unroll(self, metaconfig))


@dataclass
class LoudData(Loud, Data):
    pass


@pytest.mark.parametrize(
    ("kind", "built"),
    [
        (Part, ["moved", 1]),
        (BiggerPart, ["moved", 2]),
        (PartAsItIs, ["moved", 1]),
        (CountedPart, ("counted", ["moved", 1])),
        (CountedAsItIs, ("counted", ["moved", 1])),
        (dataclass(slots=True)(type("SlottedPart", (Part,), {"unroll": lambda self, metaconfig: 5})), ["moved", 5]),
    ],
)
def test_meta_unroll_of_a_class_is_called_once_for_each_object(kind: Any, built: Any) -> None:
    script, meta = kind(), MetaConfig()
    result = script.unroll(meta)
    assert result == built
    assert script.unroll(meta) is result
    assert meta.unrolled is not None
    assert meta.unrolled[id(script)] is result
    assert script.unroll(MetaConfig()) is not result
    assert unroll({"a": script}, meta) == {"a": result}


def test_meta_unroll_of_a_mixin_is_called_and_need_not_keep_what_was_built() -> None:
    meta = MetaConfig()
    kind, built = LoudData(path="/x").unroll(meta)
    assert (kind, built.parts) == ("loud", ("/x",))


def test_results_of_a_meta_unroll_that_keeps_by_id_are_not_lent_to_others() -> None:
    meta = MetaConfig()
    for dim in range(200):
        assert Part(dim=dim).unroll(meta) == ["moved", dim]
        gc.collect(0)


def test_uncached_configs_are_not_kept() -> None:
    meta = MetaConfig()
    alive = weakref.ref(script := Step())
    script.unroll(meta)
    del script
    gc.collect()
    assert alive() is None


def test_plain_mapping_is_a_value_that_is_replaced_whole() -> None:
    @dataclass
    class Options(ConfigScript):
        options: dict[str, Any] = field(default_factory=lambda: {"a": 1})
        named: ConfigScriptDict = field(default_factory=lambda: ConfigScriptDict(a=Data()))

        def unroll(self, metaconfig: MetaConfig) -> Any:
            return self.options

    assert deep_replace(Options(), options={"b": 2}).options == {"b": 2}
    assert deep_replace(Options(), named={"a": {"length": 1}}).named["a"].length == 1
    assert list(deep_replace(Options(), named=ConfigScriptDict(b=Data())).named) == ["b"]
