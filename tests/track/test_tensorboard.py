"""TensorBoard: what is in the event file, read back by TensorBoard itself."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainctl.run.rundir import RunDir
from trainctl.track import following
from trainctl.track.sync import sync
from trainctl.track.tensorboard import read_scalars

TRAINING = Path(__file__).with_name("followed_training.py")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PATIENCE_S", 0)
    monkeypatch.setattr(following, "_LOOK_S", 0.05)
    monkeypatch.setattr(following, "_FAREWELL_S", 120)


def shown(run: RunDir) -> EventAccumulator:
    found = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def scalars(run: RunDir, tag: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in shown(run).Scalars(tag)]


def texts(run: RunDir, tag: str) -> list[str]:
    return [one.tensor_proto.string_val[0].decode() for one in shown(run).Tensors(tag)]


def test_a_run_arrives_whole(train: Any, edit: Any, finish: Any, run: RunDir) -> None:
    session = train("tensorboard", optim={"lr": 0.1, "name": "sgd"}, api_key="sesame-street")
    for _ in range(3):
        step = session.step()
        session.log({"loss": 1 / step, "bad": math.nan, "word": "text", "val/acc": 0.5})
    edit(session, {"optim.lr": 0.25, "optim.name": "adam"}, note="calmer")
    finish()
    assert scalars(run, "loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [math.isnan(value) for _, value in scalars(run, "bad")] == [True] * 3
    (start, changed) = scalars(run, "hparams/optim.lr")
    assert (start, changed[1]) == ((0, pytest.approx(0.1)), 0.25)
    (note,) = texts(run, "hparams/edits")
    assert "optim.name=adam" in note
    assert "calmer" in note
    assert "lr: 0.1" in texts(run, "config")[0]
    assert "OMITTED" in texts(run, "config")[0]
    assert "sesame" not in texts(run, "config")[0] + texts(run, "changelog")[0]
    assert texts(run, "status") == ["    done"]
    assert "adam" in texts(run, "changelog")[-1]


def test_a_training_killed_at_any_moment_is_sent_once(run: RunDir) -> None:
    """Kills training and tracker together, again and again; then goes on to the end."""
    command = [sys.executable, str(TRAINING), str(run.path), "tensorboard"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    for kill in range(3):
        process = subprocess.Popen([*command, "1000000"], env=environment)
        before = len(read_scalars(run.path).get("loss", []))
        deadline = time.monotonic() + 120
        while len(read_scalars(run.path).get("loss", [])) < before + 20 + 7 * kill:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = json.loads(run.metrics.read_text().splitlines()[-1])["step"] + 50
    assert subprocess.run([*command, str(last)], env=environment, check=False, timeout=120).returncode == 0
    (done,) = sync(run, ["tensorboard"])
    assert done.problem is None
    assert len(list((run.path / "tensorboard").iterdir())) == 1
    assert scalars(run, "loss") == [(step, float(step)) for step in range(1, last + 1)]


def test_a_cursor_from_elsewhere_names_no_file_but_ours(train: Any, finish: Any, run: RunDir, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    (run.path / ".track").mkdir(parents=True)
    link = run.path / "events.out.tfevents.1.host.trainctl-x"
    link.symlink_to(mine)
    for name in ("../../mine.txt", link.name):
        kept = {"file": name, "size": 0}
        (run.path / ".track" / "tensorboard.json").write_text(json.dumps({"key": "x", "kept": kept}))
        train("tensorboard", lr=0.5)
        finish()
        assert mine.read_text() == "precious"
    assert len(texts(run, "config")) == 1


def test_a_run_that_goes_back_to_a_checkpoint_shows_what_it_did_last(
    train: Any, edit: Any, finish: Any, run: RunDir
) -> None:
    session = train("tensorboard", lr=0.5)
    for _ in range(10):
        session.log(loss=float(session.step()))
    edit(session, {"lr": 0.25})
    at = session.step_number
    finish("failed", exit_code=1)
    session = train("tensorboard", lr=0.5)
    session.resume(5)
    for _ in range(at):
        session.log(loss=-float(session.step()))
    finish()
    assert scalars(run, "loss") == [
        *((at, float(at)) for at in range(1, 6)),
        *((at, -float(at)) for at in range(6, at + 6)),
    ]
    assert scalars(run, "hparams/lr") == [(0, 0.5), (at, 0.25)]
    assert [text.strip() for text in texts(run, "status")][-1] == "done"
