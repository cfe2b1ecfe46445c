from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import omegaconf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, DictConfig, OmegaConf

from trainctl.config.identity import environment_identity, identity


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Optim:
    lr: float = 0.1
    colour: Colour = Colour.RED
    data: Path = Path("/data")
    extra: dict[str, int] = field(default_factory=dict)
    needed: int = MISSING


def of(values: Any, *exclude: str) -> str:
    config = OmegaConf.create(values) if isinstance(values, dict) else values
    return identity(config, exclude)


@pytest.fixture
def resolvers() -> Iterator[None]:
    """The resolvers that Hydra brings, here with a new value at each call."""
    drawn = random.Random(1)
    for name in ("now", "hydra"):
        OmegaConf.register_new_resolver(name, lambda *_: drawn.random(), replace=True)
    yield
    for name in ("now", "hydra"):
        OmegaConf.clear_resolver(name)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text("ab.1", max_size=3),
    st.sampled_from(["None", "True", "1", "1.0", "[]", "{}", "nan", "Colour.RED", ""]),
)  # fmt: skip
NAMES = st.text("ab.1", min_size=1, max_size=3)


def is_config(drawn: dict[Any, Any]) -> bool:
    """Whether OmegaConf takes a mapping: 2.4 refuses one with both 1 and "1"."""
    return omegaconf.__version__.startswith("2.3.") or len({str(key) for key in drawn}) == len(drawn)


TREES = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(NAMES | st.integers(0, 2), inner, max_size=3).filter(is_config)
        ),
        max_leaves=6,
    ),
    min_size=1,
    max_size=4,
)


def exact(value: Any) -> Any:
    """Return a value in a form whose equality tells types apart, and in which order does not count."""
    if isinstance(value, dict):
        return ("dict", frozenset((type(key).__name__, key, exact(inner)) for key, inner in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(exact, value)))
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else repr(value))
    return (type(value).__name__, value)


def turned_round(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: turned_round(inner) for key, inner in reversed(value.items())}
    return [turned_round(inner) for inner in value] if isinstance(value, list) else value


@given(TREES, TREES)
def test_identities_are_equal_exactly_if_the_values_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (of(one) == of(other)) == (exact(one) == exact(other))


@given(TREES)
def test_order_of_keys_does_not_count(values: dict[str, Any]) -> None:
    assert of(values) == of(turned_round(values))


def test_values_that_look_alike_are_different() -> None:
    values = [1, 1.0, "1", True, "true", "True", None, "None", "null", 0, False, 0.0, -0.0, "", [], {}, [1], {"0": 1}]
    assert len({of({"x": value}) for value in [*values, {0: 1}, "???", float("nan"), "nan"]}) == len(values) + 4


def test_nested_empties_and_places_are_told_apart() -> None:
    trees: list[dict[str, Any]] = [{"a": {}}, {"a": []}, {"a": {"b": {}}}, {"a": {"b": []}}, {"a": [{}]}, {"a": [[]]},
                                   {"a": {"b": 1}}, {"a.b": 1}, {"a": {"b": 1, "c": 2}}]  # fmt: skip
    assert len({of(tree) for tree in trees}) == len(trees)


def test_dotted_keys_beside_nested_ones_are_no_obstacle() -> None:
    assert of({"a.b": 1, "a": {"b": "x"}}) != of({"a.b": "x", "a": {"b": 1}})


def test_interpolation_counts_by_its_value() -> None:
    assert of({"x": 1, "y": "${x}"}) == of({"y": 1, "x": 1})
    assert of({"x": {"a": 1}, "y": "${x}"}) == of({"x": {"a": 1}, "y": {"a": 1}})
    assert of({"x": 1, "y": "${x}"}) != of({"x": 2, "y": "${x}"})
    assert of({"x": {"a": 1, "b": "${.a}"}}) == of({"x": {"a": 1, "b": 1}})


def test_interpolation_that_cannot_be_resolved_counts_by_its_text() -> None:
    assert of({"x": "${nowhere}"}) == of({"x": "${nowhere}"}) != of({"x": "${elsewhere}"})


def test_config_that_refers_to_its_own_container_has_an_identity() -> None:
    assert of({"a": {"b": "${a}", "c": 1}}) != of({"a": {"b": "${a}", "c": 2}})


@pytest.mark.usefixtures("resolvers")
@pytest.mark.parametrize(
    "values",
    [
        {"x": "${now:%Y}"},
        {"x": "run of ${ now:%H }"},
        {"x": "${hydra:runtime.output_dir}/log"},
        {"x": "${hydra.runtime.output_dir}/log"},
        {"x": ["${now:%Y}", {"y": "${hydra:job.num}"}]},
        {"run_id": "${hydra:job.num}", "x": "${run_id}", "y": "${run_id}/log"},
        {"paths": {"out": "${now:%S}", "log": "${.out}/log"}, "x": "${paths}", "y": "${x.log}"},
    ],
)
def test_time_and_place_of_a_run_count_by_their_text(values: dict[str, Any]) -> None:
    assert of(values) == of(values)
    assert of(values) != of({**values, "other": 1})


def test_node_of_hydra_does_not_count() -> None:
    assert of({"x": 1, "hydra": {"job": {"num": 1}}}) == of({"x": 1, "hydra": {"job": {"num": 2}}}) == of({"x": 1})
    assert of({"x": {"hydra": 1}}) != of({"x": {"hydra": 2}})
    assert of({"x": 1, "hydra": {"a": "${nope:}", "b": "???", "c": "${x}"}}) == of({"x": 1})
    assert of({"x": "${oc.select:hydra.job.num}", "hydra": {"job": {"num": 1}}}) == of({"x": None})
    typed = OmegaConf.create({"x": "${hydra.job.num}", "hydra": {"job": {"num": 1}}})
    other = OmegaConf.create({"x": "${hydra.job.num}", "hydra": {"job": {"num": 2}}})
    assert identity(typed) == identity(other)


