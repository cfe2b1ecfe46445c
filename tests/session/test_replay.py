"""Live edits during a replay, by `trainctl.replay_mode`; and the actions that a replay does again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from session_fixtures import EndRun, OpenLive, edits

from trainctl.errors import EditError, SettingError
from trainctl.rundir import files
from trainctl.rundir.events import Event, answer, read_events
from trainctl.rundir.paths import RunDir
from trainctl.session.live import Live

Ask = Callable[..., str]

SCHEDULE = "0: {lr: 0.1, n: 1}\n3: {lr: 0.2}\n6: {lr: 0.3, n: 2}\n8: {n: 3}\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "schedule.yaml"
    path.write_text(SCHEDULE)
    return path


def config(source: Path, mode: str | None = None) -> DictConfig:
    settings = {"poll_s": 0.005, "replay": str(source), **({"replay_mode": mode} if mode else {})}
    return OmegaConf.create({"lr": 0.1, "n": 1, "trainctl": settings})


def train(session: Live, until: int) -> list[tuple[float, int]]:
    seen = []
    while session.step_number < until:
        session.step()
        seen.append((session.now.lr, session.now.n))
    return seen


def final(run: RunDir, request: str) -> Event:
    found = answer(run, request)
    assert found is not None
    return found


def test_live_edit_during_a_replay_is_refused_by_default(
    open_live: OpenLive, run: RunDir, ask: Ask, source: Path, end_run: EndRun
) -> None:
    session = open_live(config(source))
    train(session, 4)
    request = ask(session, {"lr": "7"})
    assert train(session, 9) == [(0.2, 1), (0.3, 2), (0.3, 2), (0.3, 3), (0.3, 3)]
    late = ask(session, {"lr": "7"})  # after the last recorded edit too: it would be another run
    session.step()
    for one in (request, late):
        assert final(run, one).reason == (
            f"this run replays {source} and takes no edits (trainctl.replay_mode=refuse); start it with "
            "trainctl.replay_mode=follow, or with fork to drop the rest of the recorded edits"
        )
    end_run()
    assert files.read_mapping(run.status)["state"] == "done"
    assert source.read_text() == SCHEDULE


def test_follow_keeps_the_future_but_for_the_edited_key_and_says_what_it_supersedes(
    open_live: OpenLive, run: RunDir, ask: Ask, source: Path, end_run: EndRun
) -> None:
    session = open_live(config(source, "follow"))
    train(session, 3)
    request = ask(session, {"lr": "7"})
    assert train(session, 9) == [(7.0, 1), (7.0, 1), (7.0, 2), (7.0, 2), (7.0, 3), (7.0, 3)]
    assert edits(run) == [(3, {"lr": 0.2}), (4, {"lr": 7.0}), (6, {"n": 2}), (8, {"n": 3})]
    (event,) = [event for event in read_events(run) if event.state == "rejected"]
    assert (event.via, event.edits, event.at) == ("replay", {"lr": 0.3}, 6)
    assert event.reason == (
        f"the scheduled edit at step 6 is superseded by the edit at step 4 ({request}); trainctl.replay_mode=follow"
    )
    end_run()
    assert files.read_mapping(run.status)["state"] == "done"
    assert files.read_mapping(run.run)["parent"] == str(source)
    assert source.read_text() == SCHEDULE


def test_edit_that_follow_has_superseded_stays_out_in_the_next_attempt(
    open_live: OpenLive, run: RunDir, ask: Ask, source: Path, end_run: EndRun
) -> None:
    session = open_live(config(source, "follow"))
    train(session, 3)
    ask(session, {"lr": "7"})
    train(session, 5)
    end_run()  # it did not come to steps 6 and 8
    session = open_live(config(source, "follow"))
    assert train(session, 9) == [
        (0.1, 1), (0.1, 1), (0.2, 1), (7.0, 1), (7.0, 1), (7.0, 2), (7.0, 2), (7.0, 3), (7.0, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(("mode", "then"), [("follow", (0.2, 3)), ("fork", (0.2, 1))])
def test_edit_to_the_value_that_is_just_repeated_counts_in_the_next_attempt_too(
    open_live: OpenLive, ask: Ask, source: Path, end_run: EndRun, mode: str, then: tuple[float, int]
) -> None:
    session = open_live(config(source, mode))
    train(session, 2)
    ask(session, {"lr": "0.2"})
    train(session, 5)
    end_run()
    session = open_live(config(source, mode))
    assert train(session, 9)[-1] == then


def test_fork_leaves_the_rest_of_the_schedule_behind_and_names_parent_and_step(
    open_live: OpenLive, run: RunDir, ask: Ask, source: Path, end_run: EndRun
) -> None:
    session = open_live(config(source, "fork"))
    train(session, 3)
    assert files.read_mapping(run.run)["parent"] == str(source)
    ask(session, {"n": "9"})
    assert train(session, 9) == [(0.2, 9)] * 6
    assert edits(run) == [(3, {"lr": 0.2}), (4, {"n": 9})]
    assert files.read_mapping(run.run)["parent"] == {"run": str(source), "step": 4}
    assert source.read_text() == SCHEDULE
    end_run()
    assert files.read_mapping(run.status)["state"] == "done"
    session = open_live(config(source, "fork"))  # it stays a fork, from the same step
    assert files.read_mapping(run.run)["parent"] == {"run": str(source), "step": 4}
    assert train(session, 9) == [(0.1, 1), (0.1, 1), (0.2, 1), *[(0.2, 9)] * 6]
    ask(session, {"n": "10"})
    session.step()
    assert files.read_mapping(run.run)["parent"]["step"] == 4


def test_refused_edit_forks_nothing(open_live: OpenLive, run: RunDir, ask: Ask, source: Path) -> None:
    session = open_live(config(source, "fork"))
    ask(session, {"n": "x"})
    assert train(session, 9)[-1] == (0.3, 3)
    assert files.read_mapping(run.run)["parent"] == str(source)


def test_unknown_replay_mode_is_refused(open_live: OpenLive, source: Path) -> None:
    with pytest.raises(
        SettingError, match=r"^trainctl\.replay_mode='merge' is not known; allowed are refuse, follow, fork$"
    ):
        open_live(config(source, "merge"))


@pytest.fixture
def acted(open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun, tmp_path: Path) -> tuple[RunDir, list[Any]]:
    """A run that was asked for all kinds of actions and was stopped at step 7; what happened in it."""
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"poll_s": 0.005}}))
    seen = watched(session)
    wanted = {2: "sample", 4: "evaluate", 5: "checkpoint", 7: "stop"}
    happened = []
    while not session.should_stop:
        if session.step_number + 1 in wanted:
            name = wanted[session.step_number + 1]
            ask(session, action=name, arguments={"n": "2"} if name == "sample" else {})
            if name == "sample":
                ask(session, {"n": "5"})
                ask(session, action="pause")
                ask(session, action="resume")
        happened.append(one_step(session))
    end_run()
    moved = run.path.rename(tmp_path / "acted")
    return RunDir.at(moved), [happened, seen]


def watched(session: Live) -> list[Any]:
    seen: list[Any] = []

    @session.action("sample")
    def _(n: int) -> None:
        seen.append((session.step_number, session.now.n, n))

    return seen


def one_step(session: Live) -> tuple[int, bool, bool, bool]:
    return session.step(), session.should_evaluate, session.should_checkpoint, session.should_stop


def test_replay_of_a_run_dir_does_its_actions_again_and_ends_where_it_was_stopped(
    acted: tuple[RunDir, list[Any]], open_live: OpenLive, run: RunDir, end_run: EndRun
) -> None:
    source, (happened, seen) = acted
    assert seen == [(2, 5, 2)]
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"replay": str(source.path)}}))
    again = watched(session)
    assert [one_step(session) for _ in range(7)] == happened
    assert again == seen
    end_run()
    assert files.read_mapping(run.status)["reason"] == "by the replay at step 7"
    done = [event for event in read_events(run) if event.action]
    assert [(event.state, event.step, event.action, event.via) for event in done] == [
        ("applied", 2, "sample", "replay"), ("applied", 4, "evaluate", "replay"),
        ("applied", 5, "checkpoint", "replay"), ("applied", 7, "stop", "replay"),
    ]  # fmt: skip


def test_replay_of_the_changelog_alone_has_its_edits_only(acted: tuple[RunDir, list[Any]], open_live: OpenLive) -> None:
    source, _ = acted
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"replay": str(source.changelog)}}))
    assert [one_step(session)[1:] for _ in range(9)] == [(False, False, False)] * 9
    assert session.now.n == 5


def test_next_attempt_does_the_actions_again_and_is_not_stopped(
    acted: tuple[RunDir, list[Any]], open_live: OpenLive, run: RunDir
) -> None:
    source, (happened, seen) = acted
    source.path.rename(run.path)
    told = [event for event in read_events(run) if event.state not in ("done", "read")]
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"poll_s": 0.005}}))
    again = watched(session)
    assert [one_step(session) for _ in range(6)] == happened[:6]
    assert one_step(session) == (7, False, False, False)
    assert again == seen
    assert [event for event in read_events(run) if event.state not in ("done", "read")] == told  # but who has read what


def test_action_of_the_replayed_run_that_is_not_there_fails_the_replay(
    acted: tuple[RunDir, list[Any]], open_live: OpenLive
) -> None:
    source, _ = acted
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"replay": str(source.path)}}))
    session.step()
    with pytest.raises(
        EditError, match=r"^the action at step 2 of the replayed .*/acted cannot be done again: there is no action 'sam"
    ):
        session.step()


def test_replay_that_ends_before_it_was_stopped_fails(
    acted: tuple[RunDir, list[Any]], open_live: OpenLive, run: RunDir, end_run: EndRun
) -> None:
    source, _ = acted
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"replay": str(source.path)}}))
    watched(session)
    for _ in range(6):
        session.step()
    end_run()
    status = files.read_mapping(run.status)
    assert status["state"] == "failed"
    assert "ended at step 6, but the replayed" in status["reason"]
    assert "at steps 7; it was not the same run" in status["reason"]
