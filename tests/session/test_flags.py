"""What the loop does itself is done when it has looked and gone on; until then, and at the end, it is said why not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from session_fixtures import EndRun, OpenLive
from waiting import wait_until

from trainctl.attempt import attempt
from trainctl.rundir.events import Event, answer, outcome, read_events
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status
from trainctl.session.flags import Flag
from trainctl.session.live import Live

Ask = Callable[..., str]


@pytest.fixture
def session(open_live: OpenLive) -> Live:
    return open_live(n=1, trainctl={"poll_s": 0.005, "controls": {"n": {"checkpoint_first": True}}})


def event(run: RunDir, request: str) -> Event:
    found = answer(run, request)
    assert found is not None
    return found


def looks(session: Live, action: str) -> bool:
    return {
        "checkpoint": lambda: session.should_checkpoint,
        "evaluate": lambda: session.should_evaluate,
        "stop": lambda: session.should_stop,
    }[action]()


def says(run: RunDir, request: str, what: str) -> bool:
    return outcome(event(run, request)) == what


@pytest.mark.parametrize("action", ["checkpoint", "evaluate"])
def test_it_is_done_in_the_step_in_which_the_loop_has_looked_once_the_next_begins(
    session: Live, run: RunDir, ask: Ask, end_run: EndRun, action: str
) -> None:
    request = ask(session, action=action)
    session.step()
    assert says(run, request, f"not done: the loop has not looked at live.should_{action}")
    session.step()
    session.step()
    assert looks(session, action)
    looked = f"not done: the loop looked at live.should_{action} at step 3, and has not gone on since"
    wait_until(lambda: says(run, request, looked))
    session.step()
    wait_until(lambda: says(run, request, "done at step 3"))
    assert event(run, request).step == 1
    end_run()
    assert says(run, request, "done at step 3")


def test_a_stop_is_done_when_the_run_has_ended(session: Live, run: RunDir, ask: Ask, end_run: EndRun) -> None:
    request = ask(session, action="stop", who="ada")
    session.step()
    assert session.should_stop
    session.step()  # a loop that ends with its epoch
    looked = "not done: the loop looked at live.should_stop at step 1, and has not ended yet"
    wait_until(lambda: says(run, request, looked))
    session.step()
    end_run()
    assert says(run, request, "done at step 3")
    status = read_status(run)
    assert status is not None
    assert (status.state, status.reason) == ("stopped", "by ada at step 3")


@pytest.mark.parametrize("action", ["checkpoint", "evaluate", "stop"])
def test_a_loop_that_never_looks_has_done_nothing(
    session: Live, run: RunDir, ask: Ask, end_run: EndRun, action: str
) -> None:
    request = ask(session, action=action)
    for _ in range(5):
        session.step()
    end_run()
    assert says(run, request, f"not done: the run ended, and its loop had not looked at live.should_{action}")
    status = read_status(run)
    assert status is not None
    assert (status.state, status.reason) == ("done", None)


@pytest.mark.parametrize("action", ["checkpoint", "evaluate", "stop"])
def test_a_run_that_fails_after_the_loop_has_looked_has_not_done_it(
    session: Live, run: RunDir, ask: Ask, action: str
) -> None:
    request = ask(session, action=action)
    session.step()
    assert looks(session, action)
    current = attempt.current()
    assert current is not None
    current.end("failed", exit_code=1, reason="OSError: no space left")
    assert says(run, request, "not done: the run failed at step 1")


def test_what_the_loop_cannot_do_is_said_at_once_and_stays_said(
    session: Live, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    request = ask(session, action="evaluate")
    session.decline("evaluate", "nothing was asked for")  # nor was it looked at
    session.step()
    assert session.should_evaluate
    session.decline("evaluate", "there is no validation set")
    wait_until(lambda: event(run, request).settled)
    session.step()
    end_run()
    assert says(run, request, "not done: there is no validation set")


def test_one_look_answers_all_who_asked_before_it_and_a_later_request_takes_no_look_away(
    session: Live, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    first = [ask(session, action="checkpoint") for _ in range(2)]
    session._files.pump._asks = type("Nobody", (), {"write": lambda self: None, "looks": ()})()  # type: ignore[union-attr,assignment]
    session.step()
    assert session.should_checkpoint
    ask(session, {"n": "2"})  # which asks for one itself
    late = ask(session, action="checkpoint")
    session.step()
    session.step()
    assert session.should_checkpoint
    session.step()
    end_run()
    assert [outcome(event(run, one)) for one in (*first, late)] == ["done at step 1"] * 2 + ["done at step 3"]
    assert session.now.n == 2


def test_what_a_kill_kept_from_being_done_is_asked_again_and_told(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    session = open_live(n=1, trainctl={"poll_s": 0.005})
    done, lost = ask(session, action="evaluate"), ask(session, action="checkpoint")
    session.step()
    assert session.should_evaluate
    session.step()
    end_run()
    assert [event(run, one).done for one in (done, lost)] == [1, None]
    told = len(read_events(run))
    session = open_live(n=1, trainctl={"poll_s": 0.005})
    session.step()
    assert session.should_checkpoint
    assert session.should_evaluate  # as before
    session.step()
    end_run()
    assert [event(run, one).done for one in (done, lost)] == [1, 1]
    assert {one.id for one in read_events(run)[told:]} == {lost}


def test_flag_is_up_in_the_first_step_in_which_it_is_looked_at_and_in_no_other() -> None:
    flag = Flag()
    assert not flag.look(1)
    flag.put_up()
    assert flag.look(5)
    assert flag.look(5)
    assert flag.seen == 5
    assert not flag.look(6)
    assert not flag.look(5)


def test_flag_that_is_put_up_again_is_up_again() -> None:
    flag = Flag()
    flag.put_up()
    assert flag.look(5)
    flag.put_up()
    assert flag.look(6)
    assert not flag.look(7)


def test_flag_knows_whether_anybody_looks() -> None:
    flag = Flag()
    assert not flag.was_looked_at
    flag.look(1)
    assert flag.was_looked_at
    assert flag.seen is None
