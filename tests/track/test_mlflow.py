"""MLflow, by a real server on a database: everything arrives once, also when it is killed in the middle."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow")

from tracker_names import key_of  # noqa: E402

from trainctl.config import yaml  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.track import following, names  # noqa: E402
from trainctl.track.sync import sync  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's libraries warn of each other


def run_id(run: RunDir) -> str:
    return str(json.loads((run.path / ".track" / "mlflow.json").read_text())["kept"]["run_id"])


def series(client: Any, run: RunDir, name: str) -> list[tuple[int, float]]:
    return sorted((one.step, one.value) for one in client.get_metric_history(run_id(run), names.to_mlflow(name)))


def artifact(client: Any, run: RunDir, name: str, tmp_path: Path) -> Any:
    return yaml.loads(Path(client.download_artifacts(run_id(run), f"trainctl/{name}", str(tmp_path))).read_text())


def test_a_run_arrives_whole(client: Any, train: Any, edit: Any, finish: Any, run: RunDir, tmp_path: Path) -> None:
    panel = run.path.parent / ".trainctl" / "panel.json"
    panel.parent.mkdir(parents=True)
    panel.write_text(json.dumps({"url": "http://127.0.0.1:5006/?token=letmein"}))
    session = train(
        "mlflow",
        optim={"lr": 0.1, "betas": [0.9, 0.999]},
        api_key="sesame-street",
        owner="private",
        long="x" * 9000,
        trainctl={"omit": ["owner"]},
        **{"odd name*": 1e-5},
    )
    for _ in range(3):
        step = session.step()
        session.log(
            {"loss": 1 / step, "acc@1": step / 4, "bad": math.nan, "word": "text", "a//b": 1, "ok": True, "y" * 300: 2}
        )
    edit(session, {"optim.lr": 0.01}, note="calmer, says sesame-street")
    session.log(loss=0.125)
    last = session.step_number
    finish("failed", exit_code=1, reason="boom")
    found = client.get_run(run_id(run))
    assert (found.info.run_name, found.info.status) == ("Norm_new", "FAILED")
    assert client.get_experiment(found.info.experiment_id).name == "sweep"
    params = {key_of(name): value for name, value in found.data.params.items()}
    assert (params["optim.lr"], params["optim.betas"], params["odd name*"]) == ("0.1", "[0.9, 0.999]", "1e-05")
    assert (params["api_key"], params["owner"], len(params["long"])) == ("OMITTED", "OMITTED", 6000)
    config = artifact(client, run, "config.yaml", tmp_path)
    assert (config["optim"], config["long"]) == ({"lr": 0.1, "betas": [0.9, 0.999]}, "x" * 9000)
    assert (config["api_key"], config["owner"]) == ("OMITTED", "OMITTED")
    assert series(client, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3), (last, 0.125)]
    assert series(client, run, "acc@1") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert series(client, run, "a//b") == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert [math.isnan(value) for _, value in series(client, run, "bad")] == [True] * 3
    mark = names.cut_mark(names.to_mlflow("y" * 300))
    assert (series(client, run, "y" * 300)[0], found.data.tags[f"trainctl.name.{mark}"]) == ((1, 2.0), "y" * 300)
    edits = series(client, run, "hparams/optim.lr")
    assert [edits[0], edits[1][1], len(edits)] == [(0, 0.1), 0.01, 2]
    (note,) = [text for tag, text in found.data.tags.items() if tag.startswith("trainctl.edit.")]
    assert note.startswith("optim.lr=0.01  # ")
    assert note.endswith("cli me: calmer, says OMITTED")
    assert found.data.tags["trainctl.page"] == "http://127.0.0.1:5006/run/Norm_new"
    assert found.data.tags["trainctl.state"] == "failed: boom"
    assert artifact(client, run, "changelog.yaml", tmp_path)[edits[1][0]] == {"optim": {"lr": 0.01}}


@pytest.mark.slow
def test_a_server_killed_in_the_middle_costs_one_warning_and_is_caught_up(
    client: Any, mlflow_server: Any, train: Any, finish: Any, run: RunDir, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(following, "_LOOK_S", 0.05)
    monkeypatch.setattr(following, "_LONGEST_S", 0.5)
    monkeypatch.setattr(following, "_FAREWELL_S", 120)
    caplog.set_level(logging.INFO, logger="trainctl.track.following")
    session = train("mlflow", lr=0.1)

    def train_until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            session.log(loss=float(session.step()))
            time.sleep(0.01)

    def said(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    train_until(lambda: (run.path / ".track" / "mlflow.json").exists() and run_id_if_any(run))
    mlflow_server.kill()
    train_until(lambda: said("does not take this run for now"))
    for _ in range(20):
        session.log(loss=float(session.step()))
    mlflow_server.start()
    train_until(lambda: said("takes this run again"))
    last = session.step_number
    finish()
    assert series(client, run, "loss") == [(step, float(step)) for step in range(1, last + 1)]
    assert client.get_run(run_id(run)).info.status == "FINISHED"
    assert said("does not take this run for now") == 1


def run_id_if_any(run: RunDir) -> object:
    return json.loads((run.path / ".track" / "mlflow.json").read_text())["offset"]


def test_a_dead_server_leaves_all_to_sync(
    client: Any, mlflow_server: Any, train: Any, finish: Any, run: RunDir, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(following, "_PATIENCE_S", 0)
    session = train("mlflow", lr=0.1)
    for _ in range(5):
        session.log(loss=float(session.step()))
    finish()
    assert "trainctl sync" in caplog.text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    (done,) = sync(run, ["mlflow"])
    assert (done.problem, done.sent.records) == (None, 5)
    assert (
        done.address
        == f"{mlflow_server.url}/#/experiments/{client.get_run(run_id(run)).info.experiment_id}/runs/{run_id(run)}"
    )
    (again,) = sync(run, ["mlflow"])
    assert (again.problem, again.sent.records) == (None, 0)
    assert len(client.search_runs([client.get_run(run_id(run)).info.experiment_id], "")) >= 1
    assert series(client, run, "loss") == [(step, float(step)) for step in range(1, 6)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "sent"), [("auto", [(1, 0.25)]), (False, [(1, 0.25)]), (True, [(1, 0.25), (1, 0.5)])]
)
def test_the_active_run_of_the_task_is_used_and_not_ended(
    client: Any, train: Any, edit: Any, finish: Any, run: RunDir, at_once: None, asked: Any, sent: list[Any]
) -> None:
    mlflow.set_experiment("the task's own")
    with mlflow.start_run(run_name="mine") as active:
        session = train("mlflow", lr=0.1, depth=3, flag=True, trainctl={"track_metrics": asked})
        session.step()
        session.log(loss=0.5)
        mlflow.log_metric("loss", 0.25, step=1)
        edit(session, {"depth": 4})
        mlflow.log_params({"lr": "said by the task", "flag": True})  # which MLflow refuses if another said otherwise
        finish()
        assert run_id(run) == active.info.run_id
        found = client.get_run(active.info.run_id)
        assert found.info.status == "RUNNING"
        assert found.data.params["lr"] == "said by the task"
        assert found.data.params["depth"] == "3"
        assert series(client, run, "loss") == sent
        assert [value for _, value in series(client, run, "hparams/depth")] == [3.0, 4.0]
        assert found.data.tags["trainctl.state"] == "done"
