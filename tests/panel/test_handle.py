"""The server's process from outside: started once, found again, gone when nobody uses it, and never in the way."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from waiting import wait_until

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError
from trainctl.panel.server import handle as process
from trainctl.panel.server.handle import PanelHandle
from trainctl.panel.server.state import PanelDir, ServerRecord

Ensure = Callable[..., "PanelHandle | None"]
PATIENCE_S = 240.0

USER = """
import sys
from pathlib import Path
from trainctl.config.settings import PanelSettings
from trainctl.panel.server.handle import ensure
handle = ensure(Path(sys.argv[1]), PanelSettings(keep_min=0))
loaded = any(name in sys.modules for name in ("panel", "bokeh", "tornado", "pandas"))
print(handle.url, loaded, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ensure() -> Iterator[Ensure]:
    """Return `process.ensure`; all uses are given up at the end, and servers that are kept are ended."""
    handles: list[tuple[Path, PanelHandle]] = []

    def begin(root: Path, **settings: object) -> PanelHandle | None:
        handle = process.ensure(root, PanelSettings(**{"keep_min": 0.0, **settings}))  # type: ignore[arg-type]
        if handle is not None:
            handles.append((root, handle))
        return handle

    yield begin
    for root, handle in handles:
        handle.close()
        record = process.find(root)
        if record is not None and record.keep_min > 0:
            os.kill(record.pid, signal.SIGTERM)


def is_free(root: Path) -> bool:
    """Whether no server holds its lock."""
    place = PanelDir(root)
    descriptor = place.lock(place.server_lock, fcntl.LOCK_EX)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def test_ensure_returns_at_once_and_loads_no_panel(tmp_path: Path) -> None:
    slow, go = tmp_path / "slow", tmp_path / "go"
    slow.mkdir()
    (slow / "panel.py").write_text(f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n")
    command = [sys.executable, "-c", USER, str(tmp_path / "root")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(slow), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as user:
        assert user.stdout is not None
        url, loaded = user.stdout.readline().split()  # though the server is not up yet
        assert url.startswith("http://127.0.0.1:")
        assert loaded == "False"
        go.touch()
        user.communicate()


@pytest.mark.slow
def test_url_answers_without_waiting_for_the_server_first(tmp_path: Path, ensure: Ensure) -> None:
    handle = ensure(tmp_path)
    assert handle is not None
    browser = build_opener(HTTPCookieProcessor())
    with browser.open(handle.url, timeout=PATIENCE_S) as answer:  # it listens already, so this waits for the server
        assert answer.status == 200
        assert "token=" not in answer.url


@pytest.mark.parametrize("what", ["the users' lock", "the record"])
def test_others_that_are_kept_from_going_on_for_a_while_cost_no_page(tmp_path: Path, ensure: Ensure, what: str) -> None:
    place = PanelDir(tmp_path)
    place.create()
    lock = place.users_lock if what == "the users' lock" else place.server_lock
    held = place.lock(lock, fcntl.LOCK_EX)
    assert held is not None

    def go_on() -> None:
        place.write_record(ServerRecord.of_process("http://127.0.0.1:1/p/?token=x", os.getpid(), keep_min=0))
        if lock == place.users_lock:
            os.close(held)

    threading.Timer(1.5, go_on).start()
    handle = ensure(tmp_path)
    assert handle is not None
    assert handle.is_started_here is (lock == place.users_lock)


def test_somebody_who_looks_for_a_server_for_long_keeps_none_from_being_started(tmp_path: Path, ensure: Ensure) -> None:
    place = PanelDir(tmp_path)
    place.create()
    looking = place.lock(place.server_lock, fcntl.LOCK_SH)  # as `find` does
    assert looking is not None
    threading.Timer(1.0, os.close, [looking]).start()
    handle = ensure(tmp_path)
    assert handle is not None
    assert handle.is_started_here


def test_second_user_finds_the_running_server(tmp_path: Path, ensure: Ensure) -> None:
    first, second = ensure(tmp_path), ensure(tmp_path, port=1)  # which is used already, so it is as it is
    assert first is not None
    assert second is not None
    assert (first.url, first.is_started_here, second.is_started_here) == (second.url, True, False)
    record = process.find(tmp_path)
    assert record is not None
    assert record.url == first.url


def test_users_that_come_at_once_start_one_server(tmp_path: Path) -> None:
    command = [sys.executable, "-c", USER, str(tmp_path)]
    users = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        urls = {user.stdout.readline().split()[0] for user in users if user.stdout is not None}
        assert len(urls) == 1
    finally:
        for user in users:
            user.communicate()


@pytest.mark.slow
def test_server_ends_when_its_only_user_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", USER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        user.stdout.readline()
        assert process.find(tmp_path) is not None
        user.kill()
    wait_until(lambda: is_free(tmp_path), "the end of the server", PATIENCE_S)
    assert process.find(tmp_path) is None
    assert not PanelDir(tmp_path).record.exists()


@pytest.mark.slow
def test_kept_server_outlives_its_users_until_its_directory_is_gone(tmp_path: Path, ensure: Ensure) -> None:
    root = tmp_path / "root"
    first = ensure(root)
    kept = ensure(root, keep_min=math.inf)
    assert first is not None
    assert kept is not None
    record = process.find(root)
    assert record is not None
    assert record.keep_min == math.inf
    first.close()
    kept.close()
    used = ensure(root)
    assert used is not None
    assert used.url == first.url
    used.close()
    os.rename(root / ".trainctl", tmp_path / "gone")
    wait_until(lambda: not record.is_alive() or _is_zombie(record.pid), "the end of the server", PATIENCE_S)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_killed_server_is_replaced(tmp_path: Path, ensure: Ensure, caplog: pytest.LogCaptureFixture) -> None:
    first = ensure(tmp_path)
    record = process.find(tmp_path)
    assert first is not None
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_until(first.failure, "word of the server's end", PATIENCE_S)
    second = ensure(tmp_path)
    assert second is not None
    assert second.is_started_here
    assert second.url == first.url  # open pages go on
    with caplog.at_level(logging.WARNING, "trainctl"):
        first.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the page's server has ended (exit code -9); its log is {first.log}"
    ]


def test_server_without_panel_is_told_in_one_warning(
    tmp_path: Path, ensure: Ensure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "panel.py").write_text("raise ImportError('no panel here')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    handle = ensure(tmp_path / "root")
    assert handle is not None
    wait_until(handle.failure, "word of the server's end", PATIENCE_S)
    assert "no panel here" in handle.log.read_text()
    with caplog.at_level(logging.WARNING, "trainctl"):
        handle.close()
    assert [str(handle.log) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.slow
def test_forked_child_does_not_count_as_user(tmp_path: Path, ensure: Ensure) -> None:
    handle = ensure(tmp_path)
    assert handle is not None
    place = PanelDir(tmp_path)
    held, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(release)
        os.read(held, 1)  # until the parent has looked
        os._exit(0)
    try:
        handle.close()
        wait_until(lambda: is_free(tmp_path), "the end of the server", PATIENCE_S)
        assert not place.record.exists()
    finally:
        os.close(release)
        os.close(held)
        os.waitpid(child, 0)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_ensure_refuses_an_address_that_others_can_reach(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingError, match=r"would show the page to other machines; allowed are 127\.0\.0\.1"):
        process.ensure(tmp_path, PanelSettings(address=address))


def test_ensure_does_nothing_when_the_page_is_not_wanted(tmp_path: Path) -> None:
    assert process.ensure(tmp_path, PanelSettings(enabled=False)) is None
    assert list(tmp_path.iterdir()) == []


def test_port_in_use_is_a_warning_and_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert process.ensure(tmp_path, PanelSettings(port=port)) is None
    assert f"trainctl.panel.port={port} on 127.0.0.1 cannot be used: Address already in use" in caplog.text
    assert is_free(tmp_path)


def test_root_that_is_a_file_is_a_warning_and_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert process.ensure(tmp_path / "file", PanelSettings(keep_min=0)) is None
    assert "no page for" in caplog.text


def test_link_in_place_of_the_directory_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".trainctl").symlink_to(tmp_path / "elsewhere")
    assert process.ensure(tmp_path / "root", PanelSettings(keep_min=0)) is None
    assert "is not a directory of this user" in caplog.text
    assert list((tmp_path / "elsewhere").iterdir()) == []
