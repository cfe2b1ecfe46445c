"""The logs of a run by name: no name and no link leads out of its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainctl.errors import RunDirError
from trainctl.rundir.logs import earlier_logs, log_of
from trainctl.rundir.paths import RunDir


@pytest.mark.parametrize("name", ["../train", "/etc/passwd", "a/b", "", "a\0b"])
def test_name_that_is_a_path_has_no_log(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunDirError, match=r"is called .*: a name is not a path"):
        log_of(RunDir.at(tmp_path), name)


def test_earlier_attempts_are_in_their_order_and_no_other_files(tmp_path: Path) -> None:
    for name in ("train.log", "train.10.log", "train.2.log", "train.1.log", "train.x.log", "train.02.log",
                 "train.3.1.log", "retrain.4.log", "train.5.txt"):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "train.6.log").symlink_to(tmp_path / "train.log")
    (tmp_path / "train.7.log").mkdir()
    log = log_of(RunDir.at(tmp_path), "train")
    assert earlier_logs(log) == {number: tmp_path / f"train.{number}.log" for number in (1, 2, 10)}
    assert list(earlier_logs(log)) == [1, 2, 10]
    assert earlier_logs(tmp_path / "none" / "train.log") == {}
