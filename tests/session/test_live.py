from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from session_fixtures import EndRun, OpenLive, StepUntil, config

import trainctl
from trainctl.config.changelog import loads
from trainctl.errors import EditError, SettingError
from trainctl.rundir import files
from trainctl.rundir.events import answer, read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status
from trainctl.session.api import current, live


def test_step_counts_from_one_and_applies_nothing_before_the_first(
    open_live: OpenLive, run: RunDir, step_until: StepUntil
) -> None:
    cfg = config()
    session = open_live(cfg)
    file_request(run, {"n": "2"}, via="cli")
    deadline = threading.Event()
    while not read_events(run):
        deadline.wait(0.005)
    assert (session.step_number, cfg.n) == (0, 1)
    assert session.step() == 1
    step_until(session, lambda: cfg.n == 2)
    assert loads(run.changelog.read_text()).edits[0].step >= 1


def test_requests_that_are_left_at_the_end_are_rejected(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    open_live(n=1, trainctl={"poll_s": 60})
    request = file_request(run, {"n": "2"}, via="cli")
    (run.inbox / "dropped.yaml").write_text("n: 3")
    end_run()
    assert [event.reason for event in read_events(run) if event.is_final] == ["the run ended"] * 2
    found = answer(run, request)
    assert found is not None
    assert found.state == "rejected"
    assert list_inbox(run) == []
    status = read_status(run)
    assert status is not None
    assert status.state == "done"


def test_track_steps_per_item_and_tells_progress(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    session = open_live(n=1)
    steps = []
    for item in session.track("abc"):
        steps.append((item, session.step_number))
        session.log({"loss": np.float32(1.0)}, item=item)
    end_run()
    assert steps == [("a", 1), ("b", 2), ("c", 3)]
    progress = files.read_mapping(run.progress)
    assert (progress["step"], progress["total"]) == (3, 3)
    assert [(one["step"], one["item"], one["loss"]) for one in files.read_lines(run.metrics)] == [
        (1, "a", 1.0), (2, "b", 1.0), (3, "c", 1.0)
    ]  # fmt: skip


def test_live_is_one_per_run(open_live: OpenLive, run: RunDir, end_run: EndRun, tmp_path: Path) -> None:
    cfg = OmegaConf.create({"n": 1})
    session = open_live(cfg)
    assert current() is session is live(cfg)
    assert trainctl.current() is session
    with pytest.raises(SettingError, match=r"has a live session with another config; use trainctl\.current\(\)"):
        live(OmegaConf.create({"n": 1}))
    end_run()
    assert not current().is_open
    assert session.step() == 1  # a loop that goes on after the end does no harm
    with pytest.raises(TypeError, match=r"trainctl\.live\(\) takes the task's DictConfig but got dict"):
        live({"n": 1})  # type: ignore[arg-type]  # what the test is about


def test_run_begins_in_its_dir_though_the_config_had_a_session_without_one(run: RunDir, end_run: EndRun) -> None:
    cfg = OmegaConf.create({"n": 1})
    idle = live(cfg)
    assert live(cfg) is idle
    session = live(cfg, run_dir=run.path)
    assert session.is_open
    assert session is live(cfg) is live(cfg, run_dir=run.path)
    session.step()
    session.log(loss=1)
    end_run()
    assert [record["loss"] for record in files.read_lines(run.metrics)] == [1]


def test_another_run_dir_is_refused_while_a_run_is_open_and_begins_once_it_is_done(
    run: RunDir, end_run: EndRun, tmp_path: Path
) -> None:
    cfg, other = OmegaConf.create({"n": 1}), tmp_path / "other"
    session = live(cfg, run_dir=run.path)
    with pytest.raises(SettingError) as refused:
        live(cfg, run_dir=other)
    assert str(refused.value) == (
        f"run_dir={str(other)!r}: this process runs {str(run.path)!r} already; use trainctl.current() to get it; "
        "live.done() ends it, so that another one can begin"
    )
    assert not other.exists()
    session.done()
    assert live(cfg, run_dir=other).is_open
    end_run()


def test_live_is_not_inherited_by_a_forked_child(open_live: OpenLive) -> None:
    session = open_live(n=1)
    child = os.fork()
    if child == 0:
        inherited = current() is session or current().is_open
        session.close()
        os._exit(1 if inherited else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert current() is session


def test_unreached_replayed_edit_is_an_error_at_the_end(open_live: OpenLive, tmp_path: Path) -> None:
    (tmp_path / "schedule.yaml").write_text("0: {n: 1}\n2: {n: 2}\n9: {n: 3}\n")
    session = open_live(n=1, trainctl={"replay": str(tmp_path / "schedule.yaml")})
    for _ in session.track(range(5)):
        pass
    with pytest.raises(EditError, match=r"the run ended at step 5, but the replayed .* has edits at steps 9; "):
        session.close()
    session.close()


def test_seed_is_recorded_and_repeats_the_random_numbers(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    session = open_live(n=1)
    drawn = np.random.rand()
    assert files.read_mapping(run.run)["seed"] == session.seed
    end_run()
    open_live(n=1)
    assert np.random.rand() == drawn


def test_other_ranks_count_steps_and_write_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "1")
    session = live(OmegaConf.create({"n": 1, "trainctl": {"seed": 3}}), run_dir=tmp_path / "run")
    session.log(loss=1)
    assert (session.step(), session.now.n, session.seed, current()) == (1, 1, 3, session)
    session.close()
    assert not current().is_open
    assert list(tmp_path.iterdir()) == []


def test_public_names_are_lazy_and_listed() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("lightning", reason="Lightning is not installed")
    pytest.importorskip("transformers", reason="Transformers is not installed")
    assert trainctl.__all__ == sorted(trainctl.__all__)
    for name in trainctl.__all__:
        assert getattr(trainctl, name) is not None
    assert set(trainctl.__all__) <= set(dir(trainctl))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = trainctl.nothing
    assert "trainctl.session.live" in sys.modules
