from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from session_fixtures import EndRun, OpenLive

from trainctl.errors import EditError, SettingError
from trainctl.rundir import files
from trainctl.rundir.events import Event, answer, read_events
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status
from trainctl.rundir.summary import summarize
from trainctl.session.actions import BUILT_IN, Actions
from trainctl.session.live import Live

Ask = Callable[..., str]


def sample(n: int = 4, *, mode: Literal["fast", "slow"] = "fast", text: str | None = None, share: float = 0.5) -> None:
    """Draw some samples.

    More about it.
    """


def event(run: RunDir, request: str) -> Event:
    found = answer(run, request)
    assert found is not None
    return found


@pytest.fixture
def session(open_live: OpenLive) -> Live:
    return open_live(n=1, trainctl={"poll_s": 0.005})


def test_action_of_the_task_is_described_for_page_and_command_line(session: Live, run: RunDir) -> None:
    assert session.action("sample")(sample) is sample
    record = files.read_mapping(run.run)["actions"]
    assert list(record) == [*BUILT_IN, "sample"]
    assert record["sample"] == {
        "help": "Draw some samples.",
        "arguments": {
            "n": {"type": "int", "declared": True, "default": 4},
            "mode": {"type": "str", "declared": True, "choices": ["fast", "slow"], "default": "fast"},
            "text": {"type": "str", "optional": True, "declared": True, "default": None},
            "share": {"type": "float", "declared": True, "default": 0.5},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({}, {}),
        ({"n": "8", "mode": "slow"}, {"n": 8, "mode": "slow"}),
        ({"text": "null", "share": 1}, {"text": None, "share": 1.0}),
        ({"text": "12"}, {"text": "12"}),
    ],
)
def test_arguments_are_read_by_their_types(given: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert Actions().declare("sample", sample).parse(given) == arguments


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"n": "3.5"}, r"^sample: n=3\.5: it takes a whole number \(int\)$"),
        ({"n": True}, r"^sample: n=True: it takes a whole number \(int\), and this is a bool$"),
        ({"mode": "medium"}, "^sample: mode=medium: allowed are fast, slow$"),
        ({"m": "1"}, "^sample: there is no argument 'm'; allowed are n, mode, text, share$"),
        ({"share": "nan"}, "^sample: share=nan: it takes a finite number"),
        ({"text": "${oc.env:HOME}"}, "interpolations .* are not accepted from outside"),
    ],
)
def test_wrong_argument_is_refused_with_what_is_allowed(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        Actions().declare("sample", sample).parse(given)


def test_argument_without_default_must_be_given() -> None:
    def grow(by: int) -> None: ...

    action = Actions().declare("grow", grow)
    with pytest.raises(EditError, match=r"^grow: the argument 'by' is missing; give by=VALUE$"):
        action.parse({})


def unannotated(n=1): ...  # type: ignore[no-untyped-def]  # what the test is about
def listed(n: list[int]) -> None: ...
def starred(*n: int) -> None: ...
def positional(n: int, /) -> None: ...
def unreadable(n: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("name", "call", "reason"),
    [
        ("sample", unannotated, "the argument 'n' needs an annotation; allowed are str, int, float, bool, a Literal"),
        ("sample", listed, "the argument 'n' needs an annotation"),
        ("sample", starred, "the argument 'n' has no name to give it by"),
        ("sample", positional, "the argument 'n' has no name to give it by"),
        ("sample", unreadable, "an annotation cannot be read .*Nowhere"),
        ("stop", sample, "the action exists already; known are checkpoint, evaluate, pause, resume, stop"),
        ("a b", sample, "a name has letters, digits, - and _, and begins with a letter"),
    ],
)
def test_action_that_could_not_be_asked_for_is_refused(session: Live, name: str, call: Any, reason: str) -> None:
    with pytest.raises(SettingError, match=rf"^live\.action\({name!r}\): {reason}"):
        session.action(name)(call)


def test_action_is_called_at_a_step_after_its_edits_and_recorded(session: Live, run: RunDir, ask: Ask) -> None:
    seen: list[Any] = []

    @session.action("sample")
    def _(n: int = 4) -> None:
        seen.append((session.step_number, session.now.n, n))

    session.step()
    first = ask(session, action="sample", arguments={"n": "8"}, who="ada", note="looks odd")
    ask(session, {"n": "2"})
    session.step()
    assert seen == [(2, 2, 8)]
    found = event(run, first)
    assert (found.state, found.step, found.action, found.arguments) == ("applied", 2, "sample", {"n": 8})
    assert (found.who, found.note) == ("ada", "looks odd")
    assert list_inbox(run) == []


def test_action_for_a_later_step_waits_for_it(session: Live, run: RunDir, ask: Ask) -> None:
    request = ask(session, action="stop", at=4)
    stops = [session.should_stop for _ in range(5) if session.step()]
    assert stops == [False, False, False, True, True]
    assert event(run, request).step == 4


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("dance", {}, "there is no action 'dance'; known are checkpoint, evaluate, pause, resume, stop"),
        ("stop", {"now": "true"}, "stop: there is no argument 'now'; it takes none"),
        ("resume", {}, "resume: the run is not paused"),
    ],
)
def test_action_that_cannot_be_done_is_rejected_and_training_goes_on(
    session: Live, run: RunDir, ask: Ask, name: str, arguments: dict[str, str], reason: str
) -> None:
    request = ask(session, action=name, arguments=arguments)
    assert session.step() == 1
    found = event(run, request)
    assert (found.state, found.reason) == ("rejected", reason)
    assert list_inbox(run) == []


