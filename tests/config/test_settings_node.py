"""The settings' way out of the task's config, and how they are found there."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from trainctl.config.identity import identity
from trainctl.config.settings import IdentitySettings, PanelSettings, Settings, recorded, settings_of
from trainctl.config.settings_node import (
    hand_down,
    has_settings,
    kept_node,
    leave_out_of_dirname,
    move_settings,
    put_back,
    secrets_in,
    setting,
    without_defaults,
)


def composed(**entries: Any) -> DictConfig:
    """Return a config as Hydra has it when the command line has been applied."""
    config = OmegaConf.create({"trainctl": Settings(seed=3), "hydra": {"run": {"dir": "out"}}, **entries})
    OmegaConf.set_struct(config, True)
    return config


def left(config: DictConfig) -> Any:
    """Return what stays in the task's config."""
    move_settings(config)
    task = config.copy()
    OmegaConf.set_struct(task, False)
    del task["hydra"]
    return OmegaConf.to_container(task.get("trainctl", OmegaConf.create({})))


def test_nothing_stays_where_nothing_refers_to_it() -> None:
    config = composed(lr=0.1, trainctl_note="trainctl.seed", texts=["trainctl", "a/trainctl.seed"])
    assert left(config) == {}
    assert list(config) == ["hydra", "lr", "trainctl_note", "texts"]
    assert config.hydra.trainctl.seed == 3
    assert OmegaConf.is_struct(config)


@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        ({"seed": "${trainctl.seed}"}, {"seed": 3}),
        ({"seed": "${ trainctl.seed }"}, {"seed": 3}),
        ({"a": {"seed": "${..trainctl.seed}"}}, {"seed": 3}),
        ({"seed": "${trainctl[seed]}", "port": "p${trainctl.panel.port}"}, {"seed": 3, "panel": {"port": 0}}),
        ({"list": [{"seed": "x-${oc.select:trainctl.seed,0}"}]}, {"seed": 3}),
        ({"seed": "${oc.decode:'${trainctl.seed}'}"}, {"seed": 3}),
        ({"hydra": {"run": {"dir": "out/${trainctl.seed}"}}}, {"seed": 3}),
        ({"x": "${trainctl.no_such_setting}"}, {}),
        ({"x": "${hydra:job.name}/trainctl.seed", "y": "${oc.env:HOME,/srv/trainctl/x}"}, {}),
        ({"x": "${trainctl_name:}", "y": "${model.trainctl.seed}", "z": "${my-trainctl.seed}"}, {}),
    ],
)
def test_only_what_is_referred_to_stays(entries: dict[str, Any], kept: Any) -> None:
    config = composed(**entries)
    assert left(config) == kept
    assert config.hydra.trainctl.poll_s == 0.05


@pytest.mark.parametrize("text", ["${trainctl}", "${trainctl.${name}}", "${oc.create:${trainctl}}"])
def test_all_of_it_stays_where_it_is_referred_to_as_a_whole(text: str) -> None:
    assert left(composed(x=text, name="seed")).keys() == vars(Settings()).keys()


def test_reference_has_the_value_that_is_kept() -> None:
    config = composed(seed="${trainctl.seed}")
    move_settings(config)
    assert config.seed == 3


@dataclass
class WithNode:
    lr: float = 0.1
    trainctl: Any = None
    hydra: Any = field(default_factory=dict)


@dataclass
class Root:
    lr: float = 0.1


def test_field_that_a_structured_config_declares_stays() -> None:
    config = OmegaConf.structured(WithNode(trainctl={"seed": 3}))
    move_settings(config)
    assert (config.trainctl, config.hydra.trainctl) == ({"seed": 3}, {"seed": 3})


def test_field_that_a_structured_config_declares_has_what_differs_from_the_defaults() -> None:
    config = OmegaConf.structured(WithNode(trainctl=Settings(seed=3, panel=PanelSettings(port=5))))
    move_settings(config)
    assert config.trainctl == {"seed": 3, "panel": {"port": 5}}
    assert config.hydra.trainctl.poll_s == 0.05
    config = OmegaConf.structured(WithNode(trainctl=Settings()))
    move_settings(config)
    assert config.trainctl == {}


def test_structured_root_gets_back_its_own_fields_alone() -> None:
    config = OmegaConf.merge(composed(), OmegaConf.structured(Root))
    OmegaConf.set_struct(config, True)
    move_settings(config)
    assert (list(config), OmegaConf.get_type(config)) == (["hydra", "lr"], Root)


def test_second_move_changes_nothing_and_it_can_be_undone() -> None:
    config = composed(seed="${trainctl.seed}")
    before = OmegaConf.to_container(config)
    move_settings(config)
    moved = config.copy()
    move_settings(config)
    assert config == moved
    put_back(config)
    assert OmegaConf.to_container(config) == before
    put_back(config)
    assert OmegaConf.get_type(config.trainctl) is Settings


def test_config_without_settings_or_with_something_else_there_stays_as_it_is() -> None:
    for entries in ({"lr": 1, "hydra": {}}, {"trainctl": 3, "hydra": {}}, {"trainctl": {"seed": 3}}):
        config = OmegaConf.create(entries)
        move_settings(config)
        assert config == entries


def test_settings_are_read_from_hydras_node_and_a_configs_own_win() -> None:
    config = OmegaConf.create({"trainctl": {"seed": 5}, "hydra": {"trainctl": {"seed": 3, "poll_s": 1.0}}})
    assert settings_of(config) == Settings(seed=5, poll_s=1.0)
    assert (setting(config, "seed"), setting(config, "poll_s"), setting(config, "pairs", "none")) == (5, 1.0, "none")
    assert recorded(config) == {"trainctl": {"seed": 5, "poll_s": 1.0}}


