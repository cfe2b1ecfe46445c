"""Edits of a config without a run: what may be asked for, what the config then holds, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict

from trainctl.config.assign import assign, changes, current, rehearse, units_of
from trainctl.config.changelog import Changelog, Edit
from trainctl.config.controls import NOT_EDITABLE, Key
from trainctl.config.edit import check_inside, check_recorded, parse_change, parse_edits
from trainctl.config.editable import EditableKeys
from trainctl.config.keys import Units
from trainctl.config.snapshot import snapshot
from trainctl.config.values import is_same
from trainctl.errors import EditError


class Act(Enum):
    RELU = 1
    GELU = 2


@dataclass
class Layer:
    width: int = field(default=8, metadata={"trainctl": {"max": 99}})
    act: Act = Act.RELU


@dataclass
class Deep(Layer):
    depth: int = 2


@dataclass
class Free(Layer):
    free: Any = 1


@dataclass
class Net:
    lr: float = 0.1
    act: Act = Act.RELU
    first: Layer = field(default_factory=Layer)
    rest: list[Layer] = field(default_factory=lambda: [Layer(), Layer(3)])
    named: dict[str, Layer] = field(default_factory=dict)
    by_act: dict[Act, int] = field(default_factory=dict)
    by_step: dict[int, float] = field(default_factory=lambda: {10: 0.1})
    maybe: Layer | None = None
    counts: dict[str, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=lambda: [1], metadata={"trainctl": {"when": "epoch"}})


class Edited:
    """A config under edits, each tried and recorded as in a run."""

    def __init__(self, controls: Mapping[str, Any] | None = None, *, editable: bool = True, **entries: Any) -> None:
        self.config = OmegaConf.create({
            "net": OmegaConf.structured(Net), "optim": {"lr": 0.1, "betas": [0.9, {"x": 1}]}, "extra": {}, "n": 1,
            "none": None, "late": "???", "same": "${optim.lr}", "odd.key": 1, 7: {"x": 1}, "mixed": [1, [2, {"y": 3}]],
            **entries,
        })  # fmt: skip
        OmegaConf.set_struct(self.config, True)
        self.base = snapshot(self.config)
        self.units = Units(self.base)
        self.keys = EditableKeys(self.config, controls or {}, editable=editable)
        self.edits: list[Edit] = []

    def ask(self, edits: Mapping[str, Any]) -> dict[str, Any]:
        """Make an edit, and return what is recorded of it."""
        values = units_of(self.config, self.units, parse_edits(edits, self.keys))
        for key, old, new in changes(self.config, values):
            check_inside(key, old, new, self.keys.control(key), force=False)
        for key, value in values.items():
            check_recorded(key, value, self.keys, self.units.leaves)
        before = snapshot(self.config)
        rehearse(self.config, values, self.units.leaves)
        assert is_same(snapshot(self.config), before)  # all until here is a trial
        self.put(values)
        return values

    def put(self, values: Mapping[str, Any]) -> None:
        assign(self.config, values, self.units.leaves)
        self.edits.append(Edit(len(self.edits) + 1, dict(values)))
        recorded = Changelog(self.base, self.edits).at(len(self.edits))
        assert is_same(_sorted(recorded), _sorted(snapshot(self.config)))  # the record alone tells the whole config

    def now(self, key: str) -> Any:
        return current(self.config, key)


def _sorted(value: Any) -> Any:
    """An entry that was taken away and added again is the last one in the config."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=str)}
    return list(map(_sorted, value)) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("asked", "recorded", "held"),
    [
        ({"n": "3"}, {"n": 3}, {"n": 3}),
        ({"optim": {"lr": "1e-3"}}, {"optim.lr": 1e-3}, {"optim.lr": 1e-3, "same": 1e-3}),
        ({"optim.betas.0": "0.5"}, {"optim.betas": [0.5, {"x": 1}]}, {"optim.betas.0": 0.5}),
        ({"optim.betas.1.x": 2}, {"optim.betas": [0.9, {"x": 2}]}, {"optim.betas.1.x": 2}),
        ({"+optim.betas.1.z": 2}, {"optim.betas": [0.9, {"x": 1, "z": 2}]}, {"optim.betas.1.z": 2}),
        ({"mixed.1.1.y": 4}, {"mixed": [1, [2, {"y": 4}]]}, {"mixed.1": [2, {"y": 4}]}),
        ({"+extra.a": 1, "+extra.b.c": "x"}, {"extra": {"a": 1, "b": {"c": "x"}}}, {"extra.b.c": "x"}),
        ({"+optim.wd": "0.1"}, {"optim.wd": 0.1}, {"optim.wd": 0.1}),
        ({"++optim.lr": 1, "++optim.wd": 2}, {"optim.lr": 1.0, "optim.wd": 2}, {"optim.lr": 1.0, "optim.wd": 2}),
        ({"none": [1]}, {"none": [1]}, {"none": [1]}),
        ({"late": {"a": 1}}, {"late": {"a": 1}}, {"late.a": 1}),
        ({r"odd\.key": 2, "7.x": 3}, {r"odd\.key": 2, "7.x": 3}, {r"odd\.key": 2, "7.x": 3}),
        ({"net.act": "GELU"}, {"net.act": "GELU"}, {"net.act": "GELU"}),
        ({"net.first": {"width": 4}}, {"net.first.width": 4}, {"net.first": {"width": 4, "act": "RELU"}}),
        (
            {"net.rest.1.act": "GELU"},
            {"net.rest": [{"width": 8, "act": "RELU"}, {"width": 3, "act": "GELU"}]},
            {"net.rest.1.act": "GELU"},
        ),
        ({"net.rest": "[{width: 1}]"}, {"net.rest": [{"width": 1, "act": "RELU"}]}, {"net.rest.0.width": 1}),
        ({"+net.named.a": "{width: 2}"}, {"net.named": {"a": {"width": 2, "act": "RELU"}}}, {"net.named.a.width": 2}),
        ({"+net.by_act.GELU": 3}, {"net.by_act": {"GELU": 3}}, {"net.by_act.GELU": 3}),
        ({"+net.by_step.20": 1}, {"net.by_step.20": 1.0}, {"net.by_step": {10: 0.1, 20: 1.0}}),
        ({"+net.new": 3}, {"net.new": 3}, {"net.new": 3}),
        ({"net.maybe": "{width: 5}"}, {"net.maybe": {"width": 5, "act": "RELU"}}, {"net.maybe.width": 5}),
    ],
)  # fmt: skip
def test_edit_is_held_and_recorded(asked: dict[str, Any], recorded: dict[str, Any], held: dict[str, Any]) -> None:
    edited = Edited()
    assert is_same(edited.ask(asked), recorded)
    assert {key: edited.now(key) for key in held} == held
    assert OmegaConf.is_struct(edited.config)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"n": "3.5"}, "n=3.5: the key takes a whole number"),
        ({"n": 2, "optim.lr": "fast"}, "optim.lr=fast: the key takes a number"),
        ({"optim.lr": 1, "optim": {"lr": 2}}, "the key is given twice in one request"),
        ({}, "the request has no edits"),
        ({"optim": 3}, "optim=3: the key takes a mapping such as"),
        ({"optim.rl": 3}, "optim.rl=3: there is no such key; did you mean optim.lr"),
        ({"optim.wd": 3}, r"optim.wd=3: there is no such key.*; a new entry is written with a plus: \+optim.wd$"),
        ({"+optim.lr": 3}, r"^\+optim.lr=3: the key is there already; leave out the \+, nothing was changed"),
        ({"+optim.betas.2": 3}, r"^\+optim.betas.2=3: there is no such key"),
        ({"optim.betas.00": 3}, "there is no such key"),
        ({"+net.counts.a": "x"}, "net.counts.a=x: the key takes a whole number"),
        ({"+net.by_act.TANH": 3}, "net.by_act.TANH: .*nothing was changed"),
        ({"+net.named.a": "{height: 2}"}, "net.named.a: Layer has no 'height'; it has width, act; nothing was changed"),
        ({"net.first": "{width: x}"}, "net.first.width=x: the key takes a whole number"),
        ({"net.first": "{width: ["}, "net.first={width: .: it is not YAML"),
        ({"net.first": "[1]"}, "net.first=.1.: "),
        ({"net.rest": "[{width: x}]"}, "net.rest: .*nothing was changed"),
        ({"trainctl.seed": 3}, "trainctl.seed=3: .*nothing was changed"),
        ({"+hydra.x": 3}, "there is no such key"),
        ({"net.maybe.width": 3}, "there is no such key"),
    ],
)
def test_edit_that_the_config_cannot_hold_is_refused_and_changes_nothing(asked: dict[str, Any], sentence: str) -> None:
    edited = Edited()
    with pytest.raises(EditError, match=sentence):
        edited.ask(asked)
    assert is_same(snapshot(edited.config), edited.base)


