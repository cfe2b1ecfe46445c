"""`hydra/sweeper=grids` as a person uses it: with each launcher, equal jobs once, few composed beforehand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import open_dict

import trainctl.preset  # noqa: F401  # registers
from trainctl.compose.grids import MOST_CHECKED, GridJobs
from trainctl.errors import SettingError

CONFIG = """
defaults: [{preset} norm: batch, _self_]
moment: 0.1
early_stop: false
copy: ${{moment}}
"""

APP = """
import os, hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ran.txt"), "a") as file:
        seed = HydraConfig.get().get("trainctl", {}).get("seed")
        file.write(f"{cfg.norm.name} {cfg.moment} {cfg.early_stop} {seed}\\n")

main()
"""

README = "[{norm: 'new,batch', moment: '0.1,0.05'}, {_title: early, norm: batch, early_stop: 'true,false'}]"


def write_app(path: Path, preset: str) -> None:
    (path / "conf" / "norm").mkdir(parents=True)
    (path / "conf" / "config.yaml").write_text(CONFIG.format(preset=preset))
    for name in ("new", "batch"):
        (path / "conf" / "norm" / f"{name}.yaml").write_text(f"name: {name}\n")
    (path / "app.py").write_text(APP)


def run(path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", "-m", "hydra/sweeper=grids", "hydra.sweep.dir=sweep", *overrides],
        cwd=path, env=os.environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def ran(path: Path) -> list[str]:
    return sorted((path / "ran.txt").read_text().splitlines())


ALL_OF_README = ["batch 0.05 False", "batch 0.1 False", "batch 0.1 True", "new 0.05 False", "new 0.1 False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [["basic"], ["joblib", "hydra.launcher.n_jobs=2"], ["slots", "hydra.launcher.slots=2"]]
)
def test_union_of_grids_runs_on_every_launcher(tmp_path: Path, launcher: list[str]) -> None:
    write_app(tmp_path, "")
    grids = f"{README[:-1]}, {README[1:]}"  # what has the same words is not a job
    done = run(tmp_path, f"hydra.sweeper.grids={grids}", f"hydra/launcher={launcher[0]}", *launcher[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    is_ours = launcher[0] == "slots"  # it knows what the jobs of other words come to
    expected = ALL_OF_README if is_ours else sorted([*ALL_OF_README, "batch 0.1 False"])
    assert ran(tmp_path) == [f"{job} None" for job in expected]
    assert (tmp_path / "sweep" / "multirun.yaml").exists()
    dirs = {path.name for path in (tmp_path / "sweep").iterdir() if path.name.isdigit()}
    assert (len(dirs), dirs <= set("012345")) == (len(expected), True)  # of two equal jobs either may have it
    assert ("6 jobs: 5 done, 1 skipped" in done.stderr) == is_ours


def test_jobs_that_come_to_the_same_config_run_once(tmp_path: Path) -> None:
    write_app(tmp_path, "trainctl,")
    (tmp_path / "conf" / "norm" / "old.yaml").write_text("name: batch\n")
    grids = (
        "[{norm: 'batch,new,old'}, {moment: '0.1,0.2'}, {moment: 0.2, copy: 0.2}, {moment: 1e-1, early_stop: false},"
        " {moment: 0.2, copy: 0.1}, {moment: 3, trainctl.poll_s: '0.1,0.2'}, {moment: 3.0}]"
    )
    done = run(tmp_path, f"hydra.sweeper.grids={grids}", "hydra.launcher.slots=1", "trainctl.panel.enabled=false")
    assert done.returncode == 0, done.stderr
    # 0.2 with copy 0.1 is another one, and so is 3.0
    assert [job.split()[:2] for job in ran(tmp_path)] == [
        ["batch", "0.1"], ["batch", "0.2"], ["batch", "0.2"], ["batch", "3"], ["batch", "3.0"], ["new", "0.1"]
    ]  # fmt: skip
    # of two equal jobs that are ready at once either gives the run dir its name
    assert len(re.findall(r"SKIP +\d+/11 same as sweep/\w+_", done.stderr)) == 5
    assert "11 jobs: 6 done, 5 skipped" in done.stderr


@pytest.mark.slow
def test_titles_seeds_and_command_line_go_together_and_resume(tmp_path: Path) -> None:
    write_app(tmp_path, "trainctl,")
    asked = [
        f"hydra.sweeper.grids={README}",
        "hydra.sweeper.titles=[early]",
        "hydra.sweeper.seeds=2",
        "moment=1,2",
        "hydra.launcher.slots=2",
        "trainctl.panel.enabled=false",
    ]
    done = run(tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == [
        f"batch {moment} {stop} {seed}" for moment in (1, 2) for stop in (False, True) for seed in (0, 1)
    ]
    names = {path.parent.name for path in (tmp_path / "sweep").glob("*/status.yaml")}
    assert "Norm_batch-EarlyStop_false-Moment_1-TrainctlSeed_1" in names
    assert "8 jobs: 8 skipped" in run(tmp_path, *asked).stderr


def test_failed_job_makes_the_sweep_fail(tmp_path: Path) -> None:
    write_app(tmp_path, "")
    done = run(tmp_path, "hydra.sweeper.grids=[{early_stop: '1,2'}]", "moment=${nowhere}", "hydra/launcher=basic")
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["hydra.sweeper.grids=[]"], "hydra.sweeper.grids is empty"),
        (["hydra.sweeper.grids={norm: 'new,batch'}"], "hydra.sweeper.grids must be a list of grids such as"),
        (["hydra.sweeper.grids=[{norm: 'interval(0,1)'}]"], "interval has no values that could be listed"),
        (["hydra.sweeper.grids=[{moment: 1}]", "hydra.sweeper.titles=[x]"], "no grid is called 'x'"),
        (["hydra.sweeper.grids=[{moment: 1}]", "early_stop=interval(0,1)"], "early_stop=interval.* has no values"),
    ],
)
def test_refused_grids_are_one_sentence_and_nothing_is_made(
    tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    write_app(tmp_path, "")
    done = run(tmp_path, *overrides)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert sentence.partition(".*")[0] in done.stderr
    assert not (tmp_path / "sweep").exists()


# -- the jobs themselves -----------------------------------------------------------------------------------------------


class Counting:
    """A real loader that counts what it composes."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.composed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(self, *args: Any) -> Any:
        self.composed += 1
        return self._loader.load_sweep_config(*args)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Any]:
    write_app(tmp_path, "trainctl,")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3", job_name="app"):
        loader = Counting(GlobalHydra.instance().config_loader())
        config = loader.load_configuration("config", [f"hydra.sweep.dir={tmp_path / 'sweep'}"], RunMode.MULTIRUN)
        yield config, loader
    HydraConfig.instance().cfg = None


