"""Event files that the task writes itself, found by their writers' threads: torch's and TensorBoard's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from trainctl.rundir.paths import RunDir
from trainctl.track.sync import sync
from trainctl.track.tensorboard import find_event_files, forget_open, open_directory, read_events

pytestmark = [pytest.mark.usefixtures("at_once"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(params=["torch", "tensorboard"])
def open_writer(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Any]]:
    """Open a writer; the test's end closes it, and forgets those that other tests have left open."""
    forget_open()
    opened: list[Any] = []

    def open_one(path: Path) -> Any:
        if request.param == "torch":
            opened.append(pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(path)))
        else:
            opened.append(EventFileWriter(str(path)))
        return opened[-1]

    yield open_one
    for writer in opened:
        writer.close()


def add(writer: Any, step: int, value: float) -> None:
    if hasattr(writer, "add_scalar"):
        writer.add_scalar("loss", value, step)
    else:
        event = Event(step=step)
        event.summary.value.add(tag="loss", simple_value=value)
        writer.add_event(event)
    writer.flush()


def losses(path: Path) -> list[tuple[int, float]]:
    """Return all points of the loss in all files of a directory, also several of one step."""
    found = [event for file in find_event_files(path) for event in read_events(file)]
    return [(step, value) for tag, step, value in found if tag == "loss"]


def test_directory_of_the_writer_that_was_opened_last_is_found(open_writer: Any, tmp_path: Path) -> None:
    assert open_directory() is None
    first = open_writer(tmp_path / "first")
    open_writer(Path(os.path.relpath(tmp_path / "second")))
    assert open_directory() == tmp_path / "second"
    forget_open()  # the run has ended, and has left them open
    assert open_directory() is None
    open_writer(tmp_path / "third")
    first.close()
    assert open_directory() == tmp_path / "third"


def test_curves_that_the_task_writes_itself_are_not_written_twice(
    open_writer: Any, train: Any, edit: Any, finish: Any, run: RunDir, tmp_path: Path
) -> None:
    writer = open_writer(tmp_path / "board")
    session = train("tensorboard", lr=0.1)
    for _ in range(3):
        step = session.step()
        session.log(loss=1 / step)
        add(writer, step, 1 / step)
    edit(session, {"lr": 0.5})
    finish()
    assert losses(tmp_path / "board") == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    assert {tag for file in find_event_files(tmp_path / "board") for tag, _, _ in read_events(file)} >= {"hparams/lr"}
    assert not (run.path / "tensorboard").exists()
    (done,) = sync(run, ["tensorboard"])
    assert (done.problem, done.sent.records) == (None, 0)
    assert len(losses(tmp_path / "board")) == 3


def test_sync_of_a_run_that_no_tracker_followed_doubles_no_curve_of_the_tasks(
    open_writer: Any, train: Any, finish: Any, run: RunDir
) -> None:
    session = train(lr=0.1)
    writer = open_writer(run.path / "logs")
    add(writer, session.step(), 0.5)
    session.log(loss=0.5)
    finish()
    writer.close()
    (done,) = sync(run, ["tensorboard"])
    assert (done.problem, done.sent.records, done.address) == (None, 0, str(run.path / "logs"))
    assert losses(run.path) == [(1, 0.5)]
