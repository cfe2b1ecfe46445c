"""PyTorch: a small network learns handwritten digits, its learning rate, weight decay and dropout under your hand.

    python examples/torch_digits.py                              one run, with its page
    python examples/torch_digits.py -m model.hidden=32,64,128    a sweep
    trainctl set RUN optim.lr=0.003 model.dropout=0.3            while it trains; the cosine goes on, scaled
    trainctl do RUN checkpoint                                   writes checkpoint.pt into the run dir

The same command in the same run dir (`hydra.run.dir=RUN`) goes on from the checkpoint if there is one.
"""

from __future__ import annotations

from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from sklearn.datasets import load_digits

import trainctl


@hydra.main(version_base=None, config_path="conf", config_name="torch_digits")
def main(cfg: DictConfig) -> float:
    live = trainctl.live(cfg)
    train, test = load()
    model = torch.nn.Sequential(
        torch.nn.Linear(64, cfg.model.hidden),
        torch.nn.ReLU(),
        torch.nn.Dropout(cfg.model.dropout),
        torch.nn.Linear(cfg.model.hidden, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim.lr, weight_decay=cfg.optim.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=cfg.steps)
    live.bind(optimizer, lr="optim.lr", weight_decay="optim.weight_decay", scheduler=scheduler)
    live.bind(model, "2.p", "model.dropout")

    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "live": live}
    checkpoint = Path(HydraConfig.get().runtime.output_dir) / "checkpoint.pt"
    if checkpoint.exists():
        for name, state in torch.load(checkpoint, weights_only=False).items():
            parts[name].load_state_dict(state)

    for _ in live.track(range(live.step_number, cfg.steps)):
        rows = torch.randint(len(train[1]), (cfg.batch_size,))
        model.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(train[0][rows]), train[1][rows])
        loss.backward()
        optimizer.step()
        scheduler.step()
        live.log(loss=loss)
        if live.should_checkpoint:
            states = {name: part.state_dict() for name, part in parts.items() if part is not live}
            torch.save({**states, "live": live.state_dict(rng=True)}, checkpoint)
        if live.should_stop:
            break

    return accuracy(model, *test)


def load() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Return training and test images and labels; every fourth image is a test image."""
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    is_test = torch.arange(len(labels)) % 4 == 0
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    return (model(images).argmax(1) == labels).float().mean().item()


if __name__ == "__main__":
    main()
