"""What another user has written starts nothing, and signals nothing of whoever looks at it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trainctl.errors import RunDirError, SourceError
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock, is_open_in
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, boot_id, process_started, write_status
from trainctl.rundir.trust import check_owner
from trainctl.sources.kinds import read_source

OTHER_UID = 65534
CLI = [sys.executable, "-c", "from trainctl.cli import main; main()"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was started from a script, which leaves a trace when it is run again."""
    run = RunDir.at(tmp_path / "team" / "one")
    run.create()
    script = tmp_path / "train.py"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (run.path / ".hydra").mkdir()
    run.config.write_text("lr: 0.1\nhome: ${oc.env:HOME}\n")
    command = {"executable": sys.executable, "script": str(script), "argv": [str(script)], "overrides": []}
    files.write_yaml(run.run, {**command, "cwd": str(tmp_path)})
    return run


def replayed(run: RunDir, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*CLI, "replay", str(run.path)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


def test_own_runs_are_replayed_and_loaded(run: RunDir, tmp_path: Path) -> None:
    assert replayed(run).returncode == 0
    assert (tmp_path / "ran").exists()
    assert read_source(f"run/{run.path}").values["lr"] == 0.1


@as_root
@pytest.mark.parametrize("name", [".", "run.yaml", ".hydra", ".hydra/config.yaml", "changelog.yaml"])
def test_what_another_user_wrote_is_neither_replayed_nor_loaded(run: RunDir, tmp_path: Path, name: str) -> None:
    run.changelog.write_text("")
    os.chown(run.path / name, OTHER_UID, OTHER_UID)
    done = replayed(run)
    assert (done.returncode, done.stdout, (tmp_path / "ran").exists()) == (1, "", False)
    assert f"uid {OTHER_UID})" in done.stderr
    assert f"if you trust them, set TRAINCTL_SAFE_DIRS={run.path.parent}" in done.stderr
    with pytest.raises(SourceError, match=r"\+from=run/.* belongs to .*uid 65534"):
        read_source(f"run/{run.path}")


@as_root
@pytest.mark.parametrize("trusted", ["*", "{}", "{}/", "/nowhere:{}/te*"])
def test_trusted_directories_are_named_in_the_environment(
    run: RunDir, tmp_path: Path, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(run.path, OTHER_UID, OTHER_UID)
    safe = trusted.format(tmp_path)
    assert replayed(run, TRAINCTL_SAFE_DIRS=safe).returncode == 0
    monkeypatch.setenv("TRAINCTL_SAFE_DIRS", safe)
    assert read_source(f"run/{run.path}").values["lr"] == 0.1
    monkeypatch.setenv("TRAINCTL_SAFE_DIRS", f"{tmp_path}/tea:{tmp_path}/team/one/more")
    with pytest.raises(RunDirError):
        check_owner(run)


def test_status_that_names_another_process_signals_none(run: RunDir, tmp_path: Path) -> None:
    """Somebody holds the lock, and says that the training of whoever calls `stop` is his."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        lock = RunLock(run.lock)
        assert lock.acquire()
        started = process_started(victim.pid)
        write_status(run, Status("running", pid=victim.pid, pid_started=started, boot_id=boot_id(), host=os.uname()[1]))
        done = subprocess.run(
            [*CLI, "stop", str(run.path)], capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip
        lock.release()
        assert done.returncode == 1
        assert f"names process {victim.pid}, which does not hold its run.lock; nothing was stopped" in done.stderr
        assert victim.poll() is None
        victim.communicate(b"\n", timeout=60)


THEIRS = f"""
import os, sys
from trainctl.launch.registry import Presence
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status
run = RunDir.at(sys.argv[1])
os.setgroups([]); os.setgid({OTHER_UID}); os.setuid({OTHER_UID})
assert RunLock(run.lock).acquire()
write_status(run, Status.running_here(attempt=1, slot=None))
with Presence(run.path):
    print("running", flush=True)
    sys.stdin.read()
"""


@as_root
def test_run_and_launcher_of_another_user_are_not_signalled_even_by_root() -> None:
    """Root could: a file of theirs is not what decides it."""
    with tempfile.TemporaryDirectory(prefix="trainctl-test-") as place:
        run = RunDir.at(Path(place))
        run.create()
        for path in (run.path, run.inbox):
            os.chown(path, OTHER_UID, OTHER_UID)
        command = [sys.executable, "-c", THEIRS, place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as theirs:
            assert theirs.stdout is not None
            assert theirs.stdout.readline() == b"running\n"
            for words in (["--grace", "0"], ["--now"]):
                done = subprocess.run(
                    [*CLI, "stop", *words, place], capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 1
                assert "belongs to another user" in done.stderr
                (run.path / "status.yaml").unlink(missing_ok=True)  # then it is only a sweep dir
            assert not (run.path / "stop.yaml").exists()
            assert theirs.poll() is None
            theirs.communicate(timeout=60)


def test_a_lock_is_open_in_the_process_that_holds_it(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    assert lock.acquire()
    assert is_open_in(os.getpid(), lock.path)
    assert not is_open_in(os.getppid(), lock.path)
    lock.release()
    assert not is_open_in(os.getpid(), lock.path)
    assert not is_open_in(os.getpid(), tmp_path / "none")
