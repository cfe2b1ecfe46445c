"""Live sessions in this process, and a tiny training in its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from omegaconf import DictConfig, OmegaConf

from trainctl.attempt import attempt
from trainctl.config.changelog import loads
from trainctl.rundir import files
from trainctl.rundir.events import Event, answer, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

__all__ = ["small_disk"]

OpenLive = Callable[..., Live]
StepUntil = Callable[[Live, Callable[[], object]], None]
Answered = Callable[[Live, str], Event]
EndRun = Callable[[], None]
StartToy = Callable[..., "subprocess.Popen[str]"]
TOY = Path(__file__).with_name("toy_training.py")


def config() -> DictConfig:
    """A task's config as Hydra hands it over, strict and read-only, with a locked section and a reference."""
    made = OmegaConf.create({
        "optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "n": 1, "end": "${optim.lr}", "model": {"depth": 2},
        "trainctl": {"poll_s": 0.005, "controls": {"model.*": "!"}},
    })  # fmt: skip
    OmegaConf.set_struct(made, True)
    OmegaConf.set_readonly(made, True)
    return made


def end_current_run() -> None:
    """End the run of this process, if there is one, as its normal end would."""
    current = attempt.current()
    if current is not None:
        current.end("done", exit_code=0)


def edits(run: RunDir) -> list[tuple[int, dict[str, Any]]]:
    return [(edit.step, edit.values) for edit in loads(run.changelog.read_bytes()).edits]


def answers(run: RunDir) -> list[Event]:
    """Return what was answered, but for who has read the values of edits, which is told later."""
    return [event for event in read_events(run) if event.state != "read"]


def metrics(run: RunDir) -> list[dict[str, Any]]:
    """Return the records of `metrics.jsonl`, wall-clock fields aside."""
    return [{name: value for name, value in record.items() if name != "t"} for record in files.read_lines(run.metrics)]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.at(tmp_path / "run")


@pytest.fixture
def end_run() -> Iterator[Callable[[], None]]:
    """Return a function that ends the run of this process as its normal end would; the test's end calls it too."""

    yield end_current_run
    end_current_run()


@pytest.fixture
def open_live(run: RunDir, end_run: Callable[[], None]) -> OpenLive:
    """Open a live session in `run`; keyword arguments are top-level entries of its config."""

    def opened(config: DictConfig | None = None, /, **entries: Any) -> Live:
        end_run()
        if config is None:
            config = OmegaConf.create(entries)
        return live(config, run_dir=run.path)

    return opened


@pytest.fixture
def step_until(run: RunDir) -> StepUntil:
    """Train until a condition holds, at most 60 seconds."""

    def step(session: Live, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in 60 s"
            session.step()
            time.sleep(0.001)

    return step


@pytest.fixture
def answered(run: RunDir, step_until: StepUntil) -> Callable[[Live, str], Event]:
    """Train until a request has its answer, and return it."""

    def wait(session: Live, request: str) -> Event:
        step_until(session, lambda: answer(run, request))
        event = answer(run, request)
        assert event is not None
        return event

    return wait


@pytest.fixture
def ask(run: RunDir) -> Callable[..., str]:
    """File a request and wait until the session can take it at its next step; return its id."""

    def file(session: Live, edits: dict[str, Any] | None = None, **more: Any) -> str:
        before = len(session._taken)
        request = file_request(run, edits or {}, via="test", **more)
        deadline = time.monotonic() + 60
        while len(session._taken) == before:
            assert time.monotonic() < deadline, "the request was not taken in 60 s"
            time.sleep(0.001)
        return request

    return file


@pytest.fixture
def start_toy() -> Iterator[StartToy]:
    """Start `toy_training.py RUN_DIR key=value …` in a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(run_dir: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(TOY), str(run_dir), *overrides]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environment})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
