"""Ranks that are started by torchrun, by multiprocessing or by Lightning: by hand, by a job of the slots launcher."""

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
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import state_of
from trainctl.rundir.summary import summarize

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


DATED = """
import os, time
if os.environ["RANK"] == "1": time.sleep(1.2)  # a run dir named by the time would be another one
import hydra, torch.distributed as dist, trainctl
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    dist.init_process_group("gloo")
    live = trainctl.live(cfg)
    for step in live.track(range(12)): live.log(lr=cfg.lr)
    places = [None, None]
    dist.all_gather_object(places, [HydraConfig.get().runtime.output_dir, cfg.at])
    assert places[0] == places[1], places
    dist.destroy_process_group()

if __name__ == "__main__":
    main()
"""
SPAWNING = """
import os, sys
import hydra, torch.distributed as dist, torch.multiprocessing as mp, trainctl

def rank_of(rank, cfg, meeting):
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    live = trainctl.live(cfg)
    for step in live.track(range(12)): live.log(lr=cfg.lr, rank=rank)
    dist.destroy_process_group()

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    mp.start_processes(rank_of, (cfg, f"{os.getcwd()}/meeting-{os.getpid()}"), nprocs=2, start_method=cfg.method)

if __name__ == "__main__":
    main()
"""
LIGHTNING = """
import hydra, lightning, torch, trainctl
from trainctl.frameworks.lightning import TrainctlCallback

class Line(lightning.LightningModule):
    def __init__(self, cfg):
        super().__init__()
        self.cfg, self.layer = cfg, torch.nn.Linear(4, 1)

    def training_step(self, batch, place):
        self.log("lr_read", self.cfg.lr)
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.cfg.lr)
        trainctl.current().bind(optimizer, lr="lr")
        return optimizer

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    data = torch.utils.data.DataLoader(torch.ones(48, 4), batch_size=2)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy=cfg.method, **quiet,
                                callbacks=[TrainctlCallback(cfg)])
    trainer.fit(Line(cfg), data)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
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
    (tmp_path / "conf/config.yaml").write_text(CONFIG)
    path = tmp_path / "app.py"
    path.write_text(JOB.format(torchrun=TORCHRUN))
    return path


def launch(app: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=app.parent, env={**os.environ, **LOOPBACK}, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    logs = "\n".join(log.read_text()[-2000:] for log in app.parent.glob("outputs/*/*/*.log"))
    assert done.returncode == 0, done.stderr[-3000:] + logs


@pytest.mark.slow
def test_ranks_of_torchrun_have_one_dated_run_dir_however_late_they_start(app: Path) -> None:
    app.write_text(DATED)
    (app.parent / "conf/config.yaml").write_text(CONFIG + 'at: "${now:%H:%M:%S}"\n')
    for number in (1, 2):
        launch(app, *TORCHRUN, "app.py")
        (place,) = set(app.parent.glob("outputs/app/*-*")) - {run.path for run in find_runs(app.parent)[: number - 1]}
        run = RunDir.at(place)
        assert state_of(run) == "done"
        assert set(records(run)) == set(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("names_it", [False, pytest.param(True, marks=pytest.mark.long)])
def test_ranks_of_a_command_have_the_run_dir_of_its_job_unless_told_another(app: Path, names_it: bool) -> None:
    app.write_text(DATED.replace("[HydraConfig.get().runtime.output_dir, cfg.at]", "cfg.lr"))
    own = " hydra.run.dir=own/${lr}" if names_it else ""
    command = f"{sys.executable} {' '.join(TORCHRUN)} app.py lr=${{lr}}{own}"
    (app.parent / "params.yaml").write_text(f"{CONFIG}commands:\n  train: {command}\n")
    run = ["-c", "from trainctl.cli import main; main()", "run", "--config", "params.yaml"]
    launch(app, *run, "-m", "lr=0.1,0.2", "hydra.launcher.slots=1")
    jobs = [app.parent / f"outputs/params/Lr_{rate}" for rate in (0.1, 0.2)]
    found = [run.path for run in find_runs(app.parent)]
    assert found == ([*jobs, *(app.parent / f"own/{rate}" for rate in (0.1, 0.2))] if names_it else jobs)
    for job, rate in zip(jobs, (0.1, 0.2), strict=True):
        assert state_of(RunDir.at(job)) == "done"
        if not names_it:
            assert {record["lr"] for record in records(RunDir.at(job)).values()} == {rate}


@pytest.mark.slow
def test_ranks_of_a_second_program_with_another_config_have_a_run_of_their_own(app: Path) -> None:
    app.write_text(DATED.replace("[HydraConfig.get().runtime.output_dir, cfg.at]", "cfg.lr"))
    command = f"{sys.executable} {' '.join(TORCHRUN)} app.py lr="
    commands = f"commands:\n  train: {command}0.1\n  tune: {command}0.2\n"
    (app.parent / "params.yaml").write_text(CONFIG + commands)
    launch(app, "-c", "from trainctl.cli import main; main()", "run", "--config", "params.yaml")
    runs = find_runs(app.parent)
    assert [run.path.parent.name for run in runs] == ["app", "params"]
    assert [{record["lr"] for record in records(run).values()} for run in runs] == [{0.2}, {0.1}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "method"),
    [
        pytest.param(SPAWNING, "spawn", id="spawn"),
        pytest.param(SPAWNING, "fork", id="fork", marks=pytest.mark.long),
        pytest.param(LIGHTNING, "ddp_spawn", id="ddp_spawn", marks=pytest.mark.long),
        pytest.param(LIGHTNING, "ddp_fork", id="ddp_fork", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_ranks_that_a_job_starts_in_its_own_program_have_its_run(app: Path, text: str, method: str, start: str) -> None:
    if text == LIGHTNING:
        pytest.importorskip("lightning", reason="Lightning is not installed")
    app.write_text(text)
    (app.parent / "conf/config.yaml").write_text(f"{CONFIG}method: {method}\n")
    fast = RunDir.at(app.parent / "outputs/app/Lr_0.2")
    ask(fast, {"lr": 0.5}, at=7)
    launch(app, "app.py", "-m", "lr=0.1,0.2", "hydra.launcher.slots=1", f"hydra.launcher.start={start}")
    runs = find_runs(app.parent)
    assert [run.path.name for run in runs] == ["Lr_0.1", "Lr_0.2"]
    for run, last in zip(runs, (0.1, 0.5), strict=True):
        assert state_of(run) == "done"
        assert set(records(run)) == set(range(1, 13))
        assert records(run)[12].get("lr_read", last) == pytest.approx(last)
        row = summarize(run)
        assert (row.step, row.metrics["lr"]) == (12, last)


@pytest.mark.slow
def test_job_on_a_slot_may_start_torchrun_and_its_ranks_have_the_session_of_the_job(app: Path) -> None:
    fast = RunDir.at(app.parent / "outputs/app/Lr_0.2")
    asked = ask(fast, {"lr": 0.5}, at=7)
    launch(app, "app.py", "-m", "lr=0.1,0.2", "hydra.launcher.slots=1")
    runs = [RunDir.at(app.parent / "outputs/app/Lr_0.1"), fast]
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
