"""A file system without locks: one sentence says what to do, and with `trainctl.locks` everything runs on this host."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from task_app import Task, status_of
from waiting import wait_until

from trainctl.errors import SettingError
from trainctl.rundir import lock as locks
from trainctl.rundir.lock import RunLock, is_locked, keep_in

# Python runs a module of this name as it starts: below the directory `nfs` no file can be locked.
WITHOUT_LOCKS = """
import fcntl, os
real = fcntl.flock
def flock(file, operation):
    path = os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")
    if "/nfs/" in path:
        number = int(os.environ["FLOCK_ERRNO"])
        raise OSError(number, os.strerror(number))
    return real(file, operation)
fcntl.flock = flock
"""
TRAINCTL = [sys.executable, "-c", "from trainctl.cli import main; main()"]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    (tmp_path / "early").mkdir()
    (tmp_path / "early/sitecustomize.py").write_text(WITHOUT_LOCKS)
    (tmp_path / "nfs").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "early"), prepend=":")
    monkeypatch.setenv("FLOCK_ERRNO", str(errno.ENOLCK))
    return Task(tmp_path / "nfs")


def call(task: Task, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TRAINCTL, *words], **task.options(), capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(("number", "overrides"), [("ENOLCK", []), ("ENOSYS", ["-m", "lr=1,2"]), ("EOPNOTSUPP", [])])
def test_run_without_locks_is_refused_in_one_sentence(task: Task, number: str, overrides: list[str]) -> None:
    done = task.run(*overrides, FLOCK_ERRNO=str(getattr(errno, number)))
    assert done.returncode == 1
    assert "begin" not in done.stdout
    assert done.stderr.count("its file system has no locks") == 1
    assert (
        f"({os.strerror(getattr(errno, number))}); set trainctl.locks (for commands: TRAINCTL_LOCKS) to" in done.stderr
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_sweep_with_its_locks_elsewhere_runs_and_resumes(task: Task, tmp_path: Path) -> None:
    command = ["-m", "lr=1,2", f"trainctl.locks={tmp_path}/locks", "trainctl.panel.enabled=true"]
    done = task.run(*command)
    assert done.returncode == 0, done.stderr
    assert "2 jobs: 2 done" in done.stderr
    assert "page: http" in done.stderr
    assert "no locks" not in done.stderr
    assert list((tmp_path / "locks").glob("*.lock"))
    assert "2 jobs: 2 skipped" in task.run(*command).stderr


@pytest.mark.slow
def test_run_with_its_lock_elsewhere_is_seen_stopped_and_resumed(task: Task, tmp_path: Path) -> None:
    setting = f"trainctl.locks={tmp_path}/locks"
    with task.waiting("hydra.run.dir=one", setting) as running:
        run = task.only_run()
        second = task.run("hydra.run.dir=one", setting)
        assert second.returncode == 1
        assert "is in use by a run that is still going" in second.stderr
        assert "running\tone" in call(task, "ls", "one").stdout  # nobody tells it where the lock is
        assert call(task, "stop", "one").returncode == 0
        running.wait(timeout=60)
    wait_until(lambda: status_of(run).state != "running", "the end of the run")
    with task.waiting("hydra.run.dir=one", setting) as running:
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert "running  one" not in call(task, "ls", "one").stdout
        done = task.run("hydra.run.dir=one", setting, "trainctl.drift=allow")
    assert done.returncode == 0, done.stderr
    assert status_of(run).state == "done"


@pytest.fixture
def nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose file system has no locks, in this process; its locks are in `locks`."""
    real = locks.fcntl.flock

    def flock(descriptor: int, operation: int) -> Any:
        if "/nfs/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOLCK, "No locks available")
        return real(descriptor, operation)

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    monkeypatch.setenv(locks.VARIABLE, "")  # to be put back
    keep_in(str(tmp_path / "locks"))
    (tmp_path / "nfs").mkdir()
    return tmp_path / "nfs"


def test_lock_elsewhere_is_held_by_one_at_a_time(nfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = RunLock(nfs / "run.lock"), RunLock(nfs / "run.lock")
    assert one.acquire()
    assert not other.acquire()
    monkeypatch.delenv(locks.VARIABLE)  # the file says where
    assert is_locked(nfs / "run.lock")
    assert not RunLock(nfs / "run.lock").acquire()
    assert locks.is_open_in(os.getpid(), nfs / "run.lock")
    one.release()
    assert not is_locked(nfs / "run.lock")
    assert other.acquire()
    other.release()
    assert not locks.is_open_in(os.getpid(), nfs / "run.lock")


def test_file_system_with_locks_has_them_itself(nfs: Path, tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    assert lock.acquire()
    assert (tmp_path / "run.lock").read_bytes() == b""
    assert list((tmp_path / "locks").iterdir()) == []
    lock.release()


@pytest.mark.parametrize("told", ["open/to/all\n", "{open}\n", "{locks}", "\0\n", "/nowhere\n", "x" * 5000 + "\n"])
def test_place_that_is_not_safe_is_not_believed(nfs: Path, tmp_path: Path, told: str) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    path = nfs / "run.lock"
    path.write_text(told.format(open=tmp_path / "open", locks=tmp_path / "locks"))
    assert not is_locked(path)
    lock = RunLock(path)
    assert lock.acquire(), "the setting counts instead"
    assert is_locked(path)
    assert list((tmp_path / "open").iterdir()) == []
    lock.release()


def test_place_in_a_file_of_somebody_else_is_not_believed(
    nfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunLock(nfs / "run.lock")
    assert lock.acquire()
    own = os.geteuid()
    monkeypatch.setattr(locks.os, "geteuid", lambda: own + 1)
    assert not is_locked(nfs / "run.lock")
    lock.release()


def test_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(
        SettingError, match=r"trainctl.locks=.* must be a directory of yours that nobody else can write"
    ):
        keep_in(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"trainctl.locks=.* cannot be made: "):
        keep_in(str(tmp_path / "file/locks"))
