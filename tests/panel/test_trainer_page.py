"""A server that is killed or hangs while training goes on: one more is started, at the same address, and only one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import psutil
import pytest
from task_app import Task, status_of
from waiting import wait_until

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.panel.server.lifetime import end_hung
from trainctl.panel.server.state import PanelDir, ServerRecord
from trainctl.panel.server.trainer_page import Guard, Patience, answers
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import state_of

TRAINING = Path(__file__).with_name("guarded_training.py")
PATIENCE_S = 240.0


def found(root: Path) -> ServerRecord:
    record = process.find(root)
    assert record is not None
    return record


def is_another(root: Path, before: ServerRecord) -> bool:
    """Whether a second server runs: while one is being made, the record holds the pid of who makes it."""
    record = process.find(root)
    if record is None or record.pid == before.pid or not record.again:
        return False
    return psutil.Process(record.pid).cmdline()[1:3] == ["-m", "trainctl.panel"]


def last_step(run: RunDir) -> int:
    records = files.read_lines(run.metrics)  # the last line may be half written
    return int(records[-1]["step"]) if records else 0


def opened(browser: OpenerDirector, url: str) -> int:
    """Ask for a file that costs the server nothing: a page can keep it busy for longer than the guard's patience."""
    base, _, token = url.partition("?")
    url = f"{base}static/js/bokeh.min.js" + (f"?{token}" if token else "")
    with browser.open(url, timeout=PATIENCE_S) as answer:
        return int(answer.status)


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    root = tmp_path / "root"
    with subprocess.Popen([sys.executable, str(TRAINING), str(root)], stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_until(Path(f"{root}.answered").exists, "the server's first answer", PATIENCE_S)
            yield root, running
        finally:
            running.kill()


@pytest.mark.slow
def test_hung_server_is_replaced_once_while_training_goes_on(training: tuple[Path, subprocess.Popen[str]]) -> None:
    root, running = training
    run = RunDir.at(root / "run")
    first = found(root)
    browser = build_opener(HTTPCookieProcessor())
    assert opened(browser, first.url) == 200
    os.kill(first.pid, signal.SIGSTOP)
    step = last_step(run)
    wait_until(lambda: last_step(run) > step + 100, "steps while the server hangs", PATIENCE_S)
    wait_until(lambda: is_another(root, first), "another server", PATIENCE_S)
    second = found(root)
    assert (second.url, second.again) == (first.url, True)
    assert opened(browser, first.url.partition("?")[0]) == 200  # by the cookie of before: an open page goes on
    os.kill(second.pid, signal.SIGKILL)
    assert running.stderr is not None
    said = [running.stderr.readline(), running.stderr.readline()]
    log = PanelDir(root).log
    again = rf"the page's server did not answer for \d+ s; it was started again, its log is {re.escape(str(log))}\n"
    assert re.fullmatch(again, said[0])
    gone = "the page's server has ended (exit code -9) again, training goes on without it"
    assert said[1] == f"{gone}; its log is {log}\n"
    assert process.find(root) is None
    step = last_step(run)
    wait_until(lambda: last_step(run) > step + 100, "steps without a server", PATIENCE_S)
    Path(f"{root}.stop").touch()
    assert running.wait(PATIENCE_S) == 0
    assert state_of(run) == "done"


@pytest.mark.slow
def test_killed_server_of_a_run_comes_back_at_its_address(task: Task) -> None:
    with task.waiting("trainctl.panel.enabled=true"):
        root = task.only_run().path.parent
        first = found(root)
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: is_another(root, first), "another server", PATIENCE_S)
        assert found(root).url == first.url
        assert opened(build_opener(HTTPCookieProcessor()), first.url) == 200
        assert status_of(task.only_run()).state == "running"


@pytest.mark.slow
def test_killed_server_of_a_sweep_comes_back_and_jobs_are_forked_all_the_same(task: Task) -> None:
    command = [sys.executable, "app.py", "-m", "mode=wait", "lr=0.1,0.2", "trainctl.panel.enabled=true"]
    command.append("hydra.launcher.slots=2")
    with subprocess.Popen(command, **task.options(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as sweep:
        try:
            wait_until(
                lambda: [state_of(run) for run in find_runs(task.path)] == ["running"] * 2, "both jobs", PATIENCE_S
            )
            root = task.path / "outputs" / "app"
            first = found(root)
            os.kill(first.pid, signal.SIGKILL)
            wait_until(lambda: is_another(root, first), "another server", PATIENCE_S)
            assert found(root).url == first.url
            assert [state_of(run) for run in find_runs(task.path)] == ["running"] * 2
            assert sweep.stdout is not None
            said = ""
            while "it was started again" not in said:  # which is said a moment after it is there
                line = sweep.stdout.readline()
                assert line, said
                said += line
        finally:
            sweep.terminate()
            rest, _ = sweep.communicate(timeout=PATIENCE_S)
            print(rest)
    assert "fresh interpreter" not in said + rest
    assert "the page's server has ended (exit code -9); it was started again" in said


def test_guards_of_two_users_start_one_server(tmp_path: Path) -> None:
    handles = [process.ensure(tmp_path, PanelSettings(keep_min=0)) for _ in range(2)]
    one, other = handles
    assert one is not None
    assert other is not None
    first = found(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: process.find(tmp_path) is None, "the end of the first", PATIENCE_S)
    assert [one.start_again(), other.start_again()] == [True, True]
    second = found(tmp_path)
    assert one.failure() is other.failure() is None
    os.kill(second.pid, signal.SIGKILL)
    wait_until(lambda: process.find(tmp_path) is None, "the end of the second", PATIENCE_S)
    assert [one.start_again(), other.start_again()] == [False, False]
    one.close()
    other.close()
    assert one.start_again() is False


def test_process_that_is_no_server_is_never_ended(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            record = ServerRecord.of_process("http://127.0.0.1:1/p/?token=x", stranger.pid, keep_min=0)
            assert not end_hung(PanelDir(tmp_path), record)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_guard_ends_with_its_page(tmp_path: Path) -> None:
    handle = process.ensure(tmp_path, PanelSettings(keep_min=0))
    assert handle is not None
    guard = Guard(handle, look_s=0.01)
    guard.start()
    wait_until(lambda: guard.has_answered, "an answer", PATIENCE_S)
    handle.close()
    guard.close()
    guard.join(PATIENCE_S)
    assert not guard.is_alive()


def test_port_where_nobody_listens_does_not_hang() -> None:
    assert answers("http://127.0.0.1:9/p/", Patience(os.getpid(), 60.0), threading.Event())
