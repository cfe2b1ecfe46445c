"""A project in the layout of lightning-hydra-template takes the preset: edited, killed, resumed, replayed, verified."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from project_processes import ProjectProcesses

from trainctl.config.changelog import loads
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.result import read_result
from trainctl.rundir.status import read_status, state_of

pytest.importorskip("lightning", reason="Lightning is not installed")
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

PATIENCE_S = 300
GRID = "model.lr=0.1,0.05"
FILES = {
    "configs/train.yaml": """
defaults:
  - trainctl
  - _self_
  - data: noise
  - model: line
  - callbacks: default
  - logger: csv
  - trainer: cpu
  - paths: default
  - hydra: default
  - hparams_search: null
task_name: train
seed: ${trainctl.seed}
ckpt_path: null
trainctl: {seed: 5, panel: {enabled: false}, identity: {exclude: [ckpt_path]}}
""",
    "configs/data/noise.yaml": "_target_: src.parts.Noise\nbatch_size: 8\nsize: 160\n",
    "configs/model/line.yaml": "_target_: src.parts.Line\nlr: 0.1\nmomentum: 0.9\n",
    "configs/callbacks/default.yaml": """
model_checkpoint:
  _target_: lightning.pytorch.callbacks.ModelCheckpoint
  dirpath: ${paths.output_dir}/checkpoints
  save_last: true
  every_n_epochs: 1
trainctl:
  _target_: trainctl.frameworks.lightning.TrainctlCallback
""",
    "configs/logger/csv.yaml": """
csv: {_target_: lightning.pytorch.loggers.csv_logs.CSVLogger, save_dir: "${paths.output_dir}", name: csv}
""",
    "configs/trainer/cpu.yaml": """
_target_: lightning.pytorch.trainer.Trainer
max_epochs: 3
accelerator: cpu
log_every_n_steps: 1
default_root_dir: ${paths.output_dir}
enable_progress_bar: false
enable_model_summary: false
""",
    "configs/paths/default.yaml": """
root_dir: ${oc.env:PWD}
log_dir: ${paths.root_dir}/logs
output_dir: ${hydra:runtime.output_dir}
""",
    "configs/hydra/default.yaml": """
# @package hydra
run: {dir: "${paths.log_dir}/${task_name}/runs/${now:%Y-%m-%d}_${now:%H-%M-%S}"}
sweep: {dir: "${paths.log_dir}/${task_name}/multiruns", subdir: "${trainctl_name:}"}
""",
    "configs/hparams_search/line_optuna.yaml": """
# @package _global_
defaults:
  - override /hydra/sweeper: optuna
hydra:
  sweeper:
    direction: minimize
    n_trials: 4
    n_jobs: 1
    sampler: {seed: 3, n_startup_trials: 2}
    params:
      model.lr: interval(0.01, 0.1)
      data.batch_size: choice(4, 8)
""",
    "src/__init__.py": "",
    "src/parts.py": """
import os, time
import lightning, torch, trainctl

class Noise(lightning.LightningDataModule):
    def __init__(self, batch_size, size):
        super().__init__()
        self.batch_size, self.size = batch_size, size
    def train_dataloader(self):
        made = torch.Generator().manual_seed(1)
        inputs = torch.randn(self.size, 4, generator=made)
        data = torch.utils.data.TensorDataset(inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]))
        return torch.utils.data.DataLoader(data, batch_size=self.batch_size)

class Line(lightning.LightningModule):
    def __init__(self, lr, momentum):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 1)
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=self.hparams.momentum)
        trainctl.current().bind(optimizer, lr="model.lr")
        return optimizer
    def training_step(self, batch, index):
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.layer(inputs), targets)
        self.log("train/loss", loss)
        if "GO" in os.environ and self.global_step == 12:  # the test edits meanwhile
            while not os.path.exists(os.environ["GO"]): time.sleep(0.02)
        if "HOLD" in os.environ and self.global_step == 28:  # and kills
            print("at 28", flush=True)
            time.sleep(1000)
        return loss
    def on_train_end(self):
        trainctl.current().fingerprint(self)
""",
    "src/train.py": """
import os, sys
sys.path.insert(0, os.getcwd())
import hydra, lightning, trainctl

@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg):
    trainctl.live(cfg)
    lightning.seed_everything(cfg.seed, workers=True)
    datamodule = hydra.utils.instantiate(cfg.data)
    model = hydra.utils.instantiate(cfg.model)
    callbacks = [hydra.utils.instantiate(each) for each in cfg.callbacks.values()]
    logger = [hydra.utils.instantiate(each) for each in cfg.logger.values()]
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks, logger=logger)
    trainer.fit(model=model, datamodule=datamodule, ckpt_path=cfg.get("ckpt_path"))
    return trainer.callback_metrics["train/loss"].item()

if __name__ == "__main__":
    main()
