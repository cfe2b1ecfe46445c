from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import read_status

PLAIN = """
import trainctl
from omegaconf import OmegaConf
live = trainctl.live(OmegaConf.create({"lr": 0.1}), run_dir="outputs/task")
for _ in live.track(range(3)):
    live.log(lr=live.now.lr)
"""

HYDRA = """
import hydra, trainctl
from hydra.core.config_store import ConfigStore
ConfigStore.instance().store(name="config", node={"lr": 0.1})

@hydra.main(version_base=None, config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    live.step()
    assert trainctl.current() is live
    if cfg.lr > 1:
        raise ValueError("the loss is not finite")

main()
"""


def start(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "task.py").write_text(script)
    command = [sys.executable, "task.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def only_run(folder: Path) -> RunDir:
    (run,) = find_runs(folder)
    return run


def test_script_without_hydra_is_a_full_run_in_the_dir_that_it_names(tmp_path: Path) -> None:
    done = start(tmp_path, PLAIN)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert run.path == tmp_path / "outputs" / "task"
    status = read_status(run)
    assert status is not None
    assert (status.state, status.attempt) == ("done", 1)
    assert [record["step"] for record in files.read_lines(run.metrics)] == [1, 2, 3]
    record = files.read_mapping(run.run)
    assert (record["argv"], record["keys"]) == (["task.py"], {"lr": {"type": "float"}})


def test_hydra_application_without_our_callback_is_a_run_in_its_output_dir(tmp_path: Path) -> None:
    done = start(tmp_path, HYDRA, "lr=0.5", "hydra.run.dir=here")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert run.path == tmp_path / "here"
    assert files.read_mapping(run.run)["overrides"] == ["lr=0.5"]
    assert files.read_yaml(run.changelog) == {0: {"lr": 0.5}}


def test_script_that_fails_is_a_failed_run(tmp_path: Path) -> None:
    done = start(tmp_path, PLAIN + "raise ValueError('the loss is not finite')\n")
    assert done.returncode == 1
    status = read_status(only_run(tmp_path))
    assert status is not None
    assert (status.state, status.reason) == ("failed", "ValueError: the loss is not finite")
