from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import fill
from omegaconf import DictConfig, OmegaConf
from task_app import status_of

from trainctl.attempt import attempt, reservation
from trainctl.attempt.attempt import Attempt
from trainctl.errors import RunDirError, SettingError
from trainctl.rundir import files
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.result import read_result
from trainctl.rundir.status import read_status, state_of

Begin = Callable[..., Attempt]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.at(tmp_path / "runs" / "run")


@pytest.fixture
def begin(run: RunDir) -> Iterator[Begin]:
    """Begin an attempt in `run`; keyword arguments are entries of `trainctl:`."""
    begun: list[Attempt] = []

    def start(config: DictConfig | None = None, run: RunDir = run, **settings: Any) -> Attempt:
        config = OmegaConf.create({"lr": 0.1, "trainctl": settings}) if config is None else config
        begun.append(attempt.begin(run, config=config, facts={"identity": "abc"}))
        return begun[-1]

    yield start
    for one in begun:
        one.end("interrupted")


def test_attempt_begins_with_lock_status_and_record(run: RunDir, begin: Begin) -> None:
    assert attempt.current() is None
    begun = begin(seed=3)
    assert attempt.current() is begun
    assert is_locked(run.lock)
    assert (status_of(run).state, status_of(run).pid, state_of(run)) == ("running", os.getpid(), "running")
    assert files.read_mapping(run.run) == {"name": "run", "identity": "abc", "seed": 3, "parent": None}
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert run.inbox.is_dir()


def test_attempt_ends_with_result_then_status_then_lock(run: RunDir, begin: Begin) -> None:
    begun = begin()
    seen = []
    begun.at_end(lambda: seen.append(("first added", state_of(run), run.result.exists())))
    begun.at_end(lambda: seen.append(("last added", state_of(run), run.result.exists())))
    begun.end("done", value={"accuracy": 0.5}, exit_code=0)
    assert seen == [("last added", "running", False), ("first added", "running", False)]
    assert (state_of(run), read_result(run), status_of(run).exit_code) == ("done", {"accuracy": 0.5}, 0)
    assert attempt.current() is None
    begun.end("failed", reason="too late")
    assert status_of(run).state == "done"


