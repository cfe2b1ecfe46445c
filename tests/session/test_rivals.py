"""What goes wrong with others who edit runs live, each as a test of ours. hotcb 2.0 unless another is named.

What concerns the page (it asks nobody who they are) is in tests/security; what concerns ranks (hotcb and prefigure know
none; Interactive Training meets at every step, and its pause ends by a time limit) is in tests/distributed; trainconfig
has a file of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from session_fixtures import EndRun, OpenLive, answers, edits, end_current_run

from trainctl.config.changelog import loads
from trainctl.rundir import files
from trainctl.rundir.events import answer
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

Ask = Callable[..., str]


def config(**settings: str) -> DictConfig:
    return OmegaConf.create({"n": 1, "lr": 0.1, "trainctl": {"poll_s": 0.005, **settings}})


def values(session: Live, steps: int) -> list[int]:
    return [session.now.n for _ in range(steps) if session.step()]


def test_restarting_applies_old_requests_neither_at_once_nor_twice(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    session = open_live(config())
    values(session, 4)
    ask(session, {"n": "2"})
    ask(session, action="stop")
    session.step()
    end_run()
    told, recorded = answers(run), run.changelog.read_text()
    session = open_live(config())
    assert values(session, 6) == [1, 1, 1, 1, 2, 2]  # at their step, not at the start
    assert not session.should_stop
    end_run()
    assert (answers(run), run.changelog.read_text()) == (told, recorded)


def test_replay_that_is_resumed_skips_no_edit(open_live: OpenLive, run: RunDir, ask: Ask, tmp_path: Path) -> None:
    session = open_live(config())
    for n in (2, 3, 4):
        ask(session, {"n": str(n)})
        session.step()
    end_current_run()
    other = RunDir.at(tmp_path / "replay")
    session = live(config(replay=str(run.path)), run_dir=other.path)
    session.resume(2)  # a checkpoint from elsewhere: this run dir has seen nothing of steps 1 and 2
    assert session.now.n == 3
    session.step()
    end_current_run()
    assert edits(other) == edits(run)
    assert files.read_mapping(other.status)["state"] == "done"


def test_torn_lines_lose_no_edit(open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun) -> None:
    session = open_live(config())
    ask(session, {"n": "2"})
    session.step()
    end_run()
    for path in (run.events, run.metrics):
        with path.open("ab") as file:
            file.write(b'{"id": "torn", "state": "appl')  # killed while it wrote
    session = open_live(config())
    request = ask(session, {"n": "3"})
    assert values(session, 2) == [3, 3]
    session.log(loss=1)
    end_run()
    found = answer(run, request)
    assert found is not None
    assert found.state == "applied"
    assert edits(run) == [(1, {"n": 3})]
    assert [record["loss"] for record in files.read_lines(run.metrics)] == [1]


def test_request_made_before_the_first_step_is_of_step_1_and_replayed_there(
    open_live: OpenLive, run: RunDir, ask: Ask, tmp_path: Path
) -> None:
    session = open_live(config())
    ask(session, {"n": "2"})
    assert session.now.n == 1  # step 0 is before the first one: nothing is applied there
    assert values(session, 2) == [2, 2]
    end_current_run()
    changelog = loads(run.changelog.read_text())
    assert (changelog.at(0)["n"], changelog.at(1)["n"]) == (1, 2)
    session = live(config(replay=str(run.path)), run_dir=tmp_path / "replay")
    assert session.now.n == 1
    assert values(session, 2) == [2, 2]
    end_current_run()


@pytest.mark.parametrize("at", [0, -1, 1.5, True])
def test_step_0_cannot_be_asked_for(open_live: OpenLive, run: RunDir, at: object) -> None:
    session = open_live(config())
    request = file_request(run, {"n": "2"}, via="test", at=at)  # type: ignore[arg-type]  # what the test is about
    while list_inbox(run):
        session.step()
    found = answer(run, request)
    assert found is not None
    assert "'at' must be a step, a whole number from 1" in (found.reason or "")


def test_live_edit_of_a_replay_does_not_wipe_the_schedule(open_live: OpenLive, ask: Ask, tmp_path: Path) -> None:
    """As trainconfig does."""
    (tmp_path / "recorded.yaml").write_text("0: {n: 1, lr: 0.1}\n3: {n: 5}\n")
    session = open_live(config(replay=str(tmp_path / "recorded.yaml"), replay_mode="follow"))
    ask(session, {"lr": "0.2"})
    assert values(session, 4) == [1, 1, 5, 5]
    assert (tmp_path / "recorded.yaml").read_text() == "0: {n: 1, lr: 0.1}\n3: {n: 5}\n"


def test_killed_run_can_be_replayed_from_what_it_left(open_live: OpenLive, run: RunDir, ask: Ask) -> None:
    """Interactive Training's commands live in memory: nothing of them is left to replay."""
    session = open_live(config())
    ask(session, {"n": "2"})
    session.step()
    left = run.changelog.read_text()  # without any end of the run
    assert loads(left).at(1)["n"] == 2


def test_nobody_else_can_ask(open_live: OpenLive, run: RunDir) -> None:
    """Its commands lie in a file that every user of the machine may write to, and its server has no password."""
    open_live(config())
    for folder in (run.path, run.inbox):
        assert folder.stat().st_mode & 0o077 == 0


def test_fork_is_replayed_without_its_parent_and_names_it(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun, tmp_path: Path
) -> None:
    """Ray's PopulationBasedTrainingReplay follows one trial's policy, and cannot fork again in the middle of it."""
    session = open_live(config())
    ask(session, {"n": "2"})
    values(session, 3)
    ask(session, {"n": "3"})
    values(session, 3)
    end_run()
    fork, second, copy = (RunDir.at(tmp_path / name) for name in ("fork", "second", "copy"))
    for parent, child, forked_at, n in ((run, fork, 3, "7"), (fork, second, 2, "8")):
        session = live(config(replay=str(parent.path), replay_mode="fork"), run_dir=child.path)
        values(session, forked_at - 1)
        before = len(session._taken)
        file_request(child, {"n": n}, via="test")
        while len(session._taken) == before:
            time.sleep(0.001)
        values(session, 6 - forked_at + 1)
        end_current_run()
        assert files.read_mapping(child.run)["parent"] == {"run": str(parent.path), "step": forked_at}
    shutil.rmtree(run.path)
    shutil.rmtree(fork.path)
    session = live(config(replay=str(second.path)), run_dir=copy.path)
    assert values(session, 6) == [2, 8, 8, 8, 8, 8]
    end_current_run()
    assert edits(copy) == edits(second) == [(1, {"n": 2}), (2, {"n": 8})]
