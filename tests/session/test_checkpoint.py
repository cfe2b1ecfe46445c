from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from session_fixtures import EndRun, OpenLive, answers, edits, end_current_run

from trainctl.config.changelog import Edit
from trainctl.errors import EditError, SettingError
from trainctl.rundir import files
from trainctl.rundir.events import answer
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live
from trainctl.session.values import Now

Ask = Callable[..., str]


def config(**settings: Any) -> DictConfig:
    return OmegaConf.create({
        "lr": 0.1, "end": "${lr}", "n": 1, "list": [1, 2], "trainctl": {"poll_s": 0.005, **settings},
    })  # fmt: skip


def steps(session: Live, until: int) -> None:
    while session.step_number < until:
        session.step()


@pytest.fixture
def edited(open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun) -> dict[str, Any]:
    """A run that was edited at steps 3, 5 and 8, and ended after step 10; the state it had after step 6."""
    session = open_live(config())
    state = {}
    for step, change in ((3, {"lr": "0.2", "n": "2"}), (5, {"list": "[]"}), (8, {"lr": "0.3", "end": "0.5"})):
        steps(session, step - 1)
        if step == 8:
            state = session.state_dict()
        ask(session, change)
        session.step()
    steps(session, 10)
    end_run()
    return state


def test_state_is_plain_and_says_step_and_edited_keys(edited: dict[str, Any], run: RunDir) -> None:
    assert json.loads(json.dumps(edited)) == edited
    seed = files.read_mapping(run.run)["seed"]
    assert edited == {
        "version": 1, "step": 7, "seed": seed, "run": str(run.path), "edited": {"lr": 0.2, "n": 2, "list": []},
    }  # fmt: skip


def test_resume_folds_the_changelog_and_repeats_later_edits_at_their_steps(
    edited: dict[str, Any], open_live: OpenLive, run: RunDir
) -> None:
    before, told = run.changelog.read_text(), answers(run)
    session = open_live(config())
    assert (session.now.lr, session.now.n) == (0.1, 1)
    session.load_state_dict(edited)
    assert session.step_number == 7
    cfg = session.config
    assert (cfg.lr, cfg.end, cfg.n, cfg.list) == (0.2, 0.2, 2, [])
    assert (session.now.lr, session.now.end, session.now.n, session.now.list) == (0.2, 0.2, 2, [])
    assert session.step() == 8
    assert (cfg.lr, cfg.end, session.now.lr, session.now.end) == (0.3, 0.5, 0.3, 0.5)
    assert (run.changelog.read_text(), answers(run)) == (before, told)


def test_resume_by_step_alone_is_the_same(edited: dict[str, Any], open_live: OpenLive) -> None:
    session = open_live(config())
    session.resume(4)
    assert (session.now.lr, session.now.n, session.now.list) == (0.2, 2, [1, 2])
    assert session.step() == 5
    assert session.now.list == []


def test_hooks_and_bindings_run_again_on_resume(edited: dict[str, Any], open_live: OpenLive) -> None:
    session = open_live(config())
    told: list[Edit] = []
    bound: list[tuple[float, bool]] = []
    session.on_edit(told.append)

    def apply(now: Now) -> None:
        bound.append((now.lr, now is session.now))

    session.add_binding(apply)
    assert bound == [(0.1, True)]  # at once
    session.resume(2)
    assert (bound[1:], told) == ([(0.1, True)], [])  # nothing was edited until then, but what is bound may be older
    session.load_state_dict(edited)
    assert bound[2:] == [(0.2, True)]
    assert [(edit.step, edit.values, edit.via) for edit in told] == [
        (7, {"lr": 0.2, "n": 2, "list": []}, "resume")
    ]  # fmt: skip
    session.step()
    assert bound[3:] == [(0.3, True)]
    assert [edit.step for edit in told] == [7, 8]


def test_going_back_within_one_process_takes_later_edits_back(edited: dict[str, Any], open_live: OpenLive) -> None:
    session = open_live(config())
    steps(session, 9)
    assert (session.now.lr, session.now.end) == (0.3, 0.5)
    session.resume(2)
    assert (session.now.lr, session.now.end, session.now.n, session.now.list) == (0.1, 0.1, 1, [1, 2])
    session.config.lr = 7.0
    assert session.config.end == 7.0  # the reference is one again
    steps(session, 9)
    assert (session.now.lr, session.now.end, session.now.n, session.now.list) == (0.3, 0.5, 2, [])


def test_checkpoint_of_another_run_dir_brings_its_edits_along(
    edited: dict[str, Any], run: RunDir, tmp_path: Path
) -> None:
    other = RunDir.at(tmp_path / "other")
    session = live(config(), run_dir=other.path)
    session.load_state_dict(edited)
    assert (session.now.lr, session.now.n, session.now.list) == (0.2, 2, [])
    assert edits(other) == [(7, {"lr": 0.2, "n": 2, "list": []})]
    assert f"resume: as in the checkpoint of {run.path}" in other.changelog.read_text()
    session.step()
    end_current_run()
    again = live(config(), run_dir=other.path)  # its changelog alone is enough
    again.resume(8)
    assert (again.now.lr, again.now.n, again.now.list) == (0.2, 2, [])
    assert len(edits(other)) == 1
    end_current_run()
    assert files.read_mapping(other.run)["resumed_after"] == [7, 8]  # of both attempts


