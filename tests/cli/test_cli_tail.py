"""`trainctl tail`: the end of a log, and what comes after it, over all attempts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made import CLI, Cli, assert_refused, finished
from waiting import wait_until

from trainctl.cli.tail import Printer
from trainctl.launch.registry import Presence
from trainctl.rundir.lock import RunLock
from trainctl.rundir.logs import end_of
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

Follow = Callable[..., "subprocess.Popen[bytes]"]


class Running:
    """A run that is running, by its lock, until `end` is called."""

    def __init__(self, path: Path) -> None:
        self.run = RunDir.at(path)
        self.run.create()
        self.begin(1)
        self.run.log.write_text("one\ntwo\n")

    def begin(self, attempt: int) -> None:
        self.lock = RunLock(self.run.lock)
        wait_until(self.lock.acquire)  # whoever looks whether it is free holds it for a moment
        write_status(self.run, Status.running_here(attempt=attempt, slot="0"))

    def end(self, state: Any, reason: str | None = None) -> None:
        write_status(self.run, Status(state, pid=os.getpid(), reason=reason))
        self.lock.release()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "outputs" / "a")
    yield running
    running.lock.release()


@pytest.fixture
def follow(tmp_path: Path, environment: dict[str, str]) -> Iterator[Follow]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*CLI, "tail", "-f", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("count", "first"), [(0, None), (1, 99_999), (10, 99_990), (40_000, 60_000), (200_000, 0)])
def test_tail_prints_the_last_lines(cli: Cli, tmp_path: Path, count: int, first: int | None) -> None:
    run = finished(tmp_path / "outputs" / "a")
    run.log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    lines = cli("tail", "a", "-n", str(count)).stdout.splitlines()
    assert lines == ([] if first is None else [f"line {number}" for number in range(first, 100_000)])


def test_end_of_a_file_counts_a_last_line_without_break() -> None:
    for text in (b"", b"a", b"a\n", b"a\nb", b"\n\n\n", b"x" * 200_000 + b"\ny"):
        for count in range(5):
            expected = b"".join(text.splitlines(keepends=True)[-count:] if count else [])
            assert text[end_of(io.BytesIO(text), count) :] == expected, (text[:9], count)


def test_tail_piped_gives_the_bytes_as_they_are(tmp_path: Path, environment: dict[str, str]) -> None:
    run = finished(tmp_path / "outputs" / "a")
    log = b"\x1b[31mred\x1b[0m\n10 %\r99 %\r\n\xff\xfe no UTF-8"
    run.log.write_bytes(log)
    done = subprocess.run([*CLI, "tail", "a"], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert done.stdout == log


def test_printer_on_a_terminal_cleans_and_overwrites(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(is_terminal=True, width=20)
    for data in (b"on", b"e\ntwo \x1b[2J\x1b[31mred", b"\n", b"10 %", b"\r50 %", b"\r" + b"=" * 90, b"\n", b"last"):
        printer.feed(data)
    printer.close()
    printer.close()
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x1b[31m" not in out
    final = [line.rpartition("\r\x1b[K")[2] for line in out.split("\n")]
    assert final == ["one", "two red", "=" * 90, "last", ""]
    assert "50 %\r\x1b[K" + "=" * 19 + "\r\x1b[K" in out


def test_run_without_a_log_is_refused(cli: Cli, tmp_path: Path) -> None:
    finished(tmp_path / "outputs" / "a")
    assert_refused(cli("tail", "a"), r"outputs/a has no job\.log; nothing of its output was kept")
    assert_refused(cli("tail", "-f", "a"), r"outputs/a has no job\.log")
    assert_refused(cli("tail", "b"), "there is no run 'b'")


def test_command_whose_name_is_a_path_has_no_log(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a")
    (tmp_path / "outputs" / "mine.log").write_text("outside\n")
    write_status(run, Status("done", commands={"../mine": {"state": "done"}}))
    assert_refused(
        cli("tail", "a", "-c", "../mine"), r"no log in .*outputs/a' is called '\.\./mine': a name is not a path"
    )


def test_follow_of_an_ended_run_ends_at_once(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a", state="failed", reason="ValueError: no")
    run.log.write_text("one\ntwo\n")
    answer = cli("tail", "-f", "-n", "1", "a")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "two\n", "outputs/a: failed: ValueError: no\n")


def test_follow_ends_with_the_run(running: Running, follow: Follow) -> None:
    process = follow("a", "-n", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"two\n"
    with running.run.log.open("ab", buffering=0) as log:
        log.write(b"three\n")
        assert process.stdout.readline() == b"three\n"
        log.write(b"four\n")
    running.end("done")
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == (b"four\n", b"outputs/a: done\n", 0)


def test_follow_goes_on_with_the_next_attempt(running: Running, follow: Follow, tmp_path: Path) -> None:
    process = follow("a", "-n", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"two\n"
    with Presence(tmp_path / "outputs"):
        with running.run.log.open("ab") as log:
            log.write(b"Killed")
        running.end("failed", "was killed")
        running.run.log.rename(running.run.path / "job.1.log")
        running.begin(2)
        running.run.log.write_text("again\n")
        assert process.stdout.readline() == b"Killedagain\n"
    running.end("done")
    assert process.communicate(timeout=60)[1] == b"outputs/a: done\n"


def test_follow_waits_for_a_job_that_has_not_started(follow: Follow, tmp_path: Path) -> None:
    run = RunDir.at(tmp_path / "outputs" / "a")
    run.create()
    run.run.write_text("name: a\n")
    with Presence(tmp_path / "outputs"):
        process = follow("a")
        with pytest.raises(subprocess.TimeoutExpired, match="timed out after 1 seconds"):
            process.wait(1)
        run.log.write_text("at last\n")
        assert process.stdout is not None
        assert process.stdout.readline() == b"at last\n"
    assert process.communicate(timeout=60)[1] == b"outputs/a: queued\n"


def test_follow_is_left_with_ctrl_c(running: Running, follow: Follow) -> None:  # as each command that waits
    process = follow("a")
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"interrupted\n")


def test_follow_into_a_closed_pipe_ends(running: Running, tmp_path: Path, environment: dict[str, str]) -> None:
    running.run.log.write_text("line\n" * 100_000)
    command = f"{sys.executable} -c 'from trainctl.cli import main; main()' tail -f a -n 100000 | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("line\n", "")
