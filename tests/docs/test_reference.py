"""The reference is what the code says: each setting with an accepted example, each command, each public name."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

import trainctl
from trainctl.config.settings import settings_of
from trainctl.launch.settings import check_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_settings_is_what_the_typed_configs_say(reference: Any) -> None:
    assert (ROOT / "docs/reference/settings.md").read_text() == reference.settings_page(), "run `make reference`"


def test_page_of_commands_is_what_help_says(reference: Any) -> None:
    if f"typer=={version('typer')}" not in (ROOT / "locks" / "3.11.txt").read_text():
        pytest.skip("another version of typer than the locked one wraps lines in its own way")
    assert (ROOT / "docs/reference/commands.md").read_text() == reference.commands_page(), "run `make reference`"


def test_each_setting_says_what_it_means_and_its_example_is_accepted(reference: Any) -> None:
    every = {each.key: each for _, _, settings in reference.sections() for each in settings}
    assert set(every) == set(reference.EXAMPLES)
    assert [key for key, each in every.items() if not each.meaning] == []
    examples = {key: yaml.safe_load(text) for key, text in reference.EXAMPLES.items()}
    of_run = OmegaConf.create()
    for key, value in examples.items():
        if key.startswith("trainctl."):
            OmegaConf.update(of_run, key, value, force_add=True)
    assert settings_of(of_run).replay_mode == "follow"
    for each in reference.settings_in(reference.SlotLauncherConf, "hydra.launcher"):
        check_settings(**{each.key.rpartition(".")[2]: examples[each.key]})
    for conf in (reference.SlurmConf, reference.RayConf, reference.GridSweeperConf):
        prefix = "hydra.sweeper" if conf is reference.GridSweeperConf else "hydra.launcher"
        typed = OmegaConf.structured(conf)
        for each in reference.settings_in(conf, prefix):
            OmegaConf.update(typed, each.key.removeprefix(f"{prefix}."), examples[each.key])


def test_each_public_name_is_on_the_page_of_python() -> None:
    page = (ROOT / "docs/reference/python.md").read_text()
    named = {line.rpartition(".")[2] for line in re.findall(r"^::: (.*)", page, re.MULTILINE)}
    of_errors = {name for name, home in trainctl._HOMES.items() if home == "trainctl.errors"}
    assert "::: trainctl.errors\n" in page
    assert set(trainctl.__all__) - named - of_errors == {"__version__"}