def test_replay_that_is_resumed_skips_no_recorded_edit(
    edited: dict[str, Any], run: RunDir, tmp_path: Path, end_run: EndRun
) -> None:
    other = RunDir.at(tmp_path / "other")
    session = live(config(replay=str(run.path)), run_dir=other.path)
    session.resume(7)
    assert (session.now.lr, session.now.n, session.now.list) == (0.2, 2, [])
    steps(session, 10)
    end_run()
    assert edits(other) == edits(run)
    assert files.read_mapping(other.status)["state"] == "done"


def test_edit_between_checkpoint_and_kill_is_repeated_and_new_ones_are_taken(
    edited: dict[str, Any], open_live: OpenLive, run: RunDir, ask: Ask
) -> None:
    session = open_live(config())
    session.load_state_dict(edited)
    steps(session, 8)
    request = ask(session, {"n": "9"})
    session.step()
    found = answer(run, request)
    assert found is not None
    assert (found.state, found.step) == ("applied", 9)
    assert [step for step, _ in edits(run)] == [3, 5, 8, 9]


def test_request_for_a_step_that_a_resume_passed_over_is_rejected(open_live: OpenLive, run: RunDir, ask: Ask) -> None:
    session = open_live(config())
    request = ask(session, {"n": "2"}, at=20)
    session.step()
    session.resume(30)
    session.step()
    found = answer(run, request)
    assert found is not None
    assert found.reason == "step 20 is over: the run is at step 31; give a later step, or none"


def test_metrics_of_steps_that_are_repeated_are_superseded(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    session = open_live(config())
    session.log(note="start")
    for step in session.track(range(1, 11)):
        session.log(loss=step)
        session.log(more=step)
    state = session.state_dict()
    end_run()
    first = files.read_lines(run.metrics)
    assert len(first) == 21

    session = open_live(config())
    session.log(note="start")
    session.load_state_dict({**state, "step": 6})
    for _ in session.track(range(3)):
        session.log(loss=-session.step_number)
    end_run()
    second = files.read_lines(run.metrics)
    assert [(one["step"], one.get("loss")) for one in second if "loss" in one] == [
        (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, -7), (8, -8), (9, -9),
    ]  # fmt: skip
    assert second[:13] == first[:13]
    assert files.read_lines(run.path / "metrics.1.jsonl") == first

    session = open_live(config())  # from the start, without a checkpoint
    session.log(note="again")
    session.step()
    session.log(loss=0)
    end_run()
    assert [(one["step"], one.get("loss")) for one in files.read_lines(run.metrics)] == [(0, None), (1, 0)]
    assert files.read_lines(run.path / "metrics.2.jsonl") == second


def test_attempt_that_makes_no_step_leaves_earlier_metrics_alone(
    open_live: OpenLive, run: RunDir, end_run: EndRun
) -> None:
    session = open_live(config())
    session.step()
    session.log(loss=1)
    end_run()
    session = open_live(config())
    session.log(accuracy=0.5)
    end_run()
    assert [(one["step"], one.get("loss")) for one in files.read_lines(run.metrics)] == [(1, 1), (0, None)]


def test_random_states_are_restored_when_they_are_asked_for(open_live: OpenLive) -> None:
    session = open_live(config())
    state = json.loads(json.dumps(session.state_dict(rng=True)))
    expected = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]
    session.load_state_dict(state)
    assert [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()] == expected
    assert "rng" not in session.state_dict()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, r"this is not what live\.state_dict\(\) returned"),
        ({"version": 2, "step": 1, "edited": {}}, "the state is of version 2, and this trainctl reads 1"),
    ],
)
def test_state_that_is_none_of_ours_is_refused(open_live: OpenLive, state: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=rf"^live\.load_state_dict: {reason}$"):
        open_live(config()).load_state_dict(state)


@pytest.mark.parametrize("step", [-1, 1.0, True, "7"])
def test_step_that_is_none_is_refused(open_live: OpenLive, step: Any) -> None:
    with pytest.raises(SettingError, match=r"^live\.resume\(.*\): a step is a whole number from 0$"):
        open_live(config()).resume(step)


def test_checkpoint_whose_edits_do_not_fit_this_config_is_refused(open_live: OpenLive, run: RunDir) -> None:
    session = open_live(config())
    with pytest.raises(
        EditError, match=r"^the edit at step 7 of the checkpoint of /a cannot be applied: gone=1: there"
    ):
        session.load_state_dict({"version": 1, "step": 7, "run": "/a", "edited": {"gone": 1}})
    assert edits(run) == []


def test_other_ranks_only_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    session = live(config(seed=3), run_dir=tmp_path / "run")
    session.step()
    session.load_state_dict({**session.state_dict(), "step": 8})
    assert session.step() == 9
    session.close()
