"""What holds on every executor: this machine's slots, Ray, and Slurm. One class of tests, and Hydra's own suites."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster_project import Project
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from slurm_node import SlurmNode
from test_slurm import LONG, expected
from waiting import wait_until

from trainctl.launch.launcher import SlotSweeps

Plugins.instance()  # Hydra 1.4 wants the plugins found before the suites' fixtures copy the singletons

RUNS = [f"Lr_{lr}" for lr in (1, 2, 3, 4)]
HERE = ("hydra/launcher=slots", "hydra.launcher.slots=4")


class ExecutorConformance:
    """Jobs run once, in directories and with identities that are the same everywhere, and end as they are told."""

    ENGINE: str | None = None

    def test_jobs_run_once_and_are_done_for_the_other_launchers_too(self, project: Project) -> None:
        said = project.sweep("lr=1,2,3,4")
        assert "4 jobs: 4 done" in said
        assert [path.name for path in project.runs()] == RUNS
        assert [project.result(name) for name in RUNS] == [expected(lr, 20) for lr in (1, 2, 3, 4)]
        for name in RUNS:
            status = project.status(name)
            assert (status["state"], status["attempt"], status["exit_code"]) == ("done", 1, 0)
            assert (status.get("engine") or "").partition(" ")[0] == (self.ENGINE or "")
            assert {path.name for path in (project.out / name).iterdir()} >= {
                *(".hydra", "run.yaml", "status.yaml", "changelog.yaml", "metrics.jsonl", "job.log", "result.yaml"),
            }
        assert "4 jobs: 4 skipped" in Project(project.directory, HERE, {}).sweep("lr=1,2,3,4")

    def test_failed_job_fails_alone_and_says_why(self, project: Project) -> None:
        said = project.sweep("fail_at=null,3", code=1)

        assert "ValueError: no luck" in said
        states = {path.name: project.status(path.name)["state"] for path in project.runs()}
        assert sorted(states.values()) == ["done", "failed"]
        failed = next(name for name, state in states.items() if state == "failed")
        assert "no luck" in (project.out / failed / "job.log").read_text()

    def test_killed_job_is_tried_again_by_the_policy_and_a_stopped_one_is_not(self, project: Project) -> None:
        process = project.start("lr=1,2,3", "steps=400", "pause=0.1", "hydra.launcher.retries=1")
        project.wait_for("START", 3)
        wait_until(lambda: len(project.metrics("Lr_2")) > 5, "the second run is under way")
        assert "applied at step" in project.trainctl("set", "out/Lr_3", "lr=3")
        psutil.Process(project.status("Lr_1")["pid"]).send_signal(signal.SIGKILL)
        assert "was stopped" in project.trainctl("stop", "out/Lr_2")

        assert process.wait(200) == 1, project.said
        assert "was killed by SIGKILL (9)" in project.said
        assert [project.status(name)["attempt"] for name in RUNS[:3]] == [2, 1, 1]
        assert [project.status(name)["state"] for name in RUNS[:3]] == ["done", "stopped", "done"]
        assert project.result("Lr_1") == expected(1, 400)

    def test_second_interrupt_ends_all_jobs(self, project: Project) -> None:
        process = project.start("lr=1,2", *LONG)
        project.wait_for("START", 2)
        jobs = [psutil.Process(project.status(name)["pid"]) for name in RUNS[:2]]

        process.send_signal(signal.SIGINT)
        project.wait_for("Ctrl-C again")
        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 130
        wait_until(lambda: not any(job.is_running() for job in jobs), "the jobs end")
        assert [project.status(name)["state"] for name in RUNS[:2]] == ["interrupted", "interrupted"]


class TestThisMachine(ExecutorConformance):
    @pytest.fixture
    def project(self, tmp_path: Path) -> Iterator[Project]:
        project = Project(tmp_path, HERE, {})
        yield project
        project.end()


class TestSlurm(ExecutorConformance):
    ENGINE = "Slurm"

    @pytest.fixture
    def project(self, on_slurm: Project) -> Project:
        return on_slurm


class TestRay(ExecutorConformance):
    ENGINE = "Ray"

    @pytest.fixture
    def project(self, on_ray: Project) -> Project:
        return on_ray


BATCHES = ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"]
SLURM = ["hydra.launcher.cpus_per_task=1"]
RAY = ["+hydra.launcher.ray.init.num_cpus=4"]
DEBUG = ["-m", "hydra/job_logging=hydra_debug", "hydra/job_logging=disabled"]


@pytest.fixture
def engines(slurm: SlurmNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have both engines ready for programs of this process; no launcher is left."""
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    yield
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is SlotSweeps]


# The suites' own configs are of an older version base, about which Hydra warns.
HYDRAS = [
    pytest.mark.long,
    pytest.mark.usefixtures("engines"),
    pytest.mark.filterwarnings("ignore:.*working directory at job runtime:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own
]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slots_slurm", SLURM), ("slots_ray", RAY)])
class TestHydrasLauncherSuite(LauncherTestSuite):
    """Names, directories, overrides and resolvers of sweeps."""

    pytestmark = HYDRAS


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("slots_slurm", BATCHES + SLURM), ("slots_ray", BATCHES + RAY)]
)
class TestHydrasBatchedSuite(BatchedSweeperTestSuite):
    """Repeated `launch()` calls."""

    pytestmark = HYDRAS


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        ({}, [*DEBUG, "hydra/launcher=slots_slurm", *SLURM]),
        ({}, [*DEBUG, "hydra/launcher=slots_ray", *RAY]),
    ],
)
class TestHydrasIntegrationSuite(IntegrationTestSuite):
    """Whole programs: working dirs, job names, sweep dirs."""

    pytestmark = HYDRAS
