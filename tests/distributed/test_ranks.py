"""Real ranks of torch.distributed agree on every edit, at every step."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from rank_processes import StartRanks, ask

from trainctl.config.changelog import loads
from trainctl.rundir.paths import RunDir

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports PyTorch


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two ranks have seen the same; they are two processes."""
    return {**one, "pid": None} == {**other, "pid": None}


def recorded(run: RunDir) -> Any:
    return loads(run.changelog.read_text(), source="run")


@pytest.mark.slow
@pytest.mark.parametrize(("count", "edits"), [(2, 300), pytest.param(4, 1000, marks=pytest.mark.long)])
def test_ranks_see_the_same_values_at_every_step_whenever_edits_come(
    start_ranks: StartRanks, run: RunDir, count: int, edits: int
) -> None:
    ranks = start_ranks(count, "sleep_s=0")
    ranks.until(run.changelog.exists)
    chance = random.Random(count)
    asked = []
    for number in range(edits):
        key, value = chance.choice([("optim.lr", chance.random()), ("n", number), ("text", f"edit {number}")])
        asked.append(ask(run, {key: value}))
        time.sleep(chance.choice([0, 0, 0.002, 0.02]))
    ranks.until(lambda: set(asked) <= set(ranks.answers()), look_s=1)
    ask(run, action="stop")
    seen = ranks.wait()
    assert all(ranks.answers()[one].state == "applied" for one in asked)
    assert all(same(other, seen[0]) for other in seen[1:])
    changelog = recorded(run)
    at = {step: changelog.at(step) for step in {0, *(edit.step for edit in changelog.edits)}}
    values = at[0]
    for step, rate, number, text in seen[0]["values"]:
        values = at.get(step, values)
        assert [values["optim"]["lr"], values["n"], values["text"]] == [rate, number, text]
    assert len(seen[0]["edits"]) == edits


def test_only_rank_0_writes(start_ranks: StartRanks, run: RunDir) -> None:
    start_ranks(2, "steps=25").wait()
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [record["rank"] for record in records] == [0] * 25
    assert sorted(path.name for path in run.path.parent.iterdir()) == ["out0", "run"]


@pytest.mark.slow
def test_ranks_have_one_seed_which_rank_0_has_drawn(start_ranks: StartRanks) -> None:
    first, second = (seen["seed"] for seen in start_ranks(2, "steps=1").wait())
    assert first == second == [first[0]] * 3


@pytest.mark.long
def test_pause_longer_than_the_timeout_of_all_groups_ends_nothing(start_ranks: StartRanks, run: RunDir) -> None:
    paused = ask(run, action="pause", at=3)  # by then all ranks wait no longer than that
    ranks = start_ranks(2, "timeout_s=6")
    ranks.until(lambda: paused in ranks.answers())
    began = time.monotonic()
    edited = ask(run, {"optim.lr": 0.5})
    ranks.until(lambda: edited in ranks.answers() and time.monotonic() - began > 14)
    ask(run, action="resume")
    stopped = ask(run, action="stop")
    seen = ranks.wait()
    step = ranks.answers()[paused].step
    assert ranks.answers()[edited].step == step
    assert same(seen[0], seen[1])
    assert {at: rate for at, rate, *_ in seen[1]["values"]}[step] == 0.5
    assert ranks.answers()[stopped].state == "applied"


@pytest.mark.slow
def test_actions_run_on_all_ranks_at_once_and_flags_are_up_on_all(start_ranks: StartRanks, run: RunDir) -> None:
    ask(run, action="sum", arguments={"number": 5}, at=3)
    ask(run, action="checkpoint", at=7)
    ask(run, action="stop", at=12)
    seen = start_ranks(3, "trainctl.sync_every=2").wait()
    assert same(seen[0], seen[1])
    assert same(seen[0], seen[2])
    assert seen[2]["sums"] == [[3, 5 + 6 + 7]]
    assert seen[2]["checkpoints"] == [7]
    assert seen[2]["values"][-1][0] == 12


def test_replay_reaches_all_ranks_at_its_own_steps(start_ranks: StartRanks, tmp_path: Path) -> None:
    edits = tmp_path / "edits.yaml"
    edits.write_text("0: {n: 0, optim: {lr: 0.1}}\n3: {optim: {lr: 0.2}}\n14: {n: 7, optim: {lr: 0.3}}\n")
    seen = start_ranks(2, "steps=20", f"trainctl.replay={edits}", "trainctl.drift=allow").wait()
    assert same(seen[0], seen[1])
    assert seen[1]["edits"] == [[3, {"optim.lr": 0.2}], [14, {"n": 7, "optim.lr": 0.3}]]
    assert [rate for _, rate, *_ in seen[1]["values"]] == [0.1] * 2 + [0.2] * 11 + [0.3] * 7


@pytest.mark.slow
def test_resumed_run_is_as_edited_on_all_ranks(start_ranks: StartRanks, run: RunDir) -> None:
    ask(run, {"optim.lr": 0.2}, at=5)
    ask(run, action="checkpoint", at=8)
    ask(run, {"n": 3}, at=10)
    whole = start_ranks(2, "steps=16", "trainctl.seed=1").wait()
    resumed = start_ranks(2, "steps=16", "trainctl.seed=1", RESUME=str(run.path / "checkpoint.json")).wait()
    assert resumed[0]["values"] == resumed[1]["values"] == whole[0]["values"][8:]
    assert resumed[1]["edits"] == [[8, {"optim.lr": 0.2}], [10, {"n": 3}]]


@pytest.mark.slow
def test_edit_that_cannot_be_applied_ends_all_ranks(start_ranks: StartRanks, tmp_path: Path) -> None:
    edits = tmp_path / "edits.yaml"
    edits.write_text("0: {}\n4: {gone: 1}\n")
    seen = start_ranks(2, "steps=20", f"trainctl.replay={edits}", "trainctl.drift=allow").wait(check=False)
    assert seen[0]["error"].startswith("EditError: the edit at step 4 of the replayed")
    assert seen[1]["error"].startswith("RankError: rank 0 could not begin step 4: the edit at step 4 of the replayed")


@pytest.mark.slow
def test_rank_that_begins_a_step_more_than_the_others_is_told_so(start_ranks: StartRanks) -> None:
    seen = start_ranks(2, "strays=1", "sums=false", "timeout_s=60", "steps=30").wait(check=False)
    assert seen[1]["error"].startswith("RankError: this rank is at step 6 and rank 0 at step 11 ")
    assert seen[1]["error"].endswith("every rank must call live.step() and live.epoch() equally often")
    assert seen[0]["error"].startswith("RankError: the ranks of this run have lost each other at step")


@pytest.mark.slow
def test_ranks_wait_for_each_other_once_in_sync_every_steps(start_ranks: StartRanks) -> None:
    for seen in start_ranks(2, "sums=false", "steps=23", "trainctl.sync_every=7", "note_collectives=true").wait():
        at_steps = [step for step, _ in seen["collectives"]]
        assert [step for step in at_steps if step > 0] == [1, 8, 15, 22]
        assert {name for _, name in seen["collectives"]} == {"broadcast"}


@pytest.mark.slow
def test_ranks_wait_for_each_other_every_ten_steps_by_default(start_ranks: StartRanks) -> None:
    (first, _) = start_ranks(2, "sums=false", "steps=32", "note_collectives=true").wait()
    assert [step for step, _ in first["collectives"] if step > 0] == [1, 11, 21, 31]
