from __future__ import annotations

import threading
from typing import Any

import pytest

from trainctl.rundir.events import Event, answer, append, latest, read_events, wait_for_answer
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status


@pytest.fixture
def made(run: RunDir) -> RunDir:
    run.create()
    return run


def test_events_come_back_in_order_and_torn_lines_are_passed_over(made: RunDir) -> None:
    first = Event("a", "pending", edits={"n": "1"}, who="ada", via="cli", note="why")
    append(made, [first])
    with made.events.open("ab") as file:
        file.write(b'{"id": "b", "state": "app')
    append(made, [Event("c", "rejected", reason="no")], durable=True)
    with made.events.open("ab") as file:
        file.write(b'[1]\n{"id": 3, "state": "applied"}\n{"id": "d", "state": "unknown"}\n')
    assert [event.id for event in read_events(made)] == ["a", "c"]
    assert read_events(made)[0] == first


def test_answer_is_the_final_event_and_stays_the_first_one(made: RunDir) -> None:
    append(made, [Event("a", "pending"), Event("a", "applying", step=3)])
    assert answer(made, "a") is None
    append(made, [Event("a", "applied", step=3), Event("a", "rejected", reason="twice")])
    found = answer(made, "a")
    assert found is not None
    assert (found.state, found.step) == ("applied", 3)
    assert latest([Event("b", "pending")])["b"].state == "pending"


def test_wait_returns_the_answer_when_it_comes(made: RunDir) -> None:
    lock = RunLock(made.lock)
    assert lock.acquire()
    write_status(made, Status.running_here(attempt=1, slot=None))
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(wait_for_answer(made, "a", 60)))
    waiter.start()
    append(made, [Event("b", "applied", step=1)])
    append(made, [Event("a", "applied", step=2)])
    waiter.join(60)
    lock.release()
    assert found[0].step == 2


def test_wait_ends_early_when_the_run_does_not_run(made: RunDir) -> None:
    assert wait_for_answer(made, "a", 1e9) is None
    append(made, [Event("a", "rejected", reason="the run ended")])
    found = wait_for_answer(made, "a", 60)
    assert found is not None
    assert found.reason == "the run ended"


def test_wait_ends_in_time(made: RunDir) -> None:
    lock = RunLock(made.lock)
    assert lock.acquire()
    write_status(made, Status.running_here(attempt=1, slot=None))
    assert wait_for_answer(made, "a", 0.05) is None
    lock.release()
