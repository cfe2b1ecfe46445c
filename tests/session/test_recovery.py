from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from session_fixtures import EndRun, OpenLive

from trainctl.config.changelog import loads
from trainctl.rundir import events
from trainctl.rundir.events import Event, answer, read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.live import Live


def finals(run: RunDir) -> list[tuple[str, str, str | None]]:
    return [(event.id, event.state, event.reason) for event in read_events(run) if event.is_final]


def interrupt(open_live: OpenLive, end_run: EndRun, run: RunDir) -> None:
    """Make a run dir that has seen one attempt."""
    open_live(n=1, x=0)
    end_run()
    run.events.unlink(missing_ok=True)


def test_request_that_reached_the_changelog_counts_as_applied(
    open_live: OpenLive, end_run: EndRun, run: RunDir
) -> None:
    interrupt(open_live, end_run, run)
    with run.changelog.open("a") as file:
        file.write("7:\n  n: 5\n")
    request = file_request(run, {"n": "5"}, via="cli", who="ada")
    events.append(run, [Event(request, "pending"), Event(request, "applying", step=7, edits={"n": 5}, who="ada")])
    open_live(n=1, x=0)
    found = answer(run, request)
    assert found is not None
    assert (found.state, found.step, found.who) == ("applied", 7, "ada")
    assert list_inbox(run) == []


def test_request_that_did_not_reach_the_changelog_is_rejected(
    open_live: OpenLive, end_run: EndRun, run: RunDir
) -> None:
    interrupt(open_live, end_run, run)
    with run.changelog.open("a") as file:
        file.write("7:\n  n: 4\n")
    events.append(run, [
        Event("a", "applying", step=7, edits={"n": 5}), Event("b", "applying", step=8, edits={"n": 4}),
        Event("c", "pending"),
    ])  # fmt: skip
    left = file_request(run, {"n": "5"}, via="cli")
    time.sleep(0.01)  # kernel clock ticks: its time must lie before the next attempt's
    open_live(n=1, x=0)
    assert finals(run) == [(name, "rejected", "the run ended") for name in ("a", "b", "c", left)]
    assert list_inbox(run) == []


def test_part_that_a_kill_cut_off_is_gone_with_the_next_attempt_and_its_request_rejected(
    open_live: OpenLive, end_run: EndRun, run: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(open_live, end_run, run)
    whole = run.changelog.read_bytes()
    request = file_request(run, {"n": "5"}, via="cli")
    events.append(run, [Event(request, "pending"), Event(request, "applying", step=7, edits={"n": 5})])
    torn = "7:".ljust(38) + "# 21:03:18 cli ada\n  n: 5\n#"
    run.changelog.write_bytes(whole + torn.encode())
    session = open_live(n=1, x=0)
    assert run.changelog.read_bytes() == whole  # though nothing is edited in this attempt
    assert "ends with an edit that its kill cut off; it never took effect" in caplog.text
    assert finals(run) == [(request, "rejected", "the run ended")]
    for _ in range(8):
        session.step()
    assert session.now.n == 1


def test_answered_request_whose_file_is_left_is_not_taken_again(
    open_live: OpenLive, end_run: EndRun, run: RunDir
) -> None:
    interrupt(open_live, end_run, run)
    request = file_request(run, {"n": "5"}, via="cli")
    events.append(run, [Event(request, "rejected", reason="no")])
    session = open_live(n=1, x=0, trainctl={"poll_s": 0.005})
    assert list_inbox(run) == []
    session.step()
    end_run()
    assert finals(run) == [(request, "rejected", "no")]


def test_request_for_a_run_that_has_just_begun_is_taken(
    open_live: OpenLive, run: RunDir, answered: Callable[[Live, str], Event]
) -> None:
    run.create()
    request = file_request(run, {"n": "5"}, via="cli")
    assert answered(open_live(n=1, trainctl={"poll_s": 0.005}), request).state == "applied"


class Writers:
    """Three threads that file requests, good and bad, as long as they are told to."""

    def __init__(self, run: RunDir, seed: int) -> None:
        self.filed: list[str] = []
        self._run = run
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(random.Random(seed + n),)) for n in range(3)]

    def __enter__(self) -> list[str]:
        for thread in self._threads:
            thread.start()
        return self.filed

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, rng: random.Random) -> None:
        while not self._stop.wait(rng.random() * 0.02):
            value = str(rng.randrange(10**9)) if rng.random() < 0.8 else "x"
            at = 10**9 if rng.random() < 0.1 else None  # which each attempt but the last leaves to the next one
            self.filed.append(file_request(self._run, {"x": value}, via="test", at=at))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_request_ends_in_exactly_one_answer_however_the_run_is_killed(
    run: RunDir, start_toy: Callable[..., Any]
) -> None:
    run.create()
    rng = random.Random(20260724)
    filed: list[str] = []
    for number in range(8):
        process = start_toy(run.path, TOY_ENDLESS="1")
        assert process.stdout.readline() == "ready\n", process.communicate()
        with Writers(run, number * 10) as written:
            time.sleep(0.02 + rng.random() * 0.3)  # the point of the kill is what is random here
            process.send_signal(signal.SIGKILL)
            process.wait()
        filed += written
    last = start_toy(run.path)
    assert last.wait(60) == 0, last.communicate()
    counts = Counter(event.id for event in read_events(run) if event.is_final)
    assert {request: counts[request] for request in filed} == dict.fromkeys(filed, 1)
    assert list_inbox(run) == []
    recorded = {edit.step: edit.values["x"] for edit in loads(run.changelog.read_text()).edits}
    applied: dict[int | None, Any] = {}
    for event in read_events(run):
        if event.state == "applied" and event.edits:
            applied[event.step] = event.edits["x"]
    states = Counter(event.state for event in read_events(run))
    assert min(states["applied"], states["rejected"]) > 8, states
    assert applied.keys() == recorded.keys()
    assert json.dumps(sorted(recorded.items())) == json.dumps(sorted(applied.items(), key=lambda item: item[0] or 0))
