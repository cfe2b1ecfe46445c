"""What a person on the login node sees and does of runs on other nodes: a Slurm of two nodes."""

from __future__ import annotations

import socket
import time

import psutil
import pytest
from cluster_project import Project
from slurm_node import SlurmNode
from test_slurm import LONG, expected
from waiting import wait_until


@pytest.mark.brief
def test_run_on_another_node_is_stopped_from_here(on_nodes: Project) -> None:
    process = on_nodes.start("lr=1,2", *LONG)
    on_nodes.wait_for("START", 2)
    status = on_nodes.status("Lr_1")
    assert status["host"] in ("node-a", "node-b")
    assert status["host"] != socket.gethostname()
    assert (on_nodes.out / ".trainctl" / "slurm" / f"{status['engine'].split()[1]}.out").samefile(status["engine_log"])
    job = psutil.Process(status["pid"])

    said = on_nodes.trainctl("stop", "out/Lr_1")

    assert f"process {status['pid']} of {status['host']}, {status['engine']}) was stopped" in said
    wait_until(lambda: not job.is_running(), "its process ends")
    assert process.wait(200) == 1, "the one that was stopped has no value"
    assert on_nodes.status("Lr_1")["state"] == "stopped"
    assert on_nodes.result("Lr_2") == expected(2, 150)


def test_run_that_does_not_obey_is_killed_on_its_node(on_nodes: Project) -> None:
    path = on_nodes.directory / "train.py"
    path.write_text(path.read_text().replace("import json", "import signal, json").replace(
        "    live = ", "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    live = "
    ))  # fmt: skip
    process = on_nodes.start("lr=1,2", *LONG)
    on_nodes.wait_for("START", 2)
    job = psutil.Process(on_nodes.status("Lr_1")["pid"])
    wait_until((on_nodes.out / "Lr_1" / "metrics.jsonl").exists, "it runs")

    assert "was stopped" in on_nodes.trainctl("stop", "out/Lr_1", "--grace", "1")
    wait_until(lambda: not job.is_running(), "its process ends")
    assert process.wait(200) == 1, "the one that was stopped has no value"
    assert on_nodes.status("Lr_1")["state"] == "stopped"


def test_list_says_what_waits_in_the_queue(on_nodes: Project, two_nodes: SlurmNode) -> None:
    blockers = [two_nodes.run("sbatch", "--parsable", "--gpus-per-node=2", "--wrap=sleep 300").strip() for _ in "12"]
    wait_until(lambda: len(two_nodes.run("squeue", "--noheader", "--states=RUNNING").splitlines()) == 2, "all is taken")
    process = on_nodes.start("lr=1,2,3")
    on_nodes.wait_for("asked Slurm for 3 allocations")

    said = wait_until(lambda: (found := on_nodes.trainctl("ls", "out")) and "Resources" in found and found)

    assert " and 2 more, partition debug, since " in said
    assert said.count("queued (Slurm ") == 1
    assert "3 jobs wait for that" in said
    two_nodes.run("scancel", *blockers)
    assert process.wait(200) == 0, on_nodes.said
    assert "queued" not in on_nodes.trainctl("ls", "out")


def test_two_launchers_of_one_command_use_one_queue_and_run_each_job_once(
    on_nodes: Project, two_nodes: SlurmNode
) -> None:
    blockers = [two_nodes.run("sbatch", "--parsable", "--gpus-per-node=2", "--wrap=sleep 300").strip() for _ in "12"]
    wait_until(lambda: len(two_nodes.run("squeue", "--noheader", "--states=RUNNING").splitlines()) == 2, "all is taken")
    first = on_nodes.start("lr=1,2", *LONG)
    on_nodes.wait_for("asked Slurm for 2 allocations")
    second = on_nodes.start("lr=1,2", *LONG)
    wait_until(lambda: len(list((on_nodes.out / ".trainctl" / "slurm" / "launchers").iterdir())) == 2, "both work")
    time.sleep(6)  # several looks at the queue
    assert on_nodes.said.count("asked Slurm") == 1
    two_nodes.run("scancel", *blockers)
    wait_until(lambda: len(on_nodes.runs()) == 2, "both jobs run", deadline_s=120)
    wait_until(lambda: len(on_nodes.metrics("Lr_1")) > 20, "the first run is under way")

    two_nodes.run("scontrol", "requeue", on_nodes.status("Lr_1")["engine"].split()[1])

    assert first.wait(250) == 0, on_nodes.said
    assert second.wait(250) == 0, on_nodes.said
    assert [path.name for path in on_nodes.runs()] == ["Lr_1", "Lr_2"]
    assert [on_nodes.result(f"Lr_{lr}") for lr in (1, 2)] == [expected(lr, 150) for lr in (1, 2)]
    assert [line["step"] for line in on_nodes.metrics("Lr_1") if "total" in line] == list(range(1, 151))
    assert on_nodes.status("Lr_1")["attempt"] == 2
    assert "ERROR" not in on_nodes.said
