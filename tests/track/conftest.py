"""A real MLflow server and a stand-in for W&B's on loopback, and trainings that are followed by trackers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import ROOT, TRAINING
from omegaconf import OmegaConf
from wandb_online import Start, WandbOnline, held_port

from trainctl.attempt import attempt
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live
from trainctl.track import following
from trainctl.track import wandb as tracker

_START_S = 240


class MlflowServer:
    """A server with a database and artifacts in a directory of its own; it can be killed and started again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = held_port()  # for as long as the test runs, also while no server listens
        self.port = self._place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self._path}/runs.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self._path / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._path / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._path, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, (self._path / "log").read_text()
            assert time.monotonic() < deadline, (self._path / "log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it and all its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Give the port back."""
        self._place.close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()
    server.close()


@pytest.fixture(scope="session", autouse=True)
def no_wandb_process_is_left() -> Iterator[None]:
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture(autouse=True)
def tracker_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let nothing reach beyond this machine, and nothing that a tracker sets outlive the test."""
    forget_mlflow()
    os.environ.pop("WANDB_SERVICE", None)  # set by the client for its children; not to be restored, it may have ended
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(following, "_FAREWELL_S", 240)  # however busy the machine is, all is to be sent
    monkeypatch.chdir(tmp_path)
    yield
    forget_mlflow()
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trackers send what they are given without gathering it first."""
    monkeypatch.setattr(following, "_PATIENCE_S", 0)
    monkeypatch.setattr(following, "_LOOK_S", 0.05)


@pytest.fixture
def client(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's own client of that server, which trackers send to as well."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    return mlflow.MlflowClient(mlflow_server.url)


def forget_mlflow() -> None:
    """Undo what MLflow keeps for the whole process once somebody has chosen a server or an experiment."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None:
        mlflow.set_tracking_uri(None)
        mlflow.tracking.fluent._active_experiment_id = None


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.at(tmp_path / "sweep" / "Norm_new")


Finish = Callable[..., None]
Train = Callable[..., Live]


@pytest.fixture
def finish() -> Iterator[Finish]:
    """End the run of this process; the test's end does too."""

    def end(state: Any = "done", **more: Any) -> None:
        current = attempt.current()
        if current is not None:
            current.end(state, **more)

    yield end
    end()


@pytest.fixture
def train(run: RunDir, finish: Finish) -> Train:
    """Open a session that is followed by these trackers; keyword arguments are its config."""

    def begin(*trackers: str, **config: Any) -> Live:
        settings = {"track": list(trackers), "poll_s": 0.01, **config.pop("trainctl", {})}
        return live(OmegaConf.create({**config, "trainctl": settings}), run_dir=run.path)

    return begin


@pytest.fixture
def edit(run: RunDir) -> Callable[..., None]:
    """Ask for an edit, and step until it is applied."""
    from trainctl.rundir.events import answer
    from trainctl.rundir.inbox import file_request

    def ask(session: Live, values: dict[str, Any], note: str | None = None) -> None:
        request = file_request(run, values, via="cli", who="me", note=note)
        deadline = time.monotonic() + 60
        while answer(run, request) is None:
            assert time.monotonic() < deadline, "the edit was not answered"
            session.step()
            time.sleep(0.005)

    return ask


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, at_once: None, tmp_path: Path) -> Iterator[WandbOnline]:
    """A server that W&B's client talks to in this process and in those that it starts."""
    wandb = pytest.importorskip("wandb")
    server = WandbOnline()
    server.start()
    for name, value in {**server.environment, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracker, "_INIT_S", 240)
    wandb.teardown()  # it reads its settings once
    yield server
    server.hears.set()
    wandb.teardown()
    server.stop()
    server.close()


@pytest.fixture
def training(run: RunDir) -> Iterator[Start]:
    """Start a training that W&B follows, in a process of its own; the test's end kills it."""
    started: list[subprocess.Popen[str]] = []

    def start(steps: int, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(TRAINING), str(run.path), "wandb", str(steps)]
        whole = {**os.environ, "PYTHONPATH": str(ROOT), "FAREWELL_S": "240", **environment}
        started.append(subprocess.Popen(command, env=whole, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()  # a client that was left behind may still hold it


@pytest.fixture
def opened_by_task(train: Train, finish: Finish, tmp_path: Path) -> Any:
    """Return a context: a W&B run that the task has opened, after a training in it and a last row of the task's."""

    @contextlib.contextmanager
    def open_and_train() -> Iterator[Any]:
        wandb = pytest.importorskip("wandb")
        with wandb.init(project="mine", dir=tmp_path, config={"lr": "the task's"}) as mine:
            session = train("wandb", lr=0.1, depth=3)
            mine.log({"own": 1})
            session.step()
            session.log(loss=0.5)
            finish()
            mine.log({"own": 2})
            yield mine

    return open_and_train
