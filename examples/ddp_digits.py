"""Plain DistributedDataParallel: torchrun starts the ranks, which all follow the same edits.

torchrun --nproc-per-node 2 examples/ddp_digits.py      two ranks on processors
trainctl set RUN optim.lr=0.003                         at the same step on both
"""

from __future__ import annotations

import hydra
import torch
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import trainctl


@hydra.main(version_base=None, config_path="conf", config_name="ddp_digits")
def main(cfg: DictConfig) -> float:
    torch.distributed.init_process_group("gloo")
    live = trainctl.live(cfg)  # after the group is made: rank 0 takes requests, all ranks apply them at one step
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
    plain = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    model = torch.nn.parallel.DistributedDataParallel(plain)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim.lr)
    live.bind(optimizer, lr="optim.lr")
    sampler = DistributedSampler(data, seed=live.seed)
    loader = DataLoader(data, cfg.batch_size, sampler=sampler)

    for epoch in range(cfg.epochs):
        live.epoch()
        sampler.set_epoch(epoch)
        for images, labels in loader:
            live.step()
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            live.log(loss=loss)
        if live.should_stop:
            break

    live.fingerprint(plain)
    with torch.no_grad():
        hits = plain(data.tensors[0]).argmax(1) == data.tensors[1]
    torch.distributed.destroy_process_group()
    return hits.float().mean().item()


if __name__ == "__main__":
    main()
