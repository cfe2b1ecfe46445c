from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainctl.rundir.lock import RunLock, is_locked

# Takes the lock, has children in several ways that outlive it, says their pids, and waits to be killed.
PARENT = """
import multiprocessing, os, subprocess, sys, time
from pathlib import Path
from trainctl.rundir.lock import RunLock

if __name__ == "__main__":
    lock = RunLock(Path(sys.argv[1]))
    assert lock.acquire()
    pids = []
    pid = os.fork()
    if pid == 0:
        assert not lock.is_held_here
        time.sleep(300)
    pids.append(pid)
    for method in ("fork", "spawn"):
        process = multiprocessing.get_context(method).Process(target=time.sleep, args=(300,))
        process.start()
        pids.append(process.pid)
    pids.append(subprocess.Popen(["sleep", "300"], close_fds=False).pid)
    print(*pids, flush=True)
    time.sleep(300)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.lock"


def test_lock_is_held_by_one_at_a_time(path: Path) -> None:
    one, other = RunLock(path), RunLock(path)
    assert not is_locked(path)
    assert one.acquire()
    assert one.acquire()
    assert one.is_held_here
    assert is_locked(path)
    assert not other.acquire()
    assert not other.is_held_here
    one.release()
    one.release()
    assert not is_locked(path)
    assert other.acquire()
    other.release()
    assert path.exists()


def test_looking_takes_nothing_away(path: Path) -> None:
    lock = RunLock(path)
    assert not is_locked(path)
    assert not path.exists()
    assert lock.acquire()
    assert [is_locked(path) for _ in range(3)] == [True] * 3
    lock.release()


def test_somebody_who_looks_for_long_keeps_nobody_from_taking_the_lock(path: Path) -> None:
    looking = os.open(path, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as `is_locked` does, on a machine that does not let it go on
    threading.Timer(1, os.close, [looking]).start()
    lock = RunLock(path)
    assert lock.acquire()
    assert not RunLock(path).acquire()
    lock.release()


def test_lock_that_cannot_be_made_says_why(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        RunLock(path.parent / "gone" / "run.lock").acquire()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        RunLock(path).acquire()


def test_lock_ends_with_its_process_though_children_live_on(path: Path, wait_until: Callable[..., Any]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(path)], stdout=subprocess.PIPE, text=True)
    pids: list[int] = []
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 4
        assert is_locked(path)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        wait_until(lambda: not is_locked(path), "the children, which have hardly begun, have closed their copies")
        assert RunLock(path).acquire()
    finally:
        parent.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        parent.communicate()


def test_child_that_ends_does_not_give_the_lock_back(path: Path) -> None:
    lock = RunLock(path)
    assert lock.acquire()
    process = multiprocessing.get_context("fork").Process(target=lock.release)
    process.start()
    process.join()
    assert is_locked(path)
    lock.release()


def test_child_can_take_a_free_lock_for_itself(path: Path) -> None:
    lock = RunLock(path)
    assert lock.acquire()
    lock.release()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if RunLock(path).acquire() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not is_locked(path)
