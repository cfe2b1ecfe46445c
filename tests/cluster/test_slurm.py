"""Sweeps on a real Slurm of one node: every job is completed once, whatever ends an allocation, an agent or a job."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import yaml
from cluster_project import Project
from slurm_node import SlurmNode
from waiting import wait_until

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

LONG = ("steps=150", "pause=0.1")


def expected(lr: float, steps: int) -> float:
    """Return what a run that nothing has interrupted returns."""
    total = 0.0
    for step in range(1, steps + 1):
        total += lr * step
    return total


def assert_devices_were_apart(project: Project) -> None:
    """Check that no two runs had one device at the same time."""
    spans = defaultdict(list)
    for path in project.runs():
        status = read_status(RunDir.at(path))
        assert status is not None
        for line in project.metrics(path.name):
            if line.get("devices"):
                spans[line["devices"]].append((status.started, status.ended))
    assert spans
    for each in spans.values():
        in_order = sorted(each)
        for (_, ended), (begun, _) in itertools.pairwise(in_order):
            assert ended <= begun + 0.5  # a slot is free when the task has returned, a moment before it is written down


def process_of(project: Project, name: str) -> psutil.Process:
    return psutil.Process(project.status(name)["pid"])


def allocations(slurm: SlurmNode) -> list[str]:
    return slurm.run("squeue", "--noheader", "--array", "--format=%i", "--states=PENDING,RUNNING").split()


@pytest.mark.brief
def test_each_job_of_a_sweep_runs_once_on_a_device_of_its_own(on_slurm: Project) -> None:
    said = on_slurm.sweep("lr=1,2,3,4,5,6,7,8", "steps=30", "pause=0.03")

    assert "8 jobs: 8 done" in said
    assert {path.name: on_slurm.result(path.name) for path in on_slurm.runs()} == {
        f"Lr_{lr}": expected(lr, 30) for lr in range(1, 9)
    }
    assert_devices_were_apart(on_slurm)
    status = on_slurm.status("Lr_1")
    assert status["engine"].startswith("Slurm ")
    assert status["attempt"] == 1
    said = on_slurm.sweep("lr=1,2,3,4,5,6,7,8", "steps=30", "pause=0.03")
    assert "8 jobs: 8 skipped" in said
    assert "asked Slurm" not in said


def test_jobs_of_one_allocation_share_its_devices(on_slurm: Project, slurm: SlurmNode) -> None:
    on_slurm.sweep("lr=1,2,3,4", "hydra.launcher.gpus_per_node=4", "hydra.launcher.gpus_per_job=2")

    devices = {line["devices"] for path in on_slurm.runs() for line in on_slurm.metrics(path.name) if "devices" in line}
    assert devices <= {"0,1", "2,3"}
    assert len({on_slurm.status(path.name)["engine"] for path in on_slurm.runs()}) <= 2
    wait_until(lambda: not allocations(slurm), "the allocations end with the sweep")


@pytest.mark.brief
def test_preempted_job_goes_on_from_its_checkpoint_and_ends_like_one_that_was_never_interrupted(
    on_slurm: Project, slurm: SlurmNode
) -> None:
    process = on_slurm.start("lr=1,2", *LONG)
    on_slurm.wait_for("START", 2)
    wait_until(lambda: len(on_slurm.metrics("Lr_1")) > 20, "the first run is under way")
    assert "waits for step 140" in on_slurm.trainctl("set", "out/Lr_1", "lr=3", "--at", "140")

    slurm.run("scontrol", "requeue", on_slurm.status("Lr_1")["engine"].split()[1])

    assert process.wait(200) == 0, on_slurm.said
    assert on_slurm.status("Lr_1")["attempt"] == 2
    begins = [line["begin"] for line in on_slurm.metrics("Lr_1") if "begin" in line]
    assert len(begins) == 2
    assert begins[1] > 10
    assert [line["step"] for line in on_slurm.metrics("Lr_1") if "total" in line] == list(range(1, 151))
    assert on_slurm.result("Lr_1") == expected(1, 150) + 2 * sum(range(140, 151))  # lr=3 from step 140 on
    assert on_slurm.status("Lr_2")["attempt"] == 1
    assert "goes on in another allocation" in on_slurm.said


@pytest.mark.slow
def test_cancelled_allocation_loses_no_job(on_slurm: Project, slurm: SlurmNode) -> None:
    process = on_slurm.start("lr=1,2", *LONG)
    on_slurm.wait_for("START", 2)

    slurm.run("scancel", on_slurm.status("Lr_1")["engine"].split()[1])

    assert process.wait(200) == 0, on_slurm.said
    assert on_slurm.result("Lr_1") == expected(1, 150)
    assert on_slurm.status("Lr_1")["attempt"] == 2


@pytest.mark.slow
def test_killed_agent_loses_no_job(on_slurm: Project) -> None:
    process = on_slurm.start("lr=1,2", *LONG)
    on_slurm.wait_for("START", 2)
    job = process_of(on_slurm, "Lr_1")
    agent = next(each for each in on_slurm.agents() if job in each.children(recursive=True))

    agent.send_signal(signal.SIGKILL)

    assert process.wait(200) == 0, on_slurm.said
    assert not job.is_running()
    assert on_slurm.result("Lr_1") == expected(1, 150)


def test_same_command_completes_what_a_killed_launcher_left(on_slurm: Project, slurm: SlurmNode) -> None:
    process = on_slurm.start("lr=1,2,3", *LONG)
    on_slurm.wait_for("START", 3)
    jobs = [process_of(on_slurm, name) for name in ("Lr_1", "Lr_2", "Lr_3")]

    process.send_signal(signal.SIGKILL)
    process.wait(30)
    wait_until(lambda: not any(job.is_running() for job in jobs), "the jobs end with their launcher")
    said = on_slurm.sweep("lr=1,2,3", *LONG)

    assert "3 jobs: 3 done" in said
    assert [on_slurm.result(f"Lr_{lr}") for lr in (1, 2, 3)] == [expected(lr, 150) for lr in (1, 2, 3)]
    wait_until(lambda: not allocations(slurm), "no allocation is left")


def test_what_a_killed_launcher_has_queued_is_used_and_not_queued_twice(on_slurm: Project, slurm: SlurmNode) -> None:
    blocker = slurm.run("sbatch", "--parsable", "--gpus-per-node=4", "--wrap=sleep 300").strip()
    wait_until(lambda: blocker in slurm.run("squeue", "--noheader", "--states=RUNNING"), "all devices are taken")
    first = on_slurm.start("lr=1,2")
    on_slurm.wait_for("asked Slurm for 2 allocations")
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    queued = set(allocations(slurm)) - {blocker}
    assert len(queued) == 2

    second = on_slurm.start("lr=1,2")
    time.sleep(8)  # several looks at the queue, none of which may submit anything
    assert set(allocations(slurm)) - {blocker} == queued
    slurm.run("scancel", blocker)

    assert second.wait(200) == 0, on_slurm.said
    assert on_slurm.said.count("asked Slurm") == 1
    assert {on_slurm.status(name)["engine"].split()[1] for name in ("Lr_1", "Lr_2")} <= queued


@pytest.mark.slow
def test_failed_node_gives_its_jobs_back(on_slurm: Project, slurm: SlurmNode) -> None:
    process = on_slurm.start("lr=1,2", *LONG)
    on_slurm.wait_for("START", 2)
    try:
        slurm.run("scontrol", "update", f"nodename={slurm.host}", "state=down", "reason=test")
        on_slurm.wait_for("goes on in another allocation", 2)
    finally:
        slurm.run("scontrol", "update", f"nodename={slurm.host}", "state=resume")

    assert process.wait(250) == 0, on_slurm.said
    assert [on_slurm.result(f"Lr_{lr}") for lr in (1, 2)] == [expected(lr, 150) for lr in (1, 2)]


def test_run_in_an_allocation_is_edited_and_asked_from_outside(on_slurm: Project) -> None:
    process = on_slurm.start("lr=1,2", *LONG)
    on_slurm.wait_for("START", 2)
    wait_until((on_slurm.out / "Lr_1" / "inbox").exists)

    assert "applied at step" in on_slurm.trainctl("set", "out/Lr_1", "lr=2")
    assert "running" in on_slurm.trainctl("ls", "out")
    for name in ("Lr_1", "Lr_2"):
        on_slurm.trainctl("do", f"out/{name}", "stop")

    assert process.wait(60) == 0, on_slurm.said
    assert "lr: 1 -> 2" in on_slurm.trainctl("log", "out/Lr_1")


def test_one_job_for_each_allocation(on_slurm: Project) -> None:
    on_slurm.sweep("lr=1,2,3", "hydra.launcher.jobs_per_allocation=1")

    assert len({on_slurm.status(path.name)["engine"] for path in on_slurm.runs()}) == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("+hydra.launcher.partitoin=gpu",), "partitoin"),
        (
            ("hydra.launcher.partition=nowhere",),
            "Slurm refused an allocation: sbatch: error: invalid partition specified",
        ),
        (("hydra.launcher.gpus_per_node=40",), "Slurm refused an allocation: "),
        (("hydra.launcher.timeout_min=0",), "hydra.launcher.timeout_min must be a whole number, at least 1, but got 0"),
        (
            ("hydra.launcher.tasks_per_node=2",),
            "hydra.launcher.tasks_per_node must be 1, but got 2: a job starts its ranks itself, by torchrun or srun",
        ),
        (
            ("hydra.launcher.timeout_min=2",),  # signal_delay_s is 120 by default
            "hydra.launcher.signal_delay_s=120 leaves jobs no time before the notice",
        ),
        (
            ("hydra.launcher.gpus_per_node=none:2", "hydra.launcher.gpus_per_job=3"),
            "hydra.launcher.gpus_per_job=3, but an allocation has hydra.launcher.gpus_per_node=none:2",
        ),
        (("hydra.launcher.setup=[exit 3]",), "ended before its agent connected"),
        (
            ("+hydra.launcher.additional_parameters={WRAP: 1}",),
            "is not an option of sbatch",
        ),
    ],
)
def test_what_slurm_cannot_give_is_said_in_a_sentence(
    on_slurm: Project, options: tuple[str, ...], sentence: str
) -> None:
    said = on_slurm.sweep("lr=1,2", *options, code=1)

    assert sentence in said
    assert "Traceback" not in said
    assert on_slurm.runs() == []


def test_why_an_allocation_does_not_start_is_said(on_slurm: Project) -> None:
    sweep = on_slurm.start("lr=1,2", "hydra.launcher.nodes=5")  # which Slurm takes, and never starts
    on_slurm.wait_for("queued: Slurm ")
    sweep.send_signal(signal.SIGINT)

    assert sweep.wait(100) == 130, on_slurm.said
    assert re.search(r"^queued: Slurm \d+_0 and 1 more, partition debug, Partition\w+$", on_slurm.said, re.MULTILINE)


def test_only_jobs_that_are_not_done_ask_for_devices(on_slurm: Project) -> None:
    failing = ("lr=1,2", "fail_at=null,3")
    on_slurm.sweep(*failing, code=1)

    said = on_slurm.sweep(*failing, "hydra.launcher.rerun=none", code=1)
    assert "asked Slurm" not in said
    assert "4 jobs: 2 skipped, 2 failed" in said
    assert said.count("failed earlier, and rerun=none: ValueError: no luck") >= 2

    said = on_slurm.sweep(*failing, code=1)
    assert "asked Slurm for 2 allocations" in said
    assert "4 jobs: 2 skipped, 2 failed" in said


def test_program_that_calls_main_unguarded_is_run(on_slurm: Project) -> None:
    program = on_slurm.directory / "train.py"
    program.write_text(program.read_text().partition("if __name__")[0] + "main()\n")

    assert "2 jobs: 2 done" in on_slurm.sweep("lr=1,2")


def test_page_of_a_sweep_is_started_again_when_it_is_killed(on_slurm: Project) -> None:
    sweep = on_slurm.start("lr=1", *LONG, "trainctl.panel.enabled=true", "trainctl.panel.keep_min=0")
    on_slurm.wait_for("START")
    page = on_slurm.out / ".trainctl" / "panel.json"
    first = json.loads(page.read_text())["pid"]
    os.kill(first, signal.SIGKILL)

    wait_until(lambda: page.exists() and json.loads(page.read_text())["pid"] != first, "the page is back")
    assert sweep.wait(200) == 0, on_slurm.said


APP = """
import time
from pathlib import Path
import hydra
import early

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    Path("running").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    import late
    return [early.VERSION, late.VERSION]

