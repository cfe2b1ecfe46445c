from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from session_fixtures import Answered, OpenLive, StepUntil, config

from trainctl.rundir.events import read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session import io_thread

WaitUntil = Callable[..., Any]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"optim: {lr: 0.", "it is not YAML"),
        (b"\xff\x00nonsense", "it is not UTF-8 text"),
        (b"no mapping", "must be a mapping of keys to values"),
        (b"n: " + b"1" * 10 * 1024 * 1024, "it has 10485763 bytes; at most 1048576 are allowed"),
        (b"[" * 100_000, "it is nested more than 100 deep"),
        (b"n: true", r"and this is a bool"),
        (b"optim: {lr: .nan}", "numbers must be finite"),
        (b"n: 0x" + b"f" * 5000, "a whole number of more than 1000 digits"),  # Python cannot write it in decimals
        (b"n: 0x" + b"f" * 990, "a whole number may have 308 digits at most"),
    ],
)
def test_file_dropped_into_the_inbox_that_is_no_request_is_refused(
    open_live: OpenLive, run: RunDir, step_until: StepUntil, content: bytes, reason: str
) -> None:
    cfg = config()
    session = open_live(cfg)
    before, recorded = OmegaConf.to_yaml(cfg), run.changelog.read_text()
    (run.inbox / "edit.yaml").write_bytes(content)
    step_until(session, lambda: any(event.is_final for event in read_events(run)) and not list_inbox(run))
    (event,) = (event for event in read_events(run) if event.is_final)
    assert event.state == "rejected"
    assert reason in (event.reason or "")
    assert (OmegaConf.to_yaml(cfg), run.changelog.read_text()) == (before, recorded)


def test_file_that_is_still_being_written_is_taken_when_it_is_whole(
    open_live: OpenLive, run: RunDir, step_until: StepUntil, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    clock, looks = [time.monotonic()], [0]  # the clock goes on only when the pump has looked
    is_settled = io_thread.Pump._is_settled

    def look(self: io_thread.Pump, path: Path) -> bool:
        found = is_settled(self, path)
        looks[0] += 1
        return found

    cfg = config()
    session = open_live(cfg)
    monkeypatch.setattr(io_thread, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    monkeypatch.setattr(io_thread.Pump, "_is_settled", look)
    with (run.inbox / "edit.yaml").open("w") as file:
        for char in "optim: {lr: 0.00025}\n":  # every beginning of it from '0' on is YAML too, or nearly
            file.write(char)
            file.flush()
            session.step()
            seen = looks[0]
            wait_until(lambda seen=seen: looks[0] >= seen + 2, "the pump has looked at it")
            clock[0] += 0.2  # of the 0.25 s in which a file must not grow

    def is_taken() -> bool:
        clock[0] += 0.2
        return bool(cfg.optim.lr != 0.1)

    step_until(session, is_taken)
    assert cfg.optim.lr == 0.00025
    assert [event.state for event in read_events(run)] == ["pending", "applied"]


def test_hung_inbox_stops_neither_training_nor_its_end(
    open_live: OpenLive, run: RunDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def hang(_: RunDir) -> list[Path]:
        hanging.set()
        go_on.wait()
        return []

    session = open_live(n=1, trainctl={"poll_s": 0.005})
    monkeypatch.setattr(io_thread, "list_inbox", hang)
    monkeypatch.setattr(io_thread, "_PATIENCE_S", 0.1)
    assert hanging.wait(60)
    assert [session.step() for _ in range(1000)][-1] == 1000
    session.close()
    go_on.set()
    assert "does not answer" in caplog.text


def test_lost_inbox_is_told_once_and_training_goes_on(
    open_live: OpenLive, run: RunDir, step_until: StepUntil, caplog: pytest.LogCaptureFixture, answered: Answered
) -> None:
    session = open_live(n=1, trainctl={"poll_s": 0.005})
    run.inbox.rmdir()
    step_until(session, lambda: "the I/O thread of" in caplog.text)
    for _ in range(50):
        session.step()
    run.inbox.mkdir()
    assert answered(session, file_request(run, {"n": "2"}, via="cli")).state == "applied"
    assert caplog.text.count("the I/O thread of") == 1
