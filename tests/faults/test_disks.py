"""Disks that are full or read-only: what cannot be written is said in a sentence, and with room again all completes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disks import fill, make_read_only
from sweep_app import App

WaitUntil = Callable[..., Any]


def failures(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("FAIL ")]


@pytest.mark.slow
def test_disk_that_fills_up_fails_the_jobs_in_a_sentence_and_not_the_launcher(
    app: Any, disk: Path, wait_until: WaitUntil
) -> None:
    app.sweep = disk / "sweep"
    sweep = ("x=range(0,6)", "mode=wait", "hydra.launcher.slots=2", f"hydra.sweep.dir={app.sweep}")
    launcher = app.start(*sweep)
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    fill(disk / "filler")
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert len(failures(output)) == 6, output
    assert all("No space left on device" in line and str(app.sweep) in line for line in failures(output)), output
    assert "Traceback" not in output
    assert "6 jobs: 6 failed" in output
    assert not app.processes()
    (disk / "filler").unlink()
    again = app.run(*sweep)
    assert again.returncode == 0, again.stderr
    assert all(app.yaml(f"{x}/status.yaml")["state"] == "done" for x in range(6))
    assert {path.name for path in app.sweep.iterdir() if path.is_dir()} == {".trainctl", *map(str, range(6))}


@pytest.mark.slow
def test_disk_that_fills_up_under_trainings_fails_those_that_cannot_say_how_they_ended(
    training: App, disk: Path, wait_until: WaitUntil
) -> None:
    training.sweep = disk / "sweep"
    sweep = ("x=1,7,13", "hydra.launcher.slots=2", f"hydra.sweep.dir={training.sweep}")
    hold = training.path / "hold"
    hold.touch()
    launcher = training.start(*sweep)
    wait_until((training.sweep / "1" / "metrics.jsonl").exists, "a training has begun")
    fill(disk / "filler")
    hold.unlink()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert failures(output)
    assert all("No space left on device" in line for line in failures(output)), output
    (disk / "filler").unlink()
    again = training.run(*sweep)
    assert again.returncode == 0, again.stderr
    assert [training.yaml(f"{number}/result.yaml")["value"] for number in range(3)] == [12.5, 87.5, 162.5]


@pytest.mark.parametrize("is_full", [True, False])
def test_sweep_dir_that_cannot_be_written_is_refused_in_a_sentence(app: Any, disk: Path, is_full: bool) -> None:
    if is_full:
        fill(disk / "filler")
    else:
        make_read_only(disk)
    done = app.run("x=1,2", f"hydra.sweep.dir={disk}/sweep")
    reason = "No space left on device" if is_full else "Read-only file system"
    assert done.returncode == 1
    assert f"the sweep dir '{disk}/sweep' cannot be written: {reason}" in done.stderr
    assert "Traceback" not in done.stderr
    assert app.ran() == []


@pytest.mark.slow
def test_dry_run_needs_no_disk_that_can_be_written(app: Any, disk: Path) -> None:
    sweep = ("x=1,2", f"hydra.sweep.dir={disk}/sweep")
    assert app.run(*sweep).returncode == 0
    make_read_only(disk)
    done = app.run(*sweep, "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert Counter(app.ran()) == {"start 1": 1, "end 1": 1, "start 2": 1, "end 2": 1}
