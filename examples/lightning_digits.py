"""Lightning: a small network learns handwritten digits, its settings under your hand.

    python examples/lightning_digits.py                          one run, with its page
    python examples/lightning_digits.py devices=2                two ranks, by DDP; also on a slot of a sweep
    trainctl set RUN optim.lr=0.003 model.dropout=0.3            while it trains; the cosine goes on, scaled
    trainctl set RUN batch_size=64                               as the next epoch begins; on one rank

The same command in the same run dir (`hydra.run.dir=RUN`) goes on from the last epoch, however the run was ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import trainctl
from trainctl.frameworks.lightning import TrainctlCallback


class Digits(LightningModule):
    def __init__(self, data: TensorDataset, hidden: int, dropout: float, lr: float, weight_decay: float) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="data")
        self.data = data
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(hidden, 10)
        )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), self.hparams.lr, weight_decay=self.hparams.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        live = trainctl.current()
        live.bind(optimizer, lr="optim.lr", weight_decay="optim.weight_decay", scheduler=scheduler)
        live.bind(self.layers, "2.p", "model.dropout")
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, trainctl.current().now.batch_size, shuffle=True)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        hits = self.layers(batch[0]).argmax(1) == batch[1]
        self.log("accuracy", hits.float().mean(), sync_dist=True)


@hydra.main(version_base=None, config_path="conf", config_name="lightning_digits")
def main(cfg: DictConfig) -> float:
    live = trainctl.live(cfg)
    train, test = load()
    model = Digits(train, cfg.model.hidden, cfg.model.dropout, cfg.optim.lr, cfg.optim.weight_decay)
    saver = ModelCheckpoint(Path(HydraConfig.get().runtime.output_dir) / "checkpoints", save_last=True)
    trainer = Trainer(
        accelerator="cpu",
        devices=cfg.devices,
        strategy="ddp" if cfg.devices > 1 else "auto",
        max_epochs=cfg.epochs,
        accumulate_grad_batches=cfg.accumulate,
        reload_dataloaders_every_n_epochs=int(cfg.devices == 1),  # an edit of the batch size is followed
        callbacks=[TrainctlCallback(), saver],
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    last = Path(saver.dirpath) / "last.ckpt"
    trainer.fit(
        model,
        val_dataloaders=DataLoader(test, 256),
        ckpt_path=last if last.exists() else None,
    )
    live.fingerprint(model)
    return float(trainer.callback_metrics["accuracy"])


def load() -> tuple[TensorDataset, TensorDataset]:
    """Return images and labels for training and for tests; every fourth image is a test image."""
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    is_test = torch.arange(len(labels)) % 4 == 0
    return TensorDataset(images[~is_test], labels[~is_test]), TensorDataset(images[is_test], labels[is_test])


if __name__ == "__main__":
    main()