def test_settings_of_a_task_are_those_of_the_hydra_application_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    task = OmegaConf.create({"lr": 0.1})
    assert (kept_node(task), settings_of(task)) == (None, Settings())
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"trainctl": {"seed": 3}}}))
    assert settings_of(task) == Settings(seed=3)
    assert recorded(task) == {"lr": 0.1, "trainctl": {"seed": 3}}


def test_settings_may_refer_to_the_config_that_they_were_composed_with() -> None:
    config = composed(limit=7, name="conf")
    OmegaConf.update(config, "trainctl.controls", {"lr": {"max": "${limit}"}}, force_add=True)
    config.trainctl.pairs = "${name}.pairs"
    move_settings(config)
    found = settings_of(config)
    assert (found.controls, found.pairs) == ({"lr": {"max": 7}}, "conf.pairs")
    assert recorded(config)["trainctl"]["controls"] == {"lr": {"max": "${limit}"}}


def test_job_is_the_same_wherever_its_settings_lie() -> None:
    """An earlier version has recorded the identity of a config with the node `trainctl`."""
    for entries in ({"lr": 0.1}, {"seed": "${trainctl.seed}"}, {"lr": "${now:%Y}"}, {}):
        config = composed(**entries)
        before = identity(config)
        move_settings(config)
        assert identity(config) == before
        config.hydra.trainctl.seed = 4
        assert identity(config) != before


def test_settings_stay_out_of_the_name_that_hydra_makes_of_overrides() -> None:
    options = {"kv_sep": "=", "item_sep": ",", "exclude_keys": ["a"]}
    config = composed(hydra={"job": {"config": {"override_dirname": options}}})
    leave_out_of_dirname(config, ["lr", "trainctl.seed", "trainctl.seed", "trainctl", "trainctl_note"])
    assert config.hydra.job.config.override_dirname.exclude_keys == ["a", "trainctl.seed", "trainctl"]


def test_record_has_the_settings_that_are_not_the_defaults_behind_the_users_own_keys() -> None:
    config = OmegaConf.create({"lr": 0.1})
    settings = OmegaConf.structured(Settings(seed=3, identity=IdentitySettings(exclude=["data.*"])))
    with open_dict(config):
        config.hydra = {"trainctl": settings}
    assert list(recorded(config).items()) == [
        ("lr", 0.1),
        ("trainctl", {"seed": 3, "identity": {"exclude": ["data.*"]}}),
    ]
    assert settings_of(config).identity.exclude == ["data.*"]


def test_record_keeps_the_settings_that_the_config_itself_has() -> None:
    config = OmegaConf.create({"trainctl": {"poll_s": 0.05}, "every": "${trainctl.poll_s}", "hydra": {}})
    with open_dict(config):
        config.hydra.trainctl = OmegaConf.structured(Settings(poll_s=0.05, drift="allow"))
    assert recorded(config) == {"every": "${trainctl.poll_s}", "trainctl": {"drift": "allow", "poll_s": 0.05}}


def test_settings_are_handed_down_to_processes_that_multiprocessing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    task = OmegaConf.create({"lr": 0.1})
    monkeypatch.setattr(os, "environ", {})
    hand_down({"seed": 3, "pairs": "${x}"})
    assert kept_node(task) is None  # this process was started by a person
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    node = kept_node(task)
    assert node is not None
    assert (node.seed, node.pairs, setting(task, "seed")) == (3, "${x}", 3)
    assert has_settings(task)
    for text in ("{", "[1]", "3"):
        os.environ["TRAINCTL_SETTINGS"] = text
        assert kept_node(task) is None
    hand_down({"seed": "x" * 70_000})  # too long for the environment
    assert not has_settings(task)
    hand_down({"seed": 3})
    hand_down(None)
    assert not os.environ


def test_printed_config_has_the_settings_that_were_given() -> None:
    for given, shown in ((Settings(seed=3), {"seed": 3}), (Settings(), None), ({"seed": 3}, {"seed": 3})):
        config = OmegaConf.create({"lr": 0.1, "hydra": {"trainctl": given, "run": {"dir": "x"}}})
        OmegaConf.set_struct(config, True)
        printed = without_defaults(config)
        assert printed.hydra.get("trainctl") == shown
        assert (printed.lr, printed.hydra.run.dir, "trainctl" in config.hydra) == (0.1, "x", True)
    assert without_defaults(OmegaConf.create({"lr": 0.1})) == {"lr": 0.1}


def test_settings_that_are_there_already_are_put_back_as_they_were_moved() -> None:
    config = OmegaConf.create({"trainctl": {"seed": 5}, "hydra": {"trainctl": {"seed": 3}}})
    put_back(config)
    assert config == {"trainctl": {"seed": 3}, "hydra": {}}
    nothing = OmegaConf.create({"lr": 1})
    put_back(nothing)
    leave_out_of_dirname(nothing, ["lr"])
    assert nothing == {"lr": 1}


def test_secrets_of_a_config_are_known_with_the_values_of_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "sk-from-the-environment")
    config = OmegaConf.create({
        "token": "${oc.env:HF_TOKEN}", "api_key": "${oc.env:NOT_SET_ANYWHERE}", "quiet": "hush-hush", "lr": 0.1,
        "trainctl": {"hidden": ["quiet"]}, "hydra": {"password": "of-hydra"},
    })  # fmt: skip
    masking = secrets_in(config)
    assert masking.text("sk-from-the-environment hush-hush of-hydra") == "••• ••• of-hydra"
