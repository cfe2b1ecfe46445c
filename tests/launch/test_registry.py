"""A launcher is found exactly while it works, by evidence, and never mistaken for another process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_until

from trainctl.errors import RunDirError
from trainctl.launch.registry import Launcher, Presence, find, send_signal
from trainctl.rundir import files
from trainctl.rundir.status import process_started

LAUNCHER = """
import os, sys, time
from pathlib import Path
from trainctl.launch.registry import Presence

with Presence(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(300)
    if sys.argv[2] == "child":
        child = os.fork()
        if child == 0:
            sys.exit()
        os.waitpid(child, 0)
    print("works", flush=True)
    sys.stdin.read()
"""


@contextmanager
def launcher(sweep: Path, mode: str = "plain") -> Iterator[subprocess.Popen[str]]:
    """A process that works as a launcher until its standard input is closed."""
    command = [sys.executable, "-c", LAUNCHER, str(sweep), mode]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "works\n"
        yield process
    finally:
        for left in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(left.pid) == process.pid:
                    left.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def left_files(sweep: Path) -> list[str]:
    return sorted(path.name for path in (sweep / ".trainctl" / "launchers").iterdir())


def test_launcher_is_found_while_it_works(tmp_path: Path) -> None:
    assert find(tmp_path / "sweep") == []
    with Presence(tmp_path / "sweep"):
        (found,) = find(tmp_path / "sweep")
        assert (found.pid, found.is_here) == (os.getpid(), True)
        assert found.pid_started == process_started(os.getpid())
    assert find(tmp_path / "sweep") == []
    assert left_files(tmp_path / "sweep") == []


def test_record_holds_no_command_line_in_which_a_secret_may_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("argv", "orig_argv"):
        monkeypatch.setattr(sys, name, ["python", "train.py", "-m", "api.token=sk-of-mine-1"])
    with Presence(tmp_path):
        (found,) = find(tmp_path)
        assert "sk-of-mine-1" not in found.path.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_request_to_stop_is_taken_once(tmp_path: Path, number: signal.Signals) -> None:
    with Presence(tmp_path) as presence:
        (found,) = find(tmp_path)
        assert presence.asked() is None
        found.ask(number)
        assert found.is_asked
        assert wait_until(presence.asked) is number
        assert not found.is_asked
        assert (presence.asked(), left_files(tmp_path)[0][-5:]) == (None, ".lock")


@pytest.mark.parametrize(
    "request_of_another",
    [
        lambda record: {"pid": record.pid, "pid_started": 1, "signal": "SIGTERM"},
        lambda record: {"pid": record.pid, "pid_started": record.pid_started, "signal": "SIGKILL"},
        lambda record: [record.pid],
    ],
)
def test_request_that_is_not_for_this_process_is_taken_away_and_not_obeyed(
    tmp_path: Path, request_of_another: Callable[[Launcher], Any]
) -> None:
    with Presence(tmp_path) as presence:
        (found,) = find(tmp_path)
        files.write_yaml(found.path.with_suffix(".stop"), request_of_another(found))
        wait_until(lambda: presence.asked() is None and not found.is_asked)


def test_request_of_another_user_is_not_obeyed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user")
    with Presence(tmp_path) as presence:
        (found,) = find(tmp_path)
        found.ask(signal.SIGTERM)
        os.chown(found.path.with_suffix(".stop"), 12345, -1)
        wait_until(lambda: presence.asked() is None and not found.is_asked)


def test_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    with Presence(tmp_path):
        assert (tmp_path / ".trainctl").stat().st_mode & 0o777 == 0o700


def test_several_launchers_work_in_one_sweep_dir(tmp_path: Path) -> None:
    with launcher(tmp_path) as other, Presence(tmp_path), Presence(tmp_path) as third:
        assert [each.pid for each in find(tmp_path)] == [other.pid, os.getpid(), os.getpid()]
        third.close()
        third.close()
        assert [each.pid for each in find(tmp_path)] == [other.pid, os.getpid()]


def test_killed_launcher_is_not_found_and_its_files_go_later(tmp_path: Path) -> None:
    with launcher(tmp_path) as process:
        process.kill()
        process.wait()
        assert find(tmp_path) == []
        assert len(left_files(tmp_path)) == 2
        with Presence(tmp_path):
            assert len(find(tmp_path)) == 1
        assert left_files(tmp_path) == []


def test_forked_child_does_not_keep_a_dead_launcher_present(tmp_path: Path) -> None:
    with launcher(tmp_path, "fork") as process:
        process.kill()
        process.wait()
        assert find(tmp_path) == []


def test_exiting_child_leaves_the_presence_of_its_parent(tmp_path: Path) -> None:
    with launcher(tmp_path, "child") as process:
        assert [each.pid for each in find(tmp_path)] == [process.pid]


def test_record_of_another_process_is_no_evidence(tmp_path: Path) -> None:
    with Presence(tmp_path):
        (path,) = (tmp_path / ".trainctl" / "launchers").glob("*.yaml")
        record = files.read_mapping(path)
        files.write_yaml(path, {**record, "pid_started": record["pid_started"] - 1})
        assert find(tmp_path) == []
        files.write_yaml(path, {**record, "host": "elsewhere"})
        (found,) = find(tmp_path)
        assert not found.is_here
        path.write_text("half a rec")
        assert find(tmp_path) == []


def test_signal_never_reaches_a_process_that_started_later(tmp_path: Path) -> None:
    with launcher(tmp_path) as process:
        started = process_started(process.pid)
        assert started is not None
        assert not send_signal(process.pid, started - 1, signal.SIGKILL)
        assert process.poll() is None
        assert send_signal(process.pid, started, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not send_signal(process.pid, started, signal.SIGKILL)


def test_sweep_dir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".trainctl").write_text("precious")
    with pytest.raises(RunDirError, match=r"the sweep dir .* cannot be used"), Presence(tmp_path):
        pass


def test_removed_sweep_dir_ends_the_presence_quietly(tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    sweep = tmp_path / "sweep"
    with Presence(sweep):
        for path in (sweep / ".trainctl" / "launchers").iterdir():
            path.unlink()
        (sweep / ".trainctl" / "launchers").rmdir()
        assert find(sweep) == []


def test_sweep_is_found_until_it_ends(app: Any, wait_until: Callable[..., Any]) -> None:
    process = app.start("x=1", "mode=wait")
    wait_until(lambda: app.ran() == ["start 1"], "the job starts")
    assert [each.pid for each in find(app.sweep)] == [process.pid]
    app.go()
    process.communicate(timeout=60)
    assert find(app.sweep) == []
