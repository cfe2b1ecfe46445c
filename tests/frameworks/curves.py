"""Every scheduler of PyTorch, and by hand the learning rate that it gives at each step: nothing here asks PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import lr_scheduler as torch_lr

BASES = (0.1, 0.01)  # the learning rates of two parameter groups
STEPS = 20


class Warmup(torch_lr.LRScheduler):
    """A scheduler of somebody's own: a ramp over four steps."""

    def get_lr(self) -> list[float]:
        return [base * min(1.0, (self.last_epoch + 1) / 4) for base in self.base_lrs]


@dataclass(frozen=True)
class Case:
    """A scheduler for the optimizer it is given, and the rate at step t (from 0) of one that began with `base`."""

    make: Callable[[Any], Any]
    rate: Callable[[float, int], float]
    step: Callable[[Any], None] = lambda scheduler: scheduler.step()


def cosine(base: float, position: float, floor: float) -> float:
    return floor + (base - floor) * (1 + math.cos(math.pi * position)) / 2


def restarts(base: float, t: int) -> float:
    position = t / 5 if t < 5 else (t - 5) / 10 if t < 15 else (t - 15) / 20
    return cosine(base, position, 0.001)


def triangle(t: int) -> float:
    rest = t % 8
    return rest / 4 if rest <= 4 else 2 - rest / 4


def one_cycle(peak: float, t: int) -> float:
    start, end = peak / 25, peak / 25 / 1e4
    rising, falling = 0.3 * STEPS - 1, STEPS - 1
    if t <= rising:
        return cosine(start, t / rising, peak)
    return cosine(peak, (t - rising) / (falling - rising), end)


def warm_cosine(base: float, t: int) -> float:
    return base * (0.1 + 0.9 * t / 4) if t < 4 else cosine(base, (t - 4) / 16, 0.001)


CASES = {
    "LambdaLR": Case(
        make=lambda optimizer: torch_lr.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
        rate=lambda base, t: base / (1 + t),
    ),
    "MultiplicativeLR": Case(
        make=lambda optimizer: torch_lr.MultiplicativeLR(optimizer, lambda t: 0.9 if t < 10 else 0.8),
        rate=lambda base, t: base * 0.9 ** min(t, 9) * 0.8 ** max(0, t - 9),
    ),
    "StepLR": Case(
        make=lambda optimizer: torch_lr.StepLR(optimizer, 3, gamma=0.5),
        rate=lambda base, t: base * 0.5 ** (t // 3),
    ),
    "MultiStepLR": Case(
        make=lambda optimizer: torch_lr.MultiStepLR(optimizer, [4, 8], gamma=0.1),
        rate=lambda base, t: base * 0.1 ** ((t >= 4) + (t >= 8)),
    ),
    "ConstantLR": Case(
        make=lambda optimizer: torch_lr.ConstantLR(optimizer, factor=0.5, total_iters=4),
        rate=lambda base, t: base * (0.5 if t < 4 else 1),
    ),
    "LinearLR": Case(
        make=lambda optimizer: torch_lr.LinearLR(optimizer, 0.25, 1.0, total_iters=6),
        rate=lambda base, t: base * (0.25 + 0.75 * min(t, 6) / 6),
    ),
    "ExponentialLR": Case(
        make=lambda optimizer: torch_lr.ExponentialLR(optimizer, 0.9),
        rate=lambda base, t: base * 0.9**t,
    ),
    "PolynomialLR": Case(
        make=lambda optimizer: torch_lr.PolynomialLR(optimizer, total_iters=25, power=2.0),
        rate=lambda base, t: base * (1 - t / 25) ** 2,
    ),
    "CosineAnnealingLR": Case(  # beyond its end too, where PyTorch lets it rise again
        make=lambda optimizer: torch_lr.CosineAnnealingLR(optimizer, T_max=9, eta_min=0.001),
        rate=lambda base, t: cosine(base, t / 9, 0.001),
    ),
    "CosineAnnealingWarmRestarts": Case(
        make=lambda optimizer: torch_lr.CosineAnnealingWarmRestarts(optimizer, T_0=5, T_mult=2, eta_min=0.001),
        rate=restarts,
    ),
    "CyclicLR": Case(
        make=lambda optimizer: torch_lr.CyclicLR(
            optimizer, list(BASES), [5 * base for base in BASES], step_size_up=4, cycle_momentum=False
        ),
        rate=lambda base, t: base * (1 + 4 * triangle(t)),
    ),
    "OneCycleLR": Case(
        make=lambda optimizer: torch_lr.OneCycleLR(optimizer, list(BASES), total_steps=STEPS, cycle_momentum=False),
        rate=one_cycle,
    ),
    "ReduceLROnPlateau": Case(  # what it is told never gets better
        make=lambda optimizer: torch_lr.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, min_lr=[5e-4, 5e-5]),
        rate=lambda base, t: max(base * 0.5 ** max(0, t - 1), 5e-4 if base > 0.02 else 5e-5),
        step=lambda scheduler: scheduler.step(1.0),
    ),
    "SequentialLR": Case(
        make=lambda optimizer: torch_lr.SequentialLR(
            optimizer,
            [
                torch_lr.LinearLR(optimizer, 0.1, 1.0, total_iters=4),
                torch_lr.CosineAnnealingLR(optimizer, T_max=16, eta_min=0.001),
            ],
            milestones=[4],
        ),
        rate=warm_cosine,
    ),
    "ChainedScheduler": Case(
        make=lambda optimizer: torch_lr.ChainedScheduler(
            [torch_lr.ConstantLR(optimizer, 0.5, total_iters=4), torch_lr.ExponentialLR(optimizer, 0.9)]
        ),
        rate=lambda base, t: base * (0.5 if t < 4 else 1) * 0.9**t,
    ),
}
