"""Loggers of Lightning: what they have opened is used by our trackers, and nothing is opened beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="Lightning is not installed")
mlflow = pytest.importorskip("mlflow")
wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's and the clients' own

from lightning.pytorch import Trainer  # noqa: E402
from lightning.pytorch.demos.boring_classes import BoringModel  # noqa: E402
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger  # noqa: E402

from trainctl.frameworks.lightning import TrainctlCallback  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.track.tensorboard import find_event_files, read_events  # noqa: E402

BATCHES = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]  # as Lightning's own loggers have them, and no others


def scalars_of(path: Path, name: str) -> list[tuple[int, float]]:
    """Return all points of a tag, also several of one step."""
    found = [event for file in find_event_files(path) for event in read_events(file)]
    return [(step, value) for tag, step, value in found if tag == name]


class Model(BoringModel):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("batch", float(batch_idx))
        return super().training_step(batch, batch_idx)


def fit(loggers: list[Any], path: Path) -> None:
    trainer = Trainer(
        logger=loggers, callbacks=[TrainctlCallback()], max_epochs=1, limit_train_batches=4, limit_val_batches=0,
        accelerator="cpu", default_root_dir=path, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Model())


def test_runs_of_lightnings_loggers_are_used(
    mlflow_server: Any, train: Any, finish: Any, run: RunDir, tmp_path: Path
) -> None:
    own = MLFlowLogger("lightning", tracking_uri=mlflow_server.url)
    board = TensorBoardLogger(tmp_path / "board")
    train("mlflow", "tensorboard", "wandb", lr=0.1)
    fit([own, board, WandbLogger(project="mine", save_dir=tmp_path)], tmp_path)
    finish()
    client = mlflow.MlflowClient(mlflow_server.url)
    kept = json.loads((run.path / ".track" / "mlflow.json").read_text())["kept"]
    assert kept == {"run_id": own.run_id, "attached": True, "uri": mlflow_server.url}
    assert [(one.step, one.value) for one in client.get_metric_history(own.run_id, "batch")] == BATCHES
    assert client.get_run(own.run_id).data.tags["trainctl.state"] == "done"
    assert not (run.path / "tensorboard").exists()
    assert any("trainctl" in file.name for file in find_event_files(Path(board.log_dir)))
    assert scalars_of(Path(board.log_dir), "batch") == BATCHES
    assert wandb.run is not None
    assert wandb.run.summary["trainctl/state"] == "done"
    assert not (run.path / "wandb").exists()
    wandb.finish()
