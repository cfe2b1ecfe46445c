"""TensorBoard: what is in the event file, read back by TensorBoard itself."""

from __future__ import annotations

import json
import math
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")

from hypothesis import given
from hypothesis import strategies as st
from killing import kill_and_finish
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tracker_names import key_of

from trainctl.rundir.paths import RunDir
from trainctl.track import following, net
from trainctl.track.names import to_tensorboard
from trainctl.track.sync import sync
from trainctl.track.tensorboard import make, read_scalars
from trainctl.track.tracker import Facts, MetricRecord, ValueChange

pytestmark = pytest.mark.usefixtures("at_once")


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
    assert [text.strip() for text in texts(run, "hparams/optim.name")] == ["sgd", "adam"]
    (note,) = texts(run, "trainctl/edits")
    assert "optim.lr 0.1 → 0.25 @" in note
    assert "optim.name sgd → adam @" in note
    assert "calmer" in note
    assert "lr: 0.1" in texts(run, "trainctl/config")[0]
    assert "OMITTED" in texts(run, "trainctl/config")[0]
    assert "sesame" not in texts(run, "trainctl/config")[0] + texts(run, "trainctl/changelog")[0]
    assert texts(run, "trainctl/status") == ["    done"]
    assert "adam" in texts(run, "trainctl/changelog")[-1]


@pytest.mark.slow
def test_a_training_killed_at_any_moment_is_sent_once(run: RunDir) -> None:
    last = kill_and_finish(run, "tensorboard", lambda: len(read_scalars(run.path).get("loss", [])))
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
    shutil.rmtree(run.path / "tensorboard")
    (run.path / ".track" / "tensorboard.json").write_text(json.dumps({"key": "x/../../../../mine.txt"}))
    train("tensorboard", lr=0.5)
    finish()
    assert mine.read_text() == "precious"
    assert len(texts(run, "trainctl/config")) == 1


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
    assert [text.strip() for text in texts(run, "trainctl/status")][-1] == "done"


def test_names_that_no_event_file_takes_are_mapped_and_stop_nothing(train: Any, finish: Any, run: RunDir) -> None:
    keys = ["loss", "val:loss", "", "\ud800", "a:3a:b", "::", "status", "trainctl/status"]
    session = train("tensorboard", lr=0.5)
    session.step()
    finish("failed", exit_code=1)
    lines = [{"step": 1, "t": 1.0, **dict.fromkeys(keys, 1.0), "huge": 10**400, "word": "text"}]
    lines.append({"step": 2, "t": 2.0, "loss": 0.5})
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert sync(run, ["tensorboard"])[0].problem is None
    assert scalars(run, "loss") == [(1, 1.0), (2, 0.5)]
    found = shown(run).Tags()["scalars"]
    assert [key_of(tag) for tag in found] == [*keys, "huge"]
    assert scalars(run, "huge") == [(1, math.inf)]


@given(st.text(st.characters(), max_size=20), st.text(":3ad80", max_size=8))
def test_tensorboard_takes_every_key_and_gives_it_back(first: str, second: str) -> None:
    for key in (first, second, first + second):
        tag = to_tensorboard(key)
        assert tag.encode()
        assert key_of(tag) == key
    assert first == second or to_tensorboard(first) != to_tensorboard(second)


def test_a_key_whose_values_change_their_kind_has_a_series_of_each(
    train: Any, edit: Any, finish: Any, run: RunDir
) -> None:
    session = train("tensorboard", trainctl={"controls": {"beta": {}}}, beta="auto", wd=None)
    session.log(loss=float(session.step()))
    edit(session, {"beta": "high"}, note="one")
    finish("failed", exit_code=1)
    log = run.changelog.read_text()
    step = session.step_number
    run.changelog.write_text(log + f"{step + 1}:\n  beta: 0.5\n{step + 2}:\n  beta: [1, 2]\n")
    (done,) = sync(run, ["tensorboard"])
    assert done.problem is None
    assert [text.strip() for text in texts(run, "hparams/beta")] == ["auto", "high", "[1, 2]"]
    assert scalars(run, "hparams/beta (number)") == [(step + 1, 0.5)]


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_an_event_file_that_was_lost_is_written_anew(train: Any, finish: Any, run: RunDir, damage: str) -> None:
    session = train("tensorboard", lr=0.5)
    for _ in range(10):
        session.log(loss=float(session.step()))
    finish("failed", exit_code=1)
    (file,) = (run.path / "tensorboard").iterdir()
    if damage == "gone":
        shutil.rmtree(file.parent)
    else:  # as when the machine has lost its power
        file.write_bytes(file.read_bytes()[:-200])
    session = train("tensorboard", lr=0.5)
    session.resume(10)
    session.log(loss=float(session.step()))
    finish()
    assert len(list((run.path / "tensorboard").iterdir())) == 1
    assert scalars(run, "loss") == [(step, float(step)) for step in range(1, 12)]
    assert texts(run, "trainctl/status")[-1].strip() == "done"