def test_holders_of_a_container_see_its_edit() -> None:
    edited = Edited()
    betas, first, extra = edited.config.optim.betas, edited.config.net.first, edited.config.extra
    edited.ask({"optim.betas": "[1]", "net.first.width": 1, "+extra.a": 2})
    assert (list(betas), first.width, extra.a) == ([1], 1, 2)


def test_null_section_is_made_anew_by_an_edit_of_its_keys() -> None:
    edited = Edited(group={"a": {"x": 1, "y": 2}}, layer=OmegaConf.structured(Layer(4)))
    assert edited.ask({"group": "null"}) == {"group": None}
    with pytest.raises(EditError, match=r"group.a.x=3: there is no such key"):
        edited.ask({"group.a.x": "3"})
    assert edited.ask({"++group.a.x": "3", "++group.a.y": 4}) == {"group.a.x": 3, "group.a.y": 4}
    assert edited.now("group.a") == {"x": 3, "y": 4}
    # what was null or missing at the start
    assert edited.ask({"+net.maybe.width": 6}) == {"net.maybe": {"width": 6, "act": "RELU"}}
    assert edited.ask({"+none.a.b": 1, "+late.c": 2}) == {"none": {"a": {"b": 1}}, "late": {"c": 2}}
    # an edit of an earlier run, by whose time the section was there
    edited.put({"group": None})
    edited.put({"group.a.x": 5, "group.a.y": 6})
    assert edited.now("group") == {"a": {"x": 5, "y": 6}}
    edited.put({"group": None})
    assign(edited.config, {"group.new": "???"}, edited.units.leaves)  # of a section that is gone: nothing to take away
    assert edited.now("group") is None


