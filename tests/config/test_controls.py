from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import MISSING, OmegaConf

from trainctl.config.controls import Key, key_of_type, keys_of, lock_unbound
from trainctl.config.edit import parse_edit
from trainctl.errors import EditError, SettingError


class Act(Enum):
    RELU = 1
    GELU = 2


@dataclass
class Net:
    lr: float = 1
    depth: int | None = None
    act: Act = Act.RELU
    path: Path = Path("x")
    sizes: list[int] = field(default_factory=lambda: [1])
    extra: dict[str, int] = field(default_factory=dict)
    mixed: int | str = 3
    must: int = MISSING


def test_keys_take_their_types_from_a_structured_config() -> None:
    keys = keys_of(OmegaConf.create({"net": OmegaConf.structured(Net)}), {}, editable=True)
    assert {name: (key.type, key.optional, key.choices) for name, key in keys.items()} == {
        "net.lr": ("float", False, None), "net.depth": ("int", True, None), "net.act": ("str", False, ["RELU", "GELU"]),
        "net.path": ("str", False, None), "net.sizes": ("list", False, None), "net.extra": ("dict", False, None),
        "net.mixed": ("any", False, None), "net.must": ("int", False, None),
    }  # fmt: skip


def test_keys_take_their_types_from_values_otherwise() -> None:
    config = OmegaConf.create({
        "a": True, "b": 1, "c": 1.0, "d": "x", "e": [1], "f": {}, "g": None, "h": "${c}", "i": "???", "j": {"k.l": 1},
        "hydra": {"x": 1}, "m": b"x", "n": "${nowhere}",
    })  # fmt: skip
    keys = keys_of(config, {}, editable=True)
    assert {name: key.type for name, key in keys.items()} == {
        "a": "bool", "b": "int", "c": "float", "d": "str", "e": "list", "f": "dict", "g": "any", "h": "float",
        "i": "any", r"j.k\.l": "int", "m": "bytes", "n": "any",
    }  # fmt: skip
    assert [name for name, key in keys.items() if key.optional] == ["g", "i", "n"]
    assert not any(key.declared for key in keys.values())


def test_most_specific_pattern_rules_and_the_later_of_two_equal_ones() -> None:
    config = OmegaConf.create({"model": {"depth": 1, "width": 2, "head": {"p": 0.5}}})
    controls = {"*": {"help": "any"}, "model.*": "!", "model.width": {"min": 1}, "*.depth": {"help": "deep"}}
    keys = keys_of(config, controls, editable=True)
    assert keys["model.width"] == Key("int", min=1)
    assert keys["model.head.p"].locked is not None
    assert keys["model.depth"].help == "deep"
    for one in ({"model.width": "!", "model.width*": {"min": 1}}, {"model.width*": {"min": 1}, "model.width": "!"}):
        assert keys_of(config, one, editable=True)["model.width"].locked is not None  # the key itself before a pattern


def test_key_with_signs_of_patterns_in_it_is_known_by_its_own_name() -> None:
    config = OmegaConf.create({"a[bc]": 1, "ac": 2, "x*": 3, "xy": 4})
    keys = keys_of(config, {"a[bc]": "!", "x[*]": "!"}, editable=True)
    assert {name for name, key in keys.items() if key.locked} == {"a[bc]", "ac", "x*"}


def test_own_settings_are_locked_and_so_is_all_when_not_editable() -> None:
    config = OmegaConf.create({"lr": 0.1, "trainctl": {"replay": None}})
    assert keys_of(config, {"*": {"min": 0}} | {"trainctl.*": {"help": "x"}}, editable=True)["trainctl.replay"] == Key(
        "any", optional=True, locked="settings of trainctl are fixed for a run"
    )
    assert keys_of(config, {}, editable=False)["lr"].locked == "trainctl.editable is false"


@pytest.mark.parametrize(
    ("controls", "sentence"),
    [
        ({"modle.*": "!"}, r"the pattern 'modle\.\*' matches no key of the config; keys are lr, model\.depth, name"),
        ({"model": "!"}, r"the pattern 'model' matches no key of the config; did you mean model\.\*\?"),
        ({"name": {"max": 3}}, "'name' gives max to name, which is of type str; bounds are for int and float"),
        ({"name": {"min": 0}}, "'name' gives min to name, which is of type str"),
        ({"lr": {"mim": 3}}, "'lr' has the unknown word 'mim'"),
    ],
)
def test_control_that_fits_no_key_is_refused(controls: dict[str, Any], sentence: str) -> None:
    config = OmegaConf.create({"lr": 0.1, "model": {"depth": 1}, "name": "x"})
    with pytest.raises(SettingError, match=rf"^trainctl\.controls: {sentence}"):
        keys_of(config, controls, editable=True)


def test_field_of_a_structured_config_carries_its_control_and_controls_go_before_word_by_word() -> None:
    @dataclass
    class Tuned:
        lr: float = field(default=0.1, metadata={"trainctl": {"min": 1e-6, "max": 1, "log": True, "max_change": 10}})
        depth: int = field(default=3, metadata={"trainctl": "!"})
        plain: int = field(default=3, metadata={"other": 1})

    config = OmegaConf.create({"net": OmegaConf.structured(Tuned)})
    keys = keys_of(config, {"net.lr": {"max": 0.5}, "net.depth": {"help": "baked in"}}, editable=True)
    assert keys["net.lr"] == Key("float", declared=True, min=1e-6, max=0.5, log=True, max_change=10)
    assert keys["net.depth"] == Key("int", declared=True, locked="locked by trainctl.controls", help="baked in")
    assert keys["net.plain"] == Key("int", declared=True)


