"""A sweep dir with the time in its name is one launcher's own; any other is shared as it always was."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from trainctl.launch.sweep_dir import settle_sweep_dir


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register `now` as Hydra does; here it is always the same second."""
    OmegaConf.register_new_resolver("now", lambda pattern: f"then {pattern}", use_cache=True, replace=True)


def config(path: str, **more: Any) -> DictConfig:
    hydra = {"sweep": {"dir": path}, "overrides": {"hydra": []}, "job": {"name": "train"}}
    made = OmegaConf.create({"hydra": hydra, **more})
    OmegaConf.set_struct(made, True)
    return made


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("${now:%S}", {}),
        ("${out}/${hydra.job.name}", {"out": "${stamp}", "stamp": "${now:%S}"}),
    ],
)
def test_dated_dir_is_given_to_one_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    configs = [config(path, **more) for _ in range(3)]
    first = Path(configs[0].hydra.sweep.dir)
    for each in configs:
        settle_sweep_dir(each)
        settle_sweep_dir(each)  # by the callback, then by the launcher
    names = [first.name, f"{first.name}.2", f"{first.name}.3"]
    assert [each.hydra.sweep.dir for each in configs] == [str(first.with_name(name)) for name in names]
    assert [list(each.hydra.overrides.hydra) for each in configs] == [
        [f"hydra.sweep.dir='{first.with_name(name)}'"] for name in names
    ]
    assert {each.name for each in first.parent.iterdir()} == set(names)


def test_dir_of_hydras_own_launcher_in_the_same_second_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = config("${now:%S}")
    (tmp_path / "then %S").mkdir()
    (tmp_path / "then %S" / "multirun.yaml").touch()
    settle_sweep_dir(own)
    assert own.hydra.sweep.dir == "then %S.2"


@pytest.mark.parametrize("path", ["sweep", "outputs/${hydra.job.name}"])
def test_dir_without_the_time_in_its_name_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    own = config(path, other="${now:%S}")
    assert own.other == "then %S"  # which says nothing of the sweep dir
    settle_sweep_dir(own)
    assert OmegaConf.to_container(own.hydra, resolve=False)["sweep"] == {"dir": path}  # type: ignore[call-overload, index]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "stable"),
    [
        ("logs/${hydra.job.name}/${now:%Y/%m}_${now:%H}", "logs/${hydra.job.name}"),
        ("/data/run_${now:%H}/sweeps", "/data/sweeps"),
        ("${now:%H}", "outputs/${hydra.job.name}"),
        ("${stamp}", "outputs/${hydra.job.name}"),
    ],
)
def test_dated_dir_of_a_project_is_told_once_with_the_lines_that_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str, stable: str
) -> None:
    monkeypatch.chdir(tmp_path)
    own = config(path.replace("/data", str(tmp_path)), stamp="${now:%S}")
    settle_sweep_dir(own)
    settle_sweep_dir(own)
    (told,) = caplog.messages
    assert f"dir: {stable.replace('/data', str(tmp_path))}, subdir: '${{trainctl_name:}}'" in told


def test_hydras_own_dated_dir_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    own = yaml.safe_load((files("hydra.conf") / "hydra/output/default.yaml").read_text())["sweep"]["dir"]
    settle_sweep_dir(config(own))
    assert caplog.messages == []
    assert [each.name for each in tmp_path.iterdir()] == ["multirun"]
