from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainctl.run import files
from trainctl.run.metrics import MetricLog


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
