"""One directory on three machines, of which each mounts it for itself: this one, and the two nodes of a Slurm.

The kernels of CI have no NFS, so these are mounts of bindfs (FUSE), with no cache in common: `--enable-lock-forwarding`
carries locks between them, as NFSv4 does; without, each mount keeps its own, as Lustre does with `localflock`.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cluster_project import Project
from conftest import started
from slurm_node import SlurmNode
from test_slurm import expected
from waiting import wait_until

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

LONG = ("steps=300", "pause=0.1")
# Python runs a module of this name as it starts; file systems and monotonic clocks keep their time
SKEWED = """
import time
real, real_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: real() + SECONDS, lambda: real_ns() + SECONDS * 10**9
"""
CARRIED, KEPT = "--enable-lock-forwarding --multithreaded", ""


@dataclass
class Shared:
    """A project on the shared directory. `elsewhere`: the command that has a second login node run something."""

    project: Project
    slurm: SlurmNode
    elsewhere: tuple[str, ...]


@contextmanager
def mounted(real: Path, place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    command = ["bindfs", "-f", *options.split(), "-o", "attr_timeout=3,entry_timeout=3,negative_timeout=0"]
    with subprocess.Popen([*command, str(real), str(place)], stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(place.is_mount, f"{place} is mounted")
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
            process.terminate()


def shared(directory: Path, options: str) -> Iterator[Shared]:
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed (Debian's bindfs)")
    real = directory / "real"
    real.mkdir()
    with ExitStack() as stack:
        here = stack.enter_context(mounted(real, directory / "shared", options))
        others = [stack.enter_context(mounted(real, directory / name, options)) for name in ("a", "b", "c")]
        binds = [f"mount --bind {each} {here}" for each in others]
        nodes = {"node-a": binds[0], "node-b": binds[1]}
        short = stack.enter_context(tempfile.TemporaryDirectory())  # slurmd's sockets lie there: at most 108 bytes
        slurm = stack.enter_context(started(Path(short), gpus=2, cpus=4, nodes=nodes))
        options_of = ("hydra/launcher=slots_slurm", "hydra.launcher.gpus_per_node=1")
        script = f'hostname login-2; {binds[2]}; cd "$PWD"; exec "$@"'
        elsewhere = ("unshare", "--uts", "--mount", "sh", "-ec", script, "sh")
        project = Project(here / "project", options_of, slurm.environment)
        yield Shared(project, slurm, elsewhere)
        project.end()
        slurm.run("scancel", "--user=root")


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Shared]:
    yield from shared(tmp_path, CARRIED)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Shared]:
    yield from shared(tmp_path, KEPT)


def begins(project: Project, name: str) -> int:
    return sum("begin" in line for line in project.metrics(name))


def assert_two_launchers_run_each_job_once(on: Shared) -> None:
    first = on.project.start("lr=1,2,3", *LONG)
    on.project.wait_for("START", 3)
    assert on.project.trainctl("ls", "out").count("running") == 3
    second = on.project.start("lr=1,2,3", *LONG, on=on.elsewhere)
    assert "applied at step" in on.project.trainctl("set", "out/Lr_1", "lr=1")
    assert first.wait(250) == 0, on.project.said
    assert second.wait(250) == 0, on.project.said

    names = ["Lr_1", "Lr_2", "Lr_3"]
    assert [path.name for path in on.project.runs()] == names
    assert [begins(on.project, name) for name in names] == [1, 1, 1]
    assert [on.project.status(name)["attempt"] for name in names] == [1, 1, 1]
    assert [on.project.result(name) for name in names] == [expected(lr, 300) for lr in (1, 2, 3)]
    assert on.project.trainctl("ls", "out").count("done") == 3


def test_locks_that_are_carried_between_nodes_prove_what_runs(carried: Shared) -> None:
    assert_two_launchers_run_each_job_once(carried)

    assert "are known by their locks, which are seen here" in carried.project.said
    assert (carried.project.out / "Lr_1" / "run.lock").read_text() == ""


@pytest.mark.brief
def test_beat_of_the_launcher_proves_what_runs_where_locks_are_not_carried(kept: Shared) -> None:
    assert_two_launchers_run_each_job_once(kept)

    assert "locks are not seen between node-" in kept.project.said
    assert (kept.project.out / "Lr_1" / "run.lock").read_text() == ""


def test_what_a_launcher_on_a_lost_machine_has_left_is_completed_from_another(kept: Shared) -> None:
    first = kept.project.start("lr=1,2", *LONG)
    kept.project.wait_for("START", 2)
    jobs = [psutil.Process(kept.project.status(name)["pid"]) for name in ("Lr_1", "Lr_2")]
    assert (kept.project.out / "Lr_1" / "run.lock").read_text().startswith("beat ../.trainctl/slurm/launchers/")

    first.send_signal(signal.SIGKILL)
    first.wait(30)
    wait_until(lambda: not any(job.is_running() for job in jobs), "the jobs end with their launcher")
    assert kept.project.trainctl("ls", "out").count("interrupted") == 2
    second = kept.project.start("lr=1,2", *LONG, on=kept.elsewhere)

    assert second.wait(280) == 0, kept.project.said
    assert [kept.project.result(f"Lr_{lr}") for lr in (1, 2)] == [expected(lr, 300) for lr in (1, 2)]
    assert [kept.project.status(f"Lr_{lr}")["attempt"] for lr in (1, 2)] == [2, 2]


def test_run_is_stopped_and_a_killed_agent_is_replaced_where_locks_are_not_carried(kept: Shared) -> None:
    process = kept.project.start("lr=1,2", *LONG)
    kept.project.wait_for("START", 2)
    job = psutil.Process(kept.project.status("Lr_2")["pid"])
    agent = next(each for each in kept.project.agents() if job in each.children(recursive=True))

    assert "was stopped" in kept.project.trainctl("stop", "out/Lr_1")
    agent.send_signal(signal.SIGKILL)

    assert process.wait(250) == 1, "the one that was stopped has no value"
    assert kept.project.status("Lr_1")["state"] == "stopped"
    assert kept.project.status("Lr_2")["attempt"] == 2
    assert kept.project.result("Lr_2") == expected(2, 300)


def test_launcher_is_stopped_from_another_machine_where_locks_are_not_carried(kept: Shared) -> None:
    process = kept.project.start("lr=1,2", *LONG)
    kept.project.wait_for("START", 2)
    trainctl = str(Path(sys.executable).with_name("trainctl"))

    said = subprocess.run(
        [*kept.elsewhere, trainctl, "stop", "--now", "out"],
        cwd=kept.project.directory, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert f"process {process.pid} of {socket.gethostname()} ends its 2 running jobs" in said.stdout, said.stderr
    assert process.wait(100) == 128 + signal.SIGTERM, kept.project.said
    assert {kept.project.status(name)["state"] for name in ("Lr_1", "Lr_2")} == {"interrupted"}


@pytest.mark.parametrize("minutes", [-5, 5])
def test_clocks_that_are_minutes_apart_change_nothing(kept: Shared, minutes: int, tmp_path: Path) -> None:
    early = tmp_path / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text(SKEWED.replace("SECONDS", str(minutes * 60)))
    process = kept.project.start("lr=1,2", *LONG, f"hydra.launcher.setup=['export PYTHONPATH={early}']")
    kept.project.wait_for("START", 2)
    second = kept.project.start("lr=1,2", *LONG, on=(*kept.elsewhere, "env", f"PYTHONPATH={early}"))

    assert "applied at step" in kept.project.trainctl("set", "out/Lr_1", "lr=1")
    assert kept.project.trainctl("ls", "out").count("running") == 2
    assert process.wait(250) == 0, kept.project.said
    assert second.wait(250) == 0, kept.project.said
    assert [begins(kept.project, name) for name in ("Lr_1", "Lr_2")] == [1, 1]
    status = read_status(RunDir.at(kept.project.out / "Lr_1"))
    assert status is not None
    assert abs((status.started or 0.0) - (kept.project.out / "Lr_1" / "run.yaml").stat().st_mtime) > 200
    assert [kept.project.result(f"Lr_{lr}") for lr in (1, 2)] == [expected(lr, 300) for lr in (1, 2)]
