"""What recording costs a training of real size: a ResNet on the processor, with and without, in turn.

    python benchmarks/recording.py FOLDER [--pairs N]

Prints JSON: steps per second of each, and the ratio of the time per step, with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

import trainctl
from trainctl.attempt import attempt as attempts

BATCH, STEPS = 8, 3


class Block(nn.Module):
    """A residual block of ResNet-18: two convolutions of 3 x 3, each with a batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        changes = stride != 1 or inputs != outputs
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.main(images) + self.skip(images))


def resnet() -> nn.Sequential:
    """Return ResNet-18 as it is used for images of 32 x 32, half as wide."""
    widths = [(32, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 2)]
    blocks = [Block(*one) if first else Block(one[1], one[1], 1) for one in widths for first in (True, False)]
    stem = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def main() -> None:
    """Train in pairs of blocks, which of the two is first alternating; print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=12)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads that wait for each other would measure what else the machine does
    model = resnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    config = {"optim": {"lr": 0.01, "momentum": 0.9}, "data": {"batch": BATCH}, "trainctl": {}}
    live = trainctl.live(OmegaConf.create(config), run_dir=given.folder)

    def train_step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def plain() -> None:
        for _ in range(STEPS):
            train_step()

    def recorded() -> None:
        for _ in range(STEPS):
            live.step()
            group = optimizer.param_groups[0]
            group["lr"], group["momentum"] = live.now.optim.lr, live.now.optim.momentum
            loss = train_step()
            live.log(loss=loss, lr=group["lr"], momentum=group["momentum"])

    plain()
    recorded()
    taken: dict[str, list[float]] = {"plain": [], "recorded": []}
    for pair in range(given.pairs):
        for work in (plain, recorded) if pair % 2 else (recorded, plain):
            began = time.perf_counter()
            work()
            taken[work.__name__].append((time.perf_counter() - began) / STEPS)
    attempt = attempts.current()
    assert attempt is not None  # live() began it
    attempt.end("done", exit_code=0)
    rows = (given.folder / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == STEPS * (given.pairs + 1), "a record is missing"
    ratios = [one / two for one, two in zip(taken["recorded"], taken["plain"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    found = {
        **{name: 1 / statistics.median(seconds) for name, seconds in taken.items()},
        "ratio": middle,
        "quartiles": [low, high],
        "pairs": given.pairs,
        "steps": STEPS,
        "batch": BATCH,
        "parameters": sum(one.numel() for one in model.parameters()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