def made(sweep: Any, grids: Any, *arguments: str, **options: Any) -> list[str]:
    config, loader = sweep
    context: Any = SimpleNamespace(config_loader=loader)
    return [" ".join(job) for job in GridJobs(config, context, {"grids": grids, **options}).jobs(arguments)]


def test_order_on_the_line_makes_no_other_job(sweep: Any) -> None:
    assert made(sweep, [{"moment": 1, "early_stop": True}, {"early_stop": True, "moment": 1}]) == [
        "moment=1 early_stop=true"
    ]


def test_seeds_count_up_from_the_configs_own(sweep: Any) -> None:
    assert made(sweep, [{"moment": "1,2"}], seeds=2)[:3] == [
        "moment=1 trainctl.seed=0",
        "moment=1 trainctl.seed=1",
        "moment=2 trainctl.seed=0",
    ]
    sweep[0].hydra.trainctl.seed = 7
    assert made(sweep, [{"moment": 1}], seeds=2) == ["moment=1 trainctl.seed=7", "moment=1 trainctl.seed=8"]
    with pytest.raises(SettingError, match=r"seeds=2 sets trainctl.seed, which is set otherwise too"):
        made(sweep, [{"moment": 1}], "trainctl.seed=1,2", seeds=2)
    with open_dict(sweep[0].hydra):
        del sweep[0].hydra["trainctl"]
    with pytest.raises(SettingError, match="this app has no `trainctl` settings; add `trainctl` to the defaults"):
        made(sweep, [{"moment": 1}], seeds=2)


@pytest.mark.parametrize(
    ("options", "name"), [({"sample": 0}, "sample"), ({"seeds": True}, "seeds"), ({"seed": -1}, "seed")]
)
def test_numbers_that_cannot_be_are_refused(sweep: Any, options: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingError, match=f"hydra.sweeper.{name} must be a whole number, at least [01], but got"):
        made(sweep, [{"moment": 1}], **options)


def test_glob_names_the_files_of_a_group_and_shuffle_is_stable(sweep: Any) -> None:
    assert made(sweep, [{"norm": "glob(*)"}]) == ["norm=batch", "norm=new"]
    assert made(sweep, [{"norm": "glob(*,exclude=b*)"}]) == ["norm=new"]
    shuffled = [made(sweep, [{"moment": "shuffle(range(0,50))"}]) for _ in range(2)]
    assert shuffled[0] == shuffled[1] != sorted(shuffled[0])


class Recorder:
    """Stands where a launcher does, which composes each job when its turn comes."""

    def __init__(self) -> None:
        self.jobs: list[list[str]] = []

    def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[Any]:
        assert initial_job_idx == 0
        self.jobs = jobs
        return []


def test_ten_thousand_jobs_are_handed_over_with_a_few_compositions(sweep: Any) -> None:
    config, loader = sweep
    half = {"moment": "range(0,100)", "+x": "range(0,50)", "norm": "new,batch"}
    grids = [half, {**half, "+x": "range(25,75)"}]
    launcher: Any = Recorder()
    GridJobs(config, SimpleNamespace(config_loader=loader), {"grids": grids}).launch(launcher, [])  # type: ignore[arg-type]
    assert len(launcher.jobs) == 15_000
    assert loader.composed <= MOST_CHECKED


def test_mistakes_in_any_value_come_to_light_before_a_job_starts(sweep: Any) -> None:
    config, loader = sweep
    grids = [{"moment": "range(0,50)", "norm": "batch,new,nosuch"}]
    launcher: Any = Recorder()
    with pytest.raises(HydraException, match="nosuch"):
        GridJobs(config, SimpleNamespace(config_loader=loader), {"grids": grids}).launch(launcher, [])  # type: ignore[arg-type]
    assert launcher.jobs == []
    assert not Path(config.hydra.sweep.dir).exists()
