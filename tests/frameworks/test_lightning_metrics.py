"""Lightning's metrics: logged at the step at which they are made, the last ones and those of a test too."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from open_sessions import OpenLive

pytest.importorskip("lightning", reason="Lightning is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, about loggers, workers and PyTorch

import torch  # noqa: E402
from lightning.pytorch import LightningModule, Trainer  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import trainctl  # noqa: E402
from trainctl.frameworks.lightning import TrainctlCallback  # noqa: E402
from trainctl.rundir import files  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.rundir.summary import last_metrics  # noqa: E402

BATCHES, EPOCHS = 6, 3
STEPS = BATCHES * EPOCHS


class Logging(LightningModule):
    """Logs in every way that Lightning has: by step, by epoch, both, and in the hooks at the end of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/constant", 4.5, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/at_end", float(self.current_epoch))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def on_validation_epoch_end(self) -> None:
        self.log("val/best", 0.25)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", self.layer(batch).square().mean())


@pytest.fixture
def logged(open_live: OpenLive, run: RunDir, tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Train and test once; return the run's records and the rows of Lightning's own CSV file."""
    open_live(lr=0.1)
    torch.manual_seed(0)
    data = DataLoader(torch.randn(BATCHES * 2, 2), batch_size=2)
    logger = CSVLogger(str(tmp_path / "csv"))
    trainer = Trainer(
        logger=logger, callbacks=[TrainctlCallback()], max_epochs=EPOCHS, accelerator="cpu", log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    model = Logging()
    trainer.fit(model, data, data)
    trainer.test(model, data, verbose=False)
    trainctl.current().close()
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        return files.read_lines(run.metrics), list(csv.DictReader(file))


def test_last_value_of_each_metric_is_that_of_lightnings_own_logger(
    logged: tuple[list[dict[str, Any]], list[dict[str, str]]], run: RunDir
) -> None:
    _, rows = logged
    theirs: dict[str, float] = {}
    for row in rows:
        theirs.update({name: float(text) for name, text in row.items() if text and name not in ("epoch", "step")})
    ours, step = last_metrics(run)
    assert {"train/loss_epoch", "train/constant", "train/at_end", "val/loss", "val/best", "test/loss"} <= theirs.keys()
    assert {name: ours[name] for name in theirs} == theirs
    assert step == STEPS == int(rows[-1]["step"])


def test_metrics_of_an_epoch_stand_at_its_last_step(
    logged: tuple[list[dict[str, Any]], list[dict[str, str]]],
) -> None:
    records, _ = logged
    ends = [BATCHES * (epoch + 1) for epoch in range(EPOCHS)]
    for name in ("train/loss_epoch", "train/constant", "train/at_end", "val/loss", "val/best"):
        assert [one["step"] for one in records if name in one] == ends, name
    assert [one["step"] for one in records if "train/loss_step" in one] == list(range(1, STEPS + 1))
    assert [one["step"] for one in records if "test/loss" in one] == [STEPS]


def test_no_value_is_logged_twice(logged: tuple[list[dict[str, Any]], list[dict[str, str]]]) -> None:
    records, _ = logged
    points = Counter(
        (one["step"], name, value) for one in records for name, value in one.items() if name not in ("step", "t")
    )
    assert {point: count for point, count in points.items() if count > 1} == {}
