"""`trainctl do`: what a running run is asked to do besides edits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from made import Cli, assert_refused, finished
from waiting import wait_until

from trainctl.rundir import files
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir


@pytest.mark.slow
def test_do_asks_for_an_action_and_says_at_which_step_it_was_done(cli: Cli, trainer: RunDir) -> None:
    answer = cli("do", "Norm_new", "evaluate", "--note", "before lunch")
    assert answer.returncode == 0, answer.stderr
    found = next(event for event in read_events(trainer) if event.action == "evaluate" and event.is_final)
    assert answer.stdout == f"asked at step {found.step}\ndone at step {found.step}\n"
    assert (found.via, found.note) == ("cli", "before lunch")
    assert f"# done at step {found.step}" in cli("log", "Norm_new").stdout


@pytest.mark.slow
def test_do_says_that_the_loop_has_not_looked(cli: Cli, trainer: RunDir) -> None:
    answer = cli("do", "Norm_new", "checkpoint", "--wait", "1")
    assert re.fullmatch(r"asked at step \d+\n", answer.stdout), answer.stderr
    assert answer.returncode == 1
    assert answer.stderr.startswith(
        "not done within 1 s: the loop has not looked at live.should_checkpoint (`trainctl log`"
    )
    shown = " ".join(cli("log", "Norm_new").stdout.split())
    assert "checkpoint # not done: the loop has not looked at live.should_checkpoint" in shown
    (entry,) = json.loads(cli("log", "Norm_new", "--json").stdout)
    assert entry["outcome"] == "not done: the loop has not looked at live.should_checkpoint"


@pytest.mark.slow
def test_do_pauses_and_resumes(cli: Cli, trainer: RunDir) -> None:
    assert cli("do", "Norm_new", "pause").returncode == 0
    wait_until(lambda: files.read_mapping(trainer.progress).get("paused") is True)
    wait_until(lambda: "state      paused\n" in cli("show", "Norm_new").stdout)
    assert "paused" in cli("ls").stdout
    assert cli("do", "Norm_new", "resume").returncode == 0
    wait_until(lambda: "paused" not in files.read_mapping(trainer.progress))


@pytest.mark.slow
def test_do_stop_lets_the_loop_end_by_itself(cli: Cli, trainer: RunDir) -> None:
    answer = cli("do", "Norm_new", "stop")
    assert re.fullmatch(r"asked at step (\d+)\ndone at step \1\n", answer.stdout), answer.stderr
    wait_until(lambda: files.read_mapping(trainer.status)["state"] == "stopped")
    assert "stopped: by " in cli("show", "Norm_new").stdout


@pytest.mark.slow
def test_do_for_a_later_step_does_not_wait_for_it(cli: Cli, trainer: RunDir) -> None:
    answer = cli("do", "Norm_new", "stop", "--at", "1000000000")
    assert (answer.returncode, answer.stdout) == (
        0, "waits for step 1,000,000,000; `trainctl log` will tell what became of it\n"
    )  # fmt: skip
    assert_refused(
        cli("do", "Norm_new", "stop", "--at", "1", is_patient=True),
        r"rejected: step 1 is over: the run is at step \d+; give",
    )


@pytest.mark.slow
def test_do_tells_what_is_refused(cli: Cli, trainer: RunDir) -> None:
    assert_refused(cli("do", "Norm_new", "dance"), "rejected: there is no action 'dance'; known are checkpoint, eval")
    assert_refused(cli("do", "Norm_new", "stop", "n=1"), "rejected: stop: there is no argument 'n'; it takes none")
    assert cli("do", "Norm_new", "stop", "n").returncode == 2


@pytest.mark.slow
def test_do_without_an_action_lists_those_that_there_are(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a")
    assert_refused(cli("do", "a"), r"outputs/a takes no actions: its task has not called trainctl\.live\(cfg\)")
    arguments = {"n": {"type": "int", "default": 4}, "mode": {"type": "str", "choices": ["fast", "slow"]}}
    actions = {"stop": {"help": "ask"}, "sample": {"arguments": {**arguments, "text": {"type": "str"}}}}
    files.write_yaml(run.run, {**files.read_mapping(run.run), "actions": actions})
    assert cli("do", "a").stdout.splitlines() == [
        "action  arguments                    what it does",
        "stop                                 ask",
        "sample  n=4 mode=fast|slow text=STR",
    ]
    assert_refused(cli("do", "a", "stop"), r"outputs/a is not running \(done\); nothing was done")
