"""A request for a step waits for it however often the run is cut off before; the others are for this attempt alone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from session_fixtures import OpenLive, edits
from waiting import wait_until

from trainctl.attempt import attempt
from trainctl.config import yaml
from trainctl.rundir.events import Event, read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import State, read_status
from trainctl.rundir.waiting import waiting

Ask = Callable[..., str]


def finals(run: RunDir, request: str) -> list[Event]:
    return [event for event in read_events(run) if event.is_final and event.id == request]


def ask_at_step_2(open_live: OpenLive, ask: Ask) -> str:
    """Train two steps, between them ask for a change at step 4; return the request's id."""
    session = open_live(n=1, x=0)
    session.step()
    later = ask(session, {"n": "5"}, at=4)
    session.step()
    return later


def end(state: State) -> None:
    current = attempt.current()
    assert current is not None
    current.end(state, exit_code=1, reason="test")


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_attempt_that_was_cut_off_leaves_what_is_for_a_later_step_to_the_next_one(
    open_live: OpenLive, run: RunDir, ask: Ask, state: State
) -> None:
    later = ask_at_step_2(open_live, ask)
    end(state)

    assert finals(run, later) == []
    (held,) = waiting(read_events(run), is_alive=False)
    assert held.until({}) == "for step 4"
    session = open_live(n=1, x=0)
    seen = [(session.step(), session.now.n)[1] for _ in range(5)]
    assert seen == [1, 1, 1, 5, 5]
    assert [(event.state, event.step) for event in finals(run, later)] == [("applied", 4)]
    assert edits(run) == [(4, {"n": 5})]
    assert list_inbox(run) == []


def test_what_is_for_no_step_is_rejected_with_the_attempt(open_live: OpenLive, run: RunDir) -> None:
    session = open_live(n=1, x=0, trainctl={"poll_s": 60})
    session.step()
    now, later = file_request(run, {"n": "5"}, via="test"), file_request(run, {"x": "5"}, via="test", at=9)
    end("interrupted")
    assert [event.reason for event in finals(run, now)] == ["the run ended"]
    assert finals(run, later) == []
    assert [path.stem for path in list_inbox(run)] == [later]


def test_step_that_the_next_attempt_has_passed_over_is_refused_with_the_reason(
    open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    later = ask_at_step_2(open_live, ask)
    end("failed")
    session = open_live(n=1, x=0)
    session.resume(6)
    session.step()
    (answer,) = finals(run, later)
    assert (answer.state, answer.reason) == (
        "rejected",
        "step 4 is over: the run is at step 7; give a later step, or none",
    )


@pytest.mark.parametrize("state", ["done", "interrupted"])
def test_run_that_is_done_or_was_stopped_by_a_person_rejects_all(
    open_live: OpenLive, run: RunDir, ask: Ask, state: State
) -> None:
    later = ask_at_step_2(open_live, ask)
    if state == "interrupted":
        status = read_status(run)
        assert status is not None
        run.stop.write_text(yaml.dumps({"who": "ann", "attempt": status.attempt, "pid": status.pid}))
    end(state)
    assert [event.reason for event in finals(run, later)] == ["the run ended before step 4"]
    assert list_inbox(run) == []


def test_waiting_request_that_was_withdrawn_meanwhile_is_rejected(open_live: OpenLive, run: RunDir, ask: Ask) -> None:
    later = ask_at_step_2(open_live, ask)
    end("failed")
    (path,) = list_inbox(run)
    path.unlink()
    open_live(n=1, x=0)
    assert [event.reason for event in finals(run, later)] == ["the run ended"]


def test_killed_training_with_a_request_for_later_ends_like_one_that_was_not_killed(
    run: RunDir, start_toy: Callable[..., Any]
) -> None:
    def ended(path: RunDir, **environment: str) -> str:
        """Train to the end, asking at step 10 for a change at step 80; return what was printed last."""
        toy = start_toy(path.path, "trainctl.seed=7", TOY_CHECKPOINTS="20", TOY_WAIT_AT="10", **environment)
        assert toy.stdout.readline() == "waiting\n"
        file_request(path, {"lr": "0.01"}, via="test", at=80)
        output, errors = toy.communicate(timeout=60)
        if "TOY_KILL_AT" in environment:
            assert toy.returncode == -signal.SIGKILL
            output, errors = start_toy(path.path, "trainctl.seed=7", TOY_CHECKPOINTS="20").communicate(timeout=60)
        assert output, errors
        return str(output.split()[-1])

    whole = RunDir.at(run.path.with_name("whole"))
    assert ended(run, TOY_KILL_AT="50") == ended(whole)
    assert edits(run) == edits(whole) == [(80, {"lr": 0.01})]
    wait_until(lambda: not list_inbox(run), "nothing is left in the inbox")
