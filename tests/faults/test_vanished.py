"""Somebody removes a directory in which jobs work: they fail in a sentence, the others go on, the rerun completes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WaitUntil = Callable[..., Any]

SWEEP = ("x=range(0,6)", "hydra.launcher.slots=2")


def remove(path: Path, wait_until: WaitUntil) -> None:
    """Remove a directory as `rm -rf` does, again while somebody puts something into it."""

    def is_gone() -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()

    wait_until(is_gone, f"{path} is removed")


@pytest.mark.parametrize("chdir", [False, True])
def test_run_dir_removed_under_its_job_fails_that_job_alone(app: Any, wait_until: WaitUntil, chdir: bool) -> None:
    sweep = (*SWEEP, "mode=wait", f"hydra.job.chdir={chdir}")
    launcher = app.start(*sweep)
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    remove(app.sweep / "0", wait_until)
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert f"the end of the run could not be written to {app.sweep / '0'}: No such file or directory" in output
    assert "6 jobs: 5 done, 1 failed" in output
    assert "Traceback" not in output
    assert not app.processes()
    again = app.run(*sweep)
    assert again.returncode == 0, again.stderr
    assert "6 jobs: 1 done, 5 skipped" in again.stderr
    assert Counter(app.ran()) == Counter({f"{word} {x}": 1 for x in range(6) for word in ("start", "end")}) + Counter(
        ["start 0", "end 0"]
    )


def test_sweep_dir_removed_under_its_jobs_is_survived(app: Any, wait_until: WaitUntil) -> None:
    sweep = (*SWEEP, "mode=wait")
    launcher = app.start(*sweep)
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    remove(app.sweep, wait_until)
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    failed = [line for line in output.splitlines() if line.startswith("FAIL ")]
    assert len(failed) >= 2
    assert all("No such file or directory" in line for line in failed), output
    assert "Traceback" not in output
    assert not app.processes()
    again = app.run(*sweep)
    assert again.returncode == 0, again.stderr
    assert all(app.yaml(f"{x}/status.yaml")["state"] == "done" for x in range(6))


def test_job_that_only_writes_into_its_run_dir_fails_by_its_own_words(app: Any, wait_until: WaitUntil) -> None:
    """A task that needs its directory raises itself; the launcher shows what it said."""
    source = (app.path / "app.py").read_text()
    writes = '    if mode == "wait": open("model.pt", "w").close()\n'
    place = '    note(f"end {cfg.x}")\n'
    (app.path / "app.py").write_text(source.replace(place, writes + place))
    launcher = app.start("x=1,2", "mode=wait", "hydra.job.chdir=true", "hydra.launcher.slots=1")
    wait_until(lambda: len(app.ran()) == 1, "a job runs")
    remove(app.sweep / "0", wait_until)
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "No such file or directory: 'model.pt'" in output
    assert "2 jobs: 1 done, 1 failed" in output
