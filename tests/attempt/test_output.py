"""Real processes: what is taken are file descriptors, and pytest has its own hold on these."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainctl.attempt.output import keep_earlier_log
from trainctl.rundir.paths import RunDir

WaitUntil = Callable[..., Any]

BEGIN = """
import ctypes, os, subprocess, sys, time
from pathlib import Path
from trainctl.attempt.output import Tee, redirect_to
"""
LOUD = """
print("from python")
print("python errors", file=sys.stderr)
sys.stdout.flush()
os.write(1, b"from the descriptor\\n")
os.system("echo from a shell")
ctypes.CDLL(None).puts(b"from C")
ctypes.CDLL(None).fflush(None)
subprocess.run(["sh", "-c", "echo child errors >&2"])
"""
OUT = ("from python", "from the descriptor", "from a shell", "from C")
ERR = ("python errors", "child errors")


def start(code: str, path: Path, **options: Any) -> subprocess.Popen[bytes]:
    script = BEGIN + f"log = Path({str(path)!r})\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", script], **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    )


def run(code: str, path: Path) -> tuple[str, str]:
    """Run a script; return what its stdout and stderr got."""
    process = start(code, path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "job.log"


def test_redirected_output_is_in_the_file_alone(log: Path) -> None:
    out, err = run("redirect_to(log)\n" + LOUD + "print('stdin', repr(sys.stdin.read()))", log)
    assert out == err == ""
    for words in (*OUT, *ERR, "stdin ''"):
        assert words in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_tee_writes_both_streams_to_the_file_and_each_where_it_went(log: Path) -> None:
    out, err = run("tee = Tee(log)\n" + LOUD + "tee.close()\ntee.close()\nprint('after')", log)
    assert [words in out for words in OUT] == [True] * len(OUT)
    assert [words in err for words in ERR] == [True] * len(ERR)
    assert not any(words in err for words in OUT)
    text = log.read_text()
    assert sorted(text.splitlines()) == sorted(out.removesuffix("after\n").splitlines() + err.splitlines())
    assert log.stat().st_mode & 0o777 == 0o600


def test_tee_appends_and_can_follow_another(log: Path) -> None:
    out, _ = run("for name in 'ab':\n    tee = Tee(log)\n    print(name)\n    tee.close()\n    print('between')", log)
    assert out == "a\nbetween\nb\nbetween\n"
    assert log.read_text() == "a\nb\n"


def test_tee_passes_much_output_on_whole_and_in_order(log: Path) -> None:
    out, _ = run("tee = Tee(log)\nfor n in range(20000): print(n, 'x' * 80)\ntee.close()", log)
    assert out.splitlines() == [f"{n} {'x' * 80}" for n in range(20000)]
    assert log.read_text() == out


def test_tee_on_a_terminal_stays_one(log: Path) -> None:
    ours, theirs = pty.openpty()
    code = (
        "tee = Tee(log)\nprint(sys.stdout.isatty(), sys.stderr.isatty())\nprint('\\033[31mred\\033[0m\\r50%\\r100%')\n"
    )
    process = start(
        code + "print('err', file=sys.stderr)\ntee.close()\nprint('after')", log, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the last writer is gone
        while data := os.read(ours, 1 << 16):
            shown += data
    os.close(ours)
    assert process.wait(60) == 0
    assert log.read_bytes() == b"True True\n\033[31mred\033[0m\r50%\r100%\nerr\n"
    assert shown.replace(b"\r\n", b"\n") == log.read_bytes() + b"after\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_all_that_a_killed_process_wrote_is_kept(log: Path, number: signal.Signals, wait_until: WaitUntil) -> None:
    process = start(f"tee = Tee(log)\nos.write(1, b'last words\\n')\nos.kill(os.getpid(), {int(number)})", log)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -number
    assert out == b"last words\n"
    wait_until(lambda: log.read_text() == "last words\n", "the log holds the last words")


def test_signals_for_the_whole_group_do_not_end_the_copying(log: Path) -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "tee = Tee(log)\nprint('ready', flush=True)\nsys.stdin.readline()\nprint('after')\ntee.close()"
    )
    process = start(code, log, stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"  # it has come through the copier, which listens to no signal by now
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(b"\n", timeout=60)
    assert (out, process.returncode) == (b"after\n", 0), err
    assert log.read_text() == "ready\nafter\n"


def test_child_that_keeps_the_pipe_open_does_not_hang_the_end(log: Path, wait_until: WaitUntil) -> None:
    code = (
        "import trainctl.attempt.output as joblog\njoblog._DRAIN_S = 0.2\ntee = Tee(log)\n"
        "subprocess.Popen(['sh', '-c', 'read line; echo late words'], stdin=0)\ntee.close()\nos.write(1, b'closed\\n')"
    )
    reader, writer = os.pipe()
    process = start(code, log, stdin=reader)
    os.close(reader)
    assert process.stdout is not None
    assert process.stdout.readline() == b"closed\n"
    assert process.wait(60) == 0
    os.write(writer, b"go\n")  # what the child says later still reaches the file
    os.close(writer)
    process.communicate(timeout=60)
    wait_until(lambda: log.read_text() == "late words\n", "the late words are in the log")


def test_forked_child_does_not_close_the_tee(log: Path) -> None:
    child = "if os.fork() == 0:\n    tee.close()\n    os._exit(0)\nos.wait()\n"
    code = f"tee = Tee(log)\n{child}print('still here')\ntee.close()"
    assert run(code, log)[0] == "still here\n"
    assert log.read_text() == "still here\n"


def test_reader_that_is_gone_does_not_stop_the_log(log: Path) -> None:
    code = "tee = Tee(log)\nfor n in range(2000): print(n, 'x' * 100)\ntee.close()\nos.write(2, b'whole\\n')"
    process = start(code, log)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"whole\n"
    assert process.wait(60) == 0
    process.stderr.close()
    assert len(log.read_text().splitlines()) == 2000


def test_full_disk_does_not_stop_what_is_shown(small_disk: Path) -> None:
    out, _ = run("tee = Tee(log)\nfor n in range(20000): print(n, 'x' * 80)\ntee.close()", small_disk / "job.log")
    assert len(out.splitlines()) == 20000
    assert len((small_disk / "job.log").read_bytes()) < len(out)


def test_output_of_many_threads_is_whole_lines(log: Path) -> None:
    code = (
        "import threading\ntee = Tee(log)\n"
        "def say(name):\n    for n in range(500): os.write(1, f'{name} {n}\\n'.encode())\n"
        "threads = [threading.Thread(target=say, args=(name,)) for name in 'abcd']\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\ntee.close()"
    )
    out, _ = run(code, log)
    assert sorted(out.splitlines()) == sorted(f"{name} {n}" for name in "abcd" for n in range(500))
    assert log.read_text() == out


def test_earlier_log_is_kept_under_its_number(tmp_path: Path) -> None:
    run_dir = RunDir.at(tmp_path)
    keep_earlier_log(run_dir, 1)
    for attempt, words in ((1, "one"), (2, "two"), (3, "three")):
        keep_earlier_log(run_dir, attempt)
        assert not run_dir.log.exists()
        run_dir.log.write_text(words)
    assert [(tmp_path / name).read_text() for name in ("job.1.log", "job.2.log", "job.log")] == ["one", "two", "three"]
    (tmp_path / "job.3.log").write_text("precious")
    keep_earlier_log(run_dir, 4)
    assert (tmp_path / "job.3.log").read_text() == "precious"
    assert run_dir.log.read_text() == "three"
