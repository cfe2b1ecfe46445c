"""What a killed process left half-made is cleared up by the next one, and nothing of a living one is."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from trainctl.rundir.paths import RunDir

NOBODY = 1 << 30  # no process of any machine has this number


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_files_of_a_launcher_killed_while_it_signed_in_are_removed(app: Any) -> None:
    launchers = app.sweep / ".trainctl" / "launchers"
    launchers.mkdir(parents=True)
    host, dead, alive = socket.gethostname(), NOBODY, os.getpid()
    living = {f"{host}-{alive}-1.lock", f".{host}-{alive}-1.yaml.{alive}.tmp"}
    elsewhere = {f"not-{host}-{dead}-1.lock", "notes.txt"}
    left = {f"{host}-{dead}-1.lock", f".{host}-{dead}-1.yaml.{dead}.tmp"}
    for name in living | elsewhere | left:
        (launchers / name).touch()
    done = app.run("x=1")
    assert done.returncode == 0, done.stderr
    assert names(launchers) == living | elsewhere


@pytest.mark.slow
def test_files_of_a_run_killed_while_it_wrote_them_are_removed(app: Any) -> None:
    assert app.run("mode=raise").returncode == 1
    run = RunDir.at(app.sweep / "0")
    own = {f".{path.name}.4242.tmp" for path in (run.run, run.status, run.result, run.progress)}
    for name in own | {".notes.tmp"}:
        (run.path / name).write_text("half")
    assert app.run("mode=raise").returncode == 1
    assert {name for name in names(run.path) if name.endswith(".tmp")} == {".notes.tmp"}
