"""Random scripts of requests, in attempts that go on from random steps: the record tells what was in effect."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from session_fixtures import end_current_run

from trainctl.config import yaml
from trainctl.config.changelog import loads
from trainctl.errors import EditError
from trainctl.rundir.events import read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

STEPS = 12
BASE = {"a": 1, "x": 0.5, "list": [1], "name": "n", "deep": {"b": True, "free": None}}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=5
)
TEXTS = {
    "a": st.integers(-9, 9).map(str) | st.just("1.5"),
    "x": st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.just("nan"),
    "list": st.lists(st.integers() | st.booleans() | st.just("x"), max_size=3).map(json.dumps),
    "name": TEXT,
    "deep.b": st.sampled_from(["true", "false", "1"]),
    "deep.free": st.sampled_from(["null", "1", "'1'", "1e-4", "{k: [1]}", "2026-01-01"]) | VALUES.map(yaml.inline),
    "gone": st.just("1"),
}
EDITS = st.lists(st.sampled_from(sorted(TEXTS)), min_size=1, max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: TEXTS[key] for key in keys})
)
CHANGES = st.fixed_dictionaries({"op": st.sampled_from("*/+-"), "by": st.sampled_from(["0.5", "2", "0", "-3"])})
REQUESTS = st.one_of(
    st.fixed_dictionaries({"edits": EDITS}),
    st.fixed_dictionaries({"edits": EDITS, "at": st.integers(1, STEPS + 2)}),
    st.fixed_dictionaries(
        {"edits": st.just({}), "relative": st.dictionaries(st.sampled_from(["a", "x"]), CHANGES, min_size=1)}
    ),
    st.fixed_dictionaries({"edits": st.just({}), "undo": st.just(True) | st.integers(1, 6)}),
)


@dataclass(frozen=True)
class Leg:
    """One attempt: from which step it goes on, how far it gets, and what is asked for before which of its steps."""

    resumed: int
    steps: int
    asked: dict[int, list[dict[str, Any]]]


LEGS = st.lists(
    st.builds(
        Leg, st.integers(0, STEPS), st.integers(0, STEPS),
        st.dictionaries(st.integers(1, STEPS), st.lists(REQUESTS, min_size=1, max_size=2), max_size=4),
    ),
    min_size=1, max_size=3,
)  # fmt: skip


def begin(run: RunDir, **more: str) -> Live:
    chosen = {"poll_s": 0.001, "controls": {"deep.free": {"type": "any", "optional": True}}, **more}
    return live(OmegaConf.create({**BASE, "trainctl": chosen}), run_dir=run.path)


def ask(session: Live, run: RunDir, request: dict[str, Any]) -> None:
    """File a request and wait until it can be taken."""
    before = len(session._taken)
    file_request(run, via="test", **request)
    deadline = time.monotonic() + 60
    while len(session._taken) == before:
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def step(session: Live) -> str:
    """Make a step and say what is in effect, to the last bit and type."""
    session.step()
    values = OmegaConf.to_container(session.config)
    assert isinstance(values, dict)
    return repr({key: values[key] for key in BASE})


def play(run: RunDir, legs: list[Leg], **more: str) -> dict[int, str]:
    """Train attempt by attempt, the last one to the end; return what was in effect at each step."""
    seen: dict[int, str] = {}
    for place, leg in enumerate(legs):
        session = begin(run, **more)
        resumed = min(leg.resumed, len(seen))
        session.resume(resumed)
        for number in range(resumed + 1, len(seen) + 1):
            del seen[number]  # done again, with other edits perhaps; nobody goes on from where that had led
        is_last = place == len(legs) - 1
        last = STEPS if is_last else max(leg.steps, session.step_number)
        while session.step_number < last:
            for request in leg.asked.get(session.step_number + 1, []):
                ask(session, run, request)
            now = step(session)
            seen[session.step_number] = now
        with contextlib.nullcontext() if is_last else contextlib.suppress(EditError):  # a replay that ends too early
            end_current_run()
    return seen


def assert_recorded(run: RunDir, seen: dict[int, str]) -> None:
    """The record tells what was in effect, the events what became of each request, and a replay is the same run."""
    changelog = loads(run.changelog.read_bytes())
    for number, values in seen.items():
        told = changelog.at(number)
        assert repr({key: told[key] for key in BASE}) == values, number
    events = read_events(run)
    assert Counter(event.id for event in events if event.is_final) == Counter({event.id: 1 for event in events})
    assert list_inbox(run) == []
    again = RunDir.at(run.path.with_name(f"{run.name}-again"))
    session = begin(again, replay=str(run.path))
    assert {number: step(session) for number in range(1, STEPS + 1)} == seen
    end_current_run()
    assert loads(again.changelog.read_bytes()).edits == changelog.edits


@pytest.mark.slow
@settings(max_examples=examples(25))
@given(LEGS, st.sampled_from(["refuse", "follow", "fork"]), LEGS)
def test_record_of_any_script_is_what_was_in_effect_and_its_replay_too(
    legs: list[Leg], mode: str, more_legs: list[Leg]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, other = RunDir.at(Path(folder) / "run"), RunDir.at(Path(folder) / mode)
        assert_recorded(run, play(run, legs))
        assert_recorded(other, play(other, more_legs, replay=str(run.path), replay_mode=mode))
