"""How long the page's server stays: for a while after the last run, while a page is open, and not for long then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, build_opener

import psutil
import pytest
from task_app import Task

from trainctl.config.settings import PanelSettings
from trainctl.panel.auth.access import reader_url
from trainctl.panel.server import handle
from trainctl.panel.server.state import ServerRecord

WaitUntil = Callable[..., Any]
PATIENCE_S = 240.0
ON = "trainctl.panel.enabled=true"
LS = [sys.executable, "-c", "from trainctl.cli import main; main()", "ls"]
USER = """
import sys
from pathlib import Path
from trainctl.config.settings import PanelSettings
from trainctl.panel.server.handle import ensure
handle = ensure(Path(sys.argv[1]), PanelSettings(keep_min=float(sys.argv[2])))
print(handle.url, flush=True)
sys.stdin.read()
"""


def answer(url: str) -> int:
    """Ask for a file by the link; the page itself would be open for a while."""
    base, _, token = url.partition("?")
    with build_opener(HTTPCookieProcessor()).open(f"{base}static/js/bokeh.min.js?{token}", timeout=PATIENCE_S) as given:
        return int(given.status)


def user_of(root: Path, keep_min: float) -> tuple[subprocess.Popen[str], ServerRecord]:
    """Start a process that uses the page of a root; return it and the server's record once the server is up."""
    command = [sys.executable, "-c", USER, str(root), str(keep_min)]
    user = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    assert answer(user.stdout.readline().strip()) == 200
    record = handle.find(root)
    assert record is not None
    return user, record


def kill(user: subprocess.Popen[str]) -> float:
    user.kill()
    user.communicate()
    return time.monotonic()


def share_of_a_core(pid: int, within_s: float = 6.0) -> float:
    server, begun = psutil.Process(pid), time.monotonic()
    before = server.cpu_times()
    time.sleep(within_s)
    after = server.cpu_times()
    return float(after.user + after.system - before.user - before.system) / (time.monotonic() - begun)


@pytest.mark.slow
def test_server_outlives_a_killed_user_for_the_minutes_it_was_asked_for(tmp_path: Path, wait_until: WaitUntil) -> None:
    user, record = user_of(tmp_path, 0.1)
    killed = kill(user)
    assert answer(record.url) == 200
    wait_until(lambda: handle.find(tmp_path) is None, "the end of the server", PATIENCE_S)
    assert time.monotonic() - killed > 5.0  # of six seconds, as it saw its last user a moment before the kill
    assert not (tmp_path / ".trainctl" / "panel.json").exists()


@pytest.mark.slow
def test_page_that_is_loaded_keeps_its_server_for_a_while_more(tmp_path: Path, wait_until: WaitUntil) -> None:
    user, record = user_of(tmp_path, 0.0)
    with build_opener(HTTPCookieProcessor()).open(record.url, timeout=PATIENCE_S) as page:
        assert page.status == 200
    asked = time.monotonic()
    kill(user)
    wait_until(lambda: handle.find(tmp_path) is None, "the end of the server", PATIENCE_S)
    assert time.monotonic() - asked > 10.0  # for a browser to open its websocket, or to load the page again


def test_longest_time_that_a_user_asked_for_counts(tmp_path: Path) -> None:
    users = [user_of(tmp_path, minutes) for minutes in (0.0, 7.0, 3.0)]
    record = handle.find(tmp_path)
    assert record is not None
    assert record.keep_min == 7.0
    assert {found.pid for _, found in users} == {record.pid}
    for user, _ in users:
        kill(user)
    assert handle.find(tmp_path) == record


@pytest.mark.slow
def test_kept_server_costs_next_to_nothing(tmp_path: Path, wait_until: WaitUntil) -> None:
    user, record = user_of(tmp_path, 5.0)
    kill(user)
    wait_until(lambda: share_of_a_core(record.pid) < 0.01, "a server that has done what it began", PATIENCE_S)


