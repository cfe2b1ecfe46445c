"""`trainctl set` and `trainctl log`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from made import Cli, assert_refused, finished
from waiting import wait_until

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.rundir.events import Event, append
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, state_of, write_status


@pytest.mark.slow
def test_set_is_applied_at_a_step_and_recorded_with_the_note(cli: Cli, trainer: RunDir) -> None:
    answer = cli("set", "Norm_new", "optim.lr=2e-4", "optim.betas=[0.8, 0.99]", "--note", "calmer")
    applied = re.match(r"applied at step (\d+), ", answer.stdout)
    assert applied is not None, answer.stderr
    assert answer.returncode == 0

    recorded = json.loads(cli("log", "Norm_new", "--json").stdout)
    assert [(entry["step"], entry["via"], entry["note"], entry["state"]) for entry in recorded] == [
        (int(applied[1]), "cli", "calmer", "applied")
    ]
    assert recorded[0]["changes"] == [
        {"key": "optim.lr", "old": 0.1, "new": 0.0002},
        {"key": "optim.betas", "old": [0.9, 0.999], "new": [0.8, 0.99]},
    ]
    lines = cli("log", str(trainer.path)).stdout.splitlines()
    assert lines[0].split() == ["edit", "step", "time", "who", "via", "change"]
    assert lines[1].split()[:2] == ["1", applied[1]]
    assert lines[1].endswith("optim.lr: 0.1 -> 0.0002")
    assert lines[2].strip() == "optim.betas: [0.9, 0.999] -> [0.8, 0.99]"
    assert re.fullmatch(
        rf" +# optim\.lr read at step {applied[1]}, optim\.betas not read within 20 steps: {UNREAD}", lines[3]
    )
    assert lines[4].strip() == "# calmer"


UNREAD = re.escape("what was built before does not follow; bind it (live.bind(…)) or start a run with it")


@pytest.mark.slow
def test_set_tells_who_reads_the_key(cli: Cli, trainer: RunDir) -> None:
    read = cli("set", "Norm_new", "optim.lr=0.05")
    assert re.fullmatch(r"applied at step (\d+), read at step \1\n", read.stdout), read.stderr
    unread = cli("set", "Norm_new", "optim.betas=[0.5]")
    assert unread.returncode == 0
    assert re.fullmatch(rf"applied at step \d+, not read within 20 steps: {UNREAD}\n", unread.stdout)
    table = cli("table").stdout.splitlines()
    assert "edits" in table[0].split()
    assert "2 (1 not read)" in table[1]
    assert "2 (1 not read)" in cli("ls").stdout


@pytest.mark.slow
def test_set_does_not_wait_for_a_read_that_takes_long(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time, trainctl\nfrom omegaconf import OmegaConf\ncfg = OmegaConf.create({'n': 1})\n"
        "live = trainctl.live(cfg, run_dir=sys.argv[1])\nlive.on_edit(lambda edit: print('edited', flush=True))\n"
        "asked = []\nlive.on_edit(asked.append)\n"
        "while not asked:\n    live.step()\n    time.sleep(0.01)\n"
        "sys.stdin.readline()\n"  # a step that takes as long as it likes
    )
    run = RunDir.at(tmp_path / "slow")
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, script, run.path], stdin=pipe, stdout=pipe, text=True)
    try:
        wait_until(lambda: state_of(run) == "running" and run.changelog.exists())
        answer = cli("set", str(run.path), "n=2")
        assert re.fullmatch(r"applied at step \d+; not read yet\n", answer.stdout), answer.stderr
    finally:
        process.communicate("\n", timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        (["optim.lr=abc"], "rejected: .*optim.lr.*abc.*float"),
        (["batch_size=16"], "rejected: .*batch_size.*locked"),
        (["optim.l=1", "optim.lr=1"], "rejected: .*optim.l\\b.*optim.lr"),
        (["optim.lr=${oc.env:HOME}"], "rejected: .*oc.env"),
        (["optim.lr=nan"], "rejected: .*nan"),
    ],
    ids=["type", "locked", "unknown", "interpolation", "nan"],
)
def test_set_tells_why_a_request_was_rejected(cli: Cli, trainer: RunDir, edits: list[str], reason: str) -> None:
    before = trainer.changelog.read_bytes()
    assert_refused(cli("set", "Norm_new", *edits), reason)
    assert trainer.changelog.read_bytes() == before
    assert "rejected: " in cli("log", "Norm_new").stdout


def test_set_says_that_a_run_is_not_running(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "done")
    assert_refused(cli("set", "done", "lr=1"), r"outputs/done is not running \(done\); nothing was changed")
    write_status(run, Status("running"))
    assert_refused(cli("set", "done", "lr=1"), r"not running \(interrupted\)")
    assert list(run.inbox.iterdir()) == []


@pytest.mark.slow
def test_set_without_an_answer_in_time_leaves_the_request(cli: Cli, tmp_path: Path, trainer: RunDir) -> None:
    (tmp_path / "pause").touch()
    wait_until((tmp_path / "paused").exists)
    assert_refused(cli("set", "Norm_new", "optim.lr=1", "--wait", "0.3"), "no answer .* 0.3 s.*is still in its inbox")
    filed = cli("set", "Norm_new", "optim.lr=2", "--no-wait")
    assert (filed.returncode, filed.stderr) == (0, "")
    assert len(list(trainer.inbox.glob("*.yaml"))) == 2
    (tmp_path / "pause").unlink()
    wait_until(lambda: not list(trainer.inbox.glob("*.yaml")))
    changes = [entry["changes"][0] for entry in json.loads(cli("log", "Norm_new", "--json").stdout)]
    assert [(change["old"], change["new"]) for change in changes] == [(0.1, 1.0), (1.0, 2.0)]


def test_set_refuses_what_is_not_a_pair(cli: Cli, tmp_path: Path) -> None:
    finished(tmp_path / "outputs" / "done")
    assert_refused(cli("set", "done", "lr"), "'lr' is not KEY=VALUE", code=2)
    assert_refused(cli("set", "done"), "Missing argument", code=2)
    assert_refused(cli("set", "done", "lr=1", "lr=2"), "lr was given twice")


def test_log_joins_changelog_and_events(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a")
    edits = [
        Edit(5, {"lr": 0.2, "size": 8}, note="a comment"),
        Edit(7, {"lr": 0.3}, via="panel", who="ann", at=100.0),
        Edit(7, {"size": 4}, via="cli", who="bob", at=200.0),
    ]
    run.changelog.write_text(dumps(Changelog({"lr": 0.1, "size": 16}, edits)))
    append(
        run,
        [
            Event("1", "pending", edits={"lr": "0.3"}, who="ann", via="panel", t=100.0),
            Event("2", "applied", step=7, edits={"size": 4}, who="bob", via="cli", t=102.0),
            Event("1", "applied", step=7, edits={"lr": 0.3}, t=101.0),
            Event("3", "rejected", edits={"lr": "x"}, who="eve", via="file", reason="not a number", t=103.0),
            Event("4", "pending", edits={"lr": "9"}, t=104.0),
        ],
    )
    entries = json.loads(cli("log", "a", "--json").stdout)
    assert [(entry["step"], entry["who"], entry["rejected"]) for entry in entries] == [
        (5, None, None), (7, "ann", None), (7, "bob", None), (None, "eve", "not a number"),
    ]  # fmt: skip
    assert entries[0]["note"] == "a comment"
    assert entries[1]["changes"] == [{"key": "lr", "old": 0.2, "new": 0.3}]
    assert entries[2]["changes"] == [{"key": "size", "old": 8, "new": 4}]
    assert "lr=x rejected: not a number" in cli("log", "a").stdout


@pytest.mark.slow
def test_log_of_a_broken_changelog_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a")
    run.changelog.write_text("0: [")
    assert_refused(cli("log", "a"), r"changelog.yaml is not a changelog")
    run.changelog.write_bytes(b"\xff")
    assert_refused(cli("log", "a"), r"not UTF-8")
    run.changelog.unlink()
    assert cli("log", "a").stdout == "no edits\n"