def test_added_entry_is_taken_away_by_the_mark_of_a_missing_value() -> None:
    edited = Edited()
    edited.ask({"+optim.wd": 0.1, "+extra.a": 1})
    assert units_of(edited.config, edited.units, {"optim.wd": "???"}) == {"optim.wd": "???"}
    edited.put({"optim.wd": "???"})
    assert "wd" not in edited.config.optim
    edited.put({"optim.wd": "???"})  # it is gone already
    edited.put({"optim.lr": "???"})  # what step 0 has stays there, and is missing
    assert OmegaConf.is_missing(edited.config.optim, "lr")
    assert edited.now("optim.lr") is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"optim.betas.x": 1}, "optim.betas.x: there is no such key"),
        ({"optim.betas.7.x": 1}, "optim.betas.7.x: there is no such key"),
        ({"n.x": 1}, "n.x: there is no such key"),
        ({"optim": 3}, "optim: that is a section, and takes a mapping of its keys"),
        ({"net.lr": "fast"}, "net.lr: Value 'fast' of type 'str' could not be converted to Float; nothing was changed"),
        ({"net.lr": 10**400}, "net.lr: .*too large.*; nothing was changed"),
    ],
)
def test_value_of_a_recorded_edit_that_does_not_fit_is_refused(values: dict[str, Any], sentence: str) -> None:
    edited = Edited()
    with pytest.raises(EditError, match=sentence):
        units_of(edited.config, edited.units, values)


