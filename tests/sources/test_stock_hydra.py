"""Hydra is itself in every app that names no source, and in one that does, for what names none."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project_processes import ROOT, run_python

LOOK = """
import functools, json, logging, sys, types
from omegaconf import OmegaConf

def code_of(value):
    value = getattr(value, "__func__", value)
    value = value.fget if isinstance(value, property) else value
    value = value.func if isinstance(value, (functools.partial, functools.cached_property)) else value
    return getattr(getattr(value, "__wrapped__", value), "__code__", None)

def is_ours(name):
    return str(name).split(".")[0] == "trainctl" or str(name).startswith("hydra_plugins.hydra_trainctl")

def ours():
    return sorted(name for name in sys.modules if is_ours(name))

def replaced():
    found = set()
    for module_name, module in list(sys.modules.items()):
        if module_name == "__main__" or is_ours(module_name) or not isinstance(module, types.ModuleType):
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and is_ours(value.__module__):
                found.add(f"{module_name}.{name}")
            for inner_name, inner in [(name, value), *(list(vars(value).items()) if isinstance(value, type) else ())]:
                code = code_of(inner)
                if isinstance(code, types.CodeType) and any(part in code.co_filename for part in FILES):
                    found.add(f"{module_name}.{name}.{inner_name}")
    return sorted(found)

def told():
    resolvers = [name for name in ("trainctl_name",) if OmegaConf.has_resolver(name)]
    handlers = [type(one).__module__ for one in logging.getLogger().handlers if is_ours(type(one).__module__)]
    hooks = [sys.excepthook is not sys.__excepthook__]
    added = [*resolvers, *handlers]
    print("told", json.dumps({"ours": ours(), "replaced": replaced(), "added": added, "hooks": hooks}))
"""
LOOK = f"FILES = {[f'{ROOT}/trainctl/', f'{ROOT}/hydra_plugins/hydra_trainctl/']}\n{LOOK}"
APP = """
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print("told", json.dumps([cfg.lr, cfg.norm.name, cfg.get("from")]))
    told()

main()
"""
Python = Callable[..., list[Any]]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run code as an app, beside a config and a run that had chosen otherwise; return what it tells."""
    (tmp_path / "conf" / "norm").mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [norm: batch, _self_]\nlr: 0.1\n")
    for name in ("batch", "new"):
        (tmp_path / "conf" / "norm" / f"{name}.yaml").write_text(f"name: {name}\n")
    earlier = tmp_path / "earlier" / ".hydra"
    earlier.mkdir(parents=True)
    (earlier / "config.yaml").write_text("lr: 0.5\nnorm: {name: new}\n")
    (earlier / "hydra.yaml").write_text("hydra: {runtime: {choices: {norm: new}}}\n")

    def run(code: str, *arguments: str) -> list[Any]:
        (tmp_path / "app.py").write_text(f"{LOOK}\n{textwrap.dedent(code)}")
        done = run_python(tmp_path, "app.py", *arguments)
        assert done.returncode == 0, done.stderr
        lines = [line.removeprefix("told ") for line in done.stdout.splitlines() if line.startswith("told ")]
        return [json.loads(line) for line in lines]

    return run


@pytest.mark.parametrize(
    "arguments", [(), ("lr=0.2", "norm=new", "+other=1"), ("-m", "lr=0.1,0.2", "hydra/launcher=basic")]
)
def test_app_that_asks_for_nothing_of_ours_runs_hydra_untouched(python: Python, arguments: tuple[str, ...]) -> None:
    found = [line for line in python(APP, *arguments) if isinstance(line, dict)]
    assert len(found) == (2 if "-m" in arguments else 1)
    for told in found:
        assert (told["replaced"], told["added"], told["hooks"]) == ([], [], [False])
        assert len(told["ours"]) <= 5, told["ours"]


def test_preset_replaces_only_what_moves_its_settings_out_of_the_tasks_config(python: Python, tmp_path: Path) -> None:
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [trainctl, norm: batch, _self_]\nlr: 0.1\n")
    code = """
    import hydra
    with hydra.initialize("conf", version_base=None):
        hydra.compose("config")
    print("told", json.dumps(replaced()))
    """
    ((*replaced,),) = python(code)
    expected = {"DefaultsList", "_apply_overrides_to_config", "get_sanitized_cfg"}
    assert {name.rpartition(".")[2] for name in replaced} == expected


def test_what_the_command_line_of_an_app_names_is_taken_over_with_its_options(python: Python) -> None:
    assert python(APP, "+from=run/earlier")[0] == [0.5, "new", None]


def test_key_of_an_app_that_is_called_from_stays_its_own(python: Python, tmp_path: Path) -> None:
    with (tmp_path / "conf" / "config.yaml").open("a") as config:
        config.write("from: 1\n")
    assert python(APP, "from=3")[0] == [0.1, "batch", 3]
    assert python(APP, "++from=4")[0] == [0.1, "batch", 4]
    assert python(APP, "~from")[0] == [0.1, "batch", None]


def test_first_composition_that_names_a_source_has_its_options_and_the_next_one_is_hydras(python: Python) -> None:
    code = """
    import hydra
    with hydra.initialize("conf", version_base=None):
        for overrides in ([], ["+from=run/earlier"], ["norm=batch"], ["+from=run/earlier", "norm=batch"]):
            config = hydra.compose("config", overrides)
            print("told", json.dumps([config.lr, config.norm.name]))
    """
    assert python(code) == [[0.1, "batch"], [0.5, "new"], [0.1, "batch"], [0.5, "batch"]]


def test_source_that_a_config_file_names_is_taken_over_with_its_options(python: Python, tmp_path: Path) -> None:
    config = "defaults: [norm: batch, _self_, from: run/earlier]\nlr: 0.1\n"
    (tmp_path / "conf" / "more.yaml").write_text(config)
    (tmp_path / "conf" / "nested.yaml").write_text("defaults: [more, _self_]\n")
    assert python(APP, "--config-name=more")[0] == [0.5, "new", None]
    assert python(APP, "--config-name=nested")[0] == [0.5, "new", None]
    assert python(APP, "--config-name=nested", "lr=0.7", "norm=batch")[0] == [0.7, "batch", None]


def test_source_that_is_missing_is_one_sentence_and_the_next_composition_is_hydras(python: Python) -> None:
    code = """
    import hydra
    with hydra.initialize("conf", version_base=None):
        for overrides in (["+from=run/nowhere"], ["norm=nothing", "+from=run/earlier"], ["norm=new"]):
            try:
                print("told", json.dumps(hydra.compose("config", overrides).norm.name))
            except Exception as error:
                print("told", json.dumps([str(error).splitlines()[0]]))
    """
    found = python(code.replace("json.dumps(hydra", "json.dumps([hydra").replace("norm.name)", "norm.name])"))
    assert "there is no run dir" in found[0][0]
    assert "norm/nothing" in found[1][0]
    assert found[2] == ["new"]
