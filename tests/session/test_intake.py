from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from session_fixtures import OpenLive

from trainctl.config.changelog import Edit, loads
from trainctl.rundir.events import answer, read_events
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import Request
from trainctl.session.intake import HeldRequests
from trainctl.session.live import Live
from trainctl.session.schedule import NEVER

Ask = Callable[..., str]


def config() -> DictConfig:
    controls = {"batch": {"when": "epoch"}, "lr": {"checkpoint_first": True}}
    return OmegaConf.create({"n": 1, "batch": 8, "lr": 0.1, "trainctl": {"poll_s": 0.005, "controls": controls}})


def state(run: RunDir, request: str) -> tuple[str, int | None] | None:
    found = answer(run, request)
    return None if found is None else (found.state, found.step)


def reason(run: RunDir, request: str) -> str:
    found = answer(run, request)
    assert found is not None
    assert found.state == "rejected"
    return found.reason or ""


def edits(run: RunDir) -> list[Edit]:
    return loads(run.changelog.read_text()).edits


def test_waiting_requests_come_in_order_of_their_steps_then_as_they_came() -> None:
    waiting = HeldRequests()
    requests = {name: Request(name, {}, None, "test", None, Path(name)) for name in "abcde"}
    for name, step in (("a", 7), ("b", 5), ("c", 5)):
        waiting.until_step(step, requests[name])
    assert waiting.next_step == 5
    assert [request.id for request in waiting.take_later(6)] == ["b", "c"]
    assert waiting.next_step == 7
    waiting.until_epoch(requests["d"])
    waiting.until_checkpoint(6, requests["e"])
    assert waiting.next_step == 0  # a checkpoint may be taken in any step
    assert [(request.id, words.split()[0]) for request, words in waiting.take_left()] == [
        ("a", "before"), ("e", "before"), ("d", "before"),
    ]  # fmt: skip
    assert waiting.next_step == NEVER


def test_request_for_a_later_step_waits_for_it(open_live: OpenLive, run: RunDir, ask: Ask) -> None:
    session = open_live(config())
    session.step()
    request = ask(session, {"n": "2"}, at=5)
    now = ask(session, {"n": "3"})
    seen = [session.now.n for _ in range(6) if session.step()]
    assert seen == [3, 3, 3, 2, 2, 2]  # steps 2 to 7
    assert (state(run, now), state(run, request)) == (("applied", 2), ("applied", 5))
    assert [(edit.step, edit.values) for edit in edits(run)] == [(2, {"n": 3}), (5, {"n": 2})]
    assert list_inbox(run) == []


def test_request_for_the_step_that_is_about_to_begin_is_applied_there(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    session.step()
    request = ask(session, {"n": "2"}, at=2)
    session.step()
    assert state(run, request) == ("applied", 2)


def test_request_for_a_step_that_is_over_is_rejected(open_live: OpenLive, run: RunDir, ask: Ask) -> None:
    session = open_live(config())
    for _ in range(52):
        session.step()
    request = ask(session, {"n": "2"}, at=40)
    session.step()
    assert reason(run, request) == "step 40 is over: the run is at step 53; give a later step, or none"


def test_request_that_waits_for_a_step_and_can_never_be_applied_is_refused_at_once(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    request = ask(session, {"n": "x"}, at=500)
    session.step()
    assert "takes a whole number" in reason(run, request)


def test_epoch_key_and_all_that_was_asked_with_it_wait_for_the_next_epoch(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    session.epoch()
    session.step()
    request = ask(session, {"batch": "16", "n": "2"})
    for _ in range(3):
        session.step()
        assert (session.now.batch, session.now.n) == (8, 1)
    session.epoch()
    assert (session.now.batch, session.now.n, session.config.batch) == (16, 2, 16)  # before its first step
    assert state(run, request) == ("applied", 5)
    session.step()
    assert [(edit.step, edit.values) for edit in edits(run)] == [(5, {"batch": 16, "n": 2})]


def test_epoch_opens_the_next_step_once(open_live: OpenLive, run: RunDir, ask: Ask) -> None:
    session = open_live(config())
    session.epoch()
    late = ask(session, {"n": "2"})
    session.epoch()
    assert session.step() == 1
    assert session.now.n == 1  # what comes after the epoch has begun must not slip into its first step
    session.step()
    assert state(run, late) == ("applied", 2)


def test_replay_has_the_values_of_an_epoch_before_its_first_step_too(
    open_live: OpenLive, run: RunDir, ask: Ask, tmp_path: Path
) -> None:
    def train(session: Live, edit: bool) -> list[int]:
        seen = []
        for _ in range(3):
            session.epoch()
            seen.append(session.now.batch)
            for _ in range(2):
                session.step()
                seen.append(session.now.batch)
            if edit:
                ask(session, {"batch": str(session.step_number * 10)})
        return seen

    first = train(open_live(config()), edit=True)
    assert first == [8, 8, 8, 20, 20, 20, 40, 40, 40]
    copy = tmp_path / "recorded.yaml"
    copy.write_text(run.changelog.read_text())
    other = RunDir.at(tmp_path / "replay")
    assert train(_replay(open_live, other, copy), edit=False) == first


def _replay(open_live: OpenLive, run: RunDir, source: Path) -> Live:
    from trainctl.attempt import attempt
    from trainctl.session.api import live

    current = attempt.current()
    assert current is not None
    current.end("done", exit_code=0)
    return live(OmegaConf.merge(config(), {"trainctl": {"replay": str(source)}}), run_dir=run.path)  # type: ignore[arg-type]


def test_edit_that_wants_a_checkpoint_first_takes_effect_after_the_loop_has_looked(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    session.step()
    assert not session.should_checkpoint
    request = ask(session, {"lr": "0.5"})
    for _ in range(3):  # a loop that takes checkpoints, but not in every step
        session.step()
        assert (session.now.lr, state(run, request)) == (0.1, None)
    assert session.should_checkpoint
    assert session.should_checkpoint  # it may look twice
    assert session.now.lr == 0.1  # what it saves is what the old value made
    session.step()
    assert (session.now.lr, session.should_checkpoint) == (0.5, False)
    assert state(run, request) == ("applied", 5)


def test_edit_for_a_step_that_wants_a_checkpoint_first_asks_for_it_one_step_before(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    request = ask(session, {"lr": "0.5"}, at=6)
    assert [step for _ in range(8) if (step := session.step()) and session.should_checkpoint] == [5]
    assert state(run, request) == ("applied", 6)


def test_edit_that_wants_a_checkpoint_of_a_loop_that_takes_none_is_refused(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    request = ask(session, {"lr": "0.5"})
    session.step()
    assert state(run, request) is None
    session.step()
    assert reason(run, request) == (
        "a checkpoint is to be taken before this edit, and the training loop takes none: "
        "it has not looked at live.should_checkpoint"
    )


@pytest.mark.parametrize(
    ("edits", "more", "why"),
    [
        ({"n": "2"}, {"at": 500}, "the run ended before step 500"),
        ({"batch": "2"}, {}, "the run ended before the next live.epoch()"),
        ({"lr": "2"}, {}, "the run ended before the training loop looked at live.should_checkpoint again"),
    ],
)
def test_request_that_still_waits_at_the_end_is_rejected_with_what_it_waited_for(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: Callable[[], None], edits: dict[str, Any], more: Any, why: str
) -> None:
    session = open_live(config())
    assert not session.should_checkpoint
    request = ask(session, edits, **more)
    session.step()
    session.step()
    end_run()
    assert reason(run, request) == why
    assert [event.state for event in read_events(run)] == ["pending", "rejected"]
    assert list_inbox(run) == []
