"""W&B online: runs that were killed, and runs of the task, by the real client against a stand-in server."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb")

from wandb_online import Start, WandbOnline, logged, synced

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.track.cursor import Cursor
from trainctl.track.feed import Sent
from trainctl.track.sync import Synced

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's libraries warn of each other


@pytest.mark.slow
def test_a_training_killed_at_any_moment_arrives_once(
    online: WandbOnline, training: Start, run: RunDir, wait_until: Any, tmp_path: Path
) -> None:
    cursor = run.path / ".track" / "wandb.json"

    def noted() -> int:
        """Return how many rows are known to have been given to the client; that is written a moment later."""
        return int(files.read_mapping(cursor).get("kept", {}).get("rows", 0))

    process = training(1_000_000)  # killed with rows that the client had, and the server never got
    wait_until(lambda: online.runs and online.run.lines, "the first rows")
    online.hears.clear()
    wait_until(lambda: noted() > len(online.run.lines) + 100, "rows it never gets")
    process.kill()
    process.wait()
    arrived = len(online.run.lines)
    assert arrived < noted()

    online.hears.set()
    process = training(1_000_000)  # killed with rows that the server has got, and that were not noted
    wait_until(lambda: len(online.run.lines) > arrived + 100, "rows that the server gets")
    shutil.copy(cursor, tmp_path / "earlier")
    earlier = noted()
    wait_until(lambda: len(online.run.lines) > earlier + 100, "rows that are not noted")
    process.kill()
    process.wait()
    shutil.copy(tmp_path / "earlier", cursor)
    assert noted() < len(online.run.lines)

    last = max(logged(run)) + 50
    _, said = (process := training(last)).communicate(timeout=280)
    assert (process.returncode, said) == (0, "")
    assert online.run.steps == dict.fromkeys(range(1, last + 1), 1)
    assert len(online.runs) == 1
    assert synced(run).sent == Sent()


@pytest.mark.slow
def test_a_killed_training_is_completed_by_sync(
    online: WandbOnline, training: Start, run: RunDir, wait_until: Any
) -> None:
    process = training(1_000_000)
    wait_until(lambda: online.runs and online.run.lines, "the first rows")
    process.kill()
    process.wait()
    assert synced(run).problem is None
    assert online.run.steps == logged(run)
    assert set(online.run.steps.values()) == {1}
    assert online.run.summary["trainctl/state"].startswith("interrupted")
    assert synced(run) == Synced("wandb", Sent(), None, None)


def test_a_run_that_the_task_has_opened_is_used_and_ended_by_the_task(
    online: WandbOnline, opened_by_task: Any, run: RunDir
) -> None:
    with opened_by_task():
        assert online.run.exit_codes == []
    sent = online.run
    assert (sent.project, sent.exit_codes) == ("mine", [0])
    assert (sent.config["lr"], sent.config["depth"]) == ("the task's", 3)
    assert sent.rows == [{"own": 1}, {"own": 2}]
    assert sent.summary["trainctl/state"] == "done"
    assert "trainctl/config.yaml" in sent.files
    assert not (run.path / "wandb").exists()


@pytest.mark.slow
def test_a_run_that_a_script_has_left_open_gets_all_before_the_client_ends_it(
    online: WandbOnline, training: Start, run: RunDir
) -> None:
    _, said = (process := training(1000, OPENED="yes")).communicate(timeout=280)
    assert process.returncode == 0
    assert "trainctl sync" not in said
    assert online.run.steps == dict.fromkeys(range(1, 1001), 1)
    assert (online.run.project, online.run.exit_codes, online.run.summary["trainctl/state"]) == ("mine", [0], "done")


@pytest.mark.slow
def test_a_killed_run_of_the_task_is_gone_on_with_by_sync(
    online: WandbOnline, training: Start, run: RunDir, wait_until: Any
) -> None:
    process = training(1_000_000, OPENED="yes")
    wait_until(lambda: online.runs and online.run.lines, "the first rows")
    process.kill()
    process.wait()
    noted = Cursor.read(run.path / ".track" / "wandb.json").step
    assert synced(run).problem is None
    assert (online.run.project, online.run.exit_codes) == ("mine", [1])
    assert online.run.summary["trainctl/state"].startswith("interrupted")
    # others log into it, so nobody can count what has arrived: what was given and not noted yet is given once more
    assert all(times == 1 or step > noted for step, times in online.run.steps.items())
    assert synced(run) == Synced("wandb", Sent(), None, None)


@pytest.mark.slow
@pytest.mark.parametrize("is_held", [True, False])
def test_a_run_that_the_server_has_lost_is_sent_all_again(
    online: WandbOnline, train: Any, finish: Any, run: RunDir, is_held: bool
) -> None:
    session = train("wandb", lr=0.1)
    for _ in range(3):
        session.log(loss=float(session.step()))
    finish()
    assert online.run.steps == {1: 1, 2: 1, 3: 1}
    online.runs.clear()
    if not is_held:
        (run.path / ".track" / "wandb.rows").unlink()
    session = train("wandb", lr=0.1)
    session.resume(3)
    session.log(loss=float(session.step()))
    finish()
    assert online.run.steps == {1: 1, 2: 1, 3: 1, 4: 1}
    assert {"trainctl/config.yaml", "trainctl/changelog.yaml"} <= online.run.files.keys()
