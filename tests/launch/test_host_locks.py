"""A place on a device is held by its launcher's process alone; test_sharing.py has several launchers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import Clock

from trainctl.errors import SettingError
from trainctl.launch.slots.host_locks import HostLocks, Taken


@pytest.fixture
def locks(tmp_path: Path) -> Callable[..., HostLocks]:
    def make(most: int = 1, **options: Any) -> HostLocks:
        return HostLocks({"GPU-a": most}, directory=tmp_path / "places", **options)

    return make


def is_free(locks: HostLocks) -> bool:
    try:
        locks.take(["GPU-a"]).release()
    except Taken:
        return False
    return True


def test_place_is_held_until_it_is_released(locks: Callable[..., HostLocks]) -> None:
    held = locks().take(["GPU-a"])
    with pytest.raises(Taken, match="held by another launcher of yours"):
        locks().take(["GPU-a"])
    held.release()
    assert is_free(locks())


def test_forked_and_executed_processes_keep_no_place(locks: Callable[..., HostLocks]) -> None:
    """The children live on when the holder's own descriptors are closed, as at its death."""
    held = locks().take(["GPU-a"])
    with forked_child(), executed_child():
        assert not is_free(locks())  # nor did a child's closing free what its parent holds
        held.release()
        assert is_free(locks())


@contextlib.contextmanager
def forked_child() -> Iterator[None]:
    ready, go = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: the test runner has threads
        child = os.fork()
    if child == 0:
        os.close(go[1])
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        yield
    finally:
        for descriptor in (*ready, *go):
            os.close(descriptor)
        os.waitpid(child, 0)


@contextlib.contextmanager
def executed_child() -> Iterator[None]:
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield
        finally:
            child.communicate()


def test_failed_and_released_takes_leave_no_descriptor(locks: Callable[..., HostLocks]) -> None:
    one, other = locks(), locks()
    is_free(one)
    before = len(os.listdir("/proc/self/fd"))
    held = one.take(["GPU-a"])
    for _ in range(20):
        assert not is_free(other)
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_starts_of_all_launchers_are_staggered(locks: Callable[..., HostLocks]) -> None:
    clock = Clock(1.7e9)
    one, other = (locks(2, stagger_s=30, clock=clock) for _ in range(2))
    held = one.take(["GPU-a"])
    clock.now += 10
    with pytest.raises(Taken, match="a job was started on it within 30 s") as refused:
        other.take(["GPU-a"])
    assert refused.value.again_s == pytest.approx(20)
    clock.now -= 3600  # a clock that was set back stops nobody
    other.take(["GPU-a"]).release()
    held.release()


def test_stopped_launcher_holds_up_nobody_for_ever(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    ours = locks()
    stopped = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1, flush=True); sys.stdin.read()",
            str(tmp_path / "places" / "mutex"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert stopped.stdout is not None
    stopped.stdout.readline()
    stopped.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Taken, match="another launcher is checking the devices"):
            ours.take(["GPU-a"])
    finally:
        stopped.kill()
        stopped.communicate()
    assert is_free(ours)


def test_directory_is_private_and_may_vanish(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    ours = locks()
    places = tmp_path / "places"
    assert places.stat().st_mode & 0o777 == 0o700
    for file in places.iterdir():
        file.unlink()
    places.rmdir()
    assert is_free(ours)


def test_directory_that_others_may_enter_is_refused(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    (tmp_path / "places").chmod(0o755)
    with pytest.raises(SettingError, match=r"cannot be shared in .*/places': it belongs to, or is open to, somebody"):
        locks()


def test_directory_that_is_a_link_or_a_file_is_refused(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "places").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="cannot be shared"):
        locks()
    (tmp_path / "places").unlink()
    (tmp_path / "places").touch()
    with pytest.raises(SettingError, match="Not a directory"):
        locks()


def test_directory_of_another_user_is_refused(
    locks: Callable[..., HostLocks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "places").mkdir(mode=0o700)
    stranger = os.geteuid() + 1
    monkeypatch.setattr("trainctl.launch.slots.host_locks.os.geteuid", lambda: stranger)
    with pytest.raises(SettingError, match="belongs to, or is open to, somebody else"):
        locks()


def test_directory_that_becomes_unusable_refuses_and_raises_nothing_else(
    locks: Callable[..., HostLocks], tmp_path: Path
) -> None:
    ours = locks()
    (tmp_path / "places").chmod(0o777)
    with pytest.raises(Taken, match="cannot be read"):
        ours.take(["GPU-a"])
