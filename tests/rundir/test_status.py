from __future__ import annotations

import dataclasses
import os
import re
import time
from pathlib import Path

import pytest

import trainctl
from trainctl.rundir import files
from trainctl.rundir.fields import parse_time
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, boot_id, format_time, process_started, read_status, state_of, write_status


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.at(tmp_path / "run")
    run.create()
    return run


def test_status_comes_back_as_it_was_written(run: RunDir) -> None:
    running = Status.running_here(attempt=2, slot="0,1")
    assert (running.pid, running.boot_id) == (os.getpid(), boot_id())
    assert running.ended is None
    for status in (running, running.end("failed", exit_code=1, signal="SIGKILL", reason="it: broke\n'badly'")):
        write_status(run, status)
        read = read_status(run)
        assert read is not None
        assert read.started == pytest.approx(status.started, abs=1e-5)
        assert dataclasses.replace(read, started=None, ended=None) == dataclasses.replace(
            status, started=None, ended=None
        )
    ended = read_status(run)
    assert ended is not None
    assert ended.started is not None
    assert ended.ended is not None
    assert ended.ended >= ended.started


def test_unknown_fields_are_passed_over(run: RunDir) -> None:
    run.status.write_text("state: done\nattempt: 3\nof_the_future: 1\nstarted: yesterday\n")
    assert read_status(run) == Status("done", attempt=3)


@pytest.mark.parametrize("content", ["", "a: [", "just text", "attempt: 1\n"])
def test_file_without_a_state_is_no_status(run: RunDir, content: str) -> None:
    run.status.write_text(content)
    problems: list[str] = []
    assert read_status(run, problems) is None
    assert len(problems) == 1
    assert state_of(run) == "unreadable"


def test_state_is_what_was_written_and_the_lock_confirms(run: RunDir) -> None:
    assert state_of(run) == "queued"
    running = Status.running_here(attempt=1, slot=None)
    lock = RunLock(run.lock)
    assert lock.acquire()
    assert state_of(run) == "queued"  # taken by a job that waits for its slot
    write_status(run, running)
    assert state_of(run) == "running"
    write_status(run, running.end("failed"))
    assert state_of(run) == "failed"  # though its process has not ended yet, or the next attempt waits for its slot
    lock.release()
    assert state_of(run) == "failed"


def test_run_that_says_running_without_a_lock_was_interrupted(run: RunDir) -> None:
    write_status(run, Status.running_here(attempt=1, slot=None))
    assert state_of(run) == "interrupted"


def test_times_are_readable_and_exact() -> None:
    for seconds in (0.0, 1795256962.123456, time.time()):
        assert parse_time(format_time(seconds)) == pytest.approx(seconds, abs=1e-6)
    assert "T" in format_time(0)
    assert (parse_time("yesterday"), parse_time(None), parse_time(3)) == (None, None, None)


def test_time_zone_of_the_writer_does_not_matter(run: RunDir) -> None:
    files.write_yaml(run.status, {"state": "done", "started": "2026-11-21T12:00:00+02:00"})
    status = read_status(run)
    assert status is not None
    assert status.started == parse_time("2026-11-21T10:00:00+00:00")


def test_start_of_a_process_tells_a_reused_pid_apart() -> None:
    here = process_started(os.getpid())
    if here is None:
        pytest.skip("this system has no /proc")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert process_started(os.getpid()) == here
    os.waitpid(pid, 0)
    assert process_started(pid) is None


def test_nobody_takes_a_paused_run_for_one_that_does_not_run() -> None:
    """Who asks whether a run lives asks `ALIVE` or `is_alive`; only its speed is that of a running one alone."""
    allowed = {
        "rundir/status.py",
        "cli/runs.py",
        "panel/widgets/summary.py",
        "commands/progress.py",
        "examine/where.py",
    }
    asks = re.compile(r"state\w*(\(\w+\))? (==|!=|in|not in) \(?\"running\"")
    root = Path(trainctl.__file__).parent
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if asks.search(path.read_text())}
    assert found <= allowed
