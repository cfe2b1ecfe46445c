"""Accelerate: the loop of `torch_digits.py` on any number of ranks, which all follow the same edits.

    python examples/accelerate_digits.py                                             one rank
    accelerate launch --multi_gpu --num_processes 2 examples/accelerate_digits.py    two
    trainctl set RUN optim.lr=0.003                                                  at the same step on both

The ranks are on processors, where there is no GPU too; `cpu=false` puts them on GPUs.
"""

from __future__ import annotations

import hydra
import torch
from accelerate import Accelerator
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import trainctl


@hydra.main(version_base=None, config_path="conf", config_name="accelerate_digits")
def main(cfg: DictConfig) -> float:
    accelerator = Accelerator(cpu=cfg.cpu)
    live = trainctl.live(cfg)  # the ranks know of each other now, and have the same seed from here on
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(cfg.dropout), torch.nn.Linear(64, 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim.lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 100))
    live.bind(model, "2.p", "dropout")
    loader = DataLoader(data, cfg.batch_size, shuffle=True)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    live.bind(optimizer, lr="optim.lr", scheduler=scheduler)

    for _ in range(cfg.epochs):
        live.epoch()
        for images, labels in loader:
            live.step()
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            live.log(loss=loss)
        if live.should_stop:
            break

    model.eval()
    with torch.no_grad():
        hits = model(data.tensors[0]).argmax(1) == data.tensors[1]
    live.fingerprint(accelerator.unwrap_model(model))
    return hits.float().mean().item()


if __name__ == "__main__":
    main()