def test_sync_writes_again_what_somebody_deleted_and_doubles_nothing(
    train: Any, edit: Any, finish: Any, run: RunDir
) -> None:
    session = train("tensorboard", optim={"lr": 0.5, "name": "sgd"})
    for _ in range(10):
        session.log(loss=float(session.step()))
    edit(session, {"optim.lr": 0.25, "optim.name": "adam"})
    finish("failed", exit_code=1, reason="boom")
    (file,) = (run.path / "tensorboard").iterdir()
    mine = file.with_name("events.out.tfevents.1.host.1.0")  # of a logger of the task's own, which was not deleted
    mine.touch()
    before = {tag: scalars(run, tag) for tag in ("loss", "hparams/optim.lr")}
    ways: list[Callable[[], object]] = [
        file.unlink,  # alone
        lambda: ours(run).write_bytes(ours(run).read_bytes()[:-40]),
        lambda: shutil.rmtree(file.parent),
        lambda: shutil.rmtree(run.path / ".track"),  # the file is there, but nobody knows of it any more
        (run.path / ".track" / "tensorboard.json").unlink,
    ]
    for damage in ways:
        damage()
        (done,) = sync(run, ["tensorboard"])
        assert (done.problem, done.sent.records, done.sent.changes) == (None, 10, 1)
        (again,) = sync(run, ["tensorboard"])
        assert (again.problem, again.sent.records, again.sent.changes) == (None, 0, 0)
        assert {tag: scalars(run, tag) for tag in before} == before
        assert [text.strip() for text in texts(run, "hparams/optim.name")] == ["sgd", "adam"]
        assert len(texts(run, "trainctl/edits")) == len(texts(run, "trainctl/config")) == 1
        assert texts(run, "trainctl/status") == ["    failed: boom"]


def ours(run: RunDir) -> Path:
    (file,) = (run.path / "tensorboard").glob("*.trainctl-*")
    return file


def test_event_file_that_was_deleted_beside_those_of_a_logger_is_written_there_again(
    train: Any, finish: Any, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PATIENCE_S", 60)  # else the tracker may open its run before the logger's is noted
    directory = run.path / "lightning_logs" / "version_0"
    session = train("tensorboard", lr=0.5, trainctl={"track_metrics": True})
    net.note("tensorboard", directory=str(directory))
    session.log(loss=float(session.step()))
    finish()
    (file,) = directory.iterdir()
    file.unlink()
    (done,) = sync(run, ["tensorboard"])
    assert (done.problem, done.sent.records, done.address) == (None, 1, str(directory))
    assert read_scalars(run.path) == {"loss": [1.0]}
    shutil.rmtree(directory)
    (done,) = sync(run, ["tensorboard"])
    assert (done.problem, done.address) == (None, str(run.path / "tensorboard"))


def test_training_says_once_that_its_event_file_was_deleted_and_sync_writes_all_of_it(
    train: Any, finish: Any, run: RunDir, caplog: pytest.LogCaptureFixture, wait_until: Callable[..., Any]
) -> None:
    session = train("tensorboard", lr=0.5)

    def trained(condition: Callable[[], object]) -> object:
        session.log(loss=float(session.step()))
        return condition()

    wait_until(lambda: trained(lambda: read_scalars(run.path)), "the first points")
    ours(run).unlink()
    wait_until(lambda: trained(lambda: "has deleted its event file" in caplog.text), "a word of it")
    last = session.step_number
    finish()
    assert caplog.text.count("does not take this run for now: somebody has deleted its event file") == 1
    assert caplog.text.count("trainctl sync") == 1
    assert sync(run, ["tensorboard"])[0].problem is None
    assert scalars(run, "loss") == [(step, float(step)) for step in range(1, last + 1)]


def test_a_full_disk_leaves_no_half_of_what_is_then_sent_again(run: RunDir) -> None:
    run.create()
    tracker = make(run)
    tracker.open(Facts("a", "sweep", {}, "", [], None), {"key": "k"})
    records = [MetricRecord(step, 1.0, {"loss": float(step)}) for step in range(1, 51)]
    changes = [ValueChange(3, 1.0, {"lr": 0.5, "name": "adam" * 50}, "calmer")]
    for send in (lambda: tracker.metrics(records), lambda: tracker.changes(changes)):
        before = tracker.kept()["size"]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (before + 100, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                send()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert tracker.kept()["size"] == before
        send()
    tracker.close()
    assert scalars(run, "loss") == [(step, float(step)) for step in range(1, 51)]
    assert scalars(run, "hparams/lr") == [(3, 0.5)]
    assert len(texts(run, "trainctl/edits")) == 1
