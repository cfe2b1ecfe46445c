"""Trainings killed at random moments while three processes ask for edits: nothing is lost, halved or done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainctl.config.changelog import Changelog, loads
from trainctl.rundir.edits import applied_edits
from trainctl.rundir.events import read_events
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir

HERE = Path(__file__).parents[1]
ROUNDS = int(os.environ.get("TRAINCTL_KILL_ROUNDS", "6"))


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are killed at the end if they still run."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()  # which closes its pipes


def start(started: list[subprocess.Popen[bytes]], script: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    started.append(process)
    return process


def wait_for_lines(process: subprocess.Popen[bytes], path: Path, count: int) -> None:
    """Wait until a training has made so many steps."""
    deadline = time.monotonic() + 240
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def assert_in_effect_as_recorded(path: Path, changelog: Changelog) -> None:
    """Each step had the values that the changelog tells for it."""
    state, edits = dict(changelog.base), list(changelog.edits)
    for line in path.read_text().splitlines()[:-1]:  # the last one may be half written
        step, a, b, length = map(int, line.split())
        while edits and edits[0].step <= step:
            state |= edits.pop(0).values
        assert (a, b, length) == (state["a"], state["b"], len(state["s"])), line
        assert a == b  # a request that sets both is atomic


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_requests_of_three_writers_end_in_one_answer_each_and_in_the_record_as_they_took_effect(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    run = RunDir.at(tmp_path / "run")
    run.create()
    rng = random.Random(20261121)
    writers = [start(started, "writing_loop.py", run.path, seed) for seed in range(3)]
    for number in range(ROUNDS):
        seen = tmp_path / f"seen{number}"
        training = start(started, "stepping_loop.py", run.path, seen)
        wait_for_lines(training, seen, rng.randrange(1, 200))
        training.send_signal(signal.SIGKILL)
        training.wait()
        if number == ROUNDS // 2:  # a writer may die in the middle of a request, too
            writers[0].send_signal(signal.SIGKILL)
        if run.changelog.exists():
            assert_in_effect_as_recorded(seen, loads(run.changelog.read_bytes()))
    for writer in writers:
        writer.communicate()
    last = start(started, "stepping_loop.py", run.path, tmp_path / "last", 200)
    assert last.wait(60) == 0, last.communicate()
    changelog = loads(run.changelog.read_bytes())
    assert changelog.cut_off is None
    assert_in_effect_as_recorded(tmp_path / "last", changelog)
    events = read_events(run)
    finals = Counter(event.id for event in events if event.is_final)
    assert finals == Counter({event.id: 1 for event in events})
    assert list_inbox(run) == []
    states = Counter(event.state for event in events)
    assert states["applied"], states
    assert states["rejected"], states
    told = applied_edits(changelog, events)
    assert len(told) == states["applied"]  # what was answered as applied is recorded, and nothing else is
    assert all(one.via == "test" for one in told)
