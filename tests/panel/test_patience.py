"""What tells a server that builds a page from one that hangs, on processes that do the one or the other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainctl.panel.server.trainer_page import Patience, answers

SERVER = Path(__file__).with_name("odd_server.py")


@contextmanager
def server(what: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run a server that does `what` before it answers; its address and pid."""
    command = [sys.executable, str(SERVER), what, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            scheme = "https" if arguments[1:] else "http"
            yield f"{scheme}://127.0.0.1:{int(process.stdout.readline())}/", process.pid
        finally:
            process.kill()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """One that signs itself."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return cert, key


def asked(url: str, patience: Patience) -> bool:
    return answers(url, patience, threading.Event())


@pytest.mark.slow
def test_server_that_works_for_longer_than_the_patience_with_an_idle_one_is_waited_for() -> None:
    with server("work", "12") as (url, pid):
        began = time.monotonic()
        assert asked(url, Patience(pid, idle_s=4))
        assert time.monotonic() - began > 8


@pytest.mark.slow
def test_server_that_works_is_waited_for_by_tls_too(certificate: tuple[Path, Path]) -> None:
    with server("work", "12", *map(str, certificate)) as (url, pid):
        assert asked(url, Patience(pid, idle_s=4))


@pytest.mark.slow
def test_server_that_works_without_end_hangs() -> None:
    with server("work", "10000") as (url, pid):
        assert not asked(url, Patience(pid, idle_s=2, busy_s=6))


@pytest.mark.slow
def test_server_whose_loop_waits_for_ever_hangs_whatever_its_other_threads_do() -> None:
    with server("wait") as (url, pid):
        began = time.monotonic()
        assert not asked(url, Patience(pid, idle_s=2, busy_s=10_000))
        assert time.monotonic() - began < 60


@pytest.mark.slow
@pytest.mark.parametrize("what", ["work", "wait"])
def test_server_that_is_stopped_hangs(what: str) -> None:
    with server(what, "10000") as (url, pid):
        os.kill(pid, signal.SIGSTOP)
        assert not asked(url, Patience(pid, idle_s=2, busy_s=10_000))


def test_process_that_is_gone_does_no_work() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    patience = Patience(gone.pid, idle_s=0)
    assert patience.is_over()
