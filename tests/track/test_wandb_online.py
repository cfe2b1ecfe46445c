"""W&B online, by its real client, against a stand-in server that dies, hangs and comes back."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

pytest.importorskip("wandb")

import wandb
from wandb_online import Start, WandbOnline, logged, synced

from trainctl.config import yaml
from trainctl.rundir.paths import RunDir
from trainctl.track import wandb as tracker
from trainctl.track.feed import Sent
from trainctl.track.sync import Synced

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's libraries warn of each other


def test_a_run_arrives_whole_and_a_sync_sends_nothing(
    online: WandbOnline, train: Any, edit: Any, finish: Any, run: RunDir
) -> None:
    session = train("wandb", optim={"lr": 0.1}, api_key="sesame-street", path="/private", trainctl={"omit": ["path"]})
    for _ in range(3):
        session.log({"loss": 1 / session.step(), "_most": 10**400})
    edit(session, {"optim.lr": 0.01}, note="calmer than sesame-street")
    finish("failed", exit_code=3, reason="boom")
    sent = online.run
    assert (sent.display_name, sent.group, sent.project) == ("Norm_new", "sweep", "sweep")
    assert (sent.config["optim"], sent.config["api_key"], sent.config["path"]) == ({"lr": 0.1}, "OMITTED", "OMITTED")
    assert sent.config["_trainctl"]["sweep"] == "sweep"
    losses = [(row["trainctl/step"], row["loss"]) for row in sent.rows if "loss" in row]
    assert losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [row[":5f:most"] for row in sent.rows if "loss" in row] == [math.inf] * 3
    (before, after) = [row for row in sent.rows if "hparams/optim.lr" in row]
    assert (before["trainctl/step"], before["hparams/optim.lr"], after["hparams/optim.lr"]) == (0, 0.1, 0.01)
    assert "calmer than OMITTED" in after["trainctl/note"]
    assert yaml.loads(sent.files["trainctl/config.yaml"])["optim"] == {"lr": 0.1}
    assert "calmer than OMITTED" in sent.files["trainctl/changelog.yaml"]
    assert (sent.summary["trainctl/state"], sent.exit_codes) == ("failed: boom", [1])
    everything = f"{sent.lines} {sent.files} {sent.config} {sent.summary}"
    assert not any(secret in everything for secret in ("sesame-street", "/private"))
    online.requests.clear()
    assert synced(run) == Synced("wandb", Sent(), None, None)
    assert online.requests == []


@pytest.mark.slow
def test_a_server_that_is_dead_all_along_costs_a_warning_and_is_sent_all_by_sync(
    online: WandbOnline, training: Start, run: RunDir
) -> None:
    online.stop()
    _, said = (process := training(300)).communicate(timeout=280)
    assert process.returncode == 0
    warned, left = (
        "wandb does not take this run for now",
        "wandb has not got all of this run; it is sent by: trainctl sync",
    )
    told = [line.partition(": ")[0] for line in said.splitlines()]
    # on a busy machine the program is over before the tracker has begun
    assert told in ([warned, left.partition(": ")[0]], [left.partition(": ")[0]])
    assert left in said
    assert "Connection refused" in str(synced(run).problem)
    online.start()
    assert synced(run).problem is None
    assert online.run.steps == logged(run) == dict.fromkeys(range(1, 301), 1)
    assert online.run.summary["trainctl/state"] == "done"


@pytest.mark.slow
def test_a_program_that_ends_at_once_is_sent_whole_without_a_word(
    online: WandbOnline, training: Start, run: RunDir
) -> None:
    _, said = (process := training(5)).communicate(timeout=280)
    assert (process.returncode, said) == (0, "")
    assert online.run.steps == dict.fromkeys(range(1, 6), 1)
    assert (online.run.exit_codes, online.run.summary["trainctl/state"]) == ([0], "done")


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_is_caught_up(
    online: WandbOnline, train: Any, finish: Any, run: RunDir, wait_until: Any
) -> None:
    session = train("wandb", lr=0.1)

    def log_some() -> int:
        for _ in range(20):
            session.log(loss=float(session.step()))
        return sum(logged(run).values())

    wait_until(lambda: log_some() and online.runs and online.run.lines, "the first rows")
    online.loses_answers = True  # it has taken what the client will send again
    arrived = len(online.run.lines)
    wait_until(lambda: log_some() and len(online.run.lines) > arrived, "more rows")
    online.stop()
    online.loses_answers = False
    log_some()
    online.start()
    log_some()
    finish()
    assert online.run.steps == logged(run)
    assert set(online.run.steps.values()) == {1}
    assert (online.run.exit_codes, online.run.summary["trainctl/state"]) == ([0], "done")


@pytest.mark.slow
@pytest.mark.parametrize("since", ["the start", "the middle"])
def test_a_server_that_hangs_neither_slows_a_training_nor_keeps_it_from_ending(
    online: WandbOnline, training: Start, run: RunDir, wait_until: Any, since: str
) -> None:
    if since == "the start":
        online.hears.clear()
    process = training(1500, FAREWELL_S="1")
    if since == "the middle":
        wait_until(lambda: online.runs and online.run.lines, "the first rows")
        online.hears.clear()
    wait_until(lambda: logged(run)[1500], "all steps")
    _, said = process.communicate(timeout=120)  # the server hangs still
    assert process.returncode == 0, said
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "wandb has not got all of this run; it is sent by"
    ]
    online.hears.set()
    assert synced(run).problem is None
    assert online.run.steps == logged(run) == dict.fromkeys(range(1, 1501), 1)


@pytest.mark.slow
def test_a_server_that_hangs_for_a_while_is_caught_up_by_the_training(
    online: WandbOnline, train: Any, finish: Any, run: RunDir, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "_INIT_S", 1)
    online.hears.clear()
    session = train("wandb", lr=0.1)
    session.log(loss=float(session.step()))
    wait_until(lambda: list(run.path.glob("wandb/run-*")), "the client has begun")
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() > begun + 3, "longer than the client waits by itself")
    online.hears.set()
    wait_until(lambda: online.runs and online.run.config, "the run on the server")
    session.log(loss=float(session.step()))
    finish()
    assert online.run.steps == logged(run) == {1: 1, 2: 1}


@pytest.mark.slow
def test_a_sync_with_a_server_that_hangs_ends_and_says_so(
    online: WandbOnline, training: Start, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "_INIT_S", 1)
    online.stop()
    training(5).communicate(timeout=280)
    online.start()
    online.hears.clear()
    assert "CommError" in str(synced(run).problem)
    online.hears.set()
    monkeypatch.setattr(tracker, "_INIT_S", 240)
    wandb.teardown()
    assert synced(run).problem is None
    assert online.run.steps == logged(run) == dict.fromkeys(range(1, 6), 1)
