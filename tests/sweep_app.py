"""A Hydra app in a directory of its own, run as a person runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_until

from trainctl.config import yaml

SOURCE = '''
import ctypes, os, signal, subprocess, sys, threading, time
import hydra

class Thing:
    """A class of the user's script."""
    def __init__(self, value): self.value = value
    def __eq__(self, other): return self.value == other.value

class NeverPickled(Exception):
    def __reduce__(self): raise TypeError("never")

class TwoArguments(Exception):
    def __init__(self, one, two): super().__init__(one)

def note(text):
    with open(os.path.join(os.path.dirname(__file__), "ran.txt"), "a") as file:
        file.write(text + "\\n")

def wait_for(name):
    while not os.path.exists(os.path.join(os.path.dirname(__file__), name)):
        time.sleep(0.01)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    note(f"start {cfg.x}")
    print("hello from", cfg.mode, flush=True)
    mode = cfg.mode
    if mode == "raise": raise ValueError("it broke")
    if mode == "exit": sys.exit(3)
    if mode == "leave": sys.exit(0)
    if mode == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if mode == "segv": ctypes.string_at(0)
    if mode == "unpicklable": return threading.Lock()
    if mode == "unpicklable_error": raise NeverPickled("deep inside")
    if mode == "two_arguments": raise TwoArguments(1, 2)
    if mode == "thing": return Thing(cfg.x)
    if mode == "dict": return {"accuracy": 0.5, "steps": [1, 2]}
    if mode == "wait": wait_for("go")
    if mode == "wait_and_tell":
        wait_for("go")
        return cfg.norm.name
    if mode == "again" and "RANK" not in os.environ:
        subprocess.run([sys.executable, *sys.argv], env={**os.environ, "RANK": "1"}, check=True)
    elif mode == "again": return None
    if mode == "oom":
        class OutOfMemoryError(RuntimeError): pass
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if mode == "second_time" and len(open(os.path.join(os.path.dirname(__file__), "ran.txt")).readlines()) == 1:
        os.kill(os.getpid(), signal.SIGABRT)
    if mode == "family":
        subprocess.Popen(["sleep", "300"])
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        wait_for("go")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("stubborn")
        wait_for("go")
    if mode.startswith("daemon"):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                note("daemon runs")
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(300)
            os._exit(0)
        os.wait()
        if mode == "daemon_and_wait": wait_for("go")
        while "daemon runs" not in open(os.path.join(os.path.dirname(__file__), "ran.txt")).read(): time.sleep(0.01)
        return None
    if mode == "loud":
        os.system("echo from a shell")
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        print("to stderr", file=sys.stderr)
    if mode == "environment":
        return {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "TRAINCTL_SLOT")} | {"argv": sys.argv}
    if mode == "random":
        import random
        return random.random()
    note(f"end {cfg.x}")
    return float(cfg.x)

if __name__ == "__main__":
    if os.environ.get("WITH_THREAD"):
        threading.Thread(target=time.sleep, args=(60,), daemon=True, name="ticker").start()
    main()
'''


def processes_in(path: Path) -> list[psutil.Process]:
    """List all living processes that work in a directory or below it, with what was their name in `info`."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.cwd().startswith(str(path)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class App:
    """The app, and what it left behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sweep = path / "sweep"
        self._started: list[subprocess.Popen[str]] = []

    def command(self, *overrides: str) -> list[str]:
        return [
            sys.executable,
            str(self.path / "app.py"),
            "-m",
            "hydra/launcher=slots",
            "hydra.sweep.dir=sweep",
            *overrides,
        ]

    def run(self, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*overrides),
            cwd=self.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *overrides: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*overrides),
            cwd=self.path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def go(self) -> None:
        """Let the waiting jobs end."""
        (self.path / "go").touch()

    def ran(self) -> list[str]:
        file = self.path / "ran.txt"
        return file.read_text().splitlines() if file.exists() else []

    def yaml(self, name: str) -> Any:
        return yaml.loads((self.sweep / name).read_text())

    def yaml_or_none(self, name: str, key: str) -> Any:
        return self.yaml(name).get(key) if (self.sweep / name).exists() else None

    def processes(self) -> list[psutil.Process]:
        """List all living processes that work in the app's directory: launcher, zygote, jobs, and what jobs started."""
        return processes_in(self.path)

    def end(self) -> None:
        """End what the test left running: only processes of this app's directory."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                process.kill()


def make_app(path: Path) -> App:
    """Write the app and its configs into a directory."""
    (path / "app.py").write_text(SOURCE)
    (path / "conf" / "norm").mkdir(parents=True)
    (path / "conf" / "config.yaml").write_text("defaults: [norm: batch, _self_]\nx: 0\nmode: ok\n")
    for name in ("batch", "new"):
        (path / "conf" / "norm" / f"{name}.yaml").write_text(f"name: {name}\n")
    return App(path)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = make_app(tmp_path)
    yield app
    app.end()


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until
