"""PyTorch with a `DataLoader`: the batch size under your hand; it changes as an epoch begins, when the loader is made.

python examples/loader_digits.py                             one run, with its page
trainctl set RUN batch_size=128                              while it trains; told and recorded with the epoch's step
"""

from __future__ import annotations

import hydra
import torch
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import trainctl


@hydra.main(version_base=None, config_path="conf", config_name="loader_digits")
def main(cfg: DictConfig) -> float:
    live = trainctl.live(cfg)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim.lr)
    live.bind(optimizer, lr="optim.lr")

    for epoch in range(cfg.epochs):
        live.epoch()  # edits that wait for an epoch take effect here
        loader = DataLoader(data, cfg.batch_size, shuffle=True)
        live.total = live.step_number + (cfg.epochs - epoch) * len(loader)
        for images, labels in loader:
            live.step()
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            live.log(loss=loss, batch=len(labels))
        if live.should_stop:
            break

    live.fingerprint(model)
    with torch.no_grad():
        hits = model(data.tensors[0]).argmax(1) == data.tensors[1]
    return hits.float().mean().item()


if __name__ == "__main__":
    main()