@pytest.mark.parametrize(
    ("key", "counts"),
    [("seed", True), ("replay", True), ("editable", True), ("controls.lr", True), ("controls", True), ("drift", False),
     ("poll_s", False), ("panel.port", False), ("track", False), ("seeds", False)],
)  # fmt: skip
def test_of_our_settings_only_those_count_that_change_the_result(key: str, counts: bool) -> None:
    configs = [OmegaConf.create({"x": 1, "trainctl": {}}) for _ in range(2)]
    for number, config in enumerate(configs):
        OmegaConf.update(config, f"trainctl.{key}", number)
    assert (identity(configs[0]) != identity(configs[1])) == counts


@pytest.mark.parametrize(
    ("pattern", "without"),
    [
        ("data.path", ["data.path"]),
        ("data", ["data.path", "data.workers"]),
        ("data.*", ["data.path", "data.workers"]),
        ("*.path", ["data.path", "log.path"]),
        ("*", ["data.path", "data.workers", "log.path", "x"]),
        ("dat", []),
        ("path", []),
    ],
)
def test_excluded_keys_do_not_count(pattern: str, without: list[str]) -> None:
    base = {"data": {"path": "/a", "workers": 1}, "log": {"path": "/b"}, "x": 1}
    for key in ("data.path", "data.workers", "log.path", "x"):
        changed = OmegaConf.create(base)
        OmegaConf.update(changed, key, "changed")
        assert (of(base, pattern) == identity(changed, [pattern])) == (key in without)


@pytest.mark.parametrize(
    "reference",
    ["${data.path}", "${data.path}/train", "${oc.select:data.path}", "${.up}", "${data}", "${oc.dict.values:data}"],
)
def test_what_refers_to_an_excluded_key_does_not_count_either(reference: str) -> None:
    one, other = ({"data": {"path": path}, "up": "${data.path}", "x": reference} for path in ("/a", "/b"))
    assert of(one, "data.path") == of(other, "data.path")
    assert of(one) != of(other)
    assert of(one, "data.path") != of({**one, "x": "/elsewhere"}, "data.path")
    whole = {**one, "data": {"path": "/a", "more": 1}}
    assert of(one, "data") == of(whole, "data")


def test_identity_is_empty_when_nothing_is_left_to_tell_jobs_apart() -> None:
    assert of({}) == of({"hydra": {"x": 1}}) == of({"trainctl": {"panel": {"port": 1}}}) == of({"x": 1}, "x") == ""


def structured(**values: Any) -> DictConfig:
    return OmegaConf.create({"optim": OmegaConf.structured(Optim(**values))})


def test_typed_configs_have_an_identity() -> None:
    one = of(structured())
    assert one == of(structured(lr=0.1, colour=Colour.RED))
    assert len({one, *(of(structured(**change)) for change in (
        {"lr": 0.2}, {"colour": Colour.BLUE}, {"data": Path("/other")}, {"extra": {"a": 1}}, {"needed": 3},
    ))}) == 6  # fmt: skip


def test_enum_is_not_its_text() -> None:
    plain = {"optim": {"lr": 0.1, "colour": "Colour.RED", "data": "/data", "extra": {}, "needed": "???"}}
    assert of(structured()) != of(plain)


def test_config_is_left_as_it_is() -> None:
    config = OmegaConf.create({"x": "${now:%Y}", "y": {"z": "${x}"}, "hydra": {"a": 1}})
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    before = OmegaConf.to_yaml(config)
    assert identity(config)
    assert OmegaConf.to_yaml(config) == before
    assert OmegaConf.is_readonly(config)


def test_identity_is_the_same_in_each_version() -> None:
    config = OmegaConf.create({"lr": 0.1, "n": [1, "a", None, True], "hydra": {"job": {"env_set": {"SEED": "1"}}}})
    assert identity(config) == "03db8db857c134aa"  # else a sweep that an earlier version began would be run again
    assert environment_identity(config) == "1122f53efbe39c90"


def environment(variables: dict[str, Any], *exclude: str, **config: Any) -> str:
    return environment_identity(OmegaConf.create({**config, "hydra": {"job": {"env_set": variables}}}), exclude)


def test_variables_count_by_name_and_value() -> None:
    assert environment({"A": "1", "B": "2"}) == environment({"B": "2", "A": "1"})
    assert len({environment({}), environment({"A": "1"}), environment({"A": "2"}), environment({"B": "1"})}) == 4
    assert environment({}) == environment_identity(OmegaConf.create({"lr": 1})) == ""


def test_variable_counts_by_the_value_of_what_it_refers_to() -> None:
    assert environment({"A": "${lr}"}, lr=1) == environment({"A": 1}, lr=2)
    assert environment({"A": "${lr}"}, lr=1) != environment({"A": "${lr}"}, lr=2)
    assert environment({"A": "${lr}"}, "lr", lr=1) == environment({"A": "${lr}"}, "lr", lr=2)


def test_variable_is_left_out_by_its_key() -> None:
    assert environment({"A": "1", "WANDB_ID": "x"}, "hydra.job.env_set.WANDB_*") == environment({"A": "1"})
    assert environment({"A": "1"}, "env_set.A") == environment({"A": "1"})
    assert environment({"A": "1"}, "hydra.job.env_set") == ""
