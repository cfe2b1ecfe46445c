"""A paused run: its training thread waits inside `step()`, and everything around it lives on."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from session_fixtures import StartToy
from waiting import wait_until

from trainctl.config.changelog import Edit, loads
from trainctl.rundir import files
from trainctl.rundir.events import Event, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of
from trainctl.rundir.summary import summarize
from trainctl.session.api import live
from trainctl.session.live import Live

pytestmark = pytest.mark.timeout(300)


class Training:
    """A loop in a thread of its own."""

    def __init__(self, run: RunDir, session: Live) -> None:
        self.run, self.session = run, session
        self.over = False
        self.thread = threading.Thread(target=self._train)
        self.thread.start()

    def _train(self) -> None:
        while not self.over and not self.session.should_stop:
            self.session.step()
            self.session.log(n=self.session.now.n)
            time.sleep(0.001)

    def ask(self, edits: dict[str, Any] | None = None, **more: Any) -> Event:
        request = file_request(self.run, edits or {}, via="test", **more)
        found = wait_for_answer(self.run, request, 60)
        assert found is not None
        return found

    def pause(self) -> int:
        found = self.ask(action="pause")
        assert found.state == "applied", found
        return found.step or 0


@pytest.fixture
def training(run: RunDir, end_run: Callable[[], None]) -> Iterator[Training]:
    end_run()
    config = OmegaConf.create({"n": 1, "trainctl": {"poll_s": 0.005}})
    made = Training(run, live(config, run_dir=run.path))
    try:
        yield made
    finally:
        made.over = True
        file_request(run, {}, via="test", action="resume")
        made.thread.join(60)
        assert not made.thread.is_alive()


def test_paused_run_stands_still_and_the_page_can_tell(training: Training) -> None:
    step = training.pause()
    wait_until(lambda: files.read_mapping(training.run.progress).get("paused") is True, "progress says paused")
    progress = files.read_mapping(training.run.progress)
    assert progress["step"] == step
    wait_until(lambda: state_of(training.run) == "paused", "status says paused")
    assert summarize(training.run).is_alive
    wait_until(
        lambda: files.read_mapping(training.run.progress)["t"] > progress["t"], "a sign of life of the paused run"
    )
    assert training.session.step_number == step
    assert training.ask(action="resume").step == step
    wait_until(lambda: training.session.step_number > step, "the next step")
    wait_until(lambda: "paused" not in files.read_mapping(training.run.progress), "progress says nothing of a pause")
    assert state_of(training.run) == "running"


def test_metrics_of_a_paused_run_are_written(training: Training) -> None:
    wait_until(lambda: training.session.step_number > 3, "some steps")
    step = training.pause()

    def logged() -> list[int]:
        return [record["step"] for record in files.read_lines(training.run.metrics)]

    wait_until(lambda: logged() == list(range(1, step)), "all that was logged is in the file")


def test_edits_apply_during_a_pause_at_the_step_that_is_about_to_begin(training: Training) -> None:
    step = training.pause()
    assert training.ask({"n": "2"}).step == step
    assert training.ask({"n": "x"}).state == "rejected"
    assert training.session.now.n == 2
    assert training.ask({"n": "3"}).step == step
    assert loads(training.run.changelog.read_text()).edits == [Edit(step, {"n": 3})]
    late = file_request(training.run, {"n": "4"}, via="test", at=step + 1)
    assert training.ask(action="resume").step == step
    found = wait_for_answer(training.run, late, 60)
    assert found is not None
    assert found.step == step + 1


def test_action_of_the_task_is_done_during_a_pause(training: Training) -> None:
    seen: list[int] = []
    training.session.action("sample")(lambda: seen.append(training.session.step_number))
    step = training.pause()
    assert training.ask(action="sample").step == step
    assert training.ask(action="pause").state == "applied"  # asked twice, it is paused once
    assert seen == [step]


def test_stop_ends_a_pause(training: Training) -> None:
    step = training.pause()
    assert training.ask(action="stop").step == step
    training.thread.join(60)
    assert training.session.step_number == step


@pytest.fixture
def paused(tmp_path: Path, start_toy: StartToy) -> tuple[RunDir, subprocess.Popen[str]]:
    """A process that was paused while it trained."""
    run = RunDir.at(tmp_path / "paused")
    process = start_toy(run.path, TOY_ENDLESS="1")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    found = wait_for_answer(run, file_request(run, {}, via="test", action="pause"), 60)
    assert found is not None
    assert found.state == "applied", found.reason
    return run, process


def test_ctrl_c_ends_a_paused_run(paused: tuple[RunDir, subprocess.Popen[str]]) -> None:
    run, process = paused
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    status = read_status(run)
    assert status is not None
    assert status.state == "interrupted"


@pytest.mark.slow
def test_sigterm_ends_a_paused_run(paused: tuple[RunDir, subprocess.Popen[str]]) -> None:
    run, process = paused
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert state_of(run) == "interrupted"


def test_run_that_was_killed_while_paused_is_not_paused_in_its_next_attempt(
    paused: tuple[RunDir, subprocess.Popen[str]], start_toy: StartToy
) -> None:
    run, process = paused
    process.kill()
    process.communicate()
    again = start_toy(run.path)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert not summarize(run).paused
