from __future__ import annotations

import re
from typing import Any

import pytest
from omegaconf import OmegaConf, open_dict

from trainctl.config.settings import PanelSettings, Settings, settings_of
from trainctl.errors import SettingError


def test_config_without_our_node_has_the_defaults() -> None:
    assert settings_of(OmegaConf.create({"lr": 0.1})) == Settings()
    assert settings_of(OmegaConf.create({"trainctl": None})) == Settings()


def test_what_is_not_said_is_the_default() -> None:
    config = OmegaConf.create({"port": 8000, "trainctl": {"seed": "3", "panel": {"port": "${port}"}}})
    assert settings_of(config) == Settings(seed=3, panel=PanelSettings(port=8000))


def test_controls_are_taken_as_they_are() -> None:
    controls = {"model.*": "!", "lr": {"min": 0, "max": 1}}
    assert settings_of(OmegaConf.create({"trainctl": {"controls": controls}})).controls == controls


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"edditable": True},
            "trainctl.edditable is not a setting; allowed are controls, drift, editable, explain, hidden, ",
        ),
        (
            {"panel": {"prot": 1}},
            "trainctl.panel.prot is not a setting; allowed are address, cert, enabled, hosts, keep_min, key, open, ",
        ),
        ({"panel": {"proxy_secret": "x"}}, "trainctl.panel.proxy_secret is not a setting; allowed are "),
        ({"poll_s": "often"}, "trainctl.poll_s: Value 'often' of type 'str' could not be converted to Float"),
        ({"editable": "perhaps"}, "trainctl.editable: Value 'perhaps' is not a valid bool"),
        ({"replay": "${nowhere}"}, "trainctl.replay: Interpolation key 'nowhere' not found"),
        ({"drift": "maybe"}, "trainctl.drift='maybe' is not known; allowed are error and allow"),
        ({"incompatible": "no"}, "trainctl.incompatible='no' is not known; allowed are skip and error"),
        ({"track_metrics": "no"}, "trainctl.track_metrics='no' is not known; allowed are auto, true and false"),
        ({"missing": "no"}, "trainctl.missing='no' is not known; allowed are error and allow"),
        ({"poll_s": 0}, "trainctl.poll_s must be at least 0.001 but got 0.0"),
        ({"sync_every": 0}, "trainctl.sync_every must be at least 1 but got 0"),
        ({"seed": -1}, "trainctl.seed must be between 0 and 4294967295 but got -1"),
        ({"seed": 2**32}, "trainctl.seed must be between 0 and 4294967295 but got 4294967296"),
        ({"panel": {"port": 65536}}, "trainctl.panel.port must be between 0 and 65535 but got 65536"),
        ({"panel": {"keep_min": -1}}, "trainctl.panel.keep_min must be at least 0 minutes but got -1.0"),
        ({"panel": {"keep_min": float("nan")}}, "trainctl.panel.keep_min must be at least 0 minutes but got nan"),
        ({"poll_s": float("nan")}, "trainctl.poll_s must be at least 0.001 but got nan"),
        ({"poll_s": float("inf")}, "trainctl.poll_s must be at least 0.001 but got inf"),
        (5, "trainctl=5 is not a mapping; allowed below it are controls, "),
        ([1], "trainctl=[1] is not a mapping; allowed below it are controls, "),
    ],
)
def test_setting_that_is_not_allowed_is_one_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(SettingError, match=re.escape(sentence)) as refused:
        settings_of(OmegaConf.create({"trainctl": given}))
    assert "\n" not in str(refused.value)


def test_unknown_setting_forced_into_a_typed_node_is_refused() -> None:
    config = OmegaConf.create({"trainctl": OmegaConf.structured(Settings)})
    with open_dict(config.trainctl):
        config.trainctl.extra = 1
    with pytest.raises(SettingError, match=r"trainctl\.extra is not a setting; allowed are"):
        settings_of(config)
