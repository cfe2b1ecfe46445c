"""A request that waits is listed with its number, and can be taken back until it takes effect."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf
from session_fixtures import Answered, OpenLive, StepUntil, edits

from trainctl.errors import EditError
from trainctl.rundir.events import Event, answer, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import read_record
from trainctl.rundir.waiting import to_cancel, waiting
from trainctl.session.live import Live

CONTROLS = {"batch": {"when": "epoch"}, "width": {"checkpoint_first": True}}
FAR = 10**9


@pytest.fixture
def session(open_live: OpenLive) -> Live:
    controls = {"poll_s": 0.005, "controls": CONTROLS}
    return open_live(OmegaConf.create({"lr": 0.1, "batch": 8, "width": 3, "trainctl": controls}))


def listed(run: RunDir) -> list[tuple[int, str]]:
    from trainctl.config.controls import Key

    keys = {key: Key.from_dict(record) for key, record in read_record(run, "keys")["keys"].items()}
    return [(one.number, one.until(keys)) for one in waiting(read_events(run))]


def file(run: RunDir, **more: Any) -> str:
    return file_request(run, more.pop("edits", {}), via="cli", who="me", **more)


def test_what_waits_is_listed_until_it_is_cancelled_or_takes_effect(
    session: Live, run: RunDir, answered: Answered, step_until: StepUntil
) -> None:
    file(run, edits={"lr": "0.2"}, at=FAR)
    answered(session, file(run, edits={"lr": "0.3"}))
    file(run, edits={"batch": "16"})
    file(run, action="pause", at=FAR)
    step_until(session, lambda: len(waiting(read_events(run))) == 3)
    assert listed(run) == [(1, f"for step {FAR:,}"), (3, "for the next epoch"), (4, f"for step {FAR:,}")]
    for number, note in ((1, "too late"), (4, None)):
        event = answered(session, file(run, cancel=to_cancel(read_events(run), number).event.id, note=note))
        assert (event.state, event.edits, event.step) == ("applied", None, session.step_number)
    assert listed(run) == [(3, "for the next epoch")]
    refused = [event for event in read_events(run) if event.state == "rejected"]
    assert [(event.reason, event.is_cancelled) for event in refused] == [
        ("cancelled by me: too late", True),
        ("cancelled by me", True),
    ]
    with pytest.raises(EditError, match="no request 1 waits in this run; those that wait are 3"):
        to_cancel(read_events(run), 1)
    session.epoch()
    assert listed(run) == []
    with pytest.raises(EditError, match="no request 3 waits in this run; none waits"):
        to_cancel(read_events(run), 3)
    assert [values for _, values in edits(run)] == [{"lr": 0.3}, {"batch": 16}]


def test_edit_that_waits_for_a_checkpoint_is_cancelled(
    session: Live, run: RunDir, answered: Answered, step_until: StepUntil
) -> None:
    looked = session.should_checkpoint  # so that an edit waits for it
    assert not looked
    wanted = file(run, edits={"width": "4"})
    step_until(session, lambda: waiting(read_events(run)))
    taken = session.step_number
    step_until(session, lambda: session.step_number > taken + 50)  # a checkpoint is asked for by now
    assert listed(run) == [(1, "for a checkpoint to be taken first")]
    answered(session, file(run, cancel=wanted))
    step_until(session, lambda: session.should_checkpoint)
    session.step()
    assert edits(run) == []


def test_request_is_cancelled_that_came_before_its_cancellation_within_one_step(
    session: Live, run: RunDir, answered: Answered
) -> None:
    session.step()
    wanted = file(run, edits={"lr": "5"})
    cancel = file(run, cancel=wanted)
    behind = file(run, cancel="nonsense")  # requests are taken in turn: once this one is recorded the others are taken
    while behind not in {event.id for event in read_events(run)}:
        pass  # the step takes long
    assert answered(session, cancel).state == "applied"
    found = answer(run, wanted)
    assert isinstance(found, Event)
    assert found.is_cancelled
    assert edits(run) == []


def test_cancellation_of_what_does_not_wait_is_refused(session: Live, run: RunDir, answered: Answered) -> None:
    done = file(run, edits={"lr": "0.5"})
    answered(session, done)
    for request in (done, "nonsense"):
        event = answered(session, file(run, cancel=request))
        assert (event.state, event.is_cancelled) == ("rejected", False)
        assert event.reason == f"the request {request} does not wait; nothing was cancelled"
    assert [values for _, values in edits(run)] == [{"lr": 0.5}]
