"""Run dirs of older versions: each kind is listed, loaded and compared; a whole run goes on, and is replayed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainctl.rundir.compare import compare
from trainctl.rundir.edits import applied_edits, read_changelog
from trainctl.rundir.events import read_events
from trainctl.rundir.metrics import read_metrics
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status
from trainctl.rundir.summary import summarize
from trainctl.sources.kinds import read_source

FORMATS = Path(__file__).parent / "formats"
CONFIG = """
defaults: [_self_, trainctl]
optim: {lr: 0.1, betas: [0.9, 0.999]}
n: 1
total: ${n}
trainctl: {poll_s: 0.01, controls: {n: {min: 1}}}
"""
TRAIN = """
import hydra, trainctl

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    for step in live.track(range(8)):
        live.log(loss=live.now.optim.lr * (step + 1), n=live.now.n)
    return live.now.optim.lr

main()
"""


def put(kind: str, path: Path, project: Path) -> RunDir:
    """Put a run dir of an older version at a path, as if its project had been there."""
    shutil.copytree(FORMATS / kind, path)
    if (path / "hydra").is_dir():
        (path / "hydra").rename(path / ".hydra")
    for file in path.rglob("*.yaml"):
        file.write_text(file.read_text().replace("{project}", str(project)).replace("{python}", sys.executable))
    return RunDir.at(path)


@pytest.mark.parametrize(
    ("kind", "edits", "last"),
    [
        ("events_first", 5, {"n": 2, "optim.lr": 0.05}),
        ("changelog_only", 5, {"n": 2, "optim.lr": 0.05}),
        ("settings_in_config", 2, {"n": 4, "optim.lr": 0.05}),
    ],
)
def test_run_dir_of_each_version_is_listed_loaded_and_compared(
    kind: str, edits: int, last: dict[str, Any], tmp_path: Path
) -> None:
    run = put(kind, tmp_path / "run", tmp_path)
    row = summarize(run)
    assert (row.edits, row.problems) == (edits, [])
    loaded = read_source(f"run/{run.path}").values
    assert {"n": loaded["n"], "optim.lr": loaded["optim"]["lr"]} == last
    assert read_source(f"run/{run.path}@2").values["optim"]["lr"] == 0.1
    assert compare(run, run).difference is None


@pytest.mark.slow
def test_whole_run_with_its_settings_in_its_config_goes_on_and_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "config.yaml").write_text(CONFIG)
    run = put("settings_in_config", tmp_path / "outputs" / "train" / "N_2", tmp_path)

    def start(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "N_2 on slot cpu, attempt 2" in start("train.py", "-m", "n=2", "trainctl.panel.enabled=false")
    status, changelog = read_status(run), read_changelog(run)
    assert status is not None
    assert changelog is not None
    assert (status.state, status.attempt) == ("done", 2)
    told = [(one.number, one.step, one.values, one.who, one.note) for one in applied_edits(changelog, read_events(run))]
    assert told == [(1, 3, {"optim.lr": 0.05}, "ada", "calmer"), (2, 4, {"n": 4}, "ada", None)]
    assert [(one["step"], one["n"]) for one in read_metrics(run.metrics)] == [
        *((1, 2), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 4), (8, 4)),
    ]
    assert "identical: 8 metric records" in start("-m", "trainctl", "replay", str(run.path), "--verify")