def test_failing_hook_keeps_no_other_from_closing_and_fails_the_run(
    run: RunDir, begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    begun, closed = begin(), []
    begun.at_end(lambda: closed.append("one"))
    begun.at_end(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    begun.end("done", value=1)
    assert closed == ["one"]
    assert "ZeroDivisionError" in caplog.text
    assert (status_of(run).state, status_of(run).reason) == ("failed", "ZeroDivisionError: division by zero")
    assert not run.result.exists()


def test_next_attempt_counts_on_and_keeps_the_seed(run: RunDir, begin: Begin) -> None:
    first = begin()
    first.end("done", value=1)
    second = begin()
    assert (first.number, second.number) == (1, 2)
    assert first.seed == second.seed
    assert not run.result.exists()  # what the first returned is not an answer of the second
    second.end("failed")
    assert begin(seed=5).seed == 5


def test_what_killed_writers_left_is_removed_and_nothing_else(run: RunDir, begin: Begin) -> None:
    run.create()
    for name in (".status.yaml.4242.tmp", ".run.yaml.7.tmp", ".model.pt.4242.tmp", "notes.tmp"):
        (run.path / name).touch()
    begin()
    assert {path.name for path in run.path.glob("*tmp")} == {".model.pt.4242.tmp", "notes.tmp"}


def test_drawn_seeds_differ(tmp_path: Path, begin: Begin) -> None:
    seeds = set()
    for number in range(5):
        one = begin(run=RunDir.at(tmp_path / str(number)))
        seeds.add(one.seed)
        one.end("done")
    assert len(seeds) == 5


def test_run_dir_in_use_is_refused_and_left_as_it_is(
    run: RunDir, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservation, "_LOCK_PATIENCE_S", 0.02)
    begin()
    before = [path.read_text() for path in (run.run, run.status)]
    with pytest.raises(RunDirError, match=r"'.*run' is in use by a run that is still going; wait for it, or choose"):
        begin()
    assert [path.read_text() for path in (run.run, run.status)] == before


def test_bad_setting_makes_nothing(run: RunDir, begin: Begin) -> None:
    with pytest.raises(SettingError, match=r"trainctl\.drift='maybe' is not known"):
        begin(drift="maybe")
    assert not run.path.exists()


def test_run_dir_that_is_a_file_is_refused(run: RunDir, begin: Begin) -> None:
    run.path.parent.mkdir()
    run.path.write_text("precious")
    with pytest.raises(RunDirError, match=r"run dir '.*run' cannot be made: .*; choose another with hydra\.run\.dir"):
        begin()
    assert run.path.read_text() == "precious"
    assert attempt.current() is None


def test_full_disk_refuses_the_run_and_gives_the_lock_back(small_disk: Path, begin: Begin) -> None:
    run = RunDir.at(small_disk / "run")
    run.create()
    run.lock.touch()
    fill(small_disk / "filler")
    with pytest.raises(RunDirError, match=r"the run dir '.*' cannot be written: No space left on device"):
        begin(run=run)
    assert not is_locked(run.lock)
    assert attempt.current() is None
    (small_disk / "filler").unlink()
    assert begin(run=run).number == 1


def test_full_disk_at_the_end_gives_the_lock_back(
    small_disk: Path, begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDir.at(small_disk / "run")
    begun = begin(run=run)
    fill(small_disk / "filler")
    begun.end("done", value="x" * 10_000)
    assert "the end of the run could not be written" in caplog.text
    status = read_status(run)
    assert status is not None
    assert (status.state, status.exit_code, state_of(run)) == ("failed", 1, "failed")
    assert "No space left on device" in str(status.reason)


def test_entries_are_added_to_the_record(run: RunDir, begin: Begin) -> None:
    begin().update_run_yaml(keys={"lr": {"type": "float"}})
    assert files.read_mapping(run.run)["identity"] == "abc"
    assert files.read_mapping(run.run)["keys"] == {"lr": {"type": "float"}}


def test_forked_child_is_no_attempt(run: RunDir, begin: Begin) -> None:
    begun = begin()
    pid = os.fork()
    if pid == 0:
        begun.end("done")
        os._exit(0 if attempt.current() is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert attempt.current() is begun
    assert state_of(run) == "running"


def test_description_of_an_exception_is_one_line() -> None:
    assert attempt.describe(ValueError("no\n  such file")) == "ValueError: no such file"
    assert attempt.describe(KeyError("x")) == "KeyError: 'x'"
    assert attempt.describe(ValueError()) == "ValueError"
    assert re.fullmatch(r"SyntaxError: .*", attempt.describe(SyntaxError("bad", ("f.py", 1, 2, "x x"))))


ENDINGS = """
import os, signal, sys
from omegaconf import OmegaConf
from trainctl.attempt import attempt
from trainctl.rundir.paths import RunDir
attempt.begin(RunDir.at(sys.argv[1]), config=OmegaConf.create({}), left_by_exit=sys.argv[2])
"""


@pytest.mark.parametrize(
    ("code", "left_by_exit", "state", "reason"),
    [
        ("pass", "done", "done", None),
        ("sys.exit(3)", "done", "done", None),
        ("sys.exit(0)", "failed", "failed", "the program ended inside the task, by sys.exit or the like"),
        ("raise ValueError('no good')", "done", "failed", "ValueError: no good"),
        ("raise ValueError('no good')", "failed", "failed", "ValueError: no good"),
        ("raise KeyboardInterrupt", "done", "interrupted", "Ctrl-C"),
        ("attempt.current().end('failed', reason='mine'); raise ValueError", "done", "failed", "mine"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "done", "interrupted", None),
        ("os.kill(os.getpid(), signal.SIGTERM)", "done", "interrupted", None),
        ("os._exit(0)", "done", "interrupted", None),
    ],
)
def test_run_ends_with_its_process(run: RunDir, code: str, left_by_exit: str, state: str, reason: str | None) -> None:
    command = [sys.executable, "-c", ENDINGS + code, str(run.path), left_by_exit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (state_of(run), status_of(run).reason) == (state, reason), done.stderr
    assert done.returncode != -signal.SIGSEGV
