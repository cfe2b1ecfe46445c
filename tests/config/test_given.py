from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from trainctl.config.given import check_missing, is_choice, keys_given, restore_given, restore_leaves
from trainctl.errors import MissingError


def restored(given: dict[str, Any], adapted: dict[str, Any], *overrides: str, groups: tuple[str, ...] = ()) -> Any:
    """Return what becomes of an adapted config whose values on the command line are put back."""
    config: DictConfig = OmegaConf.create(adapted)
    OmegaConf.set_struct(config, True)
    restore_given(config, OmegaConf.create(given), list(overrides), groups)
    return OmegaConf.to_container(config)


@pytest.mark.parametrize(
    ("given", "adapted", "overrides", "expected"),
    [
        ({"lr": 1, "n": 2}, {"lr": 8, "n": 9}, ("lr=1",), {"lr": 1, "n": 9}),
        ({"opt": {"lr": 1, "m": 2}}, {"opt": {"lr": 8, "m": 9}}, ("opt.lr=1",), {"opt": {"lr": 1, "m": 9}}),
        ({"opt": {"lr": 1, "m": 2}}, {"opt": {"lr": 8, "m": 9}}, ("opt={lr:1}",), {"opt": {"lr": 1, "m": 9}}),
        ({"opt": {"lr": 1}}, {"n": 1}, ("+opt.lr=1",), {"n": 1, "opt": {"lr": 1}}),
        ({"n": None}, {"n": 9}, ("n=null",), {"n": None}),
        ({"n": "${m}", "m": 1}, {"n": 9, "m": 8}, ("n=${m}",), {"n": "${m}", "m": 8}),
        (
            {"opt": {}},
            {"opt": {"lr": 8, "m": 9}, "k": {"x": 1}},
            ("~opt.lr", "~gone"),
            {"opt": {"m": 9}, "k": {"x": 1}},
        ),
        ({"l": [1, 2]}, {"l": [9]}, ("l=[1,2]",), {"l": [1, 2]}),
        ({"lr": 1}, {"lr": 8}, ("trainctl.seed=1", "hydra/launcher=slots"), {"lr": 8}),
        ({"task": {"a": 1}}, {"task": {"a": 9}}, ("task=digits",), {"task": {"a": 9}}),
        ({"task": {"a": 1}}, {"task": {"a": 9}}, ("task@other=digits",), {"task": {"a": 9}}),
    ],
)
def test_values_of_the_command_line_are_put_back(
    given: dict[str, Any], adapted: dict[str, Any], overrides: tuple[str, ...], expected: dict[str, Any]
) -> None:
    assert restored(given, adapted, *overrides) == expected


def test_choice_of_a_group_is_no_value() -> None:
    config = OmegaConf.create({"task": {"a": 1}, "name": "x", "ref": "${task}"})
    chosen = {
        text: is_choice(OverridesParser.create().parse_override(text), config, ("norm",))
        for text in ("task=digits", "task={a:2}", "name=y", "norm=new", "norm=[a,b]", "norm={a:1}", "task=${other}")
    }
    assert [text for text, is_group in chosen.items() if is_group] == ["task=digits", "norm=new", "norm=[a,b]"]
    assert restored({"norm": "new"}, {"norm": "old"}, "norm=new", groups=("norm",)) == {"norm": "old"}


def test_keys_of_a_mapping_are_its_leaves() -> None:
    override = OverridesParser.create().parse_override("opt={lr:1,betas:{a:0.9,b:[1,2]},empty:{}}")
    assert keys_given(override) == ["opt.lr", "opt.betas.a", "opt.betas.b", "opt.empty"]


def test_leaves_are_restored_where_they_still_are() -> None:
    adapted = OmegaConf.create({"a": {"b": 9, 1: 9}, "r": 9})
    OmegaConf.set_struct(adapted, True)
    given = OmegaConf.create({"a": {"b": None, 1: 2}, "gone": {"x": 1}, "r": "${a.b}"})
    restore_leaves(adapted, given, ["a.b", "a.1", "gone.x", "r"])
    assert OmegaConf.to_container(adapted) == {"a": {"b": None, 1: 2}, "r": "${a.b}"}


def test_missing_values_are_named_all_at_once() -> None:
    config = OmegaConf.create({"a": "???", "b": {"c": "???"}, "d": 1})
    with pytest.raises(MissingError, match=r"^job 3: these values are missing: a, b\.c; give them$"):
        check_missing(config, "job 3: ", "; give them")
    check_missing(OmegaConf.create({"d": 1}))
