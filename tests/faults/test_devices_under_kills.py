"""Two launchers want the same two devices while launchers, zygotes and jobs are killed: none is ever held twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from gpu_driver import UUIDS
from rounds import FIRST, ROUNDS, Hit, find_victim
from sweep_app import App, wait_until
from two_gpus import two_gpu_app

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

JOBS = 8


def command(sweep: str, first: int) -> list[str]:
    return [f"x=range({first},{first + JOBS})", f"hydra.sweep.dir={sweep}", "hydra.launcher.slots=['0','1']"]


def strike(draw: random.Random, launchers: list[subprocess.Popen[str]]) -> None:
    """Kill one of the processes of one of the launchers."""
    launcher = draw.choice(launchers)
    if launcher.poll() is not None:
        return
    victim = draw.choice(["launcher", "zygote", "job", "job"])
    victim, pid = find_victim(Hit(victim, signal.SIGKILL, "begin", 0, 0.0, draw.random()), launcher.pid)
    print(f"SIGKILL to {victim} {pid} of {launcher.pid}")
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        print("which has ended already")


def starts(app: App) -> int:
    return sum(line.startswith("start") for line in app.ran())


def wait_for_starts(app: App, number: int, launchers: list[subprocess.Popen[str]]) -> None:
    """Wait until so many jobs have started, or a launcher has ended."""
    wait_until(lambda: starts(app) >= number or any(each.poll() is not None for each in launchers), "jobs start")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(2, ROUNDS // 10)))
def test_no_device_is_held_twice_whatever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    app = two_gpu_app(tmp_path, monkeypatch)
    draw = random.Random(seed)
    # two sweeps with jobs of their own, or one that both work at
    sweeps = [command("one", 0), command("two", JOBS) if seed % 2 else command("one", 0)]
    xs = range(2 * JOBS if seed % 2 else JOBS)
    try:
        launchers = [app.start(*sweep) for sweep in sweeps]
        for _ in range(draw.randint(3, 5)):
            wait_for_starts(app, starts(app) + draw.randint(1, 4), launchers)
            time.sleep(draw.choice([0.0, draw.uniform(0.0, 0.1)]))
            strike(draw, launchers)
            for number, launcher in enumerate(launchers):
                if launcher.poll() is not None:  # killed, or done: its sweep is started again while the other goes on
                    print(launcher.communicate()[0])
                    launchers[number] = app.start(*sweeps[number])
        outputs = [launcher.communicate(timeout=120)[0] for launcher in launchers]
        print(*outputs, sep="\n")
        wait_until(lambda: not app.processes(), "no process is left")
        for sweep in sweeps:
            assert app.run(*sweep).returncode == 0
    finally:
        app.end()
    check(app, xs)


def check(app: App, xs: range) -> None:
    ran = app.ran()
    assert [line for line in ran if line.startswith("overlap")] == []
    assert {line.split()[2] for line in ran} == set(UUIDS)
    ended = Counter(int(line.split()[1]) for line in ran if line.startswith("end"))
    assert set(ended) == set(xs)
    runs = [RunDir.at(path.parent) for path in app.path.glob("*/*/status.yaml")]
    statuses = [read_status(run) for run in runs]
    assert [status.state for status in statuses if status is not None] == ["done"] * len(xs)
    # the work of each job was done by the process that says so, and by no other after it
    last = {int(line.split()[1]): int(line.split()[3]) for line in ran if line.startswith("start")}
    assert sorted(last.values()) == sorted(status.pid or 0 for status in statuses if status is not None)