def test_action_that_raises_is_rejected_and_training_goes_on(
    session: Live, run: RunDir, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    @session.action("sample")
    def _() -> None:
        raise ValueError("no model yet")

    request = ask(session, action="sample")
    assert session.step() == 1
    assert event(run, request).reason == "sample failed: ValueError: no model yet"
    assert "Traceback" in caplog.text


def test_action_leaves_the_random_numbers_of_the_training_as_they_were(session: Live, ask: Ask) -> None:
    @session.action("sample")
    def _() -> None:
        random.random()
        np.random.rand(1000)

    random.seed(1)
    np.random.seed(1)
    expected = [random.random(), np.random.rand()]
    random.seed(1)
    np.random.seed(1)
    ask(session, action="sample")
    session.step()
    assert [random.random(), np.random.rand()] == expected


@pytest.mark.parametrize("name", ["checkpoint", "evaluate"])
def test_what_the_loop_is_asked_for_stays_until_the_end_of_the_step_in_which_it_looks(
    session: Live, run: RunDir, ask: Ask, name: str
) -> None:
    def wanted() -> bool:
        return session.should_checkpoint if name == "checkpoint" else session.should_evaluate

    session.step()
    assert not wanted()
    request = ask(session, action=name)
    session.step()
    assert event(run, request).step == 2
    session.step()
    assert (wanted(), wanted()) == (True, True)
    session.step()
    assert (wanted(), wanted()) == (False, False)
    ask(session, action=name)
    ask(session, action=name)
    session.step()
    assert wanted()  # asked twice before it looked, it is told once
    session.step()
    assert not wanted()


def test_stopped_run_is_done_and_says_who_stopped_it(session: Live, run: RunDir, ask: Ask, end_run: EndRun) -> None:
    for _ in range(3):
        session.step()
    assert not session.should_stop
    ask(session, action="stop", who="ada")
    session.step()
    assert session.should_stop
    end_run()
    assert session.should_stop  # a loop that looks late still ends
    status = read_status(run)
    assert status is not None
    assert (status.state, status.reason) == ("stopped", "by ada at step 4")
    assert summarize(run).reason == "by ada at step 4"


def test_action_that_was_not_done_when_the_run_ended_is_rejected(
    session: Live, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    session.step()
    request = ask(session, action="checkpoint")
    end_run()
    assert event(run, request).reason == "the run ended"
    assert [one.state for one in read_events(run)] == ["pending", "rejected"]
