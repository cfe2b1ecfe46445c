from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import PAGE, fill

from trainctl.attempt import attempt
from trainctl.config.changelog import loads
from trainctl.rundir import files
from trainctl.rundir.events import answer
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.live import Live


@pytest.fixture
def run(small_disk: Path) -> RunDir:
    return RunDir.at(small_disk / "run")


def test_edit_on_a_full_disk_is_rejected_with_the_reason_and_training_goes_on(
    small_disk: Path, run: RunDir, open_live: Callable[..., Live], step_until: Callable[..., None],
    answered: Callable[..., object], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    session = open_live(lr=0.1, text="", trainctl={"poll_s": 0.005})
    before = run.changelog.read_text()
    (small_disk / "room").write_bytes(b"x" * 3 * PAGE)  # for the request itself
    fill(small_disk / "filler")
    (small_disk / "room").unlink()
    request = file_request(run, {"lr": "0.5", "text": "x" * 2 * PAGE}, via="cli")  # no page has room for it
    assert os.statvfs(small_disk).f_bavail == 0
    step_until(session, lambda: "edit rejected" in caplog.text)
    assert session.now.lr == session.config.lr == 0.1
    assert run.changelog.read_text() == before
    for _ in range(100):
        session.log(loss=float(session.step()))
    (small_disk / "filler").unlink()
    step_until(session, lambda: answer(run, request))
    found = answer(run, request)
    assert found is not None
    assert found.state == "rejected"
    assert found.reason == "the edit cannot be recorded (No space left on device), so nothing was changed"
    step_until(session, lambda: not list_inbox(run))
    answered(session, file_request(run, {"lr": "0.25"}, via="cli"))
    assert session.now.lr == 0.25
    assert [edit.values for edit in loads(run.changelog.read_text()).edits] == [{"lr": 0.25}]
    current = attempt.current()
    assert current is not None
    current.end("done", exit_code=0)
    assert len([record for record in files.read_lines(run.metrics) if "loss" in record]) == 100
