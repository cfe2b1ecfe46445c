"""What we put in the place of slow parts changes nothing, and is gone when the task begins."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import omegaconf.base
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job, setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from test_nodecopy import describe

from trainctl.compose.job import SweepContext
from trainctl.config import yaml
from trainctl.launch import nodecopy, parsetrees, substitutes
from trainctl.launch.local.warmup import rehearse
from trainctl.launch.substitutes import Preparation

needs_known = pytest.mark.skipif(not nodecopy.IS_KNOWN, reason="with another OmegaConf nothing is substituted")

TASK = """
import gc, os
import hydra, omegaconf.base
from omegaconf import DictConfig, ListConfig, OmegaConf

if os.environ.get("WITHOUT_GC"):
    gc.disable()

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    parts = (DictConfig.__deepcopy__, ListConfig.__deepcopy__, OmegaConf.to_yaml, omegaconf.base.parse)
    return {"parts": sorted({part.__module__.split(".")[0] for part in parts}), "gc": gc.isenabled()}

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def master(tmp_path: Path) -> Any:
    (tmp_path / "config.yaml").write_text(
        "lr: 0.1\nname: run_${lr}_${now:%Y}\nhome: ${oc.env:HOME}\nmust: ???\nlist: [1, {a: '${lr}'}]\n"
    )
    with initialize_config_dir(str(tmp_path), version_base="1.3", job_name="app"):
        setup_globals()
        OmegaConf.register_new_resolver("now", lambda pattern: f"now {pattern}", use_cache=True, replace=True)
        yield GlobalHydra.instance().config_loader().load_configuration("config", ["lr=1,2"], RunMode.MULTIRUN)
    setup_globals()
    HydraConfig.instance().cfg = None


@pytest.fixture(autouse=True)
def as_before() -> Any:
    yield
    substitutes.remove()
    assert gc.isenabled()


def run_one(folder: Path, with_substitutes: bool) -> Any:
    """Have Hydra run one job; return all that came of it."""
    config = GlobalHydra.instance().config_loader().load_configuration("config", ["lr=2"], RunMode.MULTIRUN)
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = "app_0", 0
        config.hydra.sweep.dir, config.hydra.sweep.subdir = str(folder), "${hydra:job.num}_${lr}"
    seen: list[Any] = []
    nobody = SimpleNamespace(on_job_start=lambda **_: None, on_job_end=lambda **_: None)
    context: Any = SimpleNamespace(callbacks=nobody, config_loader=None, execution_whitelist=None)
    preparation = Preparation() if with_substitutes else None

    def task(cfg: DictConfig) -> float:
        seen.extend([describe(cfg), describe(HydraConfig.instance().cfg), describe(config)])
        return float(cfg.lr)

    try:
        returned = run_job(
            task, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context=context, configure_logging=False
        )
    finally:
        if preparation is not None:
            preparation.end()
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.yaml")}
    shutil.rmtree(folder)
    return files, seen, describe(returned.cfg), describe(returned.hydra_cfg), returned.overrides, returned.return_value


@needs_known
def test_hydra_makes_the_same_of_a_job(master: DictConfig, tmp_path: Path) -> None:
    plain = run_one(tmp_path / "out", with_substitutes=False)
    assert run_one(tmp_path / "out", with_substitutes=True) == plain
    assert sorted(plain[0]) == [f"0_2/.hydra/{name}.yaml" for name in ("config", "hydra", "overrides")]


@needs_known
def test_substitutes_are_in_place_until_the_preparation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    own = DictConfig.__deepcopy__, ListConfig.__deepcopy__, OmegaConf.to_yaml, omegaconf.base.parse
    preparation = Preparation()
    assert DictConfig.__deepcopy__ is nodecopy.copy_dict
    assert omegaconf.base.parse is parsetrees.parse
    assert not gc.isenabled()
    preparation.end()
    assert (DictConfig.__deepcopy__, ListConfig.__deepcopy__, OmegaConf.to_yaml, omegaconf.base.parse) == own
    assert gc.isenabled()


def test_substitutes_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def foreign(self: Any, memo: Any) -> Any:
        raise AssertionError

    own = OmegaConf.to_yaml
    monkeypatch.setattr(DictConfig, "__deepcopy__", foreign)
    preparation = Preparation()
    assert DictConfig.__deepcopy__ is foreign
    assert OmegaConf.to_yaml is own
    preparation.end()
    assert DictConfig.__deepcopy__ is foreign


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("without_gc", ["", "1"])
def test_task_finds_everything_as_it_was(app: Any, start: str, without_gc: str) -> None:
    (app.path / "app.py").write_text(TASK)
    done = app.run("x=0,1", "hydra.launcher.slots=1", f"hydra.launcher.start={start}", WITHOUT_GC=without_gc)
    assert done.returncode == 0, done.stderr
    for number in (0, 1):
        value = yaml.loads((app.sweep / f"{number}/result.yaml").read_text())["value"]
        assert value == {"parts": ["omegaconf"], "gc": not without_gc}


TEXTS = ["${a}", "${.a}", "${a}_${b.c}", "${now:%Y}", "${oc.env:HOME}", "${oc.select:nope,${a}}", "\\${a}", "\\\\${a}"]
WRONG = ["${", "${a", "${nope}", "${nope:1}", "${a}}${", "${b.d}"]


@needs_known
@pytest.mark.parametrize("text", [*TEXTS, *WRONG])
def test_interpolation_is_resolved_alike_again_and_again(text: str) -> None:
    def outcome() -> Any:
        try:
            return OmegaConf.create({"a": 1, "b": {"c": "${a}"}, "text": text}).text
        except OmegaConfBaseException as error:
            return type(error), str(error)

    setup_globals()
    expected = outcome()
    preparation = Preparation()
    assert [outcome() for _ in range(3)] == [expected] * 3
    preparation.end()


def test_rehearsal_leaves_no_trace_and_calls_no_resolver(master: DictConfig) -> None:
    called: list[int] = []
    OmegaConf.register_new_resolver("trainctl_test_called", lambda: called.append(1), replace=True)
    with open_dict(master):
        master.resolved = "${trainctl_test_called:}"
    known = HydraConfig.instance().cfg
    OmegaConf.to_container(master)  # after which nodes remember which flags hold for them
    before, files = describe(master), sorted(os.listdir())
    rehearse(SweepContext(master, lambda cfg: None, SimpleNamespace()))  # type: ignore[arg-type]
    assert HydraConfig.instance().cfg is known
    assert describe(master) == before
    assert sorted(os.listdir()) == files
    assert called == []