@pytest.mark.parametrize("key", ["none.x", "optim.none", "optim.betas.9", "n.x.y"])
def test_key_that_is_not_there_is_no_value(key: str) -> None:
    edited = Edited()
    with pytest.raises(EditError, match=f"{key}: the config has no such key"):
        edited.now(key)


def test_locks_delays_and_bounds_of_a_container_hold_inside_it() -> None:
    edited = Edited({
        "optim.betas": {"when": "epoch", "help": "of Adam"}, "optim.betas.0": {"min": 0, "max": 1},
        "net.rest": {"locked": True}, "n": {"choices": [1, 2]}, "extra*": {"checkpoint_first": True},
    })  # fmt: skip
    keys = edited.keys
    assert [keys.control(f"optim.betas{inside}").when for inside in ("", ".0", ".1.x")] == ["epoch", "live", "epoch"]
    assert (keys.control("extra.new").checkpoint_first, keys.control("optim.new").checkpoint_first) == (True, False)
    assert keys.get("optim.betas.1.x").type == "int"  # type: ignore[union-attr]
    assert keys.get("net.first").type == "dict"  # type: ignore[union-attr]
    assert keys.get("optim").type == "dict"  # type: ignore[union-attr]
    assert (keys.control("n").type, keys.control("none.x").type) == ("int", "any")
    assert [keys.get(key, "none") for key in ("optim.gone", "hydra.x", "optim.betas.5")] == ["none"] * 3
    for asked, sentence in (
        ({"optim.betas.0": 2}, "optim.betas.0=2: the maximum is 1"),
        ({"optim.betas": "[3, 4]"}, "optim.betas.0=3: the maximum is 1"),
        ({"net.rest.0.width": 2}, "net.rest.0.width=2: the key is locked"),
        ({"net.rest": "[]"}, "net.rest=.*: the key is locked"),
        ({"n": 3}, "n=3: allowed are 1, 2"),
    ):
        with pytest.raises(EditError, match=sentence):
            edited.ask(asked)
    free = Edited().keys  # without controls, but for those of the classes
    assert free.control("optim.new") == Key("any")
    assert (free.get("net.sizes.0").when, free.get("net.rest.0.width").max) == ("epoch", 99)  # type: ignore[union-attr]
    added = [free.addable(key) for key in ("net.counts.a", "net.counts.a.b", "net.counts", "trainctl.x", "n.x")]
    assert [key and key.type for key in added] == ["int", "any", None, None, "any"]
    assert [free.has_entries(key) for key in ("net.by_step", "extra", "optim.betas", "optim.betas.1", "none", "x")] == [
        True, False, False, True, False, False
    ]  # fmt: skip
    assert [free.is_there(key) for key in ("n", "optim.x", "none.x", "none.x.y", "x.y")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    fixed = Edited(editable=False)
    assert fixed.keys.get("optim.betas.0").locked == NOT_EDITABLE  # type: ignore[union-attr]
    told = keys.with_help({"n": "how many", "optim.betas": "not this", "none": "nothing"})
    assert [told[key].help for key in ("n", "optim.betas", "none", "late")] == ["how many", "of Adam", "nothing", None]
    free = edited.keys.without_unbound({"optim.lr"}, "the Trainer")
    assert free["optim.lr"].locked is None
    assert free.get("mixed.0").locked.startswith("nothing follows it while the Trainer trains: bind it")  # type: ignore[union-attr]
    assert free["n"].locked is None  # a control opens it


def test_part_of_a_structured_config_stays_of_its_class() -> None:
    edited = Edited(
        net=OmegaConf.structured(
            Net(first=Deep(4, Act.GELU, 3), rest=[Deep(), Layer(3)], named={"a": Deep(1)}, maybe=Deep())
        ),
        plain=[OmegaConf.structured(Free(1)), {"x": 1}],
    )
    net = edited.config.net

    def classes(*keys: str) -> list[type]:
        return [OmegaConf.get_type(OmegaConf.select(edited.config, key)) for key in keys]

    assert edited.ask({"net.rest.0.width": 9}) == {
        "net.rest": [{"width": 9, "act": "RELU", "depth": 2}, {"width": 3, "act": "RELU"}]
    }
    edited.ask({"net.first": {"width": 1}, "net.named.a.width": 2})
    assert classes("net.rest[0]", "net.rest[1]", "net.first", "net.named.a") == [Deep, Layer, Deep, Deep]
    edited.ask({"+net.named.b": {"width": 2}, "+net.named.c": {"depth": 5}})
    assert classes("net.named.b", "net.named.c") == [Layer, Deep]
    assert net.named.c == {"width": 8, "act": Act.RELU, "depth": 5}
    # a whole list: an item is of the smallest class that has its fields, or of the one that it had if it names them all
    edited.ask(
        {"net.rest": [{"width": 5}, {"width": 1, "act": "GELU", "depth": 1}, {"width": 2, "free": [1, {"a": 2}]}]}
    )
    assert classes("net.rest[0]", "net.rest[1]", "net.rest[2]") == [Layer, Deep, Free]
    assert net.rest[2].free == [1, {"a": 2}]
    edited.ask({"net.rest.2.free": [3], "net.first.act": "RELU"})
    assert classes("net.rest[1]", "net.rest[2]") == [Deep, Free]
    # in a list without a declared type
    edited.ask({"plain.0.width": 3, "plain.1.x": 2})
    assert classes("plain[0]", "plain[1]") == [Free, dict]
    # null, and made anew by the class that has the field
    edited.ask({"net.maybe": "null"})
    edited.ask({"++net.maybe.depth": 7})
    assert classes("net.maybe") == [Deep]


def test_field_that_a_program_added_to_a_structured_part_stays() -> None:
    net = OmegaConf.structured(Net())
    with open_dict(net.rest[0]):
        net.rest[0].note = "mine"
    edited = Edited(net=net)
    edited.ask({"net.rest.0.width": 9})
    assert (edited.config.net.rest[0].note, OmegaConf.get_type(edited.config.net.rest[0])) == ("mine", Layer)
    given = [{"a": [1]}]
    edited.ask({"+extra.list": given})
    given[0]["a"].append(2)  # what was given is not what the config holds
    assert edited.now("extra.list") == [{"a": [1]}]


def test_relative_edit_is_the_value_it_comes_to_and_its_jump_is_bounded() -> None:
    edited = Edited({"optim.lr": {"max_change": 10}})
    change = {"op": "*", "by": "0.5"}
    assert parse_change("optim.lr", change, lambda: edited.now("optim.lr"), edited.keys) == 0.05
    with pytest.raises(
        EditError, match=r"optim.lr=5.0: from 0.1 that is a factor of 50, and .* 10 at most \(max_change\)"
    ):
        edited.ask({"optim.lr": 5})
    check_inside("optim.lr", 0.1, 5.0, edited.keys.control("optim.lr"), force=True)


VALUES = st.recursive(
    st.integers(-9, 9) | st.floats(-1, 1) | st.sampled_from(["a", "null", ""]) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
NAMES = ["n", "none", "late", "extra", "optim", "mixed", "net.first", "net.rest", "net.named", "net.counts", "net.lr"]
KEYS = st.sampled_from(NAMES).flatmap(
    lambda name: st.lists(st.sampled_from(["a", "b", "0", "1", "lr", "betas", "width"]), max_size=2).map(
        lambda below: ".".join([name, *below])
    )
)
EDITS = st.dictionaries(st.tuples(st.sampled_from(["", "+", "++"]), KEYS).map("".join), VALUES, min_size=1, max_size=2)


@given(st.lists(EDITS, max_size=6))
def test_record_tells_the_config_after_any_edits_and_each_is_all_or_nothing(asked: list[dict[str, Any]]) -> None:
    edited = Edited()
    for one in asked:
        before = snapshot(edited.config)
        try:
            edited.ask(one)
        except EditError:
            assert is_same(snapshot(edited.config), before)
    again = Edited()
    for edit in edited.edits:
        again.put(units_of(again.config, again.units, edit.values))
    assert is_same(_sorted(snapshot(again.config)), _sorted(snapshot(edited.config)))
