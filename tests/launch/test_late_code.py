"""A job that loads code which was changed while the sweep ran is named; what was loaded before is as it was."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainctl.config import yaml

APP = """
import time
from pathlib import Path
import hydra
import early
from hydra.core.config_store import ConfigStore
ConfigStore.instance().store(name="config", node={"x": 0, "layer": {"_target_": "layers.Layer"}})

@hydra.main(version_base=None, config_name="config")
def main(cfg):
    if cfg.x == 0:
        Path("running").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return [early.VERSION, hydra.utils.instantiate(cfg.layer).version]

if __name__ == "__main__":
    main()
"""
LAYERS = "class Layer:\n    version = {}\n"


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_job_that_loads_changed_code_is_named(tmp_path: Path, start: str, wait_until: Callable[..., Any]) -> None:
    (tmp_path / "app.py").write_text(APP)
    for name, text in (("early", "VERSION = 1\n"), ("layers", LAYERS.format(1)), ("unused", "")):
        (tmp_path / f"{name}.py").write_text(text)
    words = ["x=0,1,2", "hydra/launcher=slots", "hydra.launcher.slots=1", f"hydra.launcher.start={start}"]
    command = [sys.executable, "app.py", "-m", *words, "hydra.sweep.dir=sweep"]
    begun = time.time()
    sweep = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "running").exists, "the first job", 60)
    wait_until(lambda: time.time() > begun + 3, "a change that is younger than the sweep", 60)
    for name, text in (("early", "VERSION = 2\n"), ("layers", LAYERS.format(2)), ("unused", "x = 1")):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "go").touch()
    _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    notes = [line for line in said.splitlines() if line.startswith("NOTE ")]
    changed = set()
    for number in range(3):
        files = [tmp_path / "sweep" / str(number) / name for name in ("result.yaml", "run.yaml")]
        result, record = (yaml.loads(each.read_text()) for each in files)
        early, layers = result["value"]
        expected = [*(["early.py"] if early == 2 else []), *(["layers.py"] if layers == 2 else [])]
        assert record["changed_code"] == [str(tmp_path / name) for name in expected]
        assert layers == 2
        assert early == 1 or start == "spawn"
        changed.update(expected)
    assert notes[0].startswith("NOTE  1/3 sweep/0 is the first with layers.py, changed since the sweep began")
    assert {name for name in ("early.py", "layers.py", "unused.py") if any(name in note for note in notes)} == changed


def test_nothing_is_said_of_code_that_stays(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "early.py").write_text("VERSION = 1\n")
    (tmp_path / "layers.py").write_text(LAYERS.format(1))
    (tmp_path / "go").touch()
    command = [sys.executable, "app.py", "-m", "x=0,1", "hydra/launcher=slots", "hydra.sweep.dir=sweep"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "NOTE" not in done.stderr
    assert "changed_code" not in (tmp_path / "sweep" / "0" / "run.yaml").read_text()


CHANGING = """
import time
from pathlib import Path
import hydra
from hydra.core.config_store import ConfigStore
ConfigStore.instance().store(name="config", node={"x": 0})

@hydra.main(version_base=None, config_name="config")
def main(cfg):
    import layers
    if cfg.x == 0:
        time.sleep(3)  # so that the change is younger than the sweep
        Path("layers.py").write_text("VERSION = 2")
    return layers.VERSION

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_change_of_a_module_that_a_running_job_has_loaded_is_not_in_that_job(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CHANGING)
    (tmp_path / "layers.py").write_text("VERSION = 1")
    command = [sys.executable, "app.py", "-m", "x=0,1", "hydra/launcher=slots", "hydra.launcher.slots=1"]
    done = subprocess.run(
        [*command, "hydra.sweep.dir=sweep"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if line.startswith("NOTE ")]
    assert [note.split(" is the first")[0] for note in notes] == ["NOTE  2/2 sweep/1"], done.stderr
    records = [yaml.loads((tmp_path / "sweep" / name / "run.yaml").read_text()) for name in "01"]
    assert [record.get("changed_code") for record in records] == [None, [str(tmp_path / "layers.py")]]