def test_wrong_control_of_a_field_names_the_field() -> None:
    @dataclass
    class Wrong:
        name: str = field(default="x", metadata={"trainctl": {"max": 1}})

    with pytest.raises(
        SettingError, match=r"^the field 'name' of Wrong, in its metadata gives max to net.name, which is"
    ):
        keys_of(OmegaConf.create({"net": OmegaConf.structured(Wrong)}), {}, editable=True)

    @dataclass
    class Unknown:
        name: str = field(default="x", metadata={"trainctl": {"maximum": 1}})

    with pytest.raises(
        SettingError, match=r"^the field 'name' of Unknown, in its metadata has the unknown word 'maximum'"
    ):
        keys_of(OmegaConf.create({"net": OmegaConf.structured(Unknown)}), {}, editable=True)


class Literals:
    act: Literal["relu", "gelu"]
    size: Literal[16, 32] | None
    free: int | str


def test_literal_gives_the_choices() -> None:
    config = OmegaConf.create({"net": {"act": "relu", "size": None, "free": 1}})
    # OmegaConf 2.3 makes no structured config of a class with Literals; its successor does, and notes the class here
    config.net._metadata.object_type = dataclass(Literals)
    keys = keys_of(config, {}, editable=True)
    assert keys["net.act"] == Key("str", declared=True, choices=["relu", "gelu"])
    assert keys["net.size"] == Key("any", optional=True, declared=True, choices=[16, 32])
    assert keys["net.free"] == Key("int")
    with pytest.raises(EditError, match=r"^net\.act=tanh: allowed are relu, gelu$"):
        parse_edit("net.act", "tanh", keys)
    assert parse_edit("net.size", "32", keys) == 32


def test_key_that_needs_a_new_run_is_refused_with_the_reason() -> None:
    keys = keys_of(OmegaConf.create({"optim": {"name": "sgd"}}), {"optim.name": {"when": "restart"}}, editable=True)
    with pytest.raises(
        EditError, match=r"^optim.name=adam: the key takes effect only when a run starts \(when: restart\)"
    ):
        parse_edit("optim.name", "adam", keys)


@pytest.mark.parametrize(
    ("pattern", "ruled"),
    [("*", "m.a.b m.a.c m.x n"), ("m.*", "m.a.b m.a.c m.x"), ("m.a.*", "m.a.b m.a.c"), ("*.b", "m.a.b"), ("n", "n")],
)
def test_pattern_covers_all_keys_below(pattern: str, ruled: str) -> None:
    config = OmegaConf.create({"m": {"a": {"b": 1, "c": 2}, "x": 3}, "n": 4})
    keys = keys_of(config, {pattern: {"help": "found"}}, editable=True)
    assert [name for name, key in keys.items() if key.help == "found"] == ruled.split()


def test_key_comes_back_from_its_record() -> None:
    key = Key(
        "float", optional=True, locked="why", choices=[1.0], min=0.0, max=1.0, log=True, step=0.1, hidden=True,
        when="epoch", max_change=10, checkpoint_first=True, help="x",
    )  # fmt: skip
    assert Key.from_dict({**key.to_dict(), "from_a_newer_version": 1}) == key
    assert Key("int").to_dict() == {"type": "int"}


def test_many_keys_are_told_by_the_first_twenty() -> None:
    config = OmegaConf.create({f"k{number:02}": number for number in range(30)})
    with pytest.raises(SettingError, match=r"keys are k00, .*, k19, … \(30 in all\)$"):
        keys_of(config, {"lr": "!"}, editable=True)


def test_pattern_may_name_what_lies_in_a_list_or_in_a_mapping_that_a_resolver_makes() -> None:
    config = OmegaConf.create({"betas": [0.9, {"x": 1}], "made": "${oc.create:'{a: 1}'}"})
    found = keys_of(config, {"betas.1.x": {"max": 3}}, editable=True)
    assert (list(found), found["made"].locked) == (["betas", "made"], "a resolver makes this mapping")
    with pytest.raises(SettingError, match=r"the pattern 'betas\.2' matches no key"):
        keys_of(config, {"betas.2": {"max": 3}}, editable=True)


def test_keys_that_nothing_follows_are_locked_but_for_those_with_a_control() -> None:
    keys = {"lr": Key("float"), "n": Key("int"), "free.a": Key("int"), "shut": Key("int", locked="why")}
    found = lock_unbound(keys, ["lr"], ["free.*"], "the Trainer")
    assert {name: key.locked for name, key in found.items()} == {
        "lr": None,
        "n": "nothing follows it while the Trainer trains: bind it with live.bind(…), or open it with "
        "trainctl.controls: {n: {}}",
        "free.a": None,
        "shut": "why",
    }


def test_entry_of_a_declared_type_is_of_that_type() -> None:
    assert key_of_type(Act | None) == Key("str", True, True, choices=["RELU", "GELU"])
    assert (key_of_type(list[int]).type, key_of_type(dict[str, int]).type) == ("list", "dict")
    assert key_of_type(int | str) == Key("any")
