from __future__ import annotations

import errno
import json
import logging
import math
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainctl.examine.curve import read_curves
from trainctl.panel.data.curves import Curves, Mark
from trainctl.rundir import files, metrics
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import last_metrics

COUNT = 400_000


def test_metrics_are_written_by_step_as_plain_values(tmp_path: Path) -> None:
    log = MetricLog(tmp_path / "metrics.jsonl")
    array = np.ones(1)
    log.add(1, {"loss": np.float32(0.5), "n": np.int64(3), "one": array, "list": [np.float64(0.1), 2], "ok": True})
    array[0] = 7  # the record is of the moment it was made
    log.add(2, {"text": "x", "none": None})
    log.add(3, {"file": os.fsdecode(b"\xff")})  # a name that is no Unicode, as paths may be
    assert not (tmp_path / "metrics.jsonl").exists()
    log.flush()
    records = files.read_lines(tmp_path / "metrics.jsonl")
    assert all(isinstance(record.pop("t"), float) for record in records)
    assert records == [
        {"step": 1, "loss": 0.5, "n": 3, "one": 1.0, "list": [0.1, 2], "ok": True},
        {"step": 2, "text": "x", "none": None},
        {"step": 3, "file": "\udcff"},
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_loop_that_logs_faster_than_lines_are_written_is_written_meanwhile_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.01):
            log.flush()

    writing = threading.Thread(target=write)
    writing.start()
    tracemalloc.start()
    try:
        for step in range(1, COUNT + 1):
            log.add(step, {"loss": 0.5, "accuracy": 0.25})
        is_written_meanwhile = path.exists()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        ended.set()
        writing.join()
    assert is_written_meanwhile
    assert most < 150 * 2**20
    log.flush(is_last=True)
    assert log.loss is None
    assert [record["step"] for record in files.read_lines(path)] == list(range(1, COUNT + 1))


def test_file_system_that_answers_no_more_stops_no_loop_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_MOST_ADDED", 10)
    monkeypatch.setattr(metrics, "_PATIENCE_S", 0.2)
    log = MetricLog(tmp_path / "metrics.jsonl")
    for step in range(1, 1000):  # nobody writes: each of these would wait
        log.add(step, {"loss": 0.5})
    assert log.last == {"loss": 0.5}
    log.flush()
    assert len(files.read_lines(tmp_path / "metrics.jsonl")) == 10
    assert log.loss == "metrics.jsonl could not be written from step 11 to step 999 (the file system does not answer)"
    log.add(1000, {"loss": 0.25})
    log.flush()
    assert files.read_lines(tmp_path / "metrics.jsonl")[-1]["step"] == 1000


@pytest.mark.parametrize("value", [object(), np.ones(3), {"a": 1}])
def test_value_that_is_no_metric_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^live\.log\(loss=…\): a value of type .* cannot be logged; allowed are"):
        MetricLog(tmp_path / "x").add(1, {"loss": value})


def test_names_of_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'step' is written by trainctl itself; choose another name"):
        MetricLog(tmp_path / "x").add(1, {"step": 3})


def test_metrics_that_cannot_be_written_are_kept_and_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 0}\n{"torn')
    log = MetricLog(path)
    log.add(1, {"loss": 0.5})

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(files, "write_all", full)
        log.flush()
        log.flush()
    assert caplog.text.count("No space left on device") == 1
    assert path.read_bytes() == b'{"step": 0}\n{"torn'
    log.add(2, {"loss": 0.25})
    log.flush()
    log.flush()
    assert [record["step"] for record in files.read_lines(path)] == [0, 1, 2]


def test_what_a_full_disk_has_not_taken_is_named_and_no_more_than_a_bound_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    log.add(1, {"loss": 0.5})
    log.flush()
    assert log.loss is None

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics, "_MOST_KEPT", 1000)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(files, "write_all", full)
        log.add(2, {"loss": 0.5})
        log.flush()
        assert log.loss == "metrics.jsonl could not be written from step 2 on (No space left on device)"
        for step in range(3, 10_001):
            log.add(step, {"loss": 0.5})
            log.flush()
        assert log.loss == "metrics.jsonl could not be written from step 2 on (No space left on device)"
    assert caplog.text.count("are lost: no more than") == 1
    log.flush()
    log.add(10_001, {"loss": 0.5})
    log.flush()
    steps = [record["step"] for record in files.read_lines(path)]
    first = len(steps)
    assert steps == [*range(1, first), 10_001]
    assert 10 < first < 100
    assert log.loss == f"metrics.jsonl could not be written from step {first} to step 10000 (No space left on device)"


def test_disk_with_little_room_gets_the_records_for_which_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricLog(path)
    write = files.write_all

    def little(descriptor: int, data: bytes) -> None:
        if os.fstat(descriptor).st_size + len(data) > 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, data)

    for step in range(1, 101):
        log.add(step, {"loss": 0.5})
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", little)
        log.flush()
        written = len(files.read_lines(path))
        assert 1 < written < 8
        assert log.loss == f"metrics.jsonl could not be written from step {written + 1} on (No space left on device)"
    log.flush()
    assert [record["step"] for record in files.read_lines(path)] == list(range(1, 101))
    assert log.loss is None


def strict(line: str) -> Any:
    """Read JSON as other languages do, which know no `NaN`."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_nan_and_infinities_are_valid_json_and_numbers_for_every_reader(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path)
    log = MetricLog(run.metrics)
    values = [1.0, math.nan, math.inf, -math.inf, 0.5, math.nan]
    for step, value in enumerate(values, 1):
        log.add(step, {"loss": value, "nan": 1.0, "word": 'is "nan", NaN', "list": [value, 1]})
    log.flush()
    lines = run.metrics.read_text().splitlines()
    assert [strict(line)["loss"] for line in lines] == [1.0, "nan", "inf", "-inf", 0.5, "nan"]
    before = run.metrics.read_bytes()
    for _ in range(2):
        read = metrics.read_metrics(run.metrics)
        assert [repr(one["loss"]) for one in read] == [repr(value) for value in values]
        assert {(one["nan"], one["word"]) for one in read} == {(1.0, 'is "nan", NaN')}
        assert repr(read[1]["list"]) == "[nan, 1]"
        assert math.isnan(last_metrics(run)[0]["loss"])
        curve = read_curves(run.metrics)["loss"]
        assert (curve.count, curve.min, curve.max) == (6, -math.inf, math.inf)
        curves = Curves(run)
        curves.look()
        assert [repr(value) for value in curves.after("loss", Mark(0, 0))[3]] == [repr(value) for value in values]
        assert [one.get("word") for one in files.parse_lines(before)] == 6 * ['is "nan", NaN']
        run.metrics.write_bytes(metrics.with_numbers(before))  # as earlier versions have written it


def test_superseded_records_stay_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "loss": NaN, "t": 1.0}\n{"step": 2, "loss": "inf", "t": 2.0}\n{"step": 3, "loss": 1}\n'
    )
    metrics.supersede(path, 2)
    assert [strict(line)["loss"] for line in path.read_text().splitlines()] == ["nan", "inf"]
