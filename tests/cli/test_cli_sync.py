"""`trainctl sync`: what a tracker has not got yet, from the files of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import Cli, assert_refused, finished

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.track.tensorboard import read_scalars

pytest.importorskip("tensorboard")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was killed before its tracker had anything."""
    made = finished(tmp_path / "outputs" / "Norm_new", "norm=new", state="running")
    config = {"norm": "new", "lr": 0.5, "trainctl": {"track": ["tensorboard"]}}
    made.changelog.write_text(dumps(Changelog(config, [Edit(3, {"lr": 0.25}, note="calmer")])))
    return made


def test_sync_sends_what_is_missing_and_nothing_twice(cli: Cli, run: RunDir) -> None:
    first = cli("sync", "Norm_new")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("tensorboard: 1 records, 1 edits (")
    assert cli("sync", "Norm_new").stdout.startswith("tensorboard: has everything already")
    files.append_lines(run.metrics, [{"step": 11, "loss": 0.125, "t": 2.0}])
    assert cli("sync", str(run.path), "--to", "tensorboard").stdout.startswith("tensorboard: 1 records, 0 edits")
    assert read_scalars(run.path)["loss"] == [0.25, 0.125]
    (file,) = (run.path / "tensorboard").iterdir()
    assert b"interrupted: its process is gone" in file.read_bytes()


def test_sync_says_what_it_cannot(cli: Cli, run: RunDir, tmp_path: Path) -> None:
    assert_refused(cli("sync", "Norm_new", "--to", "comet"), "'comet' is not a tracker; allowed are mlflow")
    run.changelog.write_text(dumps(Changelog({"lr": 0.1})))
    assert_refused(cli("sync", "Norm_new"), "names no tracker in trainctl.track; give one by --to")
    run.changelog.unlink()
    assert_refused(cli("sync", "Norm_new", "--to", "tensorboard"), "has no changelog, so its config is not known")
    run.create()
    run.changelog.write_text(dumps(Changelog({"lr": 0.1})))
    (run.path / "tensorboard").touch()  # where the directory should be
    assert_refused(cli("sync", "Norm_new", "--to", "tensorboard"), "tensorboard has not got all of .*File exists")
