"""W&B offline, by its real client; its log is read back with the client's own messages."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

wandb = pytest.importorskip("wandb")

from killing import kill_and_finish  # noqa: E402
from wandb.proto import wandb_internal_pb2  # noqa: E402

from trainctl.config import yaml  # noqa: E402
from trainctl.formats.leveldb_log import read_records  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.track.sync import sync  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the client's libraries warn of each other
    pytest.mark.usefixtures("at_once"),
]


def records(path: Path) -> list[Any]:
    """Read all logs below a directory."""
    found = []
    for file in sorted(path.glob("wandb/offline-run-*/run-*.wandb")):
        found += [wandb_internal_pb2.Record.FromString(data) for data in read_records(file.read_bytes())]
    return found


def wait_until_written(path: Path) -> None:
    """Wait for the last record: the client's own process writes the log, a moment after `finish()` has returned."""
    deadline = time.monotonic() + 60
    while not any(one.WhichOneof("record_type") == "exit" for one in records(path)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(path: Path) -> list[dict[str, Any]]:
    """Return what was logged, without W&B's own columns."""
    history = [one.history for one in records(path) if one.WhichOneof("record_type") == "history"]
    return [
        {
            key: json.loads(item.value_json)
            for item in one.item
            if not (key := item.key or ".".join(item.nested_key)).startswith("_")
        }
        for one in history
    ]


def test_a_run_arrives_whole(train: Any, edit: Any, finish: Any, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "optim.lr=0.1", "api_key=sesame-street"])
    session = train("wandb", optim={"lr": 0.1, "betas": [0.9, 0.999]}, api_key="sesame-street")
    for _ in range(3):
        step = session.step()
        session.log({"loss": 1 / step, "bad": math.nan, "word": "text", "_step": 7})
    edit(session, {"optim.lr": 0.01}, note="calmer")
    finish("failed", exit_code=3, reason="boom")
    wait_until_written(run.path)
    found = rows(run.path)
    assert [(row["trainctl/step"], row["loss"], row["word"], row[":5f:step"]) for row in found if "loss" in row] == [
        (1, 1.0, "text", 7), (2, 0.5, "text", 7), (3, 1 / 3, "text", 7),
    ]  # fmt: skip
    edits = [row for row in found if "hparams/optim.lr" in row]
    assert [row["hparams/optim.lr"] for row in edits] == [0.1, 0.01]
    assert "calmer" in edits[1]["trainctl/note"]
    (first, *_) = [one.run for one in records(run.path) if one.WhichOneof("record_type") == "run"]
    assert (first.display_name, first.run_group, first.project) == ("Norm_new", "sweep", "sweep")
    config = {item.key: json.loads(item.value_json) for item in first.config.update}
    assert (config["optim"], config["api_key"]) == ({"lr": 0.1, "betas": [0.9, 0.999]}, "OMITTED")
    (path,) = run.path.glob("wandb/offline-run-*/files/trainctl")
    assert yaml.loads((path / "config.yaml").read_text())["optim"] == {"lr": 0.1, "betas": [0.9, 0.999]}
    assert "calmer" in (path / "changelog.yaml").read_text()
    assert not any(b"sesame-street" in file.read_bytes() for file in run.path.glob("wandb/**/*") if file.is_file())
    (end,) = [one.exit for one in records(run.path) if one.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 1
    assert wandb.run is None


def test_a_run_that_the_task_has_opened_is_used_and_not_ended(opened_by_task: Any, run: RunDir, tmp_path: Path) -> None:
    with opened_by_task() as mine:
        assert wandb.run is mine
        assert (mine.config["lr"], mine.config["depth"]) == ("the task's", 3)
        assert mine.summary["trainctl/state"] == "done"
    wait_until_written(tmp_path)
    assert rows(tmp_path) == [{"own": 1}, {"own": 2}]
    assert not (run.path / "wandb").exists()


@pytest.mark.slow
def test_a_training_killed_at_any_moment_is_sent_once(run: RunDir) -> None:
    last = kill_and_finish(run, "wandb", lambda: len(rows(run.path)), kills=2)
    (done,) = sync(run, ["wandb"])
    assert done.problem is None
    deadline = time.monotonic() + 60
    while max((row["trainctl/step"] for row in rows(run.path)), default=0) < last:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    counted = Counter(row["trainctl/step"] for row in rows(run.path) if "loss" in row)
    assert counted == dict.fromkeys(range(1, last + 1), 1)


def test_end_of_a_run_that_the_task_ends_itself_is_no_failure(
    train: Any, edit: Any, finish: Any, run: RunDir, tmp_path: Path, caplog: pytest.LogCaptureFixture, wait_until: Any
) -> None:
    caplog.set_level("INFO", "trainctl")
    mine = wandb.init(project="mine", dir=tmp_path, config={"lr": "the task's"})
    session = train("wandb", "tensorboard", lr=0.1, api_key="sesame-street", hf_token="0123456789", max_tokens=5)
    for _ in range(3):
        step = session.step()
        session.log(loss=1 / step)
        mine.log({"loss": 1 / step}, step=step)
    edit(session, {"lr": 0.5}, note="faster")
    wait_until(lambda: changes_of(run), "the edit")
    mine.config.update({"max_tokens": 6})  # which W&B refuses if another has said 5
    mine.log({"loss": 0.25}, step=session.step_number + 1)
    wandb.finish()
    session.log(loss=float(session.step()))
    finish()
    wait_until_written(tmp_path)
    found = rows(tmp_path)
    assert [row["loss"] for row in found if "loss" in row] == [1.0, 0.5, pytest.approx(1 / 3), 0.25]
    assert [row["hparams/lr"] for row in found if "hparams/lr" in row] == [0.5]
    warned = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert [text for text in warned if "wandb" in text or "tensorboard" in text] == []
    omitted = [text for text in caplog.messages if "OMITTED" in text]
    assert [text.partition(" for ")[2].partition(":")[0] for text in omitted] == ["api_key, hf_token"]
    (done,) = sync(run, ["wandb"])
    assert (done.problem, done.sent.records, done.sent.changes) == (None, 0, 0)
    assert not (run.path / "wandb").exists()
    assert wandb.run is None


def changes_of(run: RunDir) -> list[str]:
    """Return the edits that W&B has been sent, by the note."""
    found: list[str] = json.loads((run.path / ".track" / "wandb.json").read_text())["changes"]
    return found
