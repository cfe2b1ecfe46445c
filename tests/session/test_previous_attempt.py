"""What a task is told of the attempt before its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from session_fixtures import EndRun, OpenLive, metrics

from trainctl.rundir.paths import RunDir

KILLED = """
import os, signal, sys
from omegaconf import OmegaConf
import trainctl
live = trainctl.live(OmegaConf.create({"n": 1, "trainctl": {"seed": 1}}), run_dir=sys.argv[1])
for step in range(3):
    live.step()
    live.log(loss=1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_first_attempt_has_none_before_it(open_live: OpenLive) -> None:
    session = open_live(n=1)
    assert (session.resuming, session.previous_attempt) == (False, None)


def test_attempt_that_ended_is_told_with_its_last_step(open_live: OpenLive, end_run: EndRun) -> None:
    session = open_live(n=1)
    for _ in range(3):
        session.step()
        session.log(loss=1.0)
    end_run()
    again = open_live(n=1)
    previous = again.previous_attempt
    assert again.resuming
    assert previous is not None
    assert (previous.number, previous.state, previous.last_step) == (1, "done", 3)


def test_attempt_that_was_killed_is_told_as_interrupted(open_live: OpenLive, run: RunDir) -> None:
    subprocess.run([sys.executable, "-c", KILLED, run.path], check=False, timeout=60)
    previous = open_live(n=1, trainctl={"seed": 1}).previous_attempt
    assert previous is not None
    assert (previous.number, previous.state) == (1, "interrupted")


@pytest.mark.parametrize("until", [2, 5])
def test_rows_that_a_binding_logs_depend_on_the_step_alone(
    open_live: OpenLive, end_run: EndRun, run: RunDir, until: int
) -> None:
    """A resume logs no row that a run without one would not have."""
    torch = pytest.importorskip("torch")

    def train(steps: int, resume_from: int | None = None) -> None:
        session = open_live(lr=0.1)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        session.bind(optimizer, lr="lr")
        if resume_from is not None:
            session.resume(resume_from)
        while session.step_number < steps:
            session.step()
        end_run()

    train(5)
    whole = metrics(run)
    train(8, resume_from=until)
    assert metrics(run) == whole
