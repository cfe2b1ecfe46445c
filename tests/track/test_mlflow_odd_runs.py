"""MLflow, by a real server: kills, edits that are not numbers, what a server refuses, runs that are sent later."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow")

from killing import kill_and_finish  # noqa: E402
from tracker_names import key_of  # noqa: E402

from trainctl.config.changelog import Changelog, Edit, dumps  # noqa: E402
from trainctl.rundir import files  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.rundir.status import Status, write_status  # noqa: E402
from trainctl.track import following, names  # noqa: E402
from trainctl.track.sync import sync  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's libraries warn of each other


def leave(
    run: RunDir,
    config: dict[str, Any],
    edits: Sequence[Edit] = (),
    metrics: Sequence[dict[str, Any]] = (),
    state: Any = "done",
) -> None:
    """Write the files of a run that has ended, or go on with them."""
    run.create()
    files.write_yaml(run.run, {"overrides": []})
    run.changelog.write_text(dumps(Changelog(config, list(edits))))
    files.append_lines(run.metrics, metrics)
    write_status(run, Status(state, started=1000.0, ended=1060.5))


def send(run: RunDir) -> None:
    (done,) = sync(run, ["mlflow"])
    assert done.problem is None


def kept(run: RunDir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / ".track" / "mlflow.json").read_text())["kept"]
    return found


def series(client: Any, run: RunDir, name: str) -> list[tuple[int, float]]:
    history = client.get_metric_history(kept(run)["run_id"], names.to_mlflow(name))
    return sorted((one.step, one.value) for one in history)


@pytest.mark.slow
def test_a_training_killed_at_any_moment_is_sent_once(client: Any, run: RunDir) -> None:
    def number_sent() -> int:
        try:
            return len(series(client, run, "loss"))
        except (OSError, KeyError, ValueError):
            return 0  # nothing is open yet

    last = kill_and_finish(run, "mlflow", number_sent, kills=2)
    send(run)
    assert series(client, run, "loss") == [(step, float(step)) for step in range(1, last + 1)]
    found = client.get_run(kept(run)["run_id"])
    assert found.info.status == "FINISHED"
    same = f"tags.`trainctl.key` = '{found.data.tags['trainctl.key']}'"
    assert len(client.search_runs([found.info.experiment_id], same)) == 1


def test_values_that_are_no_numbers_are_a_line_for_each_step(client: Any, run: RunDir) -> None:
    config = {"optim": {"name": "sgd", "betas": [0.9]}, "on": True, "wd": None}
    leave(run, config, [Edit(5, {"optim.name": "adam", "on": False, "wd": 0.5}, note="one")], state="interrupted")
    send(run)
    more = [
        Edit(5, {"optim.name": "adam", "on": False, "wd": 0.5, "optim.betas": [0.5]}, note="one; two"),
        Edit(7, {"optim.name": "a\nb"}),
    ]
    leave(run, config, more)  # a second edit of the same step, as in a pause, and a later one
    write_status(run, Status("done", attempt=2, started=1000.0, ended=1060.5))
    send(run)
    tags = client.get_run(kept(run)["run_id"]).data.tags
    assert tags["hparams/optim.name"].splitlines() == ["0: sgd", "5: adam", "7: a b"]
    assert tags["hparams/optim.betas"].splitlines() == ["0: [0.9]", "5: [0.5]"]
    assert (series(client, run, "hparams/on"), series(client, run, "hparams/wd")) == ([(0, 1.0), (5, 0.0)], [(5, 0.5)])
    first, second = tags["trainctl.edit.5"].splitlines()
    assert first == "optim.name=adam on=false wd=0.5  # one"
    assert second == "optim.betas=[0.5]  # one; two"
    assert not [name for name in client.get_run(kept(run)["run_id"]).data.params if name.startswith("hparams")]
    assert client.get_run(kept(run)["run_id"]).data.params["optim.name"] == "sgd"  # as it was at the start


def test_a_series_of_many_texts_keeps_its_last_ones(client: Any, run: RunDir) -> None:
    leave(run, {"name": "first"}, [Edit(step, {"name": f"{step}" * 900}) for step in range(1, 9)])
    send(run)
    lines = client.get_run(kept(run)["run_id"]).data.tags["hparams/name"].splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(step) for step in range(9 - len(lines), 9)]
    assert 2 <= len(lines) < 9


def test_what_no_server_takes_is_sent_as_it_can_be(client: Any, run: RunDir) -> None:
    config = {f"k{at}": "😀" * 9000 for at in range(120)} | {"empty": "", "none": None, "nan": math.nan, "日本": 1}
    odd = {"inf": math.inf, "huge": 10**400, "nan": math.nan, "": 1.0, "\ud800": 2.0, "日本": 3.0}
    leave(run, config, metrics=[{"step": 1, "t": math.nan, "loss": 1.0, **odd}, {"step": 2, "t": 1e300, "loss": 2.0}])
    send(run)
    data = client.get_run(kept(run)["run_id"]).data
    params = {key_of(name): value for name, value in data.params.items()}
    assert len(params["k7"]) == 6000
    assert (params["empty"], params["none"], params["nan"], params["日本"]) == ("", "null", ".nan", "1")
    assert {key_of(name) for name in data.metrics} == {"loss", *odd}
    assert series(client, run, "loss") == [(1, 1.0), (2, 2.0)]
    assert series(client, run, "huge")[0][1] == series(client, run, "inf")[0][1] > 1e308


def test_a_run_that_is_sent_later_has_its_own_times(client: Any, run: RunDir) -> None:
    leave(run, {"lr": 0.1}, metrics=[{"step": 1, "t": 1001.0, "loss": 1.0}])
    send(run)
    info = client.get_run(kept(run)["run_id"]).info
    assert (info.start_time, info.end_time) == (1_000_000, 1_060_500)


def test_another_run_that_the_task_opens_gets_all_but_metrics(client: Any, run: RunDir) -> None:
    edits = [Edit(2, {"lr": 0.5})]
    leave(run, {"lr": 0.1}, edits, [{"step": 1, "t": 1.0, "loss": 1.0}], state="interrupted")
    send(run)
    first = kept(run)
    with mlflow.start_run(run_name="mine") as mine:
        leave(run, {"lr": 0.1}, edits, [{"step": 2, "t": 2.0, "loss": 2.0}])
        send(run)
    assert kept(run) == {"run_id": mine.info.run_id, "attached": True, "uri": client.tracking_uri} != first
    assert series(client, run, "loss") == []  # the task logs them
    assert series(client, run, "hparams/lr") == [(0, 0.1), (2, 0.5)]
    assert client.list_artifacts(mine.info.run_id, "trainctl")


def test_a_server_that_keeps_no_files_gets_all_the_rest(
    client: Any, run: RunDir, train: Any, finish: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="trainctl")
    monkeypatch.setattr(following, "_PATIENCE_S", 0)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied: '/mlruns'")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_text", refuse)
        session = train("mlflow", lr=0.1)
        for _ in range(3):
            session.log(loss=float(session.step()))
        finish()
    assert series(client, run, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert client.get_run(kept(run)["run_id"]).info.status == "FINISHED"
    assert caplog.text.count("mlflow takes no files of this run for now: PermissionError") == 1
    assert caplog.text.count("trainctl sync") == 1
    send(run)
    place = Path(client.download_artifacts(kept(run)["run_id"], "trainctl", str(run.path)))
    assert sorted(path.name for path in place.iterdir()) == ["changelog.yaml", "config.yaml"]
    assert "owed" not in kept(run)


@pytest.mark.parametrize(
    ("state", "word"),
    [("done", "FINISHED"), ("failed", "FAILED"), ("timeout", "FAILED"), ("oom", "FAILED"), ("interrupted", "KILLED")],
)
def test_every_end_has_its_word(client: Any, run: RunDir, state: str, word: str) -> None:
    leave(run, {"lr": 0.1}, state=state)
    send(run)
    found = client.get_run(kept(run)["run_id"])
    assert (found.info.status, found.data.tags["trainctl.state"]) == (word, state)


def test_a_run_that_was_opened_before_its_id_was_noted_is_found_again(client: Any, run: RunDir) -> None:
    leave(run, {"lr": 0.1}, metrics=[{"step": 1, "t": 1.0, "loss": 1.0}])
    send(run)
    first = kept(run)["run_id"]
    place = run.path / ".track" / "mlflow.json"
    place.write_text(json.dumps({"key": json.loads(place.read_text())["key"]}))  # as when it was killed in between
    send(run)
    assert kept(run)["run_id"] == first
    assert series(client, run, "loss") == [(1, 1.0)]


def test_calls_of_the_task_keep_their_own_limits(client: Any, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    for name in limits:
        monkeypatch.delenv(name, raising=False)
    seen: list[set[str]] = []
    log_batch = mlflow.MlflowClient.log_batch

    def watched(*given: Any, **more: Any) -> Any:
        seen.append(set(limits) & set(os.environ))
        return log_batch(*given, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", watched)
    leave(run, {"lr": 0.1}, metrics=[{"step": 1, "t": 1.0, "loss": 1.0}])
    send(run)
    assert seen[-1] == set(limits)  # a dead server is given up soon
    assert not set(limits) & set(os.environ)
    with mlflow.start_run():
        leave(run, {"lr": 0.1}, metrics=[{"step": 2, "t": 2.0, "loss": 1.0}])
        write_status(run, Status("done", attempt=2, started=1000.0, ended=1060.5))
        send(run)
    assert seen[-1] == set()


def problem(run: RunDir) -> str:
    (done,) = sync(run, ["mlflow"])
    assert (done.sent.records, done.sent.changes) == (0, 0)
    return str(done.problem)


def test_run_that_was_deleted_on_the_server_is_told_and_not_made_again_unasked(client: Any, run: RunDir) -> None:
    metrics = [{"step": 1, "t": 1.0, "loss": 1.0}]
    leave(run, {"lr": 0.1}, [Edit(1, {"lr": 0.2})], metrics)
    send(run)
    first = kept(run)["run_id"]
    client.delete_run(first)
    place = run.path / ".track" / "mlflow.json"
    sentence = (
        f"its run was deleted on the server; restore it (mlflow runs restore --run-id {first}), "
        f"or remove {place} to have all of it sent as a new run"
    )
    assert problem(run) == sentence  # also when there is nothing left to send
    leave(run, {"lr": 0.1}, [Edit(1, {"lr": 0.2})], [{"step": 2, "t": 2.0, "loss": 2.0}])
    assert problem(run) == sentence
    client.restore_run(first)
    send(run)
    assert (kept(run)["run_id"], series(client, run, "loss")) == (first, [(1, 1.0), (2, 2.0)])
    client.delete_run(first)
    place.unlink()
    send(run)
    assert kept(run)["run_id"] != first
    assert series(client, run, "loss") == [(1, 1.0), (2, 2.0)]
    assert client.get_run(kept(run)["run_id"]).data.tags["trainctl.state"] == "done"


def test_run_that_is_on_no_server_any_more_or_on_another_is_told(client: Any, run: RunDir) -> None:
    leave(run, {"lr": 0.1})
    send(run)
    place = run.path / ".track" / "mlflow.json"
    place.write_text(place.read_text().replace(kept(run)["run_id"], "0" * 32))
    assert problem(run) == (
        f"there is no run {'0' * 32} on the server {client.tracking_uri}, where it was sent; "
        f"remove {place} to have all of it sent as a new run"
    )


def test_run_whose_experiment_was_deleted_goes_on_once_that_is_restored(client: Any, tmp_path: Path) -> None:
    run = RunDir.at(tmp_path / "a sweep that is deleted" / "run")
    leave(run, {"lr": 0.1})
    send(run)
    experiment = client.get_run(kept(run)["run_id"]).info.experiment_id
    client.delete_experiment(experiment)
    assert problem(run) == (
        "the experiment of its run was deleted on the server; "
        f"restore it: mlflow experiments restore --experiment-id {experiment}"
    )
    client.restore_experiment(experiment)
    leave(run, {"lr": 0.1}, metrics=[{"step": 1, "t": 1.0, "loss": 1.0}])
    send(run)
    assert series(client, run, "loss") == [(1, 1.0)]
