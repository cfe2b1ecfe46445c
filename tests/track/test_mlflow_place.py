"""Where a run of MLflow is sent: to the URI that was used, from anywhere; nothing is made anywhere else."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow")

from trainctl.config.changelog import Changelog, dumps  # noqa: E402
from trainctl.rundir import files  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.rundir.status import Status, write_status  # noqa: E402
from trainctl.track.sync import sync  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's libraries warn of each other


Go = Callable[[], Path]


@pytest.fixture
def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """Return what goes to an empty directory, without settings of MLflow, as who syncs later does."""
    path = tmp_path / "elsewhere"

    def go() -> Path:
        path.mkdir(exist_ok=True)
        monkeypatch.chdir(path)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow.set_tracking_uri(None)
        return path

    return go


def write_run(run: RunDir, steps: range = range(1, 3), state: Any = "done") -> None:
    """Write the files of a run that has ended, or go on with them."""
    run.create()
    files.write_yaml(run.run, {"overrides": []})
    run.changelog.write_text(dumps(Changelog({"lr": 0.1})))
    files.append_lines(run.metrics, [{"step": step, "t": float(step), "loss": 1 / step} for step in steps])
    write_status(run, Status(state, started=1000.0, ended=1060.5))


def kept(run: RunDir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / ".track" / "mlflow.json").read_text())["kept"]
    return found


def problem(run: RunDir) -> str:
    (done,) = sync(run, ["mlflow"])
    assert (done.sent.records, done.sent.changes) == (0, 0)
    return str(done.problem)


@pytest.mark.slow
@pytest.mark.parametrize(
    "store", ["sqlite:///{}/runs.db", "sqlite:///runs.db", "file://{}/mlruns", "{}/mlruns", "mlruns"]
)
def test_store_on_this_machine_is_found_from_anywhere_and_not_made_again(
    store: str, run: RunDir, leave: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(tmp_path))
    write_run(run)
    (done,) = sync(run, ["mlflow"])
    assert (done.problem, done.sent.records) == (None, 2)
    place = leave()
    write_run(run, range(3, 5))
    (done,) = sync(run, ["mlflow"])
    assert (done.problem, done.sent.records) == (None, 2)
    history = mlflow.MlflowClient(kept(run)["uri"]).get_metric_history(kept(run)["run_id"], "loss")
    assert sorted(one.step for one in history) == [1, 2, 3, 4]
    assert list(place.iterdir()) == []
    path = tmp_path / ("runs.db" if "runs.db" in store else "mlruns")
    path.rename(tmp_path / "moved")
    assert problem(run) == f"this run was sent to {kept(run)['uri']}, and is not there any more"
    assert not path.exists()
    assert list(place.iterdir()) == []


def test_run_that_nobody_has_noted_the_place_of_is_sent_nowhere(run: RunDir, leave: Go) -> None:
    write_run(run)
    place = leave()
    assert problem(run) == "set MLFLOW_TRACKING_URI: nothing is noted of where this run is sent"
    assert list(place.iterdir()) == []


def test_place_that_a_run_dir_names_is_not_made_and_gets_no_credentials(
    run: RunDir, leave: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(run)
    leave()
    cursor = run.path / ".track" / "mlflow.json"
    cursor.parent.mkdir(mode=0o700)
    database = tmp_path / "mine.db"
    with contextlib.closing(sqlite3.connect(database)) as mine:
        mine.execute("CREATE TABLE precious (x)")
        mine.commit()
    before = database.read_bytes()
    for uri, sentence in (
        (f"sqlite:///{database}", f"this run was sent to sqlite:///{database}, and is not there any more"),
        ("postgresql://h/d", "set MLFLOW_TRACKING_URI: this run belongs to postgresql://h/d"),
        (
            "http://127.0.0.1:9",
            "this run was sent to http://127.0.0.1:9; where MLflow's credentials are set it is sent ",
        ),
    ):
        cursor.write_text(json.dumps({"key": "k", "kept": {"run_id": "0" * 32, "uri": uri}}))
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "sesame")
        assert problem(run).startswith(sentence)
    assert database.read_bytes() == before


@pytest.mark.slow
def test_run_whose_server_was_away_all_the_time_is_sent_there_by_sync(
    mlflow_server: Any, train: Any, finish: Any, run: RunDir, leave: Go, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow_server.kill()
    try:
        session = train("mlflow", lr=0.1)
        session.log(loss=float(session.step()))
        finish()
    finally:
        mlflow_server.start()
    place = leave()
    assert kept(run) == {"uri": mlflow_server.url}
    (done,) = sync(run, ["mlflow"])
    assert (done.problem, done.sent.records) == (None, 1)
    history = mlflow.MlflowClient(mlflow_server.url).get_metric_history(kept(run)["run_id"], "loss")
    assert [(one.step, one.value) for one in history] == [(1, 1.0)]
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_params_of_the_task_are_never_refused_because_of_ours(
    client: Any, train: Any, run: RunDir, finish: Any
) -> None:
    with mlflow.start_run() as mine:
        session = train("mlflow", lr=0.1, seed=None, flag=True)
        session.log(loss=float(session.step()))
        mlflow.log_params({"seed": 42, "flag": True})
        finish()
        session = train("mlflow", lr=0.1, seed=None, flag=True)  # goes on
        session.resume(1)
        session.log(loss=float(session.step()))
        finish()
    assert client.get_run(mine.info.run_id).data.params.items() >= {"seed": "42", "flag": "True", "lr": "0.1"}.items()
    assert client.get_metric_history(mine.info.run_id, "loss") == []
