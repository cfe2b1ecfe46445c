"""What one request may ask for: several keys, whole lists, relative changes, jumps; and what it waits for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from session_fixtures import Answered, OpenLive

from trainctl.config.changelog import Changelog, loads
from trainctl.config.editable import EditableKeys
from trainctl.config.snapshot import snapshot
from trainctl.rundir.events import Answers, Event, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import Request
from trainctl.session.apply import Applier
from trainctl.session.changelog_file import ChangelogFile
from trainctl.session.live import Live
from trainctl.session.reads import Reads
from trainctl.session.values import Listeners

Ask = Callable[..., Event]

CONTROLS = {
    "optim.lr": {"min": 1e-6, "max": 1, "max_change": 10},
    "optim.name": {"when": "restart"},
    "batch_size": {"when": "epoch", "choices": [8, 16, 32]},
    "model.width": {"checkpoint_first": True},
}


def config() -> DictConfig:
    return OmegaConf.create({
        "optim": {"lr": 0.1, "name": "sgd", "betas": [0.9, {"x": 1}]}, "epochs": 4, "batch_size": 8,
        "extra": {}, "depth": 3,
        "model": {"width": 3}, "trainctl": {"poll_s": 0.005, "controls": CONTROLS},
    })  # fmt: skip


@pytest.fixture
def session(open_live: OpenLive) -> Live:
    return open_live(config())


@pytest.fixture
def ask(session: Live, run: RunDir, answered: Answered) -> Ask:
    def asked(edits: dict[str, Any] | None = None, **more: Any) -> Event:
        return answered(session, file_request(run, edits or {}, via="cli", **more))

    return asked


def test_several_keys_take_effect_at_one_step_or_none_does(ask: Ask, session: Live, run: RunDir) -> None:
    event = ask({"optim": {"lr": 0.2, "betas": [1]}, "epochs": "5"}, relative={"depth": {"op": "+", "by": 1}})
    assert (event.state, loads(run.changelog.read_bytes()).edits[0].step) == ("applied", event.step)
    assert (session.now.optim.lr, session.now.epochs, session.now.depth) == (0.2, 5, 4)
    before = OmegaConf.to_yaml(session.config)
    event = ask({"epochs": "6", "optim.lr": "0.3"}, relative={"depth": {"op": "*", "by": "0.3"}})
    assert (event.state, OmegaConf.to_yaml(session.config)) == ("rejected", before)


def test_lists_and_empty_mappings_are_replaced_whole(ask: Ask, session: Live, run: RunDir) -> None:
    betas = session.config.optim.betas
    ask({"optim.betas": [{"y": [2]}, 1, None], "extra": {"a": {"b": [1]}}})
    assert betas == [{"y": [2]}, 1, None]
    assert session.config.extra == {"a": {"b": [1]}}
    ask({"optim.betas": [], "extra": "{c: 1}"})
    assert (betas, session.config.extra) == ([], {"c": 1})
    assert loads(run.changelog.read_bytes()).at(10**9)["extra"] == {"c": 1}


def test_relative_edits_are_recorded_as_the_values_they_come_to(ask: Ask, session: Live, run: RunDir) -> None:
    event = ask(relative={"optim.lr": {"op": "*", "by": "3"}, "epochs": {"op": "*", "by": "1.5"}})
    assert event.edits == {"optim.lr": 0.1 * 3, "epochs": 6}
    assert read_events(run)[0].edits == {"optim.lr*": "3", "epochs*": "1.5"}
    ask(relative={"optim.lr": {"op": "*", "by": "3"}})
    assert session.now.optim.lr == 0.1 * 3 * 3
    assert [edit.values for edit in loads(run.changelog.read_bytes()).edits] == [event.edits, {"optim.lr": 0.1 * 3 * 3}]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"edits": {"optim.lr": "1"}, "relative": {"optim.lr": {"op": "+", "by": 1}}}, "the key is given twice"),
        ({"relative": {"optim.lr": {"op": "*", "by": "20"}}}, "the maximum is 1"),
        ({"relative": {"optim.lr": {"op": "-", "by": "0.1"}}}, "the minimum is 1e-06"),
        ({"relative": {"optim.name": {"op": "+", "by": 1}}}, r"only when a run starts \(when: restart\)"),
        ({"relative": {"optim.rl": {"op": "+", "by": 1}}}, "there is no such key; did you mean optim.lr"),
        ({"relative": {"trainctl.poll_s": {"op": "*", "by": 2}}}, "settings of trainctl are fixed for a run"),
        (
            {"edits": {"optim.lr": "0.001"}},
            "from 0.1 that is a factor of 100, and one edit may change the key by a factor",
        ),
        ({"edits": {"batch_size": "9"}}, "batch_size=9: allowed are 8, 16, 32"),
        ({"edits": {"optim.lr": "2"}}, "optim.lr=2: the maximum is 1"),
    ],
)
def test_refusal_names_key_value_and_what_is_allowed(
    ask: Ask, session: Live, wanted: dict[str, Any], reason: str
) -> None:
    event = ask(**wanted)
    assert event.state == "rejected"
    assert re.search(reason, event.reason or ""), event.reason
    assert session.now.optim.lr == 0.1


def test_force_allows_a_large_jump_and_nothing_else(ask: Ask, session: Live) -> None:
    assert ask({"optim.lr": "0.001"}, force=True).state == "applied"
    assert math.isclose(session.now.optim.lr, 0.001)
    assert ask({"optim.lr": "2"}, force=True).state == "rejected"


@pytest.fixture
def applier(tmp_path: Path) -> Applier:
    run = RunDir.at(tmp_path / "alone")
    run.create()
    cfg = config()
    record, answers = ChangelogFile(run.changelog, Changelog(snapshot(cfg))), Answers(run)
    listeners, reads = Listeners(lambda now: None), Reads(cfg, lambda: 0, answers.give)
    return Applier(cfg, EditableKeys(cfg, CONTROLS, editable=True), record, answers, listeners, reads)


def request(tmp_path: Path, edits: dict[str, Any] | None = None, **more: Any) -> Request:
    return Request("r", edits or {}, "ada", "cli", None, tmp_path / "r.yaml", **more)


def test_request_with_an_epoch_key_waits_as_a_whole(applier: Applier, tmp_path: Path) -> None:
    assert applier.must_wait_for_epoch(request(tmp_path, {"batch_size": "16", "epochs": "5"}))
    assert applier.must_wait_for_epoch(request(tmp_path, relative={"batch_size": {"op": "*", "by": 2}}))
    assert not applier.must_wait_for_epoch(request(tmp_path, {"epochs": "5"}))
    assert not applier.must_wait_for_epoch(request(tmp_path, {"batch_size": "9"}))  # refused at once


def test_request_with_such_a_key_wants_a_checkpoint_first(applier: Applier, tmp_path: Path) -> None:
    assert applier.wants_checkpoint(request(tmp_path, {"model": {"width": 4}}))
    assert not applier.wants_checkpoint(request(tmp_path, {"epochs": "5"}))
    assert not applier.wants_checkpoint(request(tmp_path, {"model.width": "wide"}))


def test_waiting_request_that_can_never_be_applied_is_answered_at_once(applier: Applier, tmp_path: Path) -> None:
    for edits in ({"epochs": "x"}, {"optim.name": "adam"}, {"gone": "1"}, {}):
        relative = {} if edits else {"optim.name": {"op": "+", "by": 1}}
        assert applier.is_refused(request(tmp_path, edits, relative=relative, at=40))
    # by then the value may be another one
    assert not applier.is_refused(request(tmp_path, {"optim.lr": "0.001"}, at=40))
    assert not applier.is_refused(request(tmp_path, relative={"epochs": {"op": "*", "by": "0.3"}}, at=40))
    assert not applier.is_refused(request(tmp_path, undo=True, at=40))