""",
}


class Project(ProjectProcesses):
    """The project in a directory of its own, and the sweeps that were started there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, {"PWD": str(path)}, PATIENCE_S)
        for name, text in FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)

    def run(self, name: str) -> RunDir:
        return RunDir.at(self.path / "logs/train/multiruns" / name)

    def start(self, *more: str, **environment: str) -> psutil.Popen:
        command = [sys.executable, "src/train.py", "-m", "hydra.launcher.slots=1", *more]
        return self.launch(command, **environment)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.kill()


def test_template_is_edited_killed_resumed_with_its_own_key_replayed_and_verified(project: Project) -> None:
    run = project.run("ModelLr_0.1")
    project.start(GRID, GO="go", HOLD="here")
    project.until(lambda: run.progress.exists() and "step: 1" in run.progress.read_text())
    for edit in ("data.batch_size=4", "model.lr=0.02"):
        assert project.cli("set", str(run.path), edit, "--no-wait").returncode == 0
    (project.path / "go").touch()
    project.until(lambda: "at 28" in run.log.read_text())
    told = project.cli("log", str(run.path)).stdout
    assert "data.batch_size=4: the key is locked (nothing follows it while Lightning trains: bind it" in told, told
    assert "model.lr: 0.1 -> 0.02" in told, told
    project.kill()

    resumed = project.start(GRID, "ckpt_path=last")
    assert resumed.wait(PATIENCE_S) == 0, project.printed()[-3000:]
    assert "2 jobs: 2 done" in project.printed(), project.printed()
    status = read_status(run)
    assert status is not None
    assert (status.state, status.attempt) == ("done", 2)
    edits = [edit.values for edit in loads(run.changelog.read_text()).edits]
    assert edits == [{"model.lr": 0.02}, {"ckpt_path": "last"}], edits

    again = project.start(GRID, "ckpt_path=last")
    assert again.wait(PATIENCE_S) == 0
    assert "2 jobs: 2 skipped" in project.printed()
    rows = json.loads(project.cli("table", "logs", "--json").stdout)
    assert {row["name"] for row in rows} == {"ModelLr_0.1", "ModelLr_0.05"}
    assert all(row["step"] == 60 for row in rows), rows
    looked = {command: project.cli(command, "logs").stdout.splitlines() for command in ("ls", "table")}
    assert [line.split()[:2] for line in looked["ls"][1:]] == [
        ["done", "train/multiruns/ModelLr_0.05"],
        ["done", "train/multiruns/ModelLr_0.1"],
    ]
    head = looked["table"][0].split()
    assert head[:3] == ["name", "model.lr", "ckpt_path"], head
    assert not [title for title in head if title.startswith(("paths", "callbacks", "logger", "trainer"))], head
    assert "attempt    2" in project.cli("show", str(run.path)).stdout
    explained = project.cli("explain", str(run.path), "model.lr").stdout
    assert "edit at step" in explained
    assert "command line model.lr=0.1" in explained
    assert "configs/model/line.yaml (model=line in train.yaml)" in explained
    verified = project.cli("replay", str(run.path), "--verify")
    assert verified.returncode == 0, verified.stdout[-2000:] + verified.stderr[-2000:]
    assert "identical: " in verified.stdout


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="hydra-optuna-sweeper is not installed",
)
def test_search_by_optuna_that_was_edited_and_killed_goes_on_and_its_trial_is_replayed(project: Project) -> None:
    search, log = ["hparams_search=line_optuna", "trainer.max_epochs=1"], project.path / "logs"
    project.start(*search, GO="go")
    project.until(lambda: any("step: 1" in run.progress.read_text() for run in find_runs(log) if run.progress.exists()))
    edited = next(run for run in find_runs(log) if run.progress.exists())
    assert project.cli("set", str(edited.path), "model.lr=0.02", "--no-wait").returncode == 0
    (project.path / "go").touch()
    project.until(lambda: project.printed().count("DONE") >= 2)
    project.kill()
    before = {run.path.name: read_result(run) for run in find_runs(log) if state_of(run) == "done"}
    assert edited.path.name in before
    assert len(before) >= 2

    assert project.start(*search).wait(PATIENCE_S) == 0, project.printed()[-3000:]
    printed = project.printed()
    assert printed.count("finished earlier") == len(before), printed
    results = {run.path.name: read_result(run) for run in find_runs(project.path / "logs") if state_of(run) == "done"}
    assert len(results) == 4
    assert before.items() <= results.items()
    best = files.read_mapping(project.run("optimization_results.yaml").path)
    assert best["best_value"] == min(results.values())
    rate, size = best["best_params"]["model.lr"], best["best_params"]["data.batch_size"]
    assert results[f"DataBatchSize_{size}-ModelLr_{rate}"] == best["best_value"]
    assert [edit.values for edit in loads(edited.changelog.read_text()).edits] == [{"model.lr": 0.02}]
    verified = project.cli("replay", str(edited.path), "--verify")
    assert verified.stdout.startswith("identical: "), verified.stdout[-2000:] + verified.stderr[-2000:]
