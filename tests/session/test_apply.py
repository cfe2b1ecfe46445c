from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError
from session_fixtures import Answered, EndRun, OpenLive, StepUntil, config

from trainctl.config.changelog import Edit, loads
from trainctl.errors import EditError, RunDirError
from trainctl.rundir.events import answer, read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live


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
    assert [one.state for one in read_events(run) if one.state != "read"] == ["pending", "applied"]
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


@dataclass
class Unions:
    devices: int | str = 1
    maybe: float | bool | None = None
    many: list[int | str] = field(default_factory=lambda: [1])
    each: dict[str, int | str] = field(default_factory=lambda: {"a": 1})
    trainctl: Any = field(default_factory=lambda: {"poll_s": 0.005})


def test_edits_of_unions_are_recorded_as_plain_values_undone_and_replayed(
    open_live: OpenLive, run: RunDir, answered: Answered, end_run: EndRun, tmp_path: Path
) -> None:
    cfg = OmegaConf.structured(Unions)
    session = open_live(cfg)
    edits = {"devices": "auto", "maybe": "0.5", "many": "[a, 2]", "each.a": "b"}
    values = {"devices": "auto", "maybe": 0.5, "many": ["a", 2], "each.a": "b"}
    event = answered(session, file_request(run, edits, via="cli"))
    assert (event.state, event.edits) == ("applied", values)
    assert "\n  devices: auto\n" in run.changelog.read_text()
    assert (cfg.devices, cfg.maybe, cfg.many, cfg.each, session.now.devices) == (
        "auto",
        0.5,
        ["a", 2],
        {"a": "b"},
        "auto",
    )
    refused = answered(session, file_request(run, {"devices": "[1]"}, via="cli"))
    assert "is incompatible with type hint 'Union[int, str]'" in str(refused.reason)
    assert answered(session, file_request(run, {}, via="cli", undo=True)).state == "applied"
    assert (cfg.devices, cfg.maybe, cfg.many, cfg.each) == (1, None, [1], {"a": 1})
    answered(session, file_request(run, {"devices": "2"}, via="cli"))
    last = session.step_number
    end_run()
    again = OmegaConf.structured(Unions(trainctl={"replay": str(run.path)}))
    session = live(again, run_dir=tmp_path / "again")
    while session.step() < last:
        pass
    assert (again.devices, again.maybe, again.many, again.each) == (2, None, [1], {"a": 1})
    assert loads((tmp_path / "again" / "changelog.yaml").read_text()).edits == loads(run.changelog.read_text()).edits


def test_whatever_is_raised_while_an_edit_is_recorded_refuses_it(
    open_live: OpenLive, run: RunDir, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cannot represent an object")

    session = open_live(n=1, trainctl={"poll_s": 0.005})
    before = run.changelog.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("trainctl.session.changelog_file.section", fail)
        event = answered(session, file_request(run, {"n": "2"}, via="cli"))
        sentence = "the edit cannot be recorded (RuntimeError: cannot represent an object), so nothing was changed"
        assert (event.state, event.reason) == ("rejected", sentence)
        assert (session.config.n, session.now.n, run.changelog.read_bytes()) == (1, 1, before)
    with monkeypatch.context() as patch:
        patch.setattr("trainctl.session.apply.changes", fail)
        event = answered(session, file_request(run, {"n": "2"}, via="cli"))
        assert "the edit cannot be taken (RuntimeError" in str(event.reason)
    assert answered(session, file_request(run, {"n": "3"}, via="cli")).state == "applied"
    assert [edit.values for edit in loads(run.changelog.read_text()).edits] == [{"n": 3}]


def test_value_that_no_replay_would_take_is_refused(open_live: OpenLive, run: RunDir, answered: Answered) -> None:
    @dataclass
    class Config:
        rates: list[float] = field(default_factory=list)
        trainctl: Any = field(default_factory=lambda: {"poll_s": 0.005})

    session = open_live(OmegaConf.structured(Config))
    event = answered(session, file_request(run, {"rates": ["nan"]}, via="cli"))  # which OmegaConf reads as a number
    assert "numbers must be finite" in str(event.reason)
    assert answered(session, file_request(run, {"rates": ["1e3"]}, via="cli")).edits == {"rates": [1000.0]}


def test_value_that_a_binding_cannot_follow_is_refused_before_it_is_recorded(
    open_live: OpenLive, run: RunDir, answered: Answered
) -> None:
    class Model:
        rate = 0.0

    session, model = open_live(a={}, x={"b": None}, trainctl={"poll_s": 0.005}), Model()
    session.bind(model, "rate", "x.b")
    event = answered(session, file_request(run, {"x.b": {"c": 1}}, via="cli"))
    assert "live.bind(…, 'x.b'): that is a mapping" in str(event.reason)
    assert loads(run.changelog.read_text()).edits == []
    assert answered(session, file_request(run, {"x.b": "3"}, via="cli")).state == "applied"
    assert model.rate == 3


def test_mapping_that_a_resolver_makes_is_locked(open_live: OpenLive, run: RunDir, answered: Answered) -> None:
    session = open_live(made="${oc.create:{x:1}}", of="${made}", trainctl={"poll_s": 0.005})
    event = answered(session, file_request(run, {"made": {"x": 2}}, via="cli"))
    assert "the key is locked (a resolver makes this mapping)" in str(event.reason)
    assert answered(session, file_request(run, {"of": {"x": 3}}, via="cli")).state == "applied"


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


def test_replayed_edit_that_cannot_be_recorded_ends_the_run_in_a_sentence(
    open_live: OpenLive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cannot represent an object")

    schedule = tmp_path / "schedule.yaml"
    schedule.write_text("0: {n: 1}\n1: {n: 5}\n")
    session = open_live(n=1, trainctl={"replay": str(schedule)})
    monkeypatch.setattr("trainctl.session.changelog_file.section", fail)
    with pytest.raises(RunDirError, match=r"cannot be recorded in .*: RuntimeError: cannot .*; it was not applied"):
        session.step()
    assert session.config.n == 1


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