@pytest.fixture
def left(task: Task) -> Iterator[tuple[Task, str, ServerRecord]]:
    """A run that is over, what it printed, and the server that it has left."""
    done = task.run(ON)
    assert done.returncode == 0, done.stderr
    record = handle.find(task.path / "outputs" / "app")
    assert record is not None, "the page has died with its run"
    yield task, done.stderr, record
    if handle.find(task.path / "outputs" / "app") == record:
        os.kill(record.pid, signal.SIGKILL)


@pytest.mark.slow
def test_run_leaves_its_page_and_keeps_nobody_waiting(
    left: tuple[Task, str, ServerRecord], wait_until: WaitUntil
) -> None:
    task, said, record = left  # whose pipes have been read to their end, though the server lives
    assert said.splitlines()[0] == f"page: {record.url}"
    assert said.splitlines()[-1] == "trainctl panel outputs/app"
    assert answer(record.url) == 200
    server = psutil.Process(record.pid)
    assert os.getsid(record.pid) == record.pid
    assert all(not file.path.startswith("/dev/pts") for file in server.open_files())
    listed = subprocess.run(
        [*LS, "outputs/app"], cwd=task.path, capture_output=True, text=True, check=True, timeout=120
    )
    assert f"page: {record.url}" in listed.stderr.replace("\n ", "").replace("\n", "")
    again = task.run(ON, "lr=0.2")
    assert re.findall(r"^page: (\S+)$", again.stderr, re.MULTILINE) == [record.url]
    assert handle.find(task.path / "outputs" / "app") == record


@pytest.mark.slow
def test_run_that_asks_for_another_server_gets_it(left: tuple[Task, str, ServerRecord], wait_until: WaitUntil) -> None:
    task, _, record = left
    again = task.run(ON, "trainctl.panel.keep_min=0", TRAINCTL_USERNAME="me", TRAINCTL_PASSWORD="a good one")
    (url,) = re.findall(r"^page: (\S+)$", again.stderr, re.MULTILINE)
    assert url != record.url
    wait_until(lambda: not psutil.pid_exists(record.pid), "the end of the first server", PATIENCE_S)


def test_command_takes_the_server_that_is_there_and_leaves_it(left: tuple[Task, str, ServerRecord]) -> None:
    task, _, record = left
    command = [*LS[:-1], "panel", "outputs/app"]
    with subprocess.Popen(command, cwd=task.path, stdout=subprocess.PIPE, text=True) as panel:
        assert panel.stdout is not None
        assert panel.stdout.readline() == f"{record.url}\n"
        assert panel.stdout.readline() == f"to look only: {reader_url(record.url)}\n"
        assert panel.stdout.readline() == "The page was running already: Ctrl-C leaves it running.\n"
        panel.send_signal(signal.SIGINT)
        assert panel.wait(60) == 0
    assert handle.find(task.path / "outputs" / "app") == record


def test_page_of_the_command_ends_with_it_though_it_is_open(tmp_path: Path) -> None:
    command = [*LS[:-1], "panel", "."]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as panel:
        assert panel.stdout is not None
        url = panel.stdout.readline().strip()
        looking = panel.stdout.readline().removeprefix("to look only: ").strip()
        assert looking == reader_url(url)
        assert panel.stdout.readline() == "Ctrl-C ends it.\n"
        with build_opener(HTTPCookieProcessor()).open(url, timeout=PATIENCE_S) as page:
            assert page.status == 200
        panel.send_signal(signal.SIGINT)
        assert panel.wait(60) == 0
    assert handle.find(tmp_path) is None


def test_settings_make_their_seal_with_the_link_alone() -> None:
    from trainctl.panel.server.launch import Listening

    one, same, other = (Listening.of(PanelSettings(port=port, keep_min=port)) for port in (1, 1, 2))
    assert one.sealed("link") == same.sealed("link") != one.sealed("other link")
    assert one.sealed("link") != other.sealed("link")
