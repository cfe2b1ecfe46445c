"""The format of a run dir: it stands in `run.yaml`, and files of a later one are not started again from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainctl.config import yaml
from trainctl.rundir.paths import RunDir
from trainctl.rundir.trust import FORMAT, check_format

CLI = [sys.executable, "-m", "trainctl"]


@pytest.mark.slow
def test_run_of_a_later_format_is_neither_replayed_nor_loaded(run_demo: Callable[..., Any], tmp_path: Path) -> None:
    run_demo("task.steps=3", "hydra.run.dir=run")
    record = tmp_path / "run" / "run.yaml"
    assert yaml.loads(record.read_text())["format"] == FORMAT
    record.write_text(record.read_text().replace(f"format: {FORMAT}", f"format: {FORMAT + 1}"))
    sentence = f"has format {FORMAT + 1}, and this version of hydra-trainctl reads formats up to {FORMAT}"
    replayed = subprocess.run(
        [*CLI, "replay", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (replayed.returncode, sentence in replayed.stderr) == (1, True)
    loaded = run_demo("+from=run/run", "task.steps=3", check=False)
    assert loaded.returncode == 1
    assert sentence in loaded.stderr
    shown = subprocess.run([*CLI, "ls", "."], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "done\trun" in shown.stdout  # to look at it harms nobody


@pytest.mark.parametrize("content", ["", "name: run\n", "format: many\n", "format: 1\n"])
def test_earlier_formats_are_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    check_format(RunDir.at(tmp_path))
