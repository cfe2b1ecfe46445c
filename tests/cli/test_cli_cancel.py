"""`trainctl cancel` and what `trainctl log` says of requests that wait."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from made import Cli, assert_refused
from waiting import wait_until

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status


@pytest.mark.slow
def test_what_waits_is_listed_and_can_be_cancelled(cli: Cli, trainer: RunDir) -> None:
    assert cli("set", "Norm_new", "optim.lr=0.2", "--at", "1000000000", "--no-wait").returncode == 0
    assert cli("do", "Norm_new", "pause", "--at", "2000000000", "--no-wait").returncode == 0
    wait_until(lambda: "(request 2)" in cli("log", "Norm_new").stdout, "both are taken")
    listed = cli("log", "Norm_new")
    assert "optim.lr=0.2 waits for step 1,000,000,000 (request 1)" in re.sub(r"\s+", " ", listed.stdout)
    assert "pause waits for step 2,000,000,000 (request 2)" in re.sub(r"\s+", " ", listed.stdout)
    assert "`trainctl cancel RUN NUMBER`" in listed.stderr
    done = cli("cancel", "Norm_new", "1", "--note", "a slip", "--wait", "60")
    assert re.fullmatch(r"cancelled at step \d+: optim\.lr=0\.2, which waited for step 1,000,000,000\n", done.stdout), (
        done.stderr
    )
    assert_refused(cli("cancel", "Norm_new", "1"), "no request 1 waits in this run; those that wait are 2")
    entries = json.loads(cli("log", "Norm_new", "--json").stdout)
    assert [(entry["state"], entry["request"]) for entry in entries] == [("cancelled", None), ("waiting", 2)]
    assert re.search(r"optim\.lr=0\.2 cancelled by \S+: a slip", re.sub(r"\s+", " ", cli("log", "Norm_new").stdout))
    assert cli("do", "Norm_new", "stop", "--wait", "60").returncode == 0
    wait_until(lambda: "stopped" in cli("show", "Norm_new").stdout, "it has ended")
    assert_refused(cli("cancel", "Norm_new", "2"), r"is not running \(stopped\); nothing was changed")
    assert "waits" not in cli("log", "Norm_new").stdout


@pytest.mark.slow
def test_what_waits_for_a_step_of_a_killed_run_is_listed_as_what_its_next_attempt_takes(
    cli: Cli, trainer: RunDir
) -> None:
    assert cli("set", "Norm_new", "optim.lr=0.2", "--at", "1000000000").returncode == 0
    status = read_status(trainer)
    assert status is not None
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    wait_until(lambda: "interrupted" in cli("show", "Norm_new").stdout, "it is seen that it was killed")

    listed = cli("log", "Norm_new")

    assert "optim.lr=0.2 waits for step 1,000,000,000 (request 1)" in re.sub(r"\s+", " ", listed.stdout)
    assert "what waits is for the next attempt of this run" in listed.stderr
    assert "cancel" not in listed.stderr
