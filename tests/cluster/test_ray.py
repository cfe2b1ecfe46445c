"""Sweeps on a real Ray of this machine: every job is completed once, whatever ends an actor, an agent or a job."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from cluster_project import Project
from test_slurm import LONG, assert_devices_were_apart, expected
from waiting import wait_until

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

pytest.importorskip("ray", reason="Ray is not installed")


def process_of(project: Project, name: str) -> psutil.Process:
    return psutil.Process(project.status(name)["pid"])


@pytest.mark.brief
def test_each_job_of_a_sweep_runs_once_on_a_device_of_its_own(on_ray: Project) -> None:
    said = on_ray.sweep("lr=1,2,3,4,5,6,7,8", "steps=30", "pause=0.03")

    assert "8 jobs: 8 done" in said
    assert {path.name: on_ray.result(path.name) for path in on_ray.runs()} == {
        f"Lr_{lr}": expected(lr, 30) for lr in range(1, 9)
    }
    assert_devices_were_apart(on_ray)
    assert on_ray.status("Lr_1")["engine"].startswith("Ray actor-")
    said = on_ray.sweep("lr=1,2,3,4,5,6,7,8", "steps=30", "pause=0.03")
    assert "8 jobs: 8 skipped" in said
    assert "Started a local Ray instance" not in said


@pytest.mark.slow
def test_two_hundred_jobs_on_four_devices_each_run_once_on_a_device_of_their_own(on_ray: Project) -> None:
    said = on_ray.sweep(f"lr={','.join(str(lr) for lr in range(1, 201))}", "steps=5", "pause=0.02")

    assert "200 jobs: 200 done" in said
    assert {path.name: on_ray.result(path.name) for path in on_ray.runs()} == {
        f"Lr_{lr}": expected(lr, 5) for lr in range(1, 201)
    }
    assert {on_ray.status(path.name)["attempt"] for path in on_ray.runs()} == {1}
    assert {line["devices"] for path in on_ray.runs() for line in on_ray.metrics(path.name) if "devices" in line} == {
        *("0", "1", "2", "3"),
    }
    assert_devices_were_apart(on_ray)


@pytest.mark.slow
def test_job_has_as_many_devices_as_its_actor(on_ray: Project) -> None:
    on_ray.sweep("lr=1,2,3,4", "hydra.launcher.ray.remote.num_gpus=2")

    devices = {line["devices"] for path in on_ray.runs() for line in on_ray.metrics(path.name) if "devices" in line}
    assert devices <= {"0,1", "2,3"}


@pytest.mark.slow
def test_two_jobs_share_a_device_by_halves(on_ray: Project) -> None:
    on_ray.sweep(
        "lr=1,2",
        *("steps=60", "pause=0.1"),
        "hydra.launcher.ray.remote.num_gpus=0.5",
        "hydra.launcher.ray.init.num_gpus=1",
    )

    assert [on_ray.metrics(name)[0]["devices"] for name in ("Lr_1", "Lr_2")] == ["0", "0"]


def test_killed_agent_loses_no_job(on_ray: Project) -> None:
    process = on_ray.start("lr=1,2", *LONG)
    on_ray.wait_for("START", 2)
    job = process_of(on_ray, "Lr_1")
    agent = next(each for each in on_ray.agents() if job in each.children(recursive=True))

    agent.send_signal(signal.SIGKILL)

    assert process.wait(200) == 0, on_ray.said
    assert not job.is_running()
    assert on_ray.result("Lr_1") == expected(1, 150)
    assert on_ray.status("Lr_1")["attempt"] == 2
    assert on_ray.status("Lr_2")["attempt"] == 1


def test_killed_actor_loses_no_job(on_ray: Project) -> None:
    process = on_ray.start("lr=1,2", *LONG)
    on_ray.wait_for("START", 2)
    job = process_of(on_ray, "Lr_1")
    agent = next(each for each in on_ray.agents() if job in each.children(recursive=True))

    agent.parent().send_signal(signal.SIGKILL)

    assert process.wait(200) == 0, on_ray.said
    assert not job.is_running()
    assert on_ray.result("Lr_1") == expected(1, 150)


@pytest.mark.slow
def test_same_command_completes_what_a_killed_launcher_left(on_ray: Project) -> None:
    process = on_ray.start("lr=1,2,3", *LONG)
    on_ray.wait_for("START", 3)
    jobs = [process_of(on_ray, name) for name in ("Lr_1", "Lr_2", "Lr_3")]

    process.send_signal(signal.SIGKILL)
    process.wait(30)
    wait_until(lambda: not any(job.is_running() for job in jobs), "the jobs end with their launcher")
    said = on_ray.sweep("lr=1,2,3", *LONG)

    assert "3 jobs: 3 done" in said
    assert [on_ray.result(f"Lr_{lr}") for lr in (1, 2, 3)] == [expected(lr, 150) for lr in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["agent", "raylet", "gcs_server"])
def test_second_interrupt_ends_the_launcher_although_a_part_of_ray_hangs(on_ray: Project, stopped: str) -> None:
    process = on_ray.start("lr=1,2", "steps=1500", "pause=0.1", "hydra.launcher.grace_s=1")
    on_ray.wait_for("START", 2)
    jobs = [process_of(on_ray, name) for name in ("Lr_1", "Lr_2")]
    started = psutil.Process(process.pid).children(recursive=True)
    hung = next(
        each
        for each in started
        if (
            each in on_ray.agents() and jobs[0] in each.children(True) if stopped == "agent" else each.name() == stopped
        )
    )
    process.send_signal(signal.SIGINT)
    on_ray.wait_for("Ctrl-C again")

    hung.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)

    assert process.wait(100) == 130, on_ray.said
    wait_until(lambda: not any(job.is_running() for job in jobs), "the jobs end")
    assert {state_of(RunDir.at(on_ray.out / name)) for name in ("Lr_1", "Lr_2")} == {"interrupted"}
    wait_until(lambda: not any(each.is_running() for each in started), "nothing of Ray is left")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("hydra.launcher.ray.remote.num_gpus=5",),
            "hydra.launcher.ray.remote asks for 1 CPU, 5 GPU on one node; the nodes have: 4 CPU, 4 GPU",
        ),
        (("hydra.launcher.ray.init.address=127.0.0.1:1",), "hydra.launcher.ray.init="),
        (("+hydra.launcher.ray.remote.num_gpu=1",), "num_gpu': 1}: Invalid option keyword num_gpu for actors"),
        (
            ("+hydra.launcher.ray.remote.num_cpus=two",),
            "hydra.launcher.ray.remote={'num_gpus': 1, 'num_cpus': 'two'}: ",
        ),
        (("hydra.launcher.max_parallel=0",), "hydra.launcher.max_parallel must be a whole number"),
    ],
)
def test_what_ray_cannot_give_is_said_in_a_sentence(on_ray: Project, options: tuple[str, ...], sentence: str) -> None:
    said = on_ray.sweep("lr=1,2", *options, code=1)

    assert sentence in said
    assert "Traceback" not in said
    assert on_ray.runs() == []


NODES = """
import sys, time
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
other = cluster.add_node(num_cpus=2, num_gpus=2)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(other)
print("removed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.mark.slow
def test_null_address_starts_a_ray_of_its_own_beside_one_that_runs(on_ray: Project) -> None:
    with subprocess.Popen([sys.executable, "-c", NODES], stdin=-1, stdout=-1, text=True) as cluster:
        assert cluster.stdout is not None
        try:
            next(line for line in cluster.stdout if ":" in line)
            assert "2 jobs: 2 done" in on_ray.sweep("lr=1,2")  # Ray itself would take no address for that one
        finally:
            cluster.communicate("end\n")


@pytest.mark.slow
def test_node_that_is_removed_in_the_middle_of_a_sweep_loses_no_job(on_ray: Project, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", NODES], stdin=-1, stdout=-1, text=True) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        try:
            address = next(line for line in cluster.stdout if ":" in line).strip()
            on_node = Project(
                tmp_path / "there",
                (
                    "hydra/launcher=slots_ray",
                    f"hydra.launcher.ray.init.address={address}",
                    "+hydra.launcher.ray.remote.num_gpus=1",
                ),
                {},
            )
            process = on_node.start("lr=1,2,3,4", *LONG)
            on_node.wait_for("START", 3)
            cluster.stdin.write("remove\n")
            cluster.stdin.flush()
            assert process.wait(250) == 0, on_node.said
            assert [on_node.result(f"Lr_{lr}") for lr in (1, 2, 3, 4)] == [expected(lr, 150) for lr in (1, 2, 3, 4)]
            assert "goes on in another allocation" in on_node.said
            on_node.end()
        finally:
            cluster.communicate("end\n")
