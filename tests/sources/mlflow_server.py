"""A real MLflow server on loopback, with sqlite."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DEADLINE_S = 180


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Serve from a directory, on a port that was free; yields the address once it answers."""
    for _ in range(5):
        port = _free_port()
        with _started(path, port) as process:
            if _answers(f"http://127.0.0.1:{port}/health", process):
                yield f"http://127.0.0.1:{port}"
                return
    raise AssertionError(f"the MLflow server does not start:\n{(path / 'server.log').read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _started(path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{path}/runs.db", "--artifacts-destination", str(path / "artifacts")]
    with (path / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=path,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; False when it has ended instead: the port was taken meanwhile."""
    deadline = time.monotonic() + _DEADLINE_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False
