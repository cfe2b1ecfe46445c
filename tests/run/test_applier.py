from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ReadonlyConfigError

from trainctl.config.changelog import Edit, loads
from trainctl.errors import EditError
from trainctl.run.events import Event, answer, read_events
from trainctl.run.inbox import file_request, list_inbox
from trainctl.run.live import Live
from trainctl.run.rundir import RunDir

OpenLive = Callable[..., Live]
StepUntil = Callable[[Live, Callable[[], object]], None]
Answered = Callable[[Live, str], Event]
EndRun = Callable[[], None]


def config() -> DictConfig:
    made = OmegaConf.create({
        "optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "n": 1, "end": "${optim.lr}", "model": {"depth": 2},
        "trainctl": {"poll_s": 0.005, "controls": {"model.*": "!"}},
    })  # fmt: skip
    OmegaConf.set_struct(made, True)
    OmegaConf.set_readonly(made, True)
    return made


def test_request_changes_config_and_now_at_one_step_and_is_recorded_first(
    open_live: OpenLive, run: RunDir, answered: Answered
) -> None:
    cfg = config()
    session = open_live(cfg)
    betas = cfg.optim.betas
    seen: list[tuple[Edit, float, Any, list[Edit]]] = []

    @session.on_edit
    def note(edit: Edit) -> None:
        seen.append((edit, cfg.optim.lr, session.now.optim.lr, loads(run.changelog.read_text()).edits))

    session.step()
    request = file_request(run, {"optim.lr": "1e-4", "optim.betas": "[0.5, 0.6]"}, who="ada", via="cli", note="calmer")
    event = answered(session, request)
    values = {"optim.lr": 1e-4, "optim.betas": [0.5, 0.6]}
    assert (event.state, event.edits, event.who) == ("applied", values, "ada")
    assert (cfg.optim.lr, cfg.end, betas) == (1e-4, 1e-4, [0.5, 0.6])
    assert (session.now.optim.lr, session.now.end, session.now.optim.betas) == (1e-4, 1e-4, [0.5, 0.6])
    assert event.step is not None
    assert [(edit.step, edit.values) for edit, *_ in seen] == [(event.step, values)]
    assert seen[0][1] == 1e-4
    assert seen[0][3] == [Edit(event.step, values)]  # on disk before it was in effect
    assert "cli ada: calmer" in run.changelog.read_text()
    assert [one.state for one in read_events(run)] == ["pending", "applying", "applied"]
    assert list_inbox(run) == []
    with pytest.raises(ReadonlyConfigError, match="read-only"):
        cfg.optim.lr = 3


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        (
            {"optim.rl": "1"},
            r"optim\.rl=1: there is no such key; did you mean optim\.lr or optim\.betas\?; known keys are end, model",
        ),
        ({"n": "3.5"}, r"n=3\.5: the key takes a whole number \(int\)"),
        ({"optim.lr": "nan"}, "the key takes a finite number"),
        ({"model.depth": "3"}, r"the key is locked \(locked by trainctl\.controls\); nothing was changed"),
        ({"trainctl.replay": "x"}, "settings of trainctl are fixed for a run"),
        ({"optim.lr": "${oc.env:HOME}"}, "the key takes a number"),
        ({"optim.betas": "['${oc.env:HOME}']"}, "interpolations .* are not accepted from outside"),
        ({"optim.lr": "0.5", "n": "x"}, "n=x: the key takes a whole number"),
        ({"optim.betas": "[" * 60_000}, "it is nested more than 100 deep"),
        ({"optim.betas": "x" * 100_000}, "the value of 100000 characters is too long"),
    ],
)
def test_refused_request_says_why_and_changes_nothing(
    open_live: OpenLive, run: RunDir, answered: Answered, edits: dict[str, str], reason: str
) -> None:
    cfg = config()
    session = open_live(cfg)
    before, recorded = OmegaConf.to_yaml(cfg), run.changelog.read_text()
    event = answered(session, file_request(run, edits, via="cli"))
    assert event.state == "rejected"
    assert event.reason is not None
    assert re.search(reason, event.reason)
    assert event.reason.isprintable()
    assert (OmegaConf.to_yaml(cfg), run.changelog.read_text()) == (before, recorded)
    assert list_inbox(run) == []


def test_not_editable_run_refuses_every_edit(open_live: OpenLive, run: RunDir, answered: Answered) -> None:
    session = open_live(OmegaConf.create({"n": 1, "trainctl": {"editable": False, "poll_s": 0.005}}))
    event = answered(session, file_request(run, {"n": "2"}, via="cli"))
    assert event.reason == "n=2: the key is locked (trainctl.editable is false); nothing was changed"


def test_hook_that_fails_stops_training_and_leaves_the_edit_recorded(
    open_live: OpenLive, run: RunDir, step_until: StepUntil
) -> None:
    session = open_live(n=1, trainctl={"poll_s": 0.005})

    @session.on_edit
    def fail(edit: Edit) -> None:
        raise RuntimeError("the optimizer does not like it")

    request = file_request(run, {"n": "2"}, via="cli")
    with pytest.raises(RuntimeError, match="the optimizer does not like it"):
        step_until(session, lambda: False)
    found = answer(run, request)
    assert found is not None
    assert found.state == "applied"
    assert session.now.n == 2


def test_replayed_edit_is_recorded_as_replay_and_applied_despite_locks(
    open_live: OpenLive, run: RunDir, tmp_path: Path
) -> None:
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text("0: {n: 1, lr: 0.1}\n2: {n: 5}\n")
    cfg = OmegaConf.create({"n": 1, "lr": 0.1, "trainctl": {"replay": str(schedule), "editable": False}})
    session = open_live(cfg)
    assert (session.step(), cfg.n) == (1, 1)
    assert (session.step(), cfg.n) == (2, 5)
    assert loads(run.changelog.read_text()).edits == [Edit(2, {"n": 5})]
    assert "replay" in run.changelog.read_text()
    assert [(event.state, event.via, event.step) for event in read_events(run)] == [("applied", "replay", 2)]
    assert schedule.read_text() == "0: {n: 1, lr: 0.1}\n2: {n: 5}\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("n: fast", r"n=fast: the key takes a whole number \(int\), and this is text"),
        ("gone: 1", "gone=1: there is no such key"),
        ("name: '${oc.env:HOME}'", r"name=\$.*: interpolations"),
    ],
)
def test_replayed_edit_that_cannot_be_applied_stops_the_run_at_its_step(
    open_live: OpenLive, tmp_path: Path, change: str, reason: str
) -> None:
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text(f"0: {{n: 1, name: x}}\n2: {{{change}}}\n")
    cfg = OmegaConf.create({"n": 1, "name": "x", "trainctl": {"replay": str(schedule)}})
    session = open_live(cfg)
    session.step()
    with pytest.raises(
        EditError, match=f"^the edit at step 2 of the replayed .*schedule.yaml cannot be applied: {reason}"
    ):
        session.step()
    assert (cfg.n, cfg.name) == (1, "x")
