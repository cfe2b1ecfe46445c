"""Ranks that are started by torchrun: by hand, and by a job of the slots launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rank_processes import LOOPBACK, PATIENCE_S, StartRanks, app_command, ask

from trainctl.config.yaml import loads
from trainctl.rundir.finding import find_runs
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports PyTorch

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", "--master-port=0"]
TORCHRUN += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]

CONFIG = "defaults: [trainctl, _self_]\nlr: 0.1\ntrainctl: {panel: {enabled: false}}\n"
JOB = """
import os, subprocess, sys
import hydra, torch, trainctl

TORCHRUN = {torchrun!r}

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if "RANK" not in os.environ:
        subprocess.run([sys.executable, *TORCHRUN, *sys.argv], check=True)
        return None
    torch.distributed.init_process_group("gloo")
    live = trainctl.live(cfg)
    rank = torch.distributed.get_rank()
    values = []
    while live.step() < 20:
        values.append(cfg.lr)
        live.log(lr=cfg.lr)
    live.log(values=values, seed=live.seed)
    values = [None, None]
    torch.distributed.all_gather_object(values, [live.now.lr, torch.initial_seed(), live.seed])
    live.log({{"agree": values[0] == values[1]}})
    torch.distributed.destroy_process_group()

if __name__ == "__main__":
    main()
"""


def test_ranks_that_torchrun_starts_agree(start_ranks: StartRanks, run: RunDir) -> None:
    ask(run, {"n": 5}, at=12)
    out = run.path.parent / "out0"
    command = [sys.executable, *TORCHRUN, *app_command(run, out, "steps=20")[1:]]
    first, second = start_ranks(1, command=command).wait()
    assert first["values"] == second["values"] == [[step, 0.1, 0 if step < 12 else 5, ""] for step in range(1, 21)]


def records(run: RunDir) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for record in map(json.loads, run.metrics.read_text().splitlines()):
        found.setdefault(record["step"], {}).update(record)
    return found


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A Hydra app whose jobs start themselves again by torchrun."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text(
        "defaults: [trainctl, _self_]\nlr: 0.1\ntrainctl: {panel: {enabled: false}}\n"
    )
    path = tmp_path / "app.py"
    path.write_text(JOB.format(torchrun=TORCHRUN))
    return path


def test_job_on_a_slot_may_start_torchrun_and_its_ranks_have_the_session_of_the_job(app: Path) -> None:
    fast = RunDir.at(app.parent / "outputs/app/Lr_0.2")
    asked = ask(fast, {"lr": 0.5}, at=7)
    done = subprocess.run(
        [sys.executable, str(app), "-m", "lr=0.1,0.2", "hydra.launcher.slots=1"],
        cwd=app.parent,
        env={**os.environ, **LOOPBACK},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    runs = [RunDir.at(app.parent / "outputs/app/Lr_0.1"), fast]
    logs = "\n".join(run.log.read_text()[-2000:] for run in runs if run.log.exists())
    assert done.returncode == 0, done.stderr[-3000:] + logs
    assert [run.name for run in find_runs(app.parent)] == ["Lr_0.1", "Lr_0.2"]
    for run, rate in zip(runs, (0.1, 0.2), strict=True):
        assert state_of(run) == "done"
        found = records(run)
        assert found[20]["agree"] is True
        assert found[20]["seed"] == loads(run.run.read_text())["seed"]
        assert found[6]["lr"] == rate
        assert "lr" in loads(run.config.read_text())
    assert records(fast)[7]["lr"] == 0.5
    assert asked in fast.events.read_text()