if __name__ == "__main__":
    main()
"""


def test_code_that_changes_is_named_by_the_job_that_has_loaded_it_and_by_no_other(on_slurm: Project) -> None:
    (on_slurm.directory / "train.py").write_text(APP)
    for name in ("early", "late"):
        (on_slurm.directory / f"{name}.py").write_text("VERSION = 1\n")
    sweep = on_slurm.start("lr=1,2,3,4,5", "hydra.launcher.array_parallelism=1")  # some begin after the change
    wait_until((on_slurm.directory / "running").exists, "the first job, and with it the agent, runs", deadline_s=120)
    time.sleep(1.5)  # so that the files are younger than the sweep, as file systems tell it
    for name in ("early", "late"):
        (on_slurm.directory / f"{name}.py").write_text("VERSION = 2\n")
    (on_slurm.directory / "go").touch()

    assert sweep.wait(200) == 0, on_slurm.said
    names = [f"Lr_{lr}" for lr in range(1, 6)]
    assert [on_slurm.result(name) for name in names] == [[1, 2]] * 5
    for name in names:
        record = yaml.safe_load((on_slurm.out / name / "run.yaml").read_text())
        assert record["changed_code"] == [str(on_slurm.directory / "late.py")]


def test_devices_do_not_idle_while_the_controller_thinks(on_slurm: Project, slurm: SlurmNode, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "squeue").write_text(f'#!/bin/sh\nsleep 6\nexec {shutil.which("squeue")} "$@"\n')
    (slow / "squeue").chmod(0o755)
    environment = {**slurm.environment, "PATH": f"{slow}{os.pathsep}{os.environ['PATH']}"}
    options = ("hydra/launcher=slots_slurm", "hydra.launcher.gpus_per_node=1", "hydra.launcher.array_parallelism=1")
    slowly = Project(on_slurm.directory, options, environment)

    slowly.sweep("lr=range(1,21)", "steps=30")

    begun = sorted(slowly.status(path.name)["started"] for path in slowly.runs())
    assert len(begun) == 20
    assert max(later - earlier for earlier, later in itertools.pairwise(begun)) < timedelta(seconds=5)


@pytest.mark.long
def test_time_limit_of_an_allocation_ends_no_job(on_slurm: Project) -> None:
    on_slurm.sweep(
        "lr=1,2", "steps=450", "pause=0.1", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20"
    )

    assert on_slurm.result("Lr_1") == expected(1, 450)
    assert on_slurm.status("Lr_1")["attempt"] > 1


def test_commands_of_slurm_that_are_not_there_are_named(tmp_path: Path) -> None:
    project = Project(tmp_path, ("hydra/launcher=slots_slurm",), {"PATH": os.path.dirname(os.__file__)})
    said = project.sweep("lr=1,2", code=1)
    assert "hydra/launcher=slots_slurm needs Slurm's commands, and there is no sbatch on this machine" in said
    assert subprocess.run(["true"], check=False).returncode == 0
