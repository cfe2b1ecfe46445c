from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ReadonlyConfigError

from trainctl.config.assign import assign, fitted
from trainctl.errors import EditError

# an int in a list of floats, say: OmegaConf 2.4 converts it, as 2.3 does, and says that it will not for ever
CONVERTED_IN_LISTS = pytest.mark.filterwarnings("ignore:Implicit conversion from:FutureWarning")


class Act(Enum):
    RELU = 1
    GELU = 2


@dataclass
class Net:
    lr: float = 0.1
    act: Act = Act.RELU
    path: Path = Path("x")
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    extra: dict[str, int] = field(default_factory=dict)
    mixed: int | float = 3
    maybe: int | str | None = 1
    many: list[int | str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)


@pytest.fixture
def config() -> DictConfig:
    config = OmegaConf.create({
        "net": OmegaConf.structured(Net), "n": 1, "list": [1, 2], "map": {}, "none": None, "same": "${net.lr}",
        "deep": {"odd.key": 1, 7: {"x": 1}},
    })  # fmt: skip
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    return config


def test_assignment_changes_a_protected_config_and_leaves_it_protected(config: DictConfig) -> None:
    OmegaConf.set_readonly(config.net, True)
    assign(config, {"net.lr": 0.5, "n": 2, r"deep.odd\.key": 3, "deep.7.x": 4})
    assert (config.net.lr, config.n, config.deep["odd.key"], config.deep[7].x, config.same) == (0.5, 2, 3, 4, 0.5)
    with pytest.raises(ReadonlyConfigError, match="read-only"):
        config.n = 3
    with pytest.raises(ReadonlyConfigError, match="read-only"):
        config.net.lr = 3
    OmegaConf.set_readonly(config, False)
    with pytest.raises(ConfigAttributeError, match="not in struct"):
        config.new = 3


def test_assignment_fills_lists_in_place_so_that_holders_see_it(config: DictConfig) -> None:
    betas, plain, extra = config.net.betas, config.list, config.net.extra
    assign(config, {"net.betas": [0.5], "list": [3, {"a": [1]}], "net.extra": {"a": 1}, "map": {"b": {"c": 2}}})
    assert (betas, plain, extra) == ([0.5], [3, {"a": [1]}], {"a": 1})
    assert config.map.b.c == 2
    with pytest.raises(ReadonlyConfigError, match="read-only"):
        betas.append(3)


def test_assignment_may_change_the_kind_of_an_untyped_value(config: DictConfig) -> None:
    assign(config, {"none": [1, 2], "list": None})
    assert (config.none, config.list) == ([1, 2], None)
    assign(config, {"none": 3, "list": [4]})
    assert (config.none, config.list) == (3, [4])


@CONVERTED_IN_LISTS
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("net.betas", [1, 2], [1.0, 2.0]), ("net.act", "GELU", "GELU"), ("net.path", "y", "y"), ("n", 5, 5),
        ("net.mixed", 2.5, 2.5), ("net.maybe", "auto", "auto"), ("net.maybe", None, None),
        ("net.many", [1, "a"], [1, "a"]), ("net.paths", ["y"], ["y"]), ("net.extra", {"a": 1}, {"a": 1}),
        ("same", 0.3, 0.3),
    ],
)  # fmt: skip
def test_fitted_value_is_what_the_config_will_hold(config: DictConfig, key: str, value: Any, expected: Any) -> None:
    before = OmegaConf.to_yaml(config)
    fit = fitted(config, key, value)
    assert (type(fit), repr(fit)) == (type(expected), repr(expected))
    assert OmegaConf.to_yaml(config) == before
    assign(config, {key: fit})
    assert repr(fitted(config, key, fit)) == repr(expected)


@CONVERTED_IN_LISTS
@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("net.betas", [1, "x"], r"net\.betas: Value 'x' of type 'str' could not be converted to Float"),
        ("net.extra", {"a": "x"}, "could not be converted to Integer"),
        ("net.act", "TANH", "Invalid value 'TANH', expected one of"),
        ("net.mixed", "x", "Value 'x' of type 'str'"),
        ("net.exact", [10**400], "int too large to convert to float"),
        ("net.gone", 1, r"net\.gone: the config has no such key"),
        ("n.x", 1, r"n\.x: the config has no such key"),
        ("deep.odd.key", 1, r"the config has no such key"),
    ],
)
def test_value_that_a_typed_config_refuses_is_an_edit_error(
    config: DictConfig, key: str, value: Any, sentence: str
) -> None:
    before = OmegaConf.to_yaml(config)
    with pytest.raises(EditError, match=sentence) as refused:
        fitted(config, key, value)
    assert "\n" not in str(refused.value)
    assert OmegaConf.to_yaml(config) == before


def test_value_that_no_config_can_hold_is_an_edit_error_before_anything_is_changed() -> None:
    config = OmegaConf.create({"any": 1})
    with pytest.raises(EditError, match=r"^any: .*key.*; nothing was changed$"):
        fitted(config, "any", {"a": {None: 1}})
    assert config.any == 1
